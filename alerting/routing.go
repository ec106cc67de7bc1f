package alerting

import (
	"fmt"
	"slices"
	"strings"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// A Routing is what an Alertmanager configuration says of who is told of what,
// and when not: the tree of routes, the rules of inhibition, the time
// intervals. It is pure, and never changes. A nil Routing leads nowhere.
type Routing struct {
	root       *dispatch.Route
	inhibit    []*inhibit.InhibitRule
	intervener *timeinterval.Intervener
}

// NewRouting returns the routing of a validated configuration, nil when it has
// no route.
func NewRouting(cfg amconfig.Config) *Routing {
	if cfg.Route == nil {
		return nil
	}
	r := &Routing{root: dispatch.NewRoute(cfg.Route, nil)}
	for _, rule := range cfg.InhibitRules {
		r.inhibit = append(r.inhibit, inhibit.NewInhibitRule(rule))
	}
	intervals := map[string][]timeinterval.TimeInterval{}
	for _, ti := range cfg.MuteTimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range cfg.TimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	r.intervener = timeinterval.NewIntervener(intervals)
	return r
}

// match returns the routes that claim a label set, in the order of the file.
func (r *Routing) match(ls model.LabelSet) []*dispatch.Route {
	if r == nil {
		return nil
	}
	return r.root.Match(ls)
}

// Receivers returns the names of the receivers that a label set reaches, each
// once, in the order of the routes.
func (r *Routing) Receivers(ls labels.Labels) []string {
	var out []string
	for _, route := range r.match(labelSet(ls)) {
		if !slices.Contains(out, route.RouteOpts.Receiver) {
			out = append(out, route.RouteOpts.Receiver)
		}
	}
	return out
}

// muted returns the time intervals for which a route is silent now: mute times
// that are in force, or active times of which none is.
func (r *Routing) muted(route *dispatch.Route, now time.Time) (intervals []string, why string) {
	if active := route.RouteOpts.ActiveTimeIntervals; len(active) > 0 {
		if in, _, err := r.intervener.Mutes(active, now.UTC()); err == nil && !in {
			return active, "outside its active times " + strings.Join(active, ", ")
		}
	}
	if in, names, err := r.intervener.Mutes(route.RouteOpts.MuteTimeIntervals, now.UTC()); err == nil && in {
		return names, "within its mute times " + strings.Join(names, ", ")
	}
	return nil, ""
}

// An Inhibition names the alert on whose account another is not told.
type Inhibition struct {
	Rule   string         // its name, or its place: "inhibit_rules[2]"
	Source model.LabelSet // of the alert that inhibits
}

// inhibitions answers for many alerts at once which of them are inhibited by
// those that fire.
type inhibitions struct {
	routing *Routing
	sources []map[string][]model.LabelSet // by rule, by the values of the labels that must be equal
}

func (r *Routing) inhibitions(firing []model.LabelSet) inhibitions {
	in := inhibitions{routing: r}
	if r == nil {
		return in
	}
	for _, rule := range r.inhibit {
		sources := map[string][]model.LabelSet{}
		for _, ls := range firing {
			if rule.SourceMatchers.Matches(ls) {
				key := equalKey(rule, ls)
				sources[key] = append(sources[key], ls)
			}
		}
		in.sources = append(in.sources, sources)
	}
	return in
}

// equalKey joins what must be equal; a label that is missing equals an empty one.
func equalKey(rule *inhibit.InhibitRule, ls model.LabelSet) string {
	names := make([]string, 0, len(rule.Equal))
	for name := range rule.Equal {
		names = append(names, string(name))
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(string(ls[model.LabelName(name)]))
		b.WriteByte(0xff)
	}
	return b.String()
}

// of returns why an alert is inhibited. An alert that is on both sides of a
// rule is not inhibited by another that is, itself included.
func (in inhibitions) of(ls model.LabelSet) (Inhibition, bool) {
	if in.routing == nil {
		return Inhibition{}, false
	}
	for i, rule := range in.routing.inhibit {
		if !rule.TargetMatchers.Matches(ls) {
			continue
		}
		both := rule.SourceMatchers.Matches(ls)
		for _, source := range in.sources[i][equalKey(rule, ls)] {
			if !both || !rule.TargetMatchers.Matches(source) {
				return Inhibition{Rule: ruleName(rule, i), Source: source}, true
			}
		}
	}
	return Inhibition{}, false
}

func labelSet(ls labels.Labels) model.LabelSet {
	out := model.LabelSet{}
	ls.Range(func(l labels.Label) { out[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return out
}

// Fingerprint is Alertmanager's name of an alert with these labels.
func Fingerprint(ls labels.Labels) string { return labelSet(ls).Fingerprint().String() }

func ruleName(rule *inhibit.InhibitRule, i int) string {
	if rule.Name != "" {
		return rule.Name
	}
	return fmt.Sprintf("inhibit_rules[%d]", i)
}
