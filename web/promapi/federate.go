package promapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"google.golang.org/protobuf/proto"
)

// A latest is the newest sample of a series.
type latest struct {
	series labels.Labels
	t      int64 // milliseconds
	v      float64
	h      *histogram.FloatHistogram // nil for a float
}

// federate serves the newest sample of each series that match[] selects, in
// one of the exposition formats, for another Prometheus to scrape with
// honor_labels. Series that have ended, or have no sample within the lookback,
// are left out; native histograms need a client that takes protobuf.
func (a *api) federate(w http.ResponseWriter, r *http.Request) {
	selectors, err := a.parser.ParseMetricSelectors(r.Form["match[]"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	samples, err := a.newest(r.Context(), selectors)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	format := expfmt.NegotiateAccept(r.Header, expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeTextPlain))
	w.Header().Set("Content-Type", string(format))
	enc := expfmt.NewEncoder(w, format)
	for _, family := range families(samples, a.opts.ExternalLabels, format.FormatType() == expfmt.TypeProtoDelim) {
		if err := enc.Encode(family); err != nil {
			a.log.Debug("writing a federation", "error", err)
			return
		}
	}
}

// newest reads the newest sample of each series, sorted by labels.
func (a *api) newest(ctx context.Context, selectors [][]*labels.Matcher) (_ []latest, err error) {
	now := a.opts.Now()
	mint, maxt := now.Add(-a.opts.Limits.Lookback).UnixMilli(), now.UnixMilli()
	if len(selectors) == 0 {
		return nil, nil
	}
	q, err := a.opts.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, q.Close()) }()
	sets := make([]storage.SeriesSet, len(selectors))
	for i, matchers := range selectors {
		sets[i] = q.Select(ctx, true, &storage.SelectHints{Start: mint, End: maxt}, matchers...)
	}
	var out []latest
	var chunks chunkenc.Iterator
	it := storage.NewMemoizedEmptyIterator(a.opts.Limits.Lookback.Milliseconds())
	all := storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	for all.Next() {
		chunks = all.At().Iterator(chunks)
		it.Reset(chunks)
		if l, ok := newestOf(it, maxt); ok {
			l.series = all.At().Labels()
			out = append(out, l)
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return out, all.Err()
}

// newestOf returns the newest sample up to a time, unless it says that the
// series has ended.
func newestOf(it *storage.MemoizedSeriesIterator, maxt int64) (l latest, ok bool) {
	switch it.Seek(maxt) {
	case chunkenc.ValFloat:
		l.t, l.v = it.At()
	case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
		l.t, l.h = it.AtFloatHistogram()
	default:
		if _, l.t, l.v, l.h, ok = it.PeekPrev(); !ok {
			return l, false
		}
	}
	if l.t > maxt {
		if _, l.t, l.v, l.h, ok = it.PeekPrev(); !ok {
			return l, false
		}
	}
	if l.h != nil {
		l.h = l.h.Copy() // the iterator may use it again
		return l, !value.IsStaleNaN(l.h.Sum)
	}
	return l, !value.IsStaleNaN(l.v)
}

// families groups samples by name. A name of which some series are floats,
// others histograms, gets a family for each: Prometheus reads that well.
func families(samples []latest, external labels.Labels, native bool) []*dto.MetricFamily {
	slices.SortStableFunc(samples, func(x, y latest) int {
		return cmp.Or(cmp.Compare(x.series.Get(model.MetricNameLabel), y.series.Get(model.MetricNameLabel)), cmp.Compare(kind(x), kind(y)))
	})
	var out []*dto.MetricFamily
	var last *dto.MetricFamily
	for _, s := range samples {
		name := s.series.Get(model.MetricNameLabel)
		if name == "" || (s.h != nil && !native && !s.h.UsesCustomBuckets()) {
			continue
		}
		if last == nil || last.GetName() != name || last.GetType() != kind(s) {
			last = &dto.MetricFamily{Name: proto.String(name), Type: kind(s).Enum()}
			out = append(out, last)
		}
		last.Metric = append(last.Metric, metricOf(s, external))
	}
	return out
}

func kind(s latest) dto.MetricType {
	switch {
	case s.h == nil:
		return dto.MetricType_UNTYPED
	case s.h.CounterResetHint == histogram.GaugeType:
		return dto.MetricType_GAUGE_HISTOGRAM
	}
	return dto.MetricType_HISTOGRAM
}

// metricOf writes a sample with its labels, the external ones that it lacks,
// and an empty instance where it has none, so that the scraping Prometheus does
// not write its own there.
func metricOf(s latest, external labels.Labels) *dto.Metric {
	b := labels.NewBuilder(s.series)
	b.Del(model.MetricNameLabel)
	external.Range(func(l labels.Label) {
		if !s.series.Has(l.Name) {
			b.Set(l.Name, l.Value)
		}
	})
	m := &dto.Metric{TimestampMs: proto.Int64(s.t)}
	ls := b.Labels()
	ls.Range(func(l labels.Label) {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
	})
	if !ls.Has(model.InstanceLabel) {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(model.InstanceLabel), Value: proto.String("")})
	}
	switch {
	case s.h == nil:
		m.Untyped = &dto.Untyped{Value: proto.Float64(s.v)}
	case s.h.UsesCustomBuckets():
		m.Histogram = classic(s.h)
	default:
		m.Histogram = exponential(s.h)
	}
	return m
}

func exponential(h *histogram.FloatHistogram) *dto.Histogram {
	spans := func(in []histogram.Span) []*dto.BucketSpan {
		var out []*dto.BucketSpan
		for _, s := range in {
			out = append(out, &dto.BucketSpan{Offset: proto.Int32(s.Offset), Length: proto.Uint32(s.Length)})
		}
		return out
	}
	return &dto.Histogram{
		SampleCountFloat: proto.Float64(h.Count), SampleSum: proto.Float64(h.Sum),
		Schema: proto.Int32(h.Schema), ZeroThreshold: proto.Float64(h.ZeroThreshold), ZeroCountFloat: proto.Float64(h.ZeroCount),
		PositiveSpan: spans(h.PositiveSpans), PositiveCount: h.PositiveBuckets,
		NegativeSpan: spans(h.NegativeSpans), NegativeCount: h.NegativeBuckets,
	}
}

// classic writes a histogram with bounds of its own as the cumulative buckets
// it was made of. The bucket of +Inf is the count.
func classic(h *histogram.FloatHistogram) *dto.Histogram {
	out := &dto.Histogram{SampleCountFloat: proto.Float64(h.Count), SampleSum: proto.Float64(h.Sum)}
	counts := make([]float64, len(h.CustomValues)+1)
	for it := h.PositiveBucketIterator(); it.Next(); {
		if b := it.At(); int(b.Index) < len(counts) {
			counts[b.Index] = b.Count
		}
	}
	total := 0.0
	for i, le := range h.CustomValues {
		total += counts[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: proto.Float64(le), CumulativeCountFloat: proto.Float64(total)})
	}
	return out
}
