package rules

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay"
)

// A memJournal is a journal in memory that can be told to fail.
type memJournal struct {
	mu     sync.Mutex
	events []belay.Event
	ends   map[string]belay.Seq
	fail   error
	wrote  chan struct{} // one token per event, where a test waits for them
}

func newMemJournal() *memJournal {
	return &memJournal{ends: map[string]belay.Seq{}, wrote: make(chan struct{}, 100_000)}
}

func (j *memJournal) Append(_ context.Context, stream string, expect belay.Seq, events ...belay.Event) (belay.Seq, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return 0, j.fail
	}
	if expect != belay.AnySeq && expect != j.ends[stream] {
		return 0, belay.ErrConflict
	}
	for _, ev := range events {
		if ev.Reason == "" {
			return 0, errors.New("an event without a reason")
		}
		j.ends[stream]++
		ev.Seq, ev.Stream, ev.Pos = belay.Seq(len(j.events)+1), stream, j.ends[stream]
		j.events = append(j.events, ev)
		j.wrote <- struct{}{}
	}
	return j.ends[stream], nil
}

func (j *memJournal) Read(_ context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	j.mu.Lock()
	events := slices.Clone(j.events[after:])
	j.mu.Unlock()
	return func(yield func(belay.Event, error) bool) {
		for _, ev := range events {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (j *memJournal) Tail(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return j.Read(ctx, after)
}
func (j *memJournal) Cursor(context.Context, string) (belay.Seq, error) { return 0, nil }
func (j *memJournal) Advance(context.Context, string, belay.Seq) error  { return nil }
func (j *memJournal) breakWith(err error)                               { j.mu.Lock(); j.fail = err; j.mu.Unlock() }

// story tells every event as "state: reason".
func (j *memJournal) story() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, ev := range j.events {
		what := string(ev.Kind)
		if ev.Kind == belay.KindAlert {
			what = string(ev.Alert.State)
		}
		out = append(out, what+": "+ev.Reason)
	}
	return out
}

// A world is a real storage with an engine over it, whose clock is the test's.
type world struct {
	t       testing.TB
	db      *tsdb.DB
	journal belay.Journal
	mem     *memJournal
	targets []Target
	engine  *Engine
}

func newWorld(t testing.TB) *world {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.MinBlockDuration, opts.MaxBlockDuration = int64(24*time.Hour/time.Millisecond), int64(24*time.Hour/time.Millisecond)
	opts.RetentionDuration = 0
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	mem := newMemJournal()
	return &world{t: t, db: db, journal: mem, mem: mem}
}

// load gives the world an engine over rules; its memory is what the journal says.
func (w *world) load(text string, change ...func(*Options)) *Engine {
	w.t.Helper()
	set, problems := Parse("test.yml", []byte(text))
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	opts := Options{
		Journal: w.journal, Queryable: w.db, Appendable: w.db, OnScrape: true,
		Targets: func() []Target { return w.targets }, ExternalLabels: labels.FromStrings("region", "eu-1"),
	}
	for _, c := range change {
		c(&opts)
	}
	e, err := New(set, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
	return e
}

// remember does what Run does before its first evaluation.
func (w *world) remember() {
	w.t.Helper()
	memories, err := remember(w.t.Context(), w.journal, "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, st := range w.engine.plan.Load().states {
		if m := memories[st.rule.Stream()]; m != nil {
			st.take(m, epoch)
		}
	}
}

// samples writes `name{labels} value` lines at a time.
func (w *world) samples(at time.Time, lines ...string) {
	w.t.Helper()
	app := w.db.AppenderV2(w.t.Context())
	for _, line := range lines {
		series, number, _ := strings.Cut(line, " ")
		lset, err := parser.NewParser(parser.Options{}).ParseMetric(series)
		if err != nil {
			w.t.Fatal(err)
		}
		v := math.Float64frombits(value.StaleNaN)
		if number != "stale" {
			if v, err = parseNumber(number); err != nil {
				w.t.Fatal(err)
			}
		}
		if _, err := app.Append(0, lset, 0, at.UnixMilli(), v, nil, nil, storage.AOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) evaluate(at time.Time) {
	w.t.Helper()
	for _, g := range w.engine.plan.Load().groups {
		g.evaluate(w.t.Context(), at)
	}
}

// states tells the alerts as "alertname instance state".
func (w *world) states() []string {
	var out []string
	for _, a := range w.engine.Alerts() {
		out = append(out, strings.TrimSpace(a.Rule+" "+a.Labels.Get("instance"))+" "+string(a.State))
	}
	return out
}

// verdicts tells the judgements as "instance verdict reason".
func (w *world) verdicts() []string {
	var out []string
	for _, j := range w.engine.Judgements() {
		out = append(out, strings.TrimSpace(j.Labels.Get("instance")+" "+string(j.Verdict)+": "+j.Reason))
	}
	return out
}

func target(instance string, healthy bool, names ...string) Target {
	t := Target{
		Labels:  labels.FromStrings("job", "shop", "instance", instance),
		Healthy: healthy, Scraped: true,
		Exposes: func(name string) bool { return slices.Contains(names, name) },
	}
	if !healthy {
		t.Error = "connection refused"
	}
	return t
}
