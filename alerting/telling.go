package alerting

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// A Telling answers who is told of an alert and why nobody is: routes,
// silences, inhibitions and mute times, as they are now.
type Telling struct {
	Routing  *Routing             // nil leads nowhere
	Silences *Silences            // nil has none
	Alerts   func() []belay.Alert // those that fire now, for inhibition; nil: none
}

// An Explanation says what becomes of a label set.
type Explanation struct {
	Routes    []RouteAnswer   `json:"routes"`
	Silences  []belay.Silence `json:"silences,omitempty"`   // that hold and match
	Inhibited *Inhibition     `json:"inhibition,omitempty"` // nil when none is in force
}

// A RouteAnswer is one route that claims a label set.
type RouteAnswer struct {
	Receiver       string        `json:"receiver"`
	Path           []string      `json:"path"` // the matchers from the root down; the root's own is {}
	Key            string        `json:"key"`
	GroupLabels    labels.Labels `json:"group_labels"`
	RouteLabels    labels.Labels `json:"route_labels"`
	GroupWait      string        `json:"group_wait"`
	GroupInterval  string        `json:"group_interval"`
	RepeatInterval string        `json:"repeat_interval"`
	MutedBy        []string      `json:"muted_by,omitempty"` // time intervals
	Why            string        `json:"why,omitempty"`      // of MutedBy
	Continue       bool          `json:"continue,omitempty"`
}

// Explain says who is told of an alert with these labels now.
func (t Telling) Explain(ls labels.Labels, now time.Time) Explanation {
	return t.explainer(now).explain(ls)
}

// ExplainAll is Explain for many alerts, in their order.
func (t Telling) ExplainAll(alerts []belay.Alert, now time.Time) []Explanation {
	x := t.explainer(now)
	out := make([]Explanation, len(alerts))
	for i, a := range alerts {
		out[i] = x.explain(a.Labels)
	}
	return out
}

type explainer struct {
	Telling
	inhibitions
	now time.Time
}

func (t Telling) explainer(now time.Time) explainer {
	return explainer{t, t.Routing.inhibitions(firingSets(t.alerts())), now}
}

func (t Telling) alerts() []belay.Alert {
	if t.Alerts == nil {
		return nil
	}
	return t.Alerts()
}

func firingSets(alerts []belay.Alert) []model.LabelSet {
	var out []model.LabelSet
	for _, a := range alerts {
		if a.State == belay.AlertFiring && !a.Observe {
			out = append(out, labelSet(a.Labels))
		}
	}
	return out
}

func (x explainer) explain(ls labels.Labels) Explanation {
	set := labelSet(ls)
	out := Explanation{Routes: []RouteAnswer{}, Silences: x.Silences.muting(set, x.now)}
	for _, route := range x.Routing.match(set) {
		out.Routes = append(out.Routes, x.answer(route, set))
	}
	if in, ok := x.of(set); ok {
		out.Inhibited = &in
	}
	return out
}

func (x explainer) answer(route *dispatch.Route, set model.LabelSet) RouteAnswer {
	o := route.RouteOpts
	a := RouteAnswer{
		Receiver: o.Receiver, Key: route.ID(), GroupLabels: plain(groupLabels(route, set)), RouteLabels: plain(o.Labels),
		GroupWait: model.Duration(o.GroupWait).String(), GroupInterval: model.Duration(o.GroupInterval).String(),
		RepeatInterval: model.Duration(o.RepeatInterval).String(), Continue: route.Continue,
	}
	a.MutedBy, a.Why = x.Routing.muted(route, x.now)
	for _, step := range pathTo(x.Routing.root, route) {
		a.Path = append(a.Path, step.Matchers.String())
	}
	return a
}

// pathTo returns the routes from the root down to one of them.
func pathTo(from, to *dispatch.Route) []*dispatch.Route {
	if from == to {
		return []*dispatch.Route{from}
	}
	for _, below := range from.Routes {
		if rest := pathTo(below, to); rest != nil {
			return append([]*dispatch.Route{from}, rest...)
		}
	}
	return nil
}

// groupLabels are the labels by which a route groups an alert.
func groupLabels(route *dispatch.Route, set model.LabelSet) model.LabelSet {
	out := model.LabelSet{}
	for name, value := range set {
		if _, ok := route.RouteOpts.GroupBy[name]; ok || route.RouteOpts.GroupByAll {
			out[name] = value
		}
	}
	return out
}

func plain(ls model.LabelSet) labels.Labels {
	m := make(map[string]string, len(ls))
	for name, value := range ls {
		m[string(name)] = string(value)
	}
	return labels.FromMap(m)
}

// Receivers returns the receivers that are told, each once.
func (e Explanation) Receivers() []string {
	var out []string
	for _, r := range e.Routes {
		if !slices.Contains(out, r.Receiver) {
			out = append(out, r.Receiver)
		}
	}
	return out
}

// Muted says why nobody is told through the routes to these receivers, "" when
// somebody is. Without receivers it speaks of silences and inhibitions alone.
func (e Explanation) Muted(receivers []string) string {
	switch {
	case len(e.Silences) > 0:
		return "silenced by " + e.Silences[0].ID + " of " + e.Silences[0].CreatedBy
	case e.Inhibited != nil:
		return "inhibited by " + e.Inhibited.Source.String()
	}
	var why []string
	for _, r := range e.Routes {
		if !slices.Contains(receivers, r.Receiver) {
			continue
		}
		if r.Why == "" {
			return ""
		}
		why = append(why, r.Why)
	}
	return strings.Join(slices.Compact(why), "; ")
}
