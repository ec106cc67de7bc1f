package promapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/httputil"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/belaydev/belay"
)

// A Group is one group of a rule file, as its last evaluation left it.
type Group struct {
	Name, File     string
	Interval       time.Duration
	Limit          int
	LastEvaluation time.Time
	Duration       time.Duration // of that evaluation
	Rules          []Rule
}

// A Rule is one rule of a Group.
type Rule struct {
	Name           string
	Recording      bool
	Query          string // PromQL; what does not parse is shown as it is written
	For            time.Duration
	KeepFiringFor  time.Duration
	Labels         labels.Labels
	Annotations    map[string]string
	Health         string // ok, err, unknown
	LastError      string
	State          string // firing, pending, inactive; not of a recording rule
	LastEvaluation time.Time
	Duration       time.Duration
	Alerts         []belay.Alert // pending and firing
}

// A ruleFilter is what a request for rules asks for.
type ruleFilter struct {
	names, groups, files []string // empty: all
	matchers             [][]*labels.Matcher
	alerting, recording  bool
	withoutAlerts        bool
	limit                int    // groups at once; 0 is all
	after                string // token of the group to begin with
}

// parseRuleFilter reads a request for rules. Lists may come in the query and in
// a form; the others in the query alone, as in Prometheus.
func parseRuleFilter(p parser.Parser, form, query url.Values) (f ruleFilter, err error) {
	f = ruleFilter{names: form["rule_name[]"], groups: form["rule_group[]"], files: form["file[]"]}
	if f.matchers, err = p.ParseMetricSelectors(form["match[]"]); err != nil {
		return f, err
	}
	for _, set := range f.matchers {
		if !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return m != nil && !m.Matches("") }) {
			return f, errors.New("match[] must contain at least one non-empty matcher")
		}
	}
	switch kind := strings.ToLower(query.Get("type")); kind {
	case "":
		f.alerting, f.recording = true, true
	case "alert":
		f.alerting = true
	case "record":
		f.recording = true
	default:
		return f, wrong("type", fmt.Errorf("not supported value %q", kind))
	}
	if s := query.Get("exclude_alerts"); s != "" {
		if f.withoutAlerts, err = strconv.ParseBool(strings.ToLower(s)); err != nil {
			return f, wrong("exclude_alerts", fmt.Errorf("not a truth value: %w", err))
		}
	}
	return f, f.parsePage(query.Get("group_limit"), query.Get("group_next_token"))
}

func (f *ruleFilter) parsePage(limit, token string) error {
	if limit == "" {
		if token != "" {
			return wrong("group_next_token", errors.New("it needs group_limit beside it"))
		}
		return nil
	}
	n, err := strconv.ParseInt(limit, 10, 32)
	if err != nil {
		return wrong("group_limit", fmt.Errorf("not a number: %w", err))
	}
	if n <= 0 {
		return wrong("group_limit", errors.New("it must be greater than 0"))
	}
	f.limit, f.after = int(n), token
	return nil
}

func wrong(parameter string, err error) error {
	return fmt.Errorf("invalid parameter %q: %w", parameter, err)
}

func (f *ruleFilter) wantsGroup(g Group) bool {
	return (len(f.groups) == 0 || slices.Contains(f.groups, g.Name)) && (len(f.files) == 0 || slices.Contains(f.files, g.File))
}

func (f *ruleFilter) wants(r Rule) bool {
	if r.Recording && !f.recording || !r.Recording && !f.alerting || len(f.names) > 0 && !slices.Contains(f.names, r.Name) {
		return false
	}
	return len(f.matchers) == 0 || slices.ContainsFunc(f.matchers, func(set []*labels.Matcher) bool {
		return !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return !m.Matches(r.Labels.Get(m.Name)) })
	})
}

func (a *api) groups() []Group {
	if a.opts.Rules == nil {
		return nil
	}
	groups := slices.Clone(a.opts.Rules())
	slices.SortStableFunc(groups, func(x, y Group) int {
		if x.File != y.File {
			return strings.Compare(x.File, y.File)
		}
		return strings.Compare(x.Name, y.Name)
	})
	return groups
}

