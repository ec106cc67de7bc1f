package promapi

import (
	"net/url"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// FuzzRuleFilter holds that any request for rules is either refused or means
// something: a page that leads somewhere, matchers that match.
func FuzzRuleFilter(f *testing.F) {
	for _, seed := range []string{
		"", "type=alert", "type=Record&rule_name[]=a&rule_name[]=b", "match[]=up", "match[]={}", "match[]={a=~\"(\"}", "exclude_alerts=t",
		"group_limit=1&group_next_token=ff", "group_limit=-1", "group_limit=99999999999", "group_next_token=x", "match[]={\"größe\"}&file[]=%00",
	} {
		f.Add(seed)
	}
	groups := []Group{{Name: "g", File: "f", Rules: []Rule{{Name: "a", Query: "up"}, {Name: "b", Query: "not promql", Recording: true}}}, {Name: "empty"}}
	a := &api{opts: Options{Rules: func() []Group { return groups }}, parser: parser.NewParser(parser.Options{})}
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		filter, err := parseRuleFilter(a.parser, form, form)
		if err != nil {
			return
		}
		if !filter.alerting && !filter.recording {
			t.Error("no kind of rule is wanted")
		}
		shown, err := a.discover(filter)
		if err != nil {
			return
		}
		if filter.limit > 0 && len(shown.RuleGroups) > filter.limit {
			t.Errorf("%d groups on a page of %d", len(shown.RuleGroups), filter.limit)
		}
		for _, g := range shown.RuleGroups {
			if len(g.Rules) == 0 {
				t.Error("a group without rules is shown")
			}
		}
	})
}

// FuzzAddresses holds that an address is served or not, and never by a route
// that changes the storage other than the receiver.
func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"/api/v1/query", "/api/v1/label/x/values", "/api/v1/label//values", "/api/v1/label/a%2Fb/values", "/api/v1/admin/tsdb/snapshot", "/federate", "/api/v1/label/*/values", "/api/v1//query"} {
		f.Add(seed)
	}
	a := &api{}
	a.table(nil)
	f.Fuzz(func(t *testing.T, path string) {
		to, ok := a.find(path)
		if ok && !to.get && path != prefix+"/write" && path != prefix+"/read" {
			t.Errorf("%q is not for reading", path)
		}
	})
}
