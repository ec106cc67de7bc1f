package collector_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/telemetry"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// A page is what a target serves; it can be changed while it is scraped.
type page struct {
	server *httptest.Server
	text   atomic.Value // string
	status atomic.Int32 // 0 is 200
}

func serve(t *testing.T, text string) *page {
	t.Helper()
	p := &page{}
	p.text.Store(text)
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		if s := p.status.Load(); s != 0 {
			w.WriteHeader(int(s))
		}
		_, _ = io.WriteString(w, p.text.Load().(string)) // a scraper that went away is not our concern
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *page) address() string { return strings.TrimPrefix(p.server.URL, "http://") }

// A running collector, and the names of each of its commits.
type running struct {
	*collector.Collector
	t       testing.TB
	commits chan map[string]struct{}
	stop    func() // ends Run and waits for it
}

func run(t testing.TB, cfg collector.Config, opts collector.Options) *running {
	t.Helper()
	r := &running{t: t, commits: make(chan map[string]struct{}, 10_000)}
	opts.OnCommit = func(names map[string]struct{}, at time.Time) {
		if since := time.Since(at); since < 0 || since > time.Minute {
			t.Errorf("a commit said to be %s ago", since)
		}
		select {
		case r.commits <- names:
		default:
		}
	}
	c, err := collector.New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	r.Collector = c
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(r.stop)
	select {
	case <-c.Ready():
	case <-time.After(patience):
		t.Fatal("the storage did not open")
	}
	return r
}

// until looks again after every commit, until the condition holds.
func (r *running) until(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-r.commits:
		case <-deadline:
			r.t.Fatalf("waited in vain until %s; targets: %+v", what, r.Targets())
		}
	}
}

// next returns the names of the next commit.
func (r *running) next() map[string]struct{} {
	r.t.Helper()
	select {
	case names := <-r.commits:
		return names
	case <-time.After(patience):
		r.t.Fatal("nothing was committed")
		return nil
	}
}

// target returns the only target of the job, or a zero Target.
func (r *running) target(job string) collector.Target {
	for _, t := range r.Targets() {
		if t.Job == job {
			return t
		}
	}
	return collector.Target{}
}

// values returns all samples of the series of that name, in order of time.
func values(t *testing.T, q storage.Queryable, name string) []float64 {
	t.Helper()
	out, _ := samples(t, q, name)
	return out
}

// timesOf returns the times of these samples in milliseconds.
func timesOf(t *testing.T, q storage.Queryable, name string) []int64 {
	t.Helper()
	_, out := samples(t, q, name)
	return out
}

func samples(t *testing.T, q storage.Queryable, name string) (out []float64, at []int64) {
	t.Helper()
	querier, err := q.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := querier.Close(); err != nil {
			t.Error(err)
		}
	}()
	set := querier.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			ms, v := it.At()
			out, at = append(out, v), append(at, ms)
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out, at
}

// config reads text with a fresh folder and a scrape every 100 ms.
func config(t *testing.T, text string) collector.Config {
	t.Helper()
	return mustLoad(t, filepath.Join(t.TempDir(), "belay.yml"), "global: {scrape_interval: 100ms}\n"+text)
}

func job(name, address string, more ...string) string {
	s := fmt.Sprintf("  - job_name: %s\n    static_configs: [{targets: [%q], labels: {service: %s}}]\n", name, address, name)
	for _, m := range more {
		s += "    " + m + "\n"
	}
	return s
}

