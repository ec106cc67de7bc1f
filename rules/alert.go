package rules

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rules/anomaly"
)

// alert evaluates an alerting rule: judges, steps, journals, shows.
func (g *group) alert(ctx context.Context, st *ruleState, in sight, ts time.Time) {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, g.timeout())
	o := g.look(limited, st, in, ts)
	cancel()
	if ctx.Err() != nil {
		return // the engine stops: this says nothing of the rule
	}
	g.fail(st, o.err)
	g.locked(func() {
		st.judgeAll(o, ts)
		st.trust = o.trust
		if o.quality != Unknown {
			st.unknownSince = time.Time{}
		} else if st.unknownSince.IsZero() {
			st.unknownSince = ts
		}
	})
	found, quality := g.noData(ctx, st, o, ts)
	next, changed := Step(st.alerts, found, quality, ts, st.rule)
	next, changed = g.limit(st, &o, next, changed, ts)
	st.sayFlaps(changed, ts)
	if err := g.journal(ctx, st, changed, ts); err != nil {
		g.locked(func() { g.retry = true })
		g.e.log.Warn("alert changes could not be journalled, nothing has changed", "rule", st.rule.Name, "error", err)
	} else {
		g.locked(func() {
			st.alerts = next
			st.countFlaps(changed, ts)
		})
		g.tell(changed)
	}
	g.sight(ctx, st, o.quality, o.why, ts)
	if err := g.write(ctx, st, alertSeries(st.alerts), ts.Add(-g.def.QueryOffset)); err != nil {
		g.e.log.Debug("alert series could not be written", "rule", st.rule.Name, "error", err)
	}
	g.writeBands(ctx, st)
	g.note(st, o, ts, start)
	if g.e.options().OnJudged != nil {
		g.e.options().OnJudged(st.rule.ID, st.judgements())
	}
}

// tell logs and measures transitions that are durable.
func (g *group) tell(changed []Transition) {
	for _, t := range changed {
		a := t.Alert
		g.e.log.Info("alert changed", "rule", a.Rule, "state", a.State, "labels", a.Labels.String(), "reason", t.Reason)
		if a.State == belay.AlertFiring && a.FiredAt.Equal(a.EvaluatedAt) && !a.DataAt.IsZero() {
			g.e.told.delay.Observe(time.Since(a.DataAt).Seconds())
		}
	}
}

// An observation is everything that one evaluation saw.
type observation struct {
	trust
	err    error
	found  []Found
	fresh  bool      // the rule's selectors have samples
	newest time.Time // of those samples
	series int       // how many series have them
}

func unknown(why string, err error) observation {
	return observation{trust: trust{quality: Unknown, why: why}, err: err}
}

// observe asks the storage and the targets, and changes nothing. Several queries
// make one observation, and samples come between them: what the values lacked,
// the count of samples may have had. So before an alert is taken for gone all is
// asked once more; what one query has seen, a later one sees as well.
func (g *group) observe(ctx context.Context, st *ruleState, in sight, ts time.Time) observation {
	o := g.ask(ctx, st, in, ts)
	if o.err == nil && st.rule.NoData != NoDataResolve && len(st.missing(o.found)) > 0 {
		o = g.ask(ctx, st, in, ts)
	}
	if o.err == nil {
		o.beSure(st)
	}
	return o
}

func (g *group) ask(ctx context.Context, st *ruleState, in sight, ts time.Time) observation {
	r := st.rule
	o := observation{}
	if r.NoData != NoDataResolve {
		o.trust = g.p.trustIn(r, in)
	}
	at := ts.Add(-g.def.QueryOffset)
	vector, values, err := g.query(ctx, r, at)
	if err != nil {
		return unknown("the query failed: "+err.Error(), err)
	}
	s, err := g.samples(ctx, r, at)
	if err != nil {
		return unknown("the query failed: "+err.Error(), err)
	}
	o.fresh, o.newest, o.series = len(s.list) > 0 || len(r.inputs) == 0, s.newest, len(s.list)
	x := &expander{g: g, rule: r, ctx: ctx, at: ts}
	o.found, err = breaches(x, vector, s)
	if err == nil && r.NoData != NoDataResolve && g.def.Limit > 0 && len(o.found) > g.def.Limit {
		err = g.exceeds(len(o.found))
	}
	if err != nil {
		return unknown(err.Error(), err)
	}
	for i, c := range r.comparisons {
		o.found = addPresent(x, o.found, values[i], c, s)
	}
	if err := g.refine(ctx, st, &o, at); err != nil {
		return unknown("the query failed: "+err.Error(), err)
	}
	return o
}

// refine applies to what was found what Belay's own keys ask for.
func (g *group) refine(ctx context.Context, st *ruleState, o *observation, at time.Time) (err error) {
	if err := g.minSamples(ctx, st, o, at); err != nil {
		return err
	}
	if err := g.resolveWhen(ctx, st, o, at); err != nil {
		return err
	}
	if st.rule.NoData != NoDataResolve {
		o.found, err = g.addYoung(ctx, st, o.found, at)
	}
	return err
}

// beSure marks, while some targets are silent, what those cannot have to do
// with.
func (o *observation) beSure(st *ruleState) {
	if o.quality != Partial {
		return
	}
	for i := range o.found {
		o.found[i].Sure = !o.doubts(st.rule, o.found[i].Labels)
	}
	for _, a := range st.missing(o.found) {
		if !o.doubts(st.rule, a.Labels) {
			o.found = append(o.found, Found{
				ID: a.ID, Labels: a.Labels, Verdict: belay.Absent, Value: math.NaN(), Condition: a.Condition,
				DataAt: a.DataAt, Why: gone, Sure: true,
			})
		}
	}
}

