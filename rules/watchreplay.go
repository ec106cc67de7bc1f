package rules

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
)

const (
	replayed    = 200                    // moments of the grid that are asked for at once
	replayTurn  = 500 * time.Millisecond // of learning in one evaluation; the group's other rules wait meanwhile
	mostReplay  = 8 * 24 * time.Hour     // how far back stored samples are learned
	mostMoments = 45_000                 // and how many moments of the grid
)

// catchUp learns, up to the moment of the grid before at, what is stored and was
// not learned yet: the last season for a rule that knows nothing, what came
// since its snapshot for one that was restored. It returns false when its turn
// is over and there is more.
func (g *group) catchUp(ctx context.Context, st *ruleState, at time.Time) (done bool, err error) {
	w := st.watch
	if w.warm || g.e.options().Query != nil || g.e.options().Queryable == nil {
		return true, nil
	}
	season := w.cfg.Season
	if season <= 0 {
		season = 24 * time.Hour
	}
	back := min(season+w.step, mostReplay, mostMoments*w.step)
	from := at.Add(-back).Truncate(w.step)
	if next := w.at.Add(w.step); next.After(from) {
		from = next
	}
	for start := time.Now(); from.Before(at); from = w.at.Add(w.step) {
		to := from.Add((replayed - 1) * w.step)
		if last := at.Add(-w.step); to.After(last) {
			to = last
		}
		if err := g.replay(ctx, st, from, to); err != nil {
			return false, err
		}
		if time.Since(start) > replayTurn && w.at.Add(w.step).Before(at) {
			return false, nil
		}
	}
	g.locked(func() { w.warm, w.now, w.news = true, nil, false })
	return true, nil
}

// replay learns the moments of the grid from one to another, both included.
func (g *group) replay(ctx context.Context, st *ruleState, from, to time.Time) error {
	w, r := st.watch, st.rule
	rows, err := g.e.rows(ctx, r.query, from, to, w.step, 0)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		g.locked(func() { w.at = to })
		return nil
	}
	times := make([]map[int64]promql.Vector, len(r.newest))
	for i, in := range r.newest {
		times[i], err = g.e.rows(ctx, in.text, from, to, w.step, max(in.lookback, g.e.options().Lookback))
		if err != nil && in.name != "" {
			return err
		}
	}
	for at := from; !at.After(to); at = at.Add(w.step) {
		t := timestamp.FromTime(at)
		s := newSamples(r, at)
		for i := range times {
			s.add(times[i][t])
		}
		if err := g.learn(ctx, st, at, rows[t], s); err != nil {
			return err
		}
	}
	return nil
}

// rows runs a range query, and returns its vector at each time that has one.
func (e *Engine) rows(ctx context.Context, query string, from, to time.Time, step, lookback time.Duration) (map[int64]promql.Vector, error) {
	q, err := e.queries.NewRangeQuery(ctx, e.options().Queryable, promql.NewPrometheusQueryOpts(false, lookback, nil), query, from, to, step)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	m, err := res.Matrix()
	if err != nil {
		return nil, err
	}
	out := map[int64]promql.Vector{}
	for _, series := range m {
		for _, p := range series.Floats {
			out[p.T] = append(out[p.T], promql.Sample{T: p.T, F: p.F, Metric: series.Metric})
		}
		for _, p := range series.Histograms {
			out[p.T] = append(out[p.T], promql.Sample{T: p.T, H: p.H, Metric: series.Metric})
		}
	}
	return out, nil
}
