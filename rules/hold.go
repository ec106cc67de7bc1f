package rules

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/belaydev/belay"
)

// resolveWhen holds the firing alerts that are no longer found, but for which
// the rule's resolve_when does not hold either. A label set that has no value
// at all any more is not held: there is nothing left that could get well.
func (g *group) resolveWhen(ctx context.Context, st *ruleState, o *observation, at time.Time) error {
	if st.rule.ResolveWhen == nil {
		return nil
	}
	byID := make(map[string]*Found, len(o.found))
	for i := range o.found {
		byID[o.found[i].ID] = &o.found[i]
	}
	ended := slices.DeleteFunc(slices.Clone(st.alerts), func(a belay.Alert) bool {
		f := byID[a.ID]
		return a.State != belay.AlertFiring || f != nil && f.Verdict == belay.Fail || f == nil && st.rule.valued()
	})
	if len(ended) == 0 {
		return nil
	}
	vector, err := g.e.vector(ctx, st.rule.ResolveWhen.String(), at, 0)
	if err != nil {
		return fmt.Errorf("resolve_when: %w", err)
	}
	for _, a := range ended {
		if st.rule.well(a, vector) {
			continue
		}
		f := byID[a.ID]
		if f == nil {
			o.found = append(o.found, Found{ID: a.ID, Labels: a.Labels, Verdict: belay.Pass, Value: float64(a.Value), Condition: a.Condition, DataAt: o.newest})
			f = &o.found[len(o.found)-1]
		}
		if f.Verdict == belay.Pass {
			f.Verdict, f.Held = belay.Fail, true
			f.Why = fmt.Sprintf("no longer breaks the rule, at %s, but its resolve_when does not hold yet", number(f.Value))
		} else if st.rule.NoData != NoDataResolve {
			f.Held = true
		}
	}
	return nil
}

// well reports whether an element of resolve_when's vector is about an alert:
// all of its labels, but for those that the rule sets, are the alert's.
func (r *Rule) well(a belay.Alert, vector promql.Vector) bool {
	for _, smpl := range vector {
		agree := true
		smpl.Metric.Range(func(l labels.Label) {
			if l.Name != model.MetricNameLabel && !r.Labels.Has(l.Name) && a.Labels.Get(l.Name) != l.Value {
				agree = false
			}
		})
		if agree {
			return true
		}
	}
	return false
}

// minSamples makes findings that rest on too few samples inconclusive: they
// are Absent, and neither fire nor resolve (with no_data: resolve they do).
//
// What is counted: for each selector of the expression the samples in its
// range, of all series that agree with the finding in the labels that the rule
// does not make itself; one for each series where the selector has no range.
// The selector that counts most decides.
func (g *group) minSamples(ctx context.Context, st *ruleState, o *observation, at time.Time) error {
	r := st.rule
	if r.MinSamples == 0 {
		return nil
	}
	var tallies []*tally
	for _, s := range r.selectors {
		query, each := s.counts, false
		if query == "" {
			query, each = s.text, true
		}
		vector, err := g.e.vector(ctx, query, at, 0)
		if err != nil {
			return fmt.Errorf("count samples: %w", err)
		}
		tallies = append(tallies, newTally(vector, each))
	}
	for i := range o.found {
		f := &o.found[i]
		most := 0.0
		for _, t := range tallies {
			most = max(most, t.behind(f.Labels, r.makes))
		}
		if most < float64(r.MinSamples) && (f.Verdict == belay.Fail || f.Verdict == belay.Pass) {
			f.Verdict, f.Held = belay.Absent, r.NoData != NoDataResolve
			f.Why = fmt.Sprintf("too little to judge: %g samples, and min_samples is %d", most, r.MinSamples)
		}
	}
	return nil
}

// A tally is how many samples each series has.
type tally struct {
	vector promql.Vector
	sums   map[string]map[uint64]float64 // by the names of labels, then by their values
}

func newTally(vector promql.Vector, each bool) *tally {
	for i := range vector {
		if each {
			vector[i].F = 1
		}
	}
	return &tally{vector: vector, sums: map[string]map[uint64]float64{}}
}

// behind returns the samples of the series that agree with a finding.
func (t *tally) behind(finding labels.Labels, made map[string]bool) float64 {
	var names []string
	key := ""
	finding.Range(func(l labels.Label) {
		if !made[l.Name] {
			names, key = append(names, l.Name), key+l.Name+"\xff"
		}
	})
	sums, ok := t.sums[key]
	if !ok {
		sums = make(map[uint64]float64, len(t.vector))
		var buf []byte
		for _, smpl := range t.vector {
			var h uint64
			h, buf = smpl.Metric.HashForLabels(buf, names...)
			sums[h] += smpl.F
		}
		t.sums[key] = sums
	}
	h, _ := finding.HashForLabels(nil, names...)
	return sums[h]
}

// noData adds, for no_data: alert, a finding for whatever is judged unknown or
// absent, and returns how far Step may believe them all. While Belay itself has
// only begun to look, nothing is found.
func (g *group) noData(ctx context.Context, st *ruleState, o observation, ts time.Time) ([]Found, Quality) {
	if st.rule.NoData != NoDataAlert || o.early {
		return o.found, o.quality
	}
	byID := make(map[string]int, len(o.found))
	for i := range o.found {
		byID[o.found[i].ID] = i
	}
	x := &expander{g: g, rule: st.rule, ctx: ctx, at: ts}
	found := o.found
	for _, key := range st.order {
		j := st.judged[key].j
		if j.Verdict != belay.Unknown && j.Verdict != belay.Absent {
			continue
		}
		id := key
		if key == placeholder {
			id = st.rule.alertID(j.Labels)
		}
		f := Found{ID: id, Labels: j.Labels, Verdict: j.Verdict, Value: math.NaN(), DataAt: j.DataAt, Why: j.Reason, NoData: true}
		f.Annotations = x.annotations(promql.Sample{Metric: j.Labels, F: f.Value})
		if len(st.rule.comparisons) == 1 {
			f.Condition = st.rule.comparisons[0].condition
		}
		i, known := byID[id]
		switch {
		case !known:
			found = append(found, f)
		case o.quality == Unknown, !found[i].Held && found[i].Verdict == belay.Absent:
			found[i] = f
		}
	}
	return found, min(o.quality, Partial)
}

func (g *group) exceeds(n int) error {
	return fmt.Errorf("the rule finds %d alerts, the limit is %d", n, g.def.Limit)
}

// limit ends, with no_data: resolve, all alerts of a rule that has more than
// its group's limit, as Prometheus does. Without, observe has made it unknown.
func (g *group) limit(st *ruleState, o *observation, next []belay.Alert, changed []Transition, ts time.Time) ([]belay.Alert, []Transition) {
	if st.rule.NoData != NoDataResolve || g.def.Limit <= 0 || len(next) <= g.def.Limit {
		return next, changed
	}
	err := g.exceeds(len(next))
	o.err, o.quality, o.why = err, Unknown, err.Error()
	g.fail(st, err)
	g.locked(func() { st.trust = o.trust })
	changed = nil
	for _, a := range st.alerts {
		a.State, a.ResolvedAt, a.EvaluatedAt, a.Verdict = belay.AlertInactive, ts, ts, belay.Unknown
		changed = append(changed, Transition{a, err.Error() + ", which ends them all (no_data: resolve)"})
	}
	return nil, changed
}