func (a *api) rules(w http.ResponseWriter, r *http.Request) {
	f, err := parseRuleFilter(a.parser, r.Form, r.URL.Query())
	if err != nil {
		a.fail(w, http.StatusBadRequest, badData, err)
		return
	}
	data, err := a.discover(f)
	if err != nil {
		a.fail(w, http.StatusBadRequest, badData, err)
		return
	}
	a.compressed(w, r, data)
}

// discover returns the groups that a filter wants, a page of them where it
// wants pages.
func (a *api) discover(f ruleFilter) (*v1.RuleDiscovery, error) {
	out := &v1.RuleDiscovery{RuleGroups: []*v1.RuleGroup{}}
	groups := a.groups()
	if f.after != "" {
		i := slices.IndexFunc(groups, func(g Group) bool { return pageToken(g) == f.after })
		if i < 0 {
			return nil, wrong("group_next_token", fmt.Errorf("no group has %q; were the rules changed?", f.after))
		}
		groups = groups[i:]
	}
	for _, g := range groups {
		if !f.wantsGroup(g) {
			continue
		}
		shown := a.showGroup(g, f)
		if len(shown.Rules) == 0 {
			continue
		}
		if f.limit > 0 && len(out.RuleGroups) == f.limit {
			out.GroupNextToken = pageToken(g)
			break
		}
		out.RuleGroups = append(out.RuleGroups, shown)
	}
	return out, nil
}

func pageToken(g Group) string {
	sum := sha256.Sum256([]byte(g.File + ";" + g.Name))
	return hex.EncodeToString(sum[:])
}

func (a *api) showGroup(g Group, f ruleFilter) *v1.RuleGroup {
	out := &v1.RuleGroup{
		Name: g.Name, File: g.File, Interval: g.Interval.Seconds(), Limit: g.Limit, Rules: []v1.Rule{},
		EvaluationTime: g.Duration.Seconds(), LastEvaluation: g.LastEvaluation,
	}
	for _, r := range g.Rules {
		switch {
		case !f.wants(r):
		case r.Recording:
			out.Rules = append(out.Rules, v1.RecordingRule{
				Name: r.Name, Query: a.canonical(r.Query), Labels: r.Labels, Health: health(r.Health), LastError: r.LastError,
				EvaluationTime: r.Duration.Seconds(), LastEvaluation: r.LastEvaluation, Type: "recording",
			})
		default:
			shown := v1.AlertingRule{
				State: r.State, Name: r.Name, Query: a.canonical(r.Query), Duration: r.For.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(),
				Labels: r.Labels, Annotations: labels.FromMap(r.Annotations), Health: health(r.Health), LastError: r.LastError,
				EvaluationTime: r.Duration.Seconds(), LastEvaluation: r.LastEvaluation, Type: "alerting",
			}
			if !f.withoutAlerts {
				shown.Alerts = showAlerts(r.Alerts)
			}
			out.Rules = append(out.Rules, shown)
		}
	}
	return out
}

// canonical writes a query as Prometheus does.
func (a *api) canonical(query string) string {
	expr, err := a.parser.ParseExpr(query)
	if err != nil {
		return query
	}
	return expr.String()
}

func showAlerts(alerts []belay.Alert) []*v1.Alert {
	out := make([]*v1.Alert, 0, len(alerts))
	for _, al := range alerts {
		shown := &v1.Alert{
			Labels: al.Labels, Annotations: labels.FromMap(al.Annotations), State: string(al.State), ActiveAt: &al.ActiveAt,
			Value: strconv.FormatFloat(float64(al.Value), 'e', -1, 64),
		}
		if !al.KeepSince.IsZero() {
			shown.KeepFiringSince = &al.KeepSince
		}
		out = append(out, shown)
	}
	return out
}

func (a *api) alerts(w http.ResponseWriter, r *http.Request) {
	out := &v1.AlertDiscovery{Alerts: []*v1.Alert{}}
	for _, g := range a.groups() {
		for _, rule := range g.Rules {
			out.Alerts = append(out.Alerts, showAlerts(rule.Alerts)...)
		}
	}
	a.compressed(w, r, out)
}

// compressed answers, packed where the client takes that.
func (a *api) compressed(w http.ResponseWriter, r *http.Request, data any) {
	httputil.CompressionHandler{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { a.respond(w, data) })}.ServeHTTP(w, r)
}
