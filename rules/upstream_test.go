package rules

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	upstream "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/belaydev/belay"
)

// recordedScrapes are 25 minutes of data, 15 s apart.
const recordedScrapes = 100

// A recording writes series that misbehave as real ones do.
type recording struct {
	t   testing.TB
	app storage.AppenderV2
	at  int64
}

func (r *recording) add(v float64, series ...string) {
	r.t.Helper()
	if _, err := r.app.Append(0, labels.FromStrings(series...), 0, r.at, v, nil, nil, storage.AOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *recording) histogram(h *histogram.Histogram, series ...string) {
	r.t.Helper()
	if _, err := r.app.Append(0, labels.FromStrings(series...), 0, r.at, 0, h, nil, storage.AOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// scrape i writes what the i-th scrape found.
func (r *recording) scrape(i int) {
	wave := math.Sin(float64(i) / 12)
	for s := range 4 {
		for pod := range 3 {
			instance, service := fmt.Sprintf("10.0.%d.%d:80", s, pod), fmt.Sprintf("s%d", s)
			since := i
			if pod == 1 {
				since = i % (50 + 7*s) // restarts: its counters begin again
			}
			down := pod == 2 && (i/20)%3 == s%3
			if down {
				r.add(0, "__name__", "up", "job", "shop", "instance", instance)
				if i%20 == 0 {
					r.add(math.Float64frombits(value.StaleNaN), "__name__", "http_requests_total", "code", "200", "instance", instance, "job", "shop", "service", service)
				}
				continue
			}
			r.add(1, "__name__", "up", "job", "shop", "instance", instance)
			if (i+pod)%17 == 0 {
				continue // a scrape that was lost
			}
			bad := 0.0
			if (i/30)%2 == s%2 {
				bad = 3
			}
			r.add(float64(since*100), "__name__", "http_requests_total", "code", "200", "instance", instance, "job", "shop", "service", service)
			r.add(float64(since)*bad, "__name__", "http_requests_total", "code", "500", "instance", instance, "job", "shop", "service", service)
			for b, le := range []string{"0.1", "0.5", "1", "+Inf"} {
				r.add(float64(since*(b+1)*(1+int(2+2*wave))), "__name__", "latency_bucket", "le", le, "instance", instance, "service", service)
			}
			r.add(50+40*wave+float64(5*s+pod), "__name__", "memory", "instance", instance, "service", service)
			r.histogram(native(i, wave, s), "__name__", "duration", "instance", instance, "service", service)
		}
		r.add(float64(1+s), "__name__", "build", "service", fmt.Sprintf("s%d", s), "version", fmt.Sprintf("v%d", 1+(i+10*s)/90))
	}
	if (i/40)%2 == 0 {
		r.add(1, "__name__", "sometimes", "job", "cron")
	}
	r.add(math.NaN(), "__name__", "undefined", "job", "cron")
	r.add(math.Inf(1), "__name__", "endless", "job", "cron")
	r.add(float64(i%60), "__name__", "saw", "job", "cron")
}

func native(i int, wave float64, s int) *histogram.Histogram {
	n := uint64(i + 1)
	slow := uint64(float64(i) * (1 + wave) * float64(s))
	return &histogram.Histogram{
		Schema: 0, ZeroThreshold: 0.001, ZeroCount: n, Count: 3*n + slow, Sum: float64(n) + 8*float64(slow),
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 3}},
		PositiveBuckets: []int64{int64(n), 0, int64(slow) - int64(n)},
	}
}

// recordedBlock writes the recording as a block and opens it for reading.
func recordedBlock(t testing.TB) storage.Queryable {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.MinBlockDuration, opts.MaxBlockDuration = int64(24*time.Hour/time.Millisecond), int64(24*time.Hour/time.Millisecond)
	dir := t.TempDir()
	db, err := tsdb.Open(dir, nil, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	app := db.AppenderV2(t.Context())
	for i := range recordedScrapes {
		r := &recording{t: t, app: app, at: epoch.Add(time.Duration(i) * 15 * time.Second).UnixMilli()}
		r.scrape(i)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	ids, err := tsdb.NewLeveledCompactor(t.Context(), nil, slog.New(slog.DiscardHandler), []int64{opts.MaxBlockDuration}, chunkenc.NewPool(), nil)
	if err != nil {
		t.Fatal(err)
	}
	blocks := t.TempDir()
	names, err := ids.Write(blocks, db.Head(), db.Head().MinTime(), db.Head().MaxTime()+1, nil)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	block, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), filepath.Join(blocks, names[0].String()), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = block.Close() })
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) { return tsdb.NewBlockQuerier(block, mint, maxt) })
}

// A finding is what both say of one alert at one time.
type finding struct {
	Labels, State                       string
	Value                               string
	ActiveAt, FiredAt, KeepAt, Resolved time.Time
	Annotations                         map[string]string
}

func ourFindings(st *ruleState, resolved []belay.Alert) map[string]finding {
	out := map[string]finding{}
	for _, a := range append(resolved, st.alerts...) {
		out[a.Labels.String()] = finding{
			a.Labels.String(), string(a.State), fmt.Sprint(float64(a.Value)), a.ActiveAt, a.FiredAt, a.KeepSince, a.ResolvedAt, a.Annotations,
		}
	}
	return out
}

