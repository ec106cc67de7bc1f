package rules

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// BenchmarkEvaluation is one evaluation of the usual rule, a ratio of rates by
// service, over 100 services with 10 series each.
func BenchmarkEvaluation(b *testing.B) {
	b.Run("values alone", func(b *testing.B) { benchmarkEvaluation(b, true) })
	b.Run("values and expression", func(b *testing.B) { benchmarkEvaluation(b, false) })
}

func benchmarkEvaluation(b *testing.B, whole bool) {
	w := newWorld(b)
	var lines []string
	at := epoch
	for range 13 {
		lines = lines[:0]
		for s := range 100 {
			for pod := range 5 {
				v := number(at.Sub(epoch).Seconds() * float64(s+1))
				lines = append(lines,
					fmt.Sprintf(`http_requests_total{service="s%d",pod="%d",code="200"} %s`, s, pod, v),
					fmt.Sprintf(`http_requests_total{service="s%d",pod="%d",code="500"} %s`, s, pod, v))
			}
		}
		w.samples(at, lines...)
		at = at.Add(5 * time.Second)
	}
	w.load(`
groups:
  - name: g
    rules:
      - alert: Errors
        expr: sum by (service) (rate(http_requests_total{code=~"5.."}[1m])) / sum by (service) (rate(http_requests_total[1m])) > 0.9
        labels: {severity: critical}
`, func(o *Options) { o.Targets = nil })
	// Where the expression is more than one comparison, it is queried as well.
	w.engine.plan.Load().groups[0].rules[0].rule.comparisons[0].whole = whole
	b.ReportAllocs()
	ts := at
	for b.Loop() {
		w.evaluate(ts)
		ts = ts.Add(time.Millisecond)
	}
	if n := len(w.engine.Judgements()); n != 100 {
		b.Fatalf("%d judgements, want 100", n)
	}
}

// BenchmarkHundredThousandWatched is one round of anomaly rules that watch
// 100 000 series: their expressions, their detectors, and the bands that are
// recorded. With an interval of 15 s a round has to take less; run it with
// -cpu 1.
func BenchmarkHundredThousandWatched(b *testing.B) {
	const shards, each = 10, 10_000
	w := newWorld(b)
	text := "groups:\n"
	for s := range shards {
		text += fmt.Sprintf("  - {name: g%d, interval: 15s, rules: [{alert: A%d, anomaly: {expr: 'latency{shard=\"%d\"} * 2', season: none}}]}\n", s, s, s)
	}
	w.load(text, func(o *Options) { o.Targets = nil })
	series := make([]labels.Labels, 0, shards*each)
	for s := range shards {
		for i := range each {
			series = append(series, labels.FromStrings("__name__", "latency", "instance", fmt.Sprint(i), "shard", fmt.Sprint(s)))
		}
	}
	refs := make([]storage.SeriesRef, len(series))
	round := func(n int) {
		at := after(float64(15 * n))
		app := w.db.Appender(b.Context())
		for i, ls := range series {
			var err error
			if refs[i], err = app.Append(refs[i], ls, at.UnixMilli(), noisy(n*7+i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for ; n < 12; n++ { // until they are judged
		round(n)
		w.evaluate(after(float64(15 * n)))
	}
	for b.Loop() {
		b.StopTimer()
		round(n)
		b.StartTimer()
		w.evaluate(after(float64(15 * n)))
		n++
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/round")
	if got := len(w.engine.Judgements()); got != shards*each {
		b.Fatalf("%d judgements, want %d", got, shards*each)
	}
}