func TestSamplesArriveAndAreAnnounced(t *testing.T) {
	shop := serve(t, "requests_total{code=\"200\"} 1\nrequests_total{code=\"500\"} 2\nbuild_info 1\n")
	reg := telemetry.New()
	r := run(t, config(t, "scrape_configs:\n"+job("shop", shop.address())), collector.Options{Metrics: reg})
	first := r.next()
	for _, name := range []string{"requests_total", "build_info", "up"} {
		if _, ok := first[name]; !ok {
			t.Errorf("%s is not among the names of the commit: %v", name, first)
		}
	}
	if got := values(t, r, "requests_total"); len(got) < 2 {
		t.Errorf("right after the commit the storage has %v", got)
	}
	got := r.target("shop")
	if !got.Scraped || !got.Healthy || got.LastError != "" || got.LastDuration <= 0 || time.Since(got.LastScrape) > patience {
		t.Errorf("target: %+v", got)
	}
	if want := labels.FromStrings("instance", shop.address(), "job", "shop", "service", "shop"); !labels.Equal(want, got.Labels) {
		t.Errorf("labels %s, want %s", got.Labels, want)
	}
	if got.URL != shop.server.URL+"/metrics" {
		t.Errorf("URL %s", got.URL)
	}
	if diff := cmp.Diff([]string{"build_info", "requests_total"}, got.Names()); diff != "" {
		t.Error(diff)
	}
	if !got.Exposes("requests_total") || got.Exposes("up") || got.Exposes("nothing") {
		t.Error("Exposes must know the names of the page, and only those")
	}
	if text := gather(t, reg); !strings.Contains(text, "belay_scrape_duration_seconds_count") || !strings.Contains(text, "belay_samples_appended_total") {
		t.Errorf("own metrics:\n%s", text)
	}
}

// gather prints the sample lines of a collector's metrics.
func gather(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			switch {
			case m.Histogram != nil:
				fmt.Fprintf(&b, "%s_count %d\n", f.GetName(), m.Histogram.GetSampleCount())
			case m.Counter != nil:
				fmt.Fprintf(&b, "%s%v %v\n", f.GetName(), m.Label, m.Counter.GetValue())
			}
		}
	}
	return b.String()
}

// failures reads how many scrapes of a job have failed; -1 when nobody counts.
func failures(t *testing.T, c prometheus.Collector, job string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "belay_scrape_failures_total" && m.Label[0].GetValue() == job {
				return m.Counter.GetValue()
			}
		}
	}
	return -1
}

func TestABadPageFailsItsTargetAlone(t *testing.T) {
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(hang) })
	truncated := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "cut_off 1\n")
	}))
	t.Cleanup(truncated.Close)
	long := strings.Repeat("x", 100)
	refusing := serve(t, "fine 1\n")
	refusing.status.Store(503)
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for _, tc := range []struct {
		job, address, setting, reason string
	}{
		{"too_big", serve(t, "a 1\n# "+strings.Repeat("x", 5000)+"\n").address(), "body_size_limit: 4KB", "body size limit"},
		{"too_many_samples", serve(t, "a 1\nb 1\nc 1\n").address(), "sample_limit: 2", "sample limit exceeded"},
		{"too_many_labels", serve(t, "a{b=\"1\",c=\"2\",d=\"3\"} 1\n").address(), "label_limit: 6", "label_limit exceeded"},
		{"long_label_name", serve(t, "a{"+long+"=\"1\"} 1\n").address(), "label_name_length_limit: 50", "label_name_length_limit exceeded"},
		{"long_label_value", serve(t, "a{b=\""+long+"\"} 1\n").address(), "label_value_length_limit: 50", "label_value_length_limit exceeded"},
		{"malformed", serve(t, "a 1\nthis is no metric {\n").address(), "", "invalid syntax"},
		{"html", serve(t, "<html>hello</html>").address(), "", "expected"},
		{"refusing", refusing.address(), "", "503"},
		{"slow", strings.TrimPrefix(slow.URL, "http://"), "scrape_timeout: 50ms", "deadline exceeded"},
		{"truncated", strings.TrimPrefix(truncated.URL, "http://"), "", "unexpected EOF"},
		{"nobody", strings.TrimPrefix(nobody.URL, "http://"), "", "connection refused"},
	} {
		t.Run(tc.job, func(t *testing.T) {
			t.Parallel()
			good := serve(t, "fine 1\n")
			reg := telemetry.New()
			r := run(t, config(t, "scrape_configs:\n"+job(tc.job, tc.address, tc.setting)+job("good", good.address())), collector.Options{Metrics: reg})
			r.until("both were scraped", func() bool { return r.target(tc.job).Scraped && r.target("good").Scraped })
			bad := r.target(tc.job)
			if bad.Healthy || !strings.Contains(bad.LastError, tc.reason) {
				t.Errorf("healthy %v, reason %q; want one that says %q", bad.Healthy, bad.LastError, tc.reason)
			}
			if len(bad.Names()) != 0 {
				t.Errorf("a page that never succeeded exposes %v", bad.Names())
			}
			if good := r.target("good"); !good.Healthy {
				t.Errorf("its neighbour suffers: %+v", good)
			}
			r.until("the failure is counted", func() bool { return failures(t, reg, tc.job) > 0 })
			if n := failures(t, reg, "good"); n != 0 {
				t.Errorf("%g failures of its neighbour, which begin at 0 and stay there", n)
			}
		})
	}
}