// query returns the expression's vector, and for each of its comparisons what
// was compared.
func (g *group) query(ctx context.Context, r *Rule, at time.Time) (vector promql.Vector, values []promql.Vector, err error) {
	for _, c := range r.comparisons {
		v, err := g.e.vector(ctx, c.value, at, 0)
		if err != nil {
			return nil, nil, err
		}
		values = append(values, v)
	}
	// The usual rule is spared its second query: its vector follows from the
	// compared values.
	if len(values) != 1 || !r.comparisons[0].whole || r.comparisons[0].breaks == nil {
		vector, err = g.e.vector(ctx, r.query, at, 0)
		return vector, values, err
	}
	for _, smpl := range values[0] {
		if smpl.H == nil && r.comparisons[0].breaks(smpl.F) {
			vector = append(vector, smpl)
		}
	}
	return vector, values, nil
}

// breaches makes findings of the elements of the expression's vector.
func breaches(x *expander, vector promql.Vector, s samples) ([]Found, error) {
	seen := make(map[string]bool, len(vector))
	found := make([]Found, 0, len(vector))
	for _, smpl := range vector {
		f := Found{Verdict: belay.Fail, Value: smpl.F, DataAt: s.at(smpl.Metric)}
		f.Labels = x.labels(smpl)
		f.ID = x.rule.alertID(f.Labels)
		if seen[f.ID] {
			return nil, fmt.Errorf("two findings have the same labels %s", f.Labels)
		}
		seen[f.ID] = true
		f.Annotations = x.annotations(smpl)
		if len(x.rule.comparisons) == 1 {
			f.Condition = x.rule.comparisons[0].condition
		}
		found = append(found, f)
	}
	return found, nil
}

// addPresent adds findings for the label sets that have a value and do not
// breach, and the condition to those that do.
func addPresent(x *expander, found []Found, values promql.Vector, c comparison, s samples) []Found {
	byID := make(map[string]int, len(found))
	for i := range found {
		byID[found[i].ID] = i
	}
	for _, smpl := range values {
		f := Found{Verdict: belay.Pass, Value: smpl.F, Condition: c.condition, DataAt: s.at(smpl.Metric)}
		if c.guarded && (c.breaks == nil || c.breaks(smpl.F)) {
			f.Why = fmt.Sprintf("the expression as a whole does not hold, at %s with limit %s", number(smpl.F), c.condition)
		}
		if math.IsNaN(smpl.F) || math.IsInf(smpl.F, 0) {
			f.Verdict, f.Why = belay.Absent, "nothing to judge: its value is "+number(smpl.F)+", as without traffic"
		}
		f.Labels = x.labels(smpl)
		f.ID = x.rule.alertID(f.Labels)
		i, ok := byID[f.ID]
		switch {
		case !ok:
			byID[f.ID] = len(found)
			found = append(found, f)
		case found[i].Verdict == belay.Fail && found[i].Condition == "":
			found[i].Condition = c.condition
		case found[i].Verdict == belay.Absent && f.Verdict == belay.Pass:
			found[i] = f
		}
	}
	return found
}

// An expander fills in the templates of one rule at one evaluation.
type expander struct {
	g    *group
	rule *Rule
	ctx  context.Context
	at   time.Time

	judged anomaly.Judgement // for the templates of an anomaly rule
}

// labels returns the labels that an alert over this element has.
func (x *expander) labels(smpl promql.Sample) labels.Labels {
	lb := labels.NewBuilder(smpl.Metric)
	lb.Del(model.MetricNameLabel)
	x.rule.Labels.Range(func(l labels.Label) { lb.Set(l.Name, x.expand(l.Value, smpl)) })
	lb.Set(labels.AlertName, x.rule.Name)
	return lb.Labels()
}

func (x *expander) annotations(smpl promql.Sample) map[string]string {
	out := make(map[string]string, len(x.rule.Annotations))
	for name, text := range x.rule.Annotations {
		out[name] = x.expand(text, smpl)
	}
	return out
}

const templateVariables = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// expand fills in one template. A template that fails says so in its text, as
// in Prometheus: an alert with a bad text is better than none.
func (x *expander) expand(text string, smpl promql.Sample) string {
	if !isTemplate(text) {
		return text
	}
	opts := x.g.e.options()
	variables, data := templateVariables, template.AlertTemplateData(smpl.Metric.Map(), opts.ExternalLabels.Map(), opts.ExternalURL.String(), smpl)
	if x.rule.Anomaly != nil {
		variables, data = variables+anomalyVariable, x.anomalyData(smpl)
	}
	query := func(ctx context.Context, q string, ts time.Time) (promql.Vector, error) {
		return x.g.e.vector(ctx, q, ts, 0)
	}
	t := template.NewTemplateExpander(x.ctx, variables+text, "__alert_"+x.rule.Name, data,
		model.Time(timestamp.FromTime(x.at)), query, opts.ExternalURL, nil)
	out, err := t.Expand()
	if err != nil {
		x.g.e.log.Warn("template of an alert could not be filled in", "rule", x.rule.Name, "error", err)
		return fmt.Sprintf("<error expanding template: %s>", strings.TrimSpace(err.Error()))
	}
	return out
}
