package rules

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"

	"github.com/belaydev/belay"
)

const (
	maxFailed   = 100              // where counting of failures in a row stops
	absentFor   = 15 * time.Minute // how long a label set that is gone is still judged absent
	placeholder = ""               // key of the judgement of a rule that has no series
)

// judged is the latest judgement of one label set.
type judged struct {
	j       belay.Judgement
	failed  int
	present time.Time // evaluation that last saw it
}

func (st *ruleState) judge(key string, j *judged) {
	if st.judged[key] == nil {
		st.order = append(st.order, key)
	}
	st.judged[key] = j
}

func (st *ruleState) drop(key string) {
	delete(st.judged, key)
	st.order = slices.DeleteFunc(st.order, func(k string) bool { return k == key })
}

// judgeAll renews the judgements of every label set that is known, and counts
// failures in a row into the findings.
func (st *ruleState) judgeAll(o observation, ts time.Time) {
	if o.quality == Unknown {
		st.judgeUnknown(o, ts)
		return
	}
	for i := range o.found {
		st.judgeFound(&o.found[i], o, ts)
	}
	for _, key := range slices.Clone(st.order) {
		if k := st.judged[key]; !k.present.Equal(ts) && key != placeholder {
			st.judgeMissing(key, k, o, ts)
		}
	}
	st.judgeNone(o, ts)
}

func (st *ruleState) judgeFound(f *Found, o observation, ts time.Time) {
	before := st.judged[f.ID]
	if before == nil {
		before = &judged{}
	}
	fresh := f.DataAt.After(before.j.DataAt)
	if !fresh {
		f.DataAt = before.j.DataAt
	}
	f.Failed = before.failed
	switch {
	case f.Verdict == belay.Pass:
		f.Failed = 0
	case f.Verdict == belay.Fail && (fresh || f.Failed == 0):
		f.Failed = min(f.Failed+1, maxFailed)
	}
	st.judge(f.ID, &judged{failed: f.Failed, present: ts, j: belay.Judgement{
		Rule: st.rule.Name, Labels: f.Labels, Verdict: f.Verdict, Value: belay.Value(f.Value), At: ts, DataAt: f.DataAt,
		Partial: o.quality == Partial && !f.Sure, Reason: f.explain(), Observe: st.rule.Observe,
	}})
}

func (f *Found) explain() string {
	switch {
	case f.Why != "":
		return f.Why
	case f.Verdict == belay.Fail && f.Condition == "":
		return "the expression holds, value " + number(f.Value)
	case f.Verdict == belay.Fail:
		return number(f.Value) + " breaks the limit: it is " + f.Condition
	}
	return "within limits: " + number(f.Value) + ", limit " + f.Condition
}

// judgeMissing judges a label set that was known and was not seen now.
func (st *ruleState) judgeMissing(key string, k *judged, o observation, ts time.Time) {
	doubt := o.doubts(st.rule, k.j.Labels)
	k.j.At, k.j.Partial = ts, doubt
	switch {
	case doubt:
		k.present, k.j.Verdict, k.j.Reason = ts, belay.Unknown, o.why
		return
	case !st.rule.valued() && o.fresh:
		k.pass(o)
	default:
		k.j.Verdict, k.j.Value, k.j.Reason = belay.Absent, belay.Value(math.NaN()), st.rule.gone()
	}
	if ts.Sub(k.present) > absentFor {
		st.drop(key)
	}
}

// pass judges what an expression without comparison does not hold for, while
// it has samples to read.
func (k *judged) pass(o observation) {
	k.failed = 0
	k.j.Verdict, k.j.Value, k.j.Reason = belay.Pass, belay.Value(math.NaN()), "the expression does not hold, and what it reads is there"
	if o.newest.After(k.j.DataAt) {
		k.j.DataAt = o.newest
	}
}

// judgeNone judges the rule as a whole while it knows no label set.
func (st *ruleState) judgeNone(o observation, ts time.Time) {
	k := st.judged[placeholder]
	if len(st.order) > 1 || (len(st.order) == 1 && k == nil) {
		st.drop(placeholder)
		return
	}
	if k == nil {
		k = &judged{j: belay.Judgement{Rule: st.rule.Name, Labels: st.rule.placeholder(), Observe: st.rule.Observe}}
	}
	k.j.At, k.j.Partial = ts, o.quality == Partial
	switch {
	case !st.rule.valued() && o.fresh:
		k.pass(o)
	case o.quality == Partial:
		k.j.Verdict, k.j.Value, k.j.Reason = belay.Unknown, belay.Value(math.NaN()), o.why
	default:
		k.j.Verdict, k.j.Value, k.j.Reason = belay.Absent, belay.Value(math.NaN()), "there is no series to judge"
	}
	st.judge(placeholder, k)
}

func (st *ruleState) judgeUnknown(o observation, ts time.Time) {
	if len(st.order) == 0 {
		st.judge(placeholder, &judged{j: belay.Judgement{
			Rule: st.rule.Name, Labels: st.rule.placeholder(), Value: belay.Value(math.NaN()), Observe: st.rule.Observe,
		}})
	}
	for _, k := range st.judged {
		k.present = ts // nothing says that it is gone
		k.j.Verdict, k.j.At, k.j.Reason, k.j.Partial = belay.Unknown, ts, o.why, false
	}
}

func (st *ruleState) judgements() []belay.Judgement {
	out := make([]belay.Judgement, 0, len(st.order))
	for _, key := range st.order {
		out = append(out, st.judged[key].j)
	}
	return out
}

// samples are the newest samples that a rule's selectors read.
type samples struct {
	list   []stamped
	newest time.Time
	index  map[string]map[uint64]time.Time // by the names of labels, then by their values
}

type stamped struct {
	labels labels.Labels
	at     time.Time
}

// samples reads when the series behind a rule last had a sample, each selector
// once, down to what targets expose.
func (g *group) samples(ctx context.Context, r *Rule, at time.Time) (samples, error) {
	s := newSamples(r, at)
	for _, in := range r.newest {
		vector, err := g.e.vector(ctx, in.text, at, max(in.lookback, g.e.options().Lookback))
		if err != nil && in.name != "" {
			return s, err
		}
		s.add(vector)
	}
	return s, nil
}

func newSamples(r *Rule, at time.Time) samples {
	s := samples{index: map[string]map[uint64]time.Time{}}
	if len(r.inputs) == 0 {
		s.newest = at // a constant is always fresh
	}
	return s
}

// add takes in what a selector's query for its newest samples gave.
func (s *samples) add(vector promql.Vector) {
	for _, smpl := range vector {
		t := timestamp.Time(int64(math.Round(smpl.F * 1000))).UTC()
		s.list = append(s.list, stamped{smpl.Metric, t})
		if t.After(s.newest) {
			s.newest = t
		}
	}
}

// at returns the newest sample among the series that agree with an element in
// all of its labels; where none does, since the expression has made up a
// label, among all.
func (s samples) at(element labels.Labels) time.Time {
	names := make([]string, 0, element.Len())
	key := ""
	element.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel {
			names, key = append(names, l.Name), key+l.Name+"\xff"
		}
	})
	byValues, ok := s.index[key]
	if !ok {
		byValues = make(map[uint64]time.Time, len(s.list))
		var buf []byte
		for _, st := range s.list {
			var h uint64
			h, buf = st.labels.HashForLabels(buf, names...)
			if st.at.After(byValues[h]) {
				byValues[h] = st.at
			}
		}
		s.index[key] = byValues
	}
	h, _ := element.HashForLabels(nil, names...)
	if t, ok := byValues[h]; ok {
		return t
	}
	return s.newest
}