func TestTooManyTargetsAreNotScraped(t *testing.T) {
	a, b := serve(t, "a 1\n"), serve(t, "a 1\n")
	r := run(t, config(t, fmt.Sprintf("scrape_configs:\n- {job_name: shop, target_limit: 1, static_configs: [{targets: [%q, %q]}]}\n", a.address(), b.address())), collector.Options{})
	r.until("both have failed", func() bool {
		n := 0
		for _, target := range r.Targets() {
			if target.Scraped && !target.Healthy && strings.Contains(target.LastError, "target_limit exceeded") {
				n++
			}
		}
		return n == 2
	})
}

func TestATargetThatDiesIsUnhealthyAndItsSeriesEnd(t *testing.T) {
	shop := serve(t, "requests_total 1\n")
	r := run(t, config(t, "scrape_configs:\n"+job("shop", shop.address())), collector.Options{})
	r.until("it is healthy", func() bool { return r.target("shop").Healthy })
	shop.server.CloseClientConnections()
	shop.server.Close()
	announced := false
	for deadline := time.After(patience); r.target("shop").Healthy || !announced; {
		select {
		case names := <-r.commits:
			if got := values(t, r, "requests_total"); value.IsStaleNaN(got[len(got)-1]) {
				_, ok := names["requests_total"]
				announced = announced || ok
			}
		case <-deadline:
			t.Fatalf("the end was announced: %v; target: %+v", announced, r.target("shop"))
		}
	}
	got := r.target("shop")
	if got.LastError == "" || !got.Scraped {
		t.Errorf("target: %+v", got)
	}
	if !got.Exposes("requests_total") {
		t.Error("a dead target must still stand for what it last exposed")
	}
}

func TestASeriesThatEndsWhileItsTargetLivesIsAbsent(t *testing.T) {
	shop := serve(t, "old 1\nkept 1\n")
	r := run(t, config(t, "scrape_configs:\n"+job("shop", shop.address())), collector.Options{})
	r.until("both are there", func() bool { return r.target("shop").Exposes("old") })
	shop.text.Store("kept 1\n")
	r.until("one is gone", func() bool { return !r.target("shop").Exposes("old") })
	got := r.target("shop")
	if !got.Healthy || !got.Exposes("kept") {
		t.Errorf("target: %+v", got)
	}
	if got := values(t, r, "old"); !value.IsStaleNaN(got[len(got)-1]) {
		t.Errorf("the series did not end: %v", got)
	}
}

func TestFileDiscoveryAddsAndDropsTargets(t *testing.T) {
	a, b := serve(t, "a 1\n"), serve(t, "b 1\n")
	cfg := config(t, "scrape_configs:\n- {job_name: shop, file_sd_configs: [{files: [targets.json], refresh_interval: 100ms}]}\n")
	file := filepath.Join(filepath.Dir(filepath.Dir(cfg.Metrics.Path)), "targets.json")
	write := func(addresses ...string) {
		t.Helper()
		text := `[{"targets": ["` + strings.Join(addresses, `", "`) + `"]}]`
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	urls := func(r *running) (out []string) {
		for _, target := range r.Targets() {
			if target.Healthy {
				out = append(out, strings.TrimSuffix(strings.TrimPrefix(target.URL, "http://"), "/metrics"))
			}
		}
		return out
	}
	write(a.address())
	r := run(t, cfg, collector.Options{})
	r.until("the first target", func() bool { return cmp.Equal(urls(r), []string{a.address()}) })
	write(a.address(), b.address())
	r.until("a second target", func() bool { return len(urls(r)) == 2 })
	write(b.address())
	r.until("the first is dropped", func() bool { return cmp.Equal(urls(r), []string{b.address()}) && len(r.Targets()) == 1 })
	r.until("its series end", func() bool {
		got := values(t, r, "a")
		return value.IsStaleNaN(got[len(got)-1])
	})
}