func theirFindings(r *upstream.AlertingRule, ts time.Time) map[string]finding {
	out := map[string]finding{}
	r.ForEachActiveAlert(func(a *upstream.Alert) {
		if a.State == upstream.StateInactive && !a.ResolvedAt.Equal(ts) {
			return // kept to be sent again
		}
		f := finding{
			a.Labels.String(), a.State.String(), fmt.Sprint(a.Value), a.ActiveAt, a.FiredAt, a.KeepFiringSince, a.ResolvedAt, a.Annotations.Map(),
		}
		out[f.Labels] = f
	})
	return out
}

// TestFortyRulesGiveTheAlertsOfPrometheus evaluates 40 rules every 15 s over
// one recorded block, by this engine and by Prometheus's own AlertingRule.
func TestFortyRulesGiveTheAlertsOfPrometheus(t *testing.T) {
	text, err := os.ReadFile("testdata/good/forty.yml")
	if err != nil {
		t.Fatal(err)
	}
	block := recordedBlock(t)
	external := labels.FromStrings("region", "eu-1")
	externalURL, _ := url.Parse("https://belay.example.org/prefix")
	w := newWorld(t)
	e := w.load(string(text), func(o *Options) {
		o.Queryable, o.Appendable = block, nil
		o.Targets = func() []Target { // all silent, which no_data: resolve does not mind
			return []Target{{Labels: labels.FromStrings("job", "shop"), Scraped: true, Error: "refused"}}
		}
		o.ExternalLabels, o.ExternalURL = external, externalURL
	})
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: maxSamples, Timeout: maxTimeout, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 15_000 }, Parser: parser.NewParser(parser.Options{}),
	})
	t.Cleanup(func() { _ = engine.Close() })
	query := upstream.EngineQueryFunc(engine, block)
	theirs := map[*Rule]*upstream.AlertingRule{}
	n := 0
	for _, g := range e.plan.Load().groups {
		for _, st := range g.rules {
			r := st.rule
			if r.NoData != NoDataResolve {
				t.Fatalf("rule %s has no_data %q", r.Name, r.NoData)
			}
			theirs[r] = upstream.NewAlertingRule(r.Name, r.Expr, r.For, r.KeepFiringFor, r.Labels, labels.FromMap(r.Annotations), external, externalURL.String(), true, slog.New(slog.DiscardHandler))
			n++
		}
	}
	if n != 40 {
		t.Fatalf("%d rules, want 40", n)
	}
	seen := map[string]map[string]int{}
	for i := range recordedScrapes + 25 { // and on into the silence after it
		ts := epoch.Add(time.Duration(i)*15*time.Second + 7*time.Millisecond)
		for _, g := range e.plan.Load().groups {
			for _, st := range g.rules {
				compareOnce(t, g, st, theirs[st.rule], query, externalURL, ts, seen)
			}
		}
		if t.Failed() {
			t.Fatalf("they differ at %s", ts.Sub(epoch))
		}
	}
	transitions := 0
	quiet := 0
	for name, states := range seen {
		transitions += states["inactive"]
		if len(states) == 0 {
			quiet++
			t.Logf("%s never had an alert", name)
		}
	}
	if transitions < 200 || quiet > 0 {
		t.Errorf("%d resolved alerts and %d rules without any: this recording proves too little", transitions, quiet)
	}
	t.Logf("40 rules, %d evaluations each, %d resolved alerts, no difference", recordedScrapes+25, transitions)
}

func compareOnce(t *testing.T, g *group, st *ruleState, their *upstream.AlertingRule, query upstream.QueryFunc, externalURL *url.URL, ts time.Time, seen map[string]map[string]int) {
	t.Helper()
	before := slices.Clone(st.alerts)
	g.alert(t.Context(), st, g.e.sight(ts), ts)
	_, theirErr := their.Eval(context.Background(), g.def.QueryOffset, ts, query, externalURL, g.def.Limit)
	if (st.lastErr == nil) != (theirErr == nil) {
		t.Errorf("%s: our error %v, theirs %v", st.rule.Name, st.lastErr, theirErr)
	}
	var resolved []belay.Alert
	if theirErr == nil {
		resolved = resolvedOf(st, before, ts, g.e.options().Journal.(*memJournal))
	}
	ours, them := ourFindings(st, resolved), theirFindings(their, ts)
	same(t, st.rule.Name, them, ours)
	if seen[st.rule.Name] == nil {
		seen[st.rule.Name] = map[string]int{}
	}
	for f := range maps.Values(ours) {
		seen[st.rule.Name][f.State]++
	}
}

// resolvedOf returns, as the journal has them, the alerts that fired before and
// do not any more. Prometheus forgets at once what was only pending.
func resolvedOf(st *ruleState, before []belay.Alert, ts time.Time, j *memJournal) (out []belay.Alert) {
	for _, b := range before {
		if b.State != belay.AlertFiring || slices.ContainsFunc(st.alerts, func(a belay.Alert) bool { return a.ID == b.ID }) {
			continue
		}
		j.mu.Lock()
		for _, ev := range slices.Backward(j.events) {
			if ev.Alert != nil && ev.Alert.ID == b.ID {
				a := *ev.Alert
				a.Value, a.KeepSince = b.Value, b.KeepSince // theirs stay as last found
				if a.State != belay.AlertInactive || !a.ResolvedAt.Equal(ts) {
					a.State = "not resolved now"
				}
				out = append(out, a)
				break
			}
		}
		j.mu.Unlock()
	}
	return out
}
