package rules

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rules/anomaly"
)

// maxWatched is how many series one anomaly rule watches at most: about 45 MB.
const maxWatched = 10_000

// A watch is what an anomaly rule has learned. It samples the rule's expression
// on a grid of the group's interval, aligned to the clock and not to the start,
// so that stored samples played again later teach exactly the same. Like the
// rest of a ruleState it is written by the group's goroutine alone, which then
// holds the group's mutex.
type watch struct {
	key    string // what must agree for a snapshot to fit
	cfg    anomaly.Config
	step   time.Duration
	series map[uint64]*watched
	at     time.Time // the newest moment of the grid that was judged
	now    []sighted // what was seen then; nil before the first
	warm   bool      // what was stored has been learned
	bands  ruleState // remembers which bands were written
	news   bool      // bands wait to be written
}

// watched is one series of a watch.
type watched struct {
	metric   labels.Labels
	detector *anomaly.Detector
	judged   anomaly.Judgement
	dataAt   time.Time // newest sample that was learned
	changed  time.Time // newest change that the detector knows of
	seen     time.Time
}

// sighted is a series at the newest moment of the grid.
type sighted struct {
	sample promql.Sample
	labels labels.Labels // of the finding
	id     string
	series *watched
	dataAt time.Time
}

func newWatch(r *Rule, step time.Duration) *watch {
	if r.Anomaly == nil {
		return nil
	}
	c := *r.Anomaly
	return &watch{
		key: hash(r.query, c.Season.String(), c.Within.String(), step.String()), cfg: c, step: step, series: map[uint64]*watched{},
	}
}

// names adds what the watch has written to the names of what an evaluation wrote.
func (w *watch) names(written map[string]struct{}) {
	if w != nil && w.news {
		for _, name := range bandMetrics {
			written[name] = struct{}{}
		}
		w.news = false
	}
}

// continues takes over what another watch has learned, if it watched the same
// series in the same rhythm.
func (w *watch) continues(was *watch) *watch {
	if w == nil || was == nil || w.key != was.key {
		return w
	}
	if w.cfg == was.cfg {
		return was
	}
	w.at, w.warm, w.bands = was.at, was.warm, was.bands
	for key, s := range was.series {
		next := *s
		d, err := anomaly.New(w.cfg)
		if err != nil || d.Restore(s.detector.Snapshot()) != nil {
			continue
		}
		next.detector = d
		w.series[key] = &next
	}
	return w
}

// look evaluates a rule of either kind.
func (g *group) look(ctx context.Context, st *ruleState, in sight, ts time.Time) observation {
	if st.watch == nil {
		return g.observe(ctx, st, in, ts)
	}
	o := observation{}
	if st.rule.NoData != NoDataResolve {
		o.trust = g.p.trustIn(st.rule, in)
	}
	at := ts.Add(-g.def.QueryOffset).Truncate(st.watch.step)
	done, err := g.catchUp(ctx, st, at)
	if err != nil {
		return unknown("the query failed: "+err.Error(), err)
	}
	if !done {
		g.locked(func() { g.retry = true }) // soon more
		return unknown("still learning from stored samples, by now those up to "+st.watch.at.Format(time.RFC3339), nil)
	}
	if at.After(st.watch.at) || st.watch.now == nil {
		vector, s, err := g.read(ctx, st.rule, at)
		if err == nil {
			err = g.learn(ctx, st, at, vector, s)
		}
		if err != nil {
			return unknown(err.Error(), err)
		}
	}
	o.found = st.watch.found(&expander{g: g, rule: st.rule, ctx: ctx, at: ts})
	for i := range o.found {
		if o.found[i].DataAt.After(o.newest) {
			o.newest = o.found[i].DataAt
		}
	}
	o.series, o.fresh = len(o.found), len(o.found) > 0
	if n := failing(o.found); st.rule.NoData != NoDataResolve && g.def.Limit > 0 && n > g.def.Limit {
		err := g.exceeds(n)
		return unknown(err.Error(), err)
	}
	if err := g.refine(ctx, st, &o, at); err != nil {
		return unknown("the query failed: "+err.Error(), err)
	}
	o.beSure(st)
	return o
}

