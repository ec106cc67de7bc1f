package dashboards_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// often is how often the recording scrapes the demo's Belay.
const often = 250 * time.Millisecond

// A recording is what a Prometheus would know that scraped a Belay from the
// start of `belay demo --once` to its end: a release, an incident, a rollback.
type recording struct {
	db         *tsdb.DB
	start, end time.Time
	labels     map[string]map[string]bool // of each metric, by name
	present    map[string]labels.Labels   // the series of the last scrape
}

// play plays the demo, once for all tests. It takes half a minute, in which this
// machine has little to do.
var play = sync.OnceValues(func() (*recording, error) {
	dir, err := os.MkdirTemp("", "belay-dashboards-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the recording is in memory by then
	binary := filepath.Join(dir, "belay")
	build := exec.CommandContext(context.Background(), "make", "-s", "-C", "..", "build", "BIN="+binary)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, said)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &recording{labels: map[string]map[string]bool{}}
	opts := tsdb.DefaultOptions()
	opts.WALSegmentSize = -1
	if r.db, err = tsdb.Open(filepath.Join(dir, "tsdb"), nil, nil, opts, nil); err != nil {
		return nil, err
	}
	r.db.DisableCompactions()
	return r, r.record(binary, address, filepath.Join(dir, "demo"))
})

func freeAddress() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// record runs the demo and scrapes its Belay until the demo has ended.
func (r *recording) record(binary, address, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, binary, "demo", "--once", "--no-browser", "--listen", address, "--dir", dir)
	demo.Cancel = func() error { return demo.Process.Signal(syscall.SIGTERM) }
	demo.WaitDelay = 20 * time.Second
	var said bytes.Buffer
	demo.Stdout, demo.Stderr = &said, &said
	if err := demo.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			// How well the review kept time on a busy machine is for the demo to
			// say; the incident was played to its end.
			if err != nil && !strings.Contains(said.String(), "the review and the demo's own log disagree") {
				return fmt.Errorf("the demo: %w\n%s", err, said.String())
			}
			return nil
		case <-tick.C:
			if err := r.scrape(ctx, address); err != nil {
				return fmt.Errorf("scrape: %w", err)
			}
		}
	}
}

// scrape stores one scrape as Prometheus does: with the series up, and a marker
// for each series that is no longer there.
func (r *recording) scrape(ctx context.Context, address string) error {
	now := time.Now()
	page, ok := fetch(ctx, "http://"+address+"/metrics")
	if !ok && r.start.IsZero() {
		return nil // it has not begun yet
	}
	app := r.db.Appender(ctx)
	present := map[string]labels.Labels{}
	b := labels.NewBuilder(labels.EmptyLabels())
	add := func(ls labels.Labels, v float64) error {
		b.Reset(ls)
		b.Set("job", "belay")
		b.Set("instance", address)
		ls = b.Labels()
		present[ls.String()] = ls
		_, err := app.Append(0, ls, now.UnixMilli(), v)
		return err
	}
	up := 0.0
	if ok {
		up, r.end = 1, now
		if r.start.IsZero() {
			r.start = now
		}
		if err := eachSample(page, add); err != nil {
			return err
		}
	}
	if err := add(labels.FromStrings(model.MetricNameLabel, "up"), up); err != nil {
		return err
	}
	for key, ls := range r.present {
		if _, still := present[key]; !still {
			if _, err := app.Append(0, ls, now.UnixMilli(), math.Float64frombits(value.StaleNaN)); err != nil {
				return err
			}
		}
	}
	r.present = present
	r.learn()
	return app.Commit()
}

// eachSample calls add with each sample of a page in the text format.
func eachSample(page []byte, add func(labels.Labels, float64) error) error {
	p, err := textparse.New(page, "text/plain; version=0.0.4", nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var ls labels.Labels
		p.Labels(&ls)
		_, _, v := p.Series()
		if err := add(ls, v); err != nil {
			return err
		}
	}
}

// learn remembers which labels each metric has.
func (r *recording) learn() {
	for _, ls := range r.present {
		name := ls.Get(model.MetricNameLabel)
		if r.labels[name] == nil {
			r.labels[name] = map[string]bool{}
		}
		ls.Range(func(l labels.Label) { r.labels[name][l.Name] = true })
	}
}

