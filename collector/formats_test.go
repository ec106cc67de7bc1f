package collector_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/telemetry"
)

// app is a real client library's page: a counter with an exemplar, and a
// histogram that is native and classic.
func app(t *testing.T) *httptest.Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounter(prometheus.CounterOpts{Name: "requests_total", Help: "Requests."})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "seconds", Help: "How long.", Buckets: []float64{0.1, 1}, NativeHistogramBucketFactor: 1.1,
	})
	reg.MustRegister(requests, seconds)
	requests.(prometheus.ExemplarAdder).AddWithExemplar(3, prometheus.Labels{"trace_id": "abc"})
	seconds.Observe(0.5)
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(server.Close)
	return server
}

// kinds returns the types of the samples of a metric.
func kinds(t *testing.T, r *running, name string) map[chunkenc.ValueType]int {
	t.Helper()
	q, err := r.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	out := map[chunkenc.ValueType]int{}
	for set.Next() {
		it := set.At().Iterator(nil)
		for k := it.Next(); k != chunkenc.ValNone; k = it.Next() {
			out[k]++
		}
	}
	return out
}

func TestEveryFormatThatIsNegotiatedArrives(t *testing.T) {
	server := app(t)
	address := strings.TrimPrefix(server.URL, "http://")
	for _, tc := range []struct {
		protocol, setting string
		exemplar          bool
		native            bool // seconds is a native histogram
	}{
		{"PrometheusText0.0.4", "", false, false},
		{"PrometheusText1.0.0", "", false, false},
		{"OpenMetricsText0.0.1", "", true, false},
		{"OpenMetricsText1.0.0", "", true, false},
		{"PrometheusProto", "scrape_native_histograms: true", true, true},
		{"PrometheusText0.0.4", "convert_classic_histograms_to_nhcb: true", false, true},
	} {
		t.Run(tc.protocol+tc.setting, func(t *testing.T) {
			t.Parallel()
			r := run(t, config(t, "scrape_configs:\n"+job("app", address, "scrape_protocols: ["+tc.protocol+"]", tc.setting)), collector.Options{})
			r.until("it is scraped", func() bool { return r.target("app").Healthy })
			if got := values(t, r, "requests_total"); len(got) == 0 || got[0] != 3 {
				t.Errorf("requests_total: %v", got)
			}
			native := kinds(t, r, "seconds")[chunkenc.ValHistogram] > 0
			if classic := len(values(t, r, "seconds_bucket")) > 0; native != tc.native || classic == tc.native {
				t.Errorf("native %v, classic %v", native, classic)
			}
			q, err := r.ExemplarQuerier(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found, err := q.Select(0, time.Now().Add(time.Hour).UnixMilli(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "requests_total")})
			if err != nil || (len(found) > 0) != tc.exemplar {
				t.Errorf("exemplars: %v, %v", found, err)
			}
		})
	}
}

func TestHonorKeysMeanWhatTheyMeanInPrometheus(t *testing.T) {
	old := time.Now().Add(-time.Minute).UnixMilli()
	page := serve(t, fmt.Sprintf("a{job=\"its_own\"} 1\nb 2 %d\n", old))
	for _, honor := range []bool{false, true} {
		t.Run(fmt.Sprint(honor), func(t *testing.T) {
			t.Parallel()
			r := run(t, config(t, "scrape_configs:\n"+job("shop", page.address(), fmt.Sprintf("honor_labels: %v", honor), fmt.Sprintf("honor_timestamps: %v", honor))), collector.Options{})
			r.until("it is scraped", func() bool { return r.target("shop").Healthy })
			if at := timesOf(t, r, "b"); (at[0] == old) != honor {
				t.Errorf("b is of %d; the page says %d", at[0], old)
			}
			q, err := r.Querier(math.MinInt64, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = q.Close() }()
			jobs, _, err := q.LabelValues(t.Context(), "job", nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "a"))
			if want := map[bool]string{false: "shop", true: "its_own"}[honor]; err != nil || len(jobs) != 1 || jobs[0] != want {
				t.Errorf("job %v, want %s", jobs, want)
			}
		})
	}
}

func TestHostilePagesFailAloneAndAreCounted(t *testing.T) {
	gone := make(chan struct{})
	pages := map[string]http.HandlerFunc{
		"not_utf8": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a{b=\"\xff\"} 1\n") },
		"flood": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				_, _ = fmt.Fprintf(w, "%sl%d=\"x\"", map[bool]string{true: "a{", false: ","}[i == 0], i)
			}
			_, _ = io.WriteString(w, "} 1\n")
		},
		"drip": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "a 1\n")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-gone:
			}
		},
		"bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
	}
	t.Cleanup(func() { close(gone) })
	good := serve(t, "fine 1\n")
	text := "global: {scrape_interval: 300ms}\nscrape_configs:\n" + job("good", good.address())
	for name, page := range pages {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			page(w, r)
		}))
		t.Cleanup(server.Close)
		text += job(name, strings.TrimPrefix(server.URL, "http://"), "body_size_limit: 1MB")
	}
	reg := telemetry.New()
	r := run(t, mustLoad(t, t.TempDir()+"/belay.yml", text), collector.Options{Metrics: reg})
	r.until("all were scraped", func() bool {
		for _, target := range r.Targets() {
			if !target.Scraped {
				return false
			}
		}
		return len(r.Targets()) == 5
	})
	for _, target := range r.Targets() {
		if target.Healthy != (target.Job == "good") || !target.Healthy && target.LastError == "" {
			t.Errorf("%s: healthy %v, %q", target.Job, target.Healthy, target.LastError)
		}
		if target.Job != "good" {
			r.until(target.Job+" is counted", func() bool { return failures(t, reg, target.Job) > 0 })
		}
	}
	if n := failures(t, reg, "good"); n != 0 {
		t.Errorf("%g failures of a target that has none", n)
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte("a{b=\"c\"} 1\n"), "text/plain; version=0.0.4")
	f.Add([]byte("# TYPE a counter\na_total 1 # {t=\"x\"} 1 2\n# EOF\n"), "application/openmetrics-text; version=1.0.0")
	f.Add([]byte{10, 1, 97, 24, 0, 34, 11, 26, 9, 9, 0, 0, 0, 0, 0, 0, 240, 63}, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	var mu sync.Mutex
	var page []byte
	var kind string
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		served++
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(page)
	}))
	f.Cleanup(server.Close)
	cfg := mustLoad(f, f.TempDir()+"/belay.yml", "global: {scrape_interval: 10ms, scrape_timeout: 10ms, scrape_native_histograms: true}\nscrape_configs:\n"+job("a", strings.TrimPrefix(server.URL, "http://")))
	r := run(f, cfg, collector.Options{})
	f.Cleanup(r.stop)
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		mu.Lock()
		page, kind = bytes.Clone(body), contentType
		from := served
		mu.Unlock()
		// The third scrape from now on begins after the second has ended, which
		// had this page.
		enough := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return served >= from+3
		}
		for deadline := time.After(patience); !enough(); {
			select {
			case <-r.commits:
			case <-deadline:
				t.Fatal("it is not scraped any more")
			}
		}
		if target := r.target("a"); !target.Healthy && target.LastError == "" {
			t.Error("a target fails without a reason")
		}
	})
}

// bomb is 64 MiB of comments in little more than 64 KiB.
var bomb = func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, "# "+strings.Repeat("x", 64<<20)+"\n") // into memory
	_ = w.Close()
	return b.Bytes()
}()
