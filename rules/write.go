package rules

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
)

const (
	alertsMetric         = "ALERTS"
	alertsForStateMetric = "ALERTS_FOR_STATE"
	alertStateLabel      = "alertstate"
)

// record evaluates a recording rule and writes its series.
func (g *group) record(ctx context.Context, st *ruleState, in sight, ts time.Time) {
	start := time.Now()
	o := observation{trust: g.p.trustIn(st.rule, in)}
	at := ts.Add(-g.def.QueryOffset)
	limited, cancel := context.WithTimeout(ctx, g.timeout())
	defer cancel()
	vector, err := g.e.vector(limited, st.rule.query, at, 0)
	if ctx.Err() != nil {
		return // the engine stops: this says nothing of the rule
	}
	if err == nil {
		err = relabel(vector, st.rule)
	}
	if err == nil && g.def.Limit > 0 && len(vector) > g.def.Limit {
		err = fmt.Errorf("the rule gives %d series, the limit is %d", len(vector), g.def.Limit)
	}
	if err == nil {
		err = g.write(ctx, st, vector, at)
	}
	g.fail(st, err)
	if o.err = err; err != nil {
		o.quality, o.why = Unknown, err.Error()
	}
	for _, s := range vector {
		o.found = append(o.found, Found{Labels: s.Metric, Value: s.F})
	}
	g.locked(func() { st.trust = o.trust })
	g.note(st, o, ts, start)
}

func relabel(vector promql.Vector, rule *Rule) error {
	lb := labels.NewBuilder(labels.EmptyLabels())
	for i := range vector {
		lb.Reset(vector[i].Metric)
		lb.Set(model.MetricNameLabel, rule.Name)
		rule.Labels.Range(func(l labels.Label) { lb.Set(l.Name, l.Value) })
		vector[i].Metric = lb.Labels()
	}
	if vector.ContainsSameLabelset() {
		return errors.New("two series have the same labels once the rule's are added")
	}
	return nil
}

// write appends samples and marks what the rule wrote before, but not now, as
// stale. Without a storage for it nothing is written.
func (g *group) write(ctx context.Context, st *ruleState, vector promql.Vector, at time.Time) error {
	if g.e.options().Appendable == nil {
		return nil
	}
	app := g.e.options().Appendable.AppenderV2(ctx)
	written := make(map[string]labels.Labels, len(vector))
	var refused error
	for _, s := range vector {
		if _, err := app.Append(0, s.Metric, 0, timestamp.FromTime(at), s.F, nil, s.H, storage.AOptions{}); err != nil {
			refused = fmt.Errorf("write %s: %w", s.Metric, err)
			continue
		}
		written[string(s.Metric.Bytes(nil))] = s.Metric
	}
	stale := math.Float64frombits(value.StaleNaN)
	for key, lset := range st.series {
		if _, ok := written[key]; !ok {
			// Another rule may have written this series meanwhile: then it is not stale.
			_, _ = app.Append(0, lset, 0, timestamp.FromTime(at), stale, nil, nil, storage.AOptions{})
		}
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("commit the series of the rule: %w", err)
	}
	st.series = written
	return refused
}

// alertSeries are the series by which Prometheus shows alerts.
func alertSeries(alerts []belay.Alert) promql.Vector {
	vector := make(promql.Vector, 0, 2*len(alerts))
	lb := labels.NewBuilder(labels.EmptyLabels())
	for _, a := range alerts {
		lb.Reset(a.Labels)
		lb.Set(model.MetricNameLabel, alertsForStateMetric)
		vector = append(vector, promql.Sample{Metric: lb.Labels(), F: float64(a.ActiveAt.Unix())})
		lb.Set(model.MetricNameLabel, alertsMetric)
		lb.Set(alertStateLabel, string(a.State))
		vector = append(vector, promql.Sample{Metric: lb.Labels(), F: 1})
	}
	return vector
}