func fetch(ctx context.Context, url string) ([]byte, bool) {
	ctx, cancel := context.WithTimeout(ctx, often)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return body, err == nil && res.StatusCode == http.StatusOK
}

func recorded(t *testing.T) *recording {
	t.Helper()
	r, err := play()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask evaluates an expression at each second of the recording and returns the
// series that had a value at any of them.
func (r *recording) ask(t *testing.T, where, expr string) []promql.Series {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Second})
	start := r.end.Add(-r.end.Sub(r.start).Truncate(time.Second)) // so that the last step is the last scrape
	q, err := engine.NewRangeQuery(t.Context(), r.db, nil, expr, start, r.end, time.Second)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	defer q.Close()
	matrix, err := q.Exec(t.Context()).Matrix()
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	var out []promql.Series
	for _, s := range matrix {
		for _, p := range s.Floats {
			if !math.IsNaN(p.F) {
				out = append(out, promql.Series{Metric: s.Metric, Floats: slices.Clone(s.Floats)}) // Close gives the points to the next query
				break
			}
		}
	}
	return out
}

// window is the length of the recording, for $__range.
func (r *recording) window() string {
	return fmt.Sprintf("%ds", int(r.end.Sub(r.start).Seconds())+1)
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

// TestEveryPanelShowsSomethingOfTheDemo evaluates the query of each panel and
// marker. What stands in for a missing value is taken away before.
func TestEveryPanelShowsSomethingOfTheDemo(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	n := 0
	for _, b := range boards(t) {
		for _, q := range b.questions() {
			n++
			bare := strings.TrimSuffix(q.expr, " or vector(0)")
			found := r.ask(t, q.where, filled(bare, r.window()))
			if len(found) == 0 {
				t.Errorf("%s shows nothing of the demo:\n%s", q.where, q.expr)
			}
			for _, m := range placeholder.FindAllStringSubmatch(q.legend, -1) {
				for _, s := range found {
					if s.Metric.Get(m[1]) == "" {
						t.Errorf("%s: the legend wants %s of %s", q.where, m[1], s.Metric)
					}
				}
			}
		}
	}
	t.Logf("%d queries over %s of %d metrics", n, r.window(), len(r.labels))
}

// TestFiguresOfTheDemoAreRight reads what people would read off the dashboards
// at the end of the demo: one incident, one rollback, one of two changes failed.
func TestFiguresOfTheDemoAreRight(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	last := map[string]float64{}
	most := map[string]float64{}
	for _, b := range boards(t) {
		for _, p := range b.Panels {
			if p.Type != "stat" && p.Type != "state-timeline" {
				continue
			}
			for _, s := range r.ask(t, p.Title, filled(p.Targets[0].Expr, r.window())) {
				key := b.UID + " " + p.Title
				last[key] = s.Floats[len(s.Floats)-1].F
				for _, f := range s.Floats {
					most[key] = max(most[key], f.F)
				}
			}
		}
	}
	for key, want := range map[string]float64{
		"belay-fleet Open incidents": 0, "belay-fleet Firing alerts": 0, "belay-fleet Services not healthy": 0,
		"belay-fleet Rolled back": 1, "belay-fleet Held revisions": 1, "belay-fleet Messages waiting": 0,
		"belay-service State": 0, "belay-service Open incidents": 0, "belay-service Rolled back": 1, "belay-service Held revisions": 1,
	} {
		if got, ok := last[key]; !ok || got != want {
			t.Errorf("%s: %v at the end, want %v", key, got, want)
		}
	}
	for key, want := range map[string]float64{
		"belay-fleet Open incidents": 1, "belay-fleet Firing alerts": 1, "belay-fleet Services": 4, "belay-service State over time": 4,
	} {
		if most[key] != want {
			t.Errorf("%s: %v at most, want %v", key, most[key], want)
		}
	}
	// increase() extrapolates: figures over a range are near, not exact.
	for key, want := range map[string]float64{
		"belay-fleet Incidents": 1, "belay-fleet Rollbacks": 1, "belay-fleet Change failure ratio": 0.5,
	} {
		if got := last[key]; math.Abs(got-want) > 0.2*want {
			t.Errorf("%s: %v, want about %v", key, got, want)
		}
	}
}
