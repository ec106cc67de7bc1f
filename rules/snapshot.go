package rules

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// A GroupStatus is what pages and the API show of a group.
type GroupStatus struct {
	Name           string
	File           string
	Interval       time.Duration
	Limit          int
	LastEvaluation time.Time     // zero before the first
	Duration       time.Duration // of the last evaluation
	Rules          []RuleStatus
}

// A RuleStatus is what pages and the API show of a rule.
type RuleStatus struct {
	ID             string
	Name           string
	Recording      bool
	Query          string
	File           string
	Line           int
	For            time.Duration
	KeepFiringFor  time.Duration
	Labels         labels.Labels // templates as they are written
	Annotations    map[string]string
	Observe        bool
	Health         string // ok, err, unknown: the words of Prometheus's API
	LastError      string
	Quality        Quality
	Why            string // why the quality is not good
	State          string // firing, pending, inactive; "" for a recording rule
	LastEvaluation time.Time
	Duration       time.Duration
	Alerts         []belay.Alert
	ResolveWhen    string // "" when a finding ends with the expression
	NoData         NoData
	MinSamples     int
	Evaluations    []Evaluation // the last 20, oldest first
	Flapping       []Flapping   // alerts that change too often to be believed
}

// Alerts returns the alerts that are pending or firing, as last evaluated.
func (e *Engine) Alerts() []belay.Alert {
	var out []belay.Alert
	e.each(func(st *ruleState) { out = append(out, st.alerts...) })
	return out
}

// Judgements returns the latest judgement of every alerting rule and label set.
func (e *Engine) Judgements() []belay.Judgement {
	var out []belay.Judgement
	e.each(func(st *ruleState) { out = append(out, st.judgements()...) })
	return out
}

func (e *Engine) each(f func(*ruleState)) {
	for _, g := range e.plan.Load().groups {
		g.locked(func() {
			for _, st := range g.rules {
				f(st)
			}
		})
	}
}

// Groups returns the state of all groups, in the order of the files.
func (e *Engine) Groups() []GroupStatus {
	out := make([]GroupStatus, 0, len(e.plan.Load().groups))
	for _, g := range e.plan.Load().groups {
		s := GroupStatus{Name: g.def.Name, File: g.def.File, Interval: g.interval, Limit: g.def.Limit}
		g.locked(func() {
			s.LastEvaluation, s.Duration = g.lastEval, g.took
			for _, st := range g.rules {
				s.Rules = append(s.Rules, st.status())
			}
		})
		out = append(out, s)
	}
	return out
}

func (st *ruleState) status() RuleStatus {
	r := st.rule
	s := RuleStatus{
		ID: r.ID, Name: r.Name, Recording: r.Recording, Query: r.query, File: r.File, Line: r.Line,
		For: r.For, KeepFiringFor: r.KeepFiringFor, Labels: r.Labels, Annotations: r.Annotations, Observe: r.Observe,
		Health: "ok", Quality: st.quality, Why: st.why, LastEvaluation: st.lastEval, Duration: st.took,
		Alerts: slices.Clone(st.alerts), NoData: r.NoData, MinSamples: r.MinSamples,
		Evaluations: slices.Clone(st.evaluations), Flapping: st.flapping(),
	}
	if r.ResolveWhen != nil {
		s.ResolveWhen = r.ResolveWhen.String()
	}
	switch {
	case st.lastErr != nil:
		s.Health, s.LastError = "err", st.lastErr.Error()
	case st.lastEval.IsZero():
		s.Health = "unknown"
	}
	if r.Recording {
		return s
	}
	s.State = string(belay.AlertInactive)
	for _, a := range st.alerts {
		if a.State == belay.AlertFiring || s.State == string(belay.AlertInactive) {
			s.State = string(a.State)
		}
	}
	return s
}
