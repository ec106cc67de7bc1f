package rules

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

// running starts the engine in a bubble of fake time and stops it at the end.
func running(t *testing.T, e *Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

// evaluations counts how often the first group was evaluated.
func evaluations(o *Options, n *atomic.Int64) {
	o.OnJudged = func(string, []belay.Judgement) { n.Add(1) }
}

func touchedNames(names ...string) map[string]struct{} {
	out := map[string]struct{}{}
	for _, n := range names {
		out[n] = struct{}{}
	}
	return out
}

func TestAnAlertFiresAtTheEndOfForWithoutNewSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.load(`groups: [{name: g, interval: 1h, rules: [{alert: A, expr: errors > 1, for: 12s345ms, keep_firing_for: 7s}]}]`,
			func(o *Options) { o.Targets = nil })
		running(t, e)
		time.Sleep(2 * time.Second)
		start := time.Now()
		w.samples(start, `errors 5`)
		e.Touched(touchedNames("errors"), start)
		synctest.Wait()
		same(t, "at once", []string{"A pending"}, w.states())
		time.Sleep(12*time.Second + 344*time.Millisecond)
		synctest.Wait()
		same(t, "a millisecond before", []string{"A pending"}, w.states())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		same(t, "in time", []string{"A firing"}, w.states())

		w.samples(time.Now(), `errors 0`)
		time.Sleep(time.Second)
		e.Touched(touchedNames("errors"), time.Now())
		synctest.Wait()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		same(t, "after keep_firing_for", []string(nil), w.states())
	})
}

func TestScrapesInQuickSuccessionAreJudgedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int64
		e := w.load(errorsRule, func(o *Options) { o.Targets = nil; evaluations(o, &n) })
		running(t, e)
		time.Sleep(5 * time.Second)
		n.Store(0)
		touch := func(span time.Duration) {
			for range span / (10 * time.Millisecond) {
				e.Touched(touchedNames("errors", "up"), time.Now())
				time.Sleep(10 * time.Millisecond)
			}
			synctest.Wait()
		}
		touch(990 * time.Millisecond)
		same(t, "at once, and once more for what came right after", int64(2), n.Load())
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		same(t, "and the rest when min_interval has passed", int64(3), n.Load())
		time.Sleep(5 * time.Second)
		n.Store(0)
		touch(19900 * time.Millisecond)
		same(t, "at 0 s twice, and then each second", int64(21), n.Load())
		time.Sleep(time.Second)
		n.Store(2)
		e.Touched(touchedNames("requests"), time.Now())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		same(t, "other metrics do not count", int64(2), n.Load())
	})
}

func TestALateScrapeDoesNotPutOffThoseThatFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int64
		e := w.load(errorsRule, func(o *Options) { o.Targets = nil; evaluations(o, &n) })
		running(t, e)
		time.Sleep(5 * time.Second)
		n.Store(0)
		begin := time.Now()
		for i := range 60 { // once in min_interval, each third one late
			late := time.Duration(i%3/2) * 200 * time.Millisecond
			time.Sleep(time.Until(begin.Add(time.Duration(i)*time.Second + late)))
			e.Touched(touchedNames("errors"), time.Now())
			synctest.Wait()
			same(t, "judged at once", int64(i+1), n.Load())
		}
	})
}

func TestTheHeartbeatEvaluatesWithoutSamples(t *testing.T) {
	for name, tc := range map[string]struct {
		onScrape bool
		want     int64
	}{
		"on scrape":   {true, 5 + 4},
		"on interval": {false, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var n atomic.Int64
				e := w.load(errorsRule, func(o *Options) { o.Targets = nil; o.OnScrape = tc.onScrape; evaluations(o, &n) })
				running(t, e)
				time.Sleep(time.Minute)
				synctest.Wait()
				for range 4 {
					e.Touched(touchedNames("errors"), time.Now())
					synctest.Wait()
					time.Sleep(2 * time.Second)
				}
				same(t, "evaluations", tc.want, n.Load())
			})
		})
	}
}

