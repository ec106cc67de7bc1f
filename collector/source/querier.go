package source

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

var _ storage.Queryable = (*Source)(nil)

// Querier reads the source between two times in milliseconds, both included.
func (s *Source) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{s: s, mint: mint, maxt: maxt}, nil
}

type querier struct {
	s          *Source
	mint, maxt int64
}

// Close has nothing to let go of.
func (*querier) Close() error { return nil }

// Select asks for the samples themselves, as `selector[range]`. They come
// without the markers that tell where a series ended, so the store is asked,
// too, at which of the times of the evaluation it still finds each series. Who
// wants to know only which series there are (the hint "series") gets no samples.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	start, end := q.mint, q.maxt
	if hints != nil {
		start, end = max(start, hints.Start), min(end, hints.End)
	}
	if start > end {
		return storage.EmptySeriesSet()
	}
	selector := selectorOf(matchers)
	ask := q.s.raw
	if hints != nil && hints.Func == "series" {
		ask = q.s.series
	}
	found, err := ask(ctx, selector, start, end)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if hints != nil && hints.Range == 0 && len(found) > 0 && hints.Func != "series" {
		if err := q.s.markEnds(ctx, selector, hints, found); err != nil {
			return storage.ErrSeriesSet(err)
		}
	}
	slices.SortFunc(found, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	all := make([]storage.Series, len(found))
	for i, series := range found {
		all[i] = promql.NewStorageSeries(series)
	}
	return &seriesSet{all: all, at: -1}
}

// series returns the series of a selector without samples.
func (s *Source) series(ctx context.Context, selector string, start, end int64) (promql.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	got, _, _, err := s.api.Series(ctx, []string{selector}, time.UnixMilli(start), time.UnixMilli(end))
	if err != nil {
		return nil, asked("the series of "+selector, err)
	}
	out := make(promql.Matrix, len(got))
	for i, found := range got {
		out[i].Metric = metric(model.Metric(found))
	}
	return out, nil
}

// raw returns the samples of a selector. A range is open to the left in
// Prometheus 3 and closed before, so a millisecond more is asked for.
func (s *Source) raw(ctx context.Context, selector string, start, end int64) (promql.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	expr := fmt.Sprintf("%s[%dms]", selector, end-start+1)
	got, _, _, err := s.api.Query(ctx, expr, time.UnixMilli(end))
	if err != nil {
		return nil, asked(expr, err)
	}
	m, ok := got.(model.Matrix)
	if !ok {
		return nil, asked(expr, fmt.Errorf("its answer is %s, not a matrix", kind(got)))
	}
	out, err := matrix(expr, m)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Floats = slices.DeleteFunc(out[i].Floats, func(p promql.FPoint) bool { return p.T < start || p.T > end })
	}
	return slices.DeleteFunc(out, func(series promql.Series) bool { return len(series.Floats) == 0 }), nil
}

// markEnds puts a marker behind the last sample of each series that the store
// does not find at a time of the evaluation, though a sample is near enough.
func (s *Source) markEnds(ctx context.Context, selector string, hints *storage.SelectHints, found promql.Matrix) error {
	times, alive, err := s.alive(ctx, selector, hints)
	if err != nil {
		return err
	}
	for i := range found {
		found[i].Floats = withEnds(found[i].Floats, times, alive[found[i].Metric.String()])
	}
	return nil
}