func failing(found []Found) (n int) {
	for _, f := range found {
		if f.Verdict == belay.Fail {
			n++
		}
	}
	return n
}

// read asks for the series of a rule and their newest samples.
func (g *group) read(ctx context.Context, r *Rule, at time.Time) (promql.Vector, samples, error) {
	vector, err := g.e.vector(ctx, r.query, at, 0)
	if err != nil {
		return nil, samples{}, fmt.Errorf("the query failed: %w", err)
	}
	s, err := g.samples(ctx, r, at)
	if err != nil {
		return nil, samples{}, fmt.Errorf("the query failed: %w", err)
	}
	return vector, s, nil
}

// learn judges what was read at one moment of the grid.
func (g *group) learn(ctx context.Context, st *ruleState, at time.Time, vector promql.Vector, s samples) error {
	w := st.watch
	if len(vector) > maxWatched {
		return fmt.Errorf("the expression gives %d series, and an anomaly rule watches %d at most: aggregate them, or divide them among several rules", len(vector), maxWatched)
	}
	x := &expander{g: g, rule: st.rule, ctx: ctx, at: at}
	seen := make(map[string]bool, len(vector))
	now := make([]sighted, 0, len(vector))
	for _, smpl := range vector {
		if smpl.H != nil {
			continue
		}
		f := sighted{sample: smpl, labels: x.labels(smpl), dataAt: s.at(smpl.Metric)}
		f.id = st.rule.alertID(f.labels)
		if seen[f.id] {
			return fmt.Errorf("two findings have the same labels %s", f.labels)
		}
		seen[f.id] = true
		now = append(now, f)
	}
	var err error
	g.locked(func() { err = w.judge(now, at, g.e.options().Changed) })
	return err
}

// judge takes in what was seen at one moment of the grid.
func (w *watch) judge(now []sighted, at time.Time, changed func(labels.Labels) time.Time) error {
	for i := range now {
		f := &now[i]
		s, err := w.of(f.sample.Metric, at)
		if err != nil {
			return err
		}
		f.series, s.seen = s, at
		if changed != nil {
			if t := changed(f.labels); t.After(s.changed) && !t.After(at) {
				s.changed = t
				s.detector.Change(t)
			}
		}
		if f.dataAt.After(s.dataAt) {
			s.dataAt = f.dataAt
			s.judged = s.detector.Observe(at, f.sample.F)
		}
	}
	w.at, w.now, w.news = at, now, true
	w.forget()
	return nil
}

func (w *watch) of(metric labels.Labels, at time.Time) (*watched, error) {
	key := metric.Hash()
	if s := w.series[key]; s != nil {
		return s, nil
	}
	d, err := anomaly.New(w.cfg)
	if err != nil {
		return nil, err
	}
	s := &watched{metric: metric, detector: d, seen: at}
	w.series[key] = s
	return s, nil
}

// forget drops the series that have been gone for longest while there are too
// many, and those that have been for longer than a season.
func (w *watch) forget() {
	long := max(w.cfg.Season, 24*time.Hour)
	var gone []uint64
	for key, s := range w.series {
		switch absent := w.at.Sub(s.seen); {
		case absent > long:
			delete(w.series, key)
		case absent > 0 && len(w.series) > maxWatched:
			gone = append(gone, key)
		}
	}
	slices.SortFunc(gone, func(a, b uint64) int {
		return cmp.Or(w.series[a].seen.Compare(w.series[b].seen), cmp.Compare(a, b))
	})
	for _, key := range gone[:min(len(gone), max(0, len(w.series)-maxWatched))] {
		delete(w.series, key)
	}
}