func TestRecordedSeriesWakeOtherGroupsButNotTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int64
		e := w.load(`
groups:
  - name: recorder
    rules:
      - {record: errors:sum, expr: sum(errors)}
      - {alert: Own, expr: 'errors:sum > 1'}
  - name: reader
    rules: [{alert: Far, expr: 'errors:sum > 1'}]
`, func(o *Options) { o.Targets = nil; evaluations(o, &n) })
		running(t, e)
		time.Sleep(5 * time.Second)
		n.Store(0)
		w.samples(time.Now(), `errors 5`)
		e.Touched(touchedNames("errors"), time.Now())
		synctest.Wait()
		same(t, "states", []string{"Own firing", "Far firing"}, w.states())
		time.Sleep(3 * time.Second)
		same(t, "evaluations", int64(2), n.Load())
	})
}

func TestARuleOverAnyMetricIsNotWokenByWhatRulesWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int64
		e := w.load(`groups: [{name: g, rules: [{alert: Many, expr: 'count({job="shop"}) > 1'}]}]`,
			func(o *Options) { o.Targets = nil; evaluations(o, &n) })
		running(t, e)
		time.Sleep(2 * time.Second)
		n.Store(0)
		e.Touched(touchedNames("ALERTS", "ALERTS_FOR_STATE"), time.Now())
		synctest.Wait()
		same(t, "what it writes itself", int64(0), n.Load())
		e.Touched(touchedNames("ALERTS", "anything"), time.Now())
		synctest.Wait()
		same(t, "anything else", int64(1), n.Load())
	})
}

// stuckStorage answers queries for one metric only when their context ends.
type stuckStorage struct {
	storage.Queryable
	name string
}

type stuckQuerier struct {
	storage.Querier
	name string
}

func (s stuckStorage) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return stuckQuerier{q, s.name}, err
}

func (q stuckQuerier) Select(ctx context.Context, sort bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	for _, m := range ms {
		if m.Name == model.MetricNameLabel && m.Value == q.name {
			<-ctx.Done()
			return storage.ErrSeriesSet(ctx.Err())
		}
	}
	return q.Querier.Select(ctx, sort, hints, ms...)
}

func TestASickGroupDelaysNobodyAndShowsAsLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		reg := telemetry.New()
		e := w.load(`
groups:
  - {name: sick, interval: 30s, rules: [{alert: Sick, expr: sick > 1}]}
  - {name: well, rules: [{alert: Well, expr: errors > 1}]}
`, func(o *Options) { o.Targets = nil; o.Metrics = reg; o.Queryable = stuckStorage{w.db, "sick"} })
		running(t, e)
		time.Sleep(5 * time.Second)
		w.samples(time.Now(), `errors 5`)
		e.Touched(touchedNames("errors"), time.Now())
		synctest.Wait()
		same(t, "states", []string{"Well firing"}, w.states())
		same(t, "lag of the sick one", 5*time.Second, e.Lag())
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if r := e.Groups()[0].Rules[0]; r.Health != "err" || r.Quality != Unknown {
			t.Errorf("the sick rule = %+v", r)
		}
	})
}

func TestStoppingInTheMiddleOfAQuerySaysNothingOfTheRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.load(`groups: [{name: sick, interval: 1h, rules: [{alert: Sick, expr: sick > 1}]}]`,
			func(o *Options) { o.Targets = nil; o.Queryable = stuckStorage{w.db, "sick"} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r := e.Groups()[0].Rules[0]; r.LastError != "" {
			t.Errorf("last error %q", r.LastError)
		}
	})
}

func TestDelaysAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		reg := telemetry.New()
		e := w.load(`groups: [{name: g, rules: [{alert: A, expr: errors > 1}]}]`, func(o *Options) { o.Targets = nil; o.Metrics = reg })
		running(t, e)
		time.Sleep(5 * time.Second)
		w.samples(time.Now(), `errors 5`)
		time.Sleep(200 * time.Millisecond)
		e.Touched(touchedNames("errors"), time.Now().Add(-100*time.Millisecond))
		synctest.Wait()
		same(t, "histograms", map[string]float64{
			"belay_rule_evaluation_duration_seconds": 0,
			"belay_rule_evaluation_lag_seconds":      0.1,
			"belay_detection_delay_seconds":          0.2,
		}, sums(t, reg))
	})
}

// sums returns the sum of each histogram.
func sums(t *testing.T, reg *telemetry.Registry) map[string]float64 {
	t.Helper()
	gatherer := prometheus.NewRegistry()
	gatherer.MustRegister(reg)
	families, err := gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] += m.GetHistogram().GetSampleSum()
		}
	}
	return out
}