// alive returns the times of the evaluation, and at which of them each series
// is found.
func (s *Source) alive(ctx context.Context, selector string, hints *storage.SelectHints) ([]int64, map[string]map[int64]bool, error) {
	alive := map[string]map[int64]bool{}
	first := hints.Start + s.lookback.Milliseconds() - 1
	if hints.Step <= 0 || first >= hints.End {
		vector, err := s.Query(ctx, selector, time.UnixMilli(hints.End))
		if err != nil {
			return nil, nil, err
		}
		for _, sample := range vector {
			alive[sample.Metric.String()] = map[int64]bool{hints.End: true}
		}
		return []int64{hints.End}, alive, nil
	}
	m, err := s.QueryRange(ctx, selector, time.UnixMilli(first), time.UnixMilli(hints.End), time.Duration(hints.Step)*time.Millisecond)
	if err != nil {
		return nil, nil, err
	}
	for _, series := range m {
		at := map[int64]bool{}
		for _, p := range series.Floats {
			at[p.T] = true
		}
		alive[series.Metric.String()] = at
	}
	var times []int64
	for t := first; t <= hints.End; t += hints.Step {
		times = append(times, t)
	}
	return times, alive, nil
}

// withEnds returns the points with a marker a millisecond behind each that is
// the newest at a time when the series was not alive.
func withEnds(points []promql.FPoint, times []int64, alive map[int64]bool) []promql.FPoint {
	var ends []int64
	for _, t := range times {
		if alive[t] {
			continue
		}
		i, exact := slices.BinarySearchFunc(points, t, func(p promql.FPoint, t int64) int { return int(max(-1, min(1, p.T-t))) })
		if exact || i == 0 {
			continue // a sample at that very time, or none before
		}
		end := points[i-1].T + 1
		if i < len(points) && points[i].T <= end {
			continue
		}
		if n := len(ends); n == 0 || ends[n-1] != end {
			ends = append(ends, end)
		}
	}
	if len(ends) == 0 {
		return points
	}
	out := slices.Clone(points)
	for _, end := range ends {
		out = append(out, promql.FPoint{T: end, F: math.Float64frombits(value.StaleNaN)})
	}
	slices.SortFunc(out, func(a, b promql.FPoint) int { return int(max(-1, min(1, a.T-b.T))) })
	return out
}

// LabelValues returns the values of a label.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ctx, cancel := context.WithTimeout(ctx, q.s.timeout)
	defer cancel()
	got, _, _, err := q.s.api.LabelValues(ctx, name, selectors(matchers), time.UnixMilli(q.mint), time.UnixMilli(q.maxt))
	if err != nil {
		return nil, nil, asked("the values of "+name, err)
	}
	out := make([]string, len(got))
	for i, v := range got {
		out[i] = string(v)
	}
	return upTo(out, hints), nil, nil
}

// LabelNames returns the names of labels.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ctx, cancel := context.WithTimeout(ctx, q.s.timeout)
	defer cancel()
	got, _, _, err := q.s.api.LabelNames(ctx, selectors(matchers), time.UnixMilli(q.mint), time.UnixMilli(q.maxt))
	if err != nil {
		return nil, nil, asked("the names of labels", err)
	}
	out := make([]string, len(got))
	for i, name := range got {
		out[i] = string(name)
	}
	return upTo(out, hints), nil, nil
}

func upTo(all []string, hints *storage.LabelHints) []string {
	slices.Sort(all)
	if hints != nil && hints.Limit > 0 && len(all) > hints.Limit {
		return all[:hints.Limit]
	}
	return all
}

func selectors(matchers []*labels.Matcher) []string {
	if len(matchers) == 0 {
		return nil
	}
	return []string{selectorOf(matchers)}
}

// selectorOf writes matchers as PromQL.
func selectorOf(matchers []*labels.Matcher) string {
	all := make([]string, len(matchers))
	for i, m := range matchers {
		all[i] = m.String()
	}
	return "{" + strings.Join(all, ",") + "}"
}

// A seriesSet hands out series that are all there.
type seriesSet struct {
	all []storage.Series
	at  int
}

// Next moves on.
func (s *seriesSet) Next() bool { s.at++; return s.at < len(s.all) }

// At returns the present series.
func (s *seriesSet) At() storage.Series { return s.all[s.at] }

// Err is nil: what could fail has been done.
func (*seriesSet) Err() error { return nil }

// Warnings are none.
func (*seriesSet) Warnings() annotations.Annotations { return nil }
