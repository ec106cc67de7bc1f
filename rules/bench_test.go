package rules

import (
	"fmt"
	"testing"
	"time"
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