// found are the findings of the newest moment of the grid.
func (w *watch) found(x *expander) []Found {
	out := make([]Found, 0, len(w.now))
	for i := range w.now {
		s := &w.now[i]
		j := s.series.judged
		f := Found{ID: s.id, Labels: s.labels, Verdict: belay.Pass, Value: s.sample.F, DataAt: s.dataAt, Why: explain(j)}
		switch {
		case math.IsNaN(f.Value) || math.IsInf(f.Value, 0):
			f.Verdict, f.Held = belay.Absent, x.rule.NoData != NoDataResolve
			f.Why = "nothing to judge: its value is " + number(f.Value) + ", as without traffic"
		case j.Warming:
			f.Verdict, f.Held = belay.Absent, x.rule.NoData != NoDataResolve
		case j.Firing:
			f.Verdict, f.Condition = belay.Fail, condition(j)
			x.judged = j
			f.Annotations = x.annotations(s.sample)
			explainIn(f.Annotations, j)
		}
		out = append(out, f)
	}
	return out
}

// condition is the side of the band that a value has left, "" when it is
// another arm that spoke.
func condition(j anomaly.Judgement) string {
	switch {
	case j.Value > j.Upper:
		return "> " + number(j.Upper)
	case j.Value < j.Lower:
		return "< " + number(j.Lower)
	}
	return ""
}

// explain is a judgement as a sentence's tail.
func explain(j anomaly.Judgement) string {
	if j.Warming || math.IsNaN(j.Value) || j.Firing {
		return j.Why()
	}
	return fmt.Sprintf("%s: %s, within %s to %s", j.Why(), number(j.Value), number(j.Lower), number(j.Upper))
}

// explainIn adds what a judgement says of itself to an alert's annotations:
// a summary unless the rule has one, and the figures.
func explainIn(annotations map[string]string, j anomaly.Judgement) {
	if _, own := annotations["summary"]; !own {
		annotations["summary"] = j.Why()
	}
	if _, own := annotations["anomaly"]; !own {
		annotations["anomaly"] = fmt.Sprintf("%s where %s was expected, band %s to %s; score %s, limit %s; %s, since %s",
			number(j.Value), number(j.Expected), number(j.Lower), number(j.Upper), number(j.Score), number(j.Limit), j.Arm, j.Since.Format(time.RFC3339))
	}
}

const anomalyVariable = "{{$anomaly := .Anomaly}}"

// anomalyData is what the templates of an anomaly rule can name: Prometheus's
// fields, and the judgement as .Anomaly or $anomaly.
func (x *expander) anomalyData(smpl promql.Sample) any {
	j := x.judged
	opts := x.g.e.options()
	return struct {
		Labels, ExternalLabels map[string]string
		ExternalURL            string
		Value                  any
		Anomaly                map[string]any
	}{smpl.Metric.Map(), opts.ExternalLabels.Map(), opts.ExternalURL.String(), smpl.F, map[string]any{
		"Value": j.Value, "Expected": j.Expected, "Lower": j.Lower, "Upper": j.Upper, "Score": j.Score, "Limit": j.Limit,
		"Arm": j.Arm.String(), "Since": j.Since, "Why": j.Why(),
	}}
}

// bandMetrics are the series that show what an anomaly rule saw.
var bandMetrics = []string{"belay_anomaly_value", "belay_anomaly_expected", "belay_anomaly_lower", "belay_anomaly_upper", "belay_anomaly_score"}

// writeBands records what was judged at the newest moment of the grid, once.
func (g *group) writeBands(ctx context.Context, st *ruleState) {
	w := st.watch
	if w == nil || !w.news || g.e.options().Appendable == nil {
		return
	}
	vector := make(promql.Vector, 0, len(bandMetrics)*len(w.now))
	lb := labels.NewBuilder(labels.EmptyLabels())
	for i := range w.now {
		j := &w.now[i].series.judged
		for k, v := range [...]float64{w.now[i].sample.F, j.Expected, j.Lower, j.Upper, j.Score} {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				lb.Reset(w.now[i].labels)
				lb.Set(model.MetricNameLabel, bandMetrics[k])
				vector = append(vector, promql.Sample{Metric: lb.Labels(), F: v})
			}
		}
	}
	if err := g.write(ctx, &w.bands, vector, w.at); err != nil {
		g.e.log.Debug("the band could not be written", "rule", st.rule.Name, "error", err)
	}
}
