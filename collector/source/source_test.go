package source_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"

	"github.com/belaydev/belay/collector/source"
	"github.com/belaydev/belay/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, address string, opts source.Options) *source.Source {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s, err := source.New(source.Config{
		URL: promconfig.URL{URL: u}, Timeout: model.Duration(5 * time.Second), HTTPClientConfig: promconfig.DefaultHTTPClientConfig,
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// victoria starts a VictoriaMetrics with two series of ten minutes, of which
// one ended after five, at the time it returns.
func victoria(t *testing.T) (*source.Source, time.Time) {
	t.Helper()
	p := peers.StartVictoriaMetrics(t)
	end := time.Now().Truncate(time.Minute).Add(-time.Minute)
	var lines strings.Builder
	for i := range 41 {
		at := end.Add(time.Duration(i-40) * 15 * time.Second).UnixMilli()
		fmt.Fprintf(&lines, "requests_total{service=\"shop\"} %d %d\n", 10*i, at)
		if i <= 20 {
			fmt.Fprintf(&lines, "requests_total{service=\"old\"} %d %d\n", i, at)
		}
	}
	post(t, p.URL+"/api/v1/import/prometheus", lines.String())
	post(t, p.URL+"/internal/force_flush", "")
	s := open(t, p.URL, source.Options{})
	for deadline := time.Now().Add(time.Minute); ; {
		v, err := s.Query(t.Context(), "requests_total", end)
		if err == nil && len(v) > 0 {
			return s, end
		}
		if time.Now().After(deadline) {
			t.Fatalf("the samples do not come: %v, %v\n%s", v, err, p.Said())
		}
		time.Sleep(50 * time.Millisecond) // VictoriaMetrics tells nobody when samples can be read
	}
}

func post(t *testing.T, address, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

// sameAs lets Belay's own engine read through the source, and compares it with
// what the source itself answers.
func sameAs(t *testing.T, s *source.Source, at time.Time, exprs ...string) {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: source.DefaultLookback})
	t.Cleanup(func() { _ = engine.Close() })
	for _, expr := range exprs {
		q, err := engine.NewInstantQuery(t.Context(), s, nil, expr, at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		want, err := s.Query(t.Context(), expr, at)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
			t.Errorf("%s\n%s", expr, diff)
		}
		q.Close()
	}
}

func plain(v promql.Vector) map[string]float64 {
	out := map[string]float64{}
	for _, s := range v {
		out[s.Metric.String()] = math.Round(s.F*1e6) / 1e6
	}
	return out
}

func TestARealVictoriaMetricsServesAsSource(t *testing.T) {
	s, end := victoria(t)
	sameAs(t, s, end,
		`requests_total{service="shop"}`,
		`sum by (service) (max_over_time(requests_total{service="shop"}[2m]))`,
		`count_over_time(requests_total{service="shop"}[10m]) > 10`,
		`requests_total{service="old"}`, // it ended: the store does not find it, and neither must we
		`absent(requests_total{service="nobody"})`,
	)
	m, err := s.QueryRange(t.Context(), `requests_total{service="shop"}`, end.Add(-time.Minute), end, 30*time.Second)
	if err != nil || len(m) != 1 || len(m[0].Floats) != 3 || m[0].Floats[2].F != 400 {
		t.Errorf("%v, %v", m, err)
	}
	names(t, s, end)
}

func names(t *testing.T, s *source.Source, end time.Time) {
	t.Helper()
	q, err := s.Querier(end.Add(-time.Hour).UnixMilli(), end.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	values, _, err := q.LabelValues(t.Context(), "service", nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "requests_total"))
	if diff := cmp.Diff([]string{"old", "shop"}, values); diff != "" || err != nil {
		t.Error(diff, err)
	}
	set := q.Select(t.Context(), true, &storage.SelectHints{Start: end.Add(-time.Hour).UnixMilli(), End: end.UnixMilli(), Func: "series"}, labels.MustNewMatcher(labels.MatchEqual, "__name__", "requests_total"))
	var services []string
	for set.Next() {
		services = append(services, set.At().Labels().Get("service"))
	}
	if diff := cmp.Diff([]string{"old", "shop"}, services); diff != "" || set.Err() != nil {
		t.Error(diff, set.Err())
	}
	keys, _, err := q.LabelNames(t.Context(), &storage.LabelHints{Limit: 1}, labels.MustNewMatcher(labels.MatchEqual, "__name__", "requests_total"))
	if diff := cmp.Diff([]string{"__name__"}, keys); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestARealPrometheusServesAsSource(t *testing.T) {
	p := peers.StartPrometheus(t, "global: {scrape_interval: 200ms}\nscrape_configs:\n- job_name: shop\n  static_configs: [{targets: [\"127.0.0.1:1\"]}]\n")
	s := open(t, p.URL, source.Options{})
	var at time.Time
	for deadline := time.Now().Add(time.Minute); ; {
		at = time.Now()
		if v, err := s.Query(t.Context(), `count_over_time(up{job="shop"}[1m]) > 3`, at); err == nil && len(v) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no samples: %s", p.Said())
		}
		time.Sleep(50 * time.Millisecond) // another process tells nobody when it has scraped
	}
	sameAs(t, s, at, `up`, `count_over_time(up[1m])`, `up == 0`, `absent(down)`, `sum(up) + 1`)
}

func TestEndsAreMarkedWhereTheStoreSeesThem(t *testing.T) {
	// The store has a sample at 100 s and says that the series is gone at 200 s.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.FormValue("query"), "[") {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"a"},"values":[[100,"1"]]}]}}`)
			return
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}))
	t.Cleanup(server.Close)
	s := open(t, server.URL, source.Options{})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	t.Cleanup(func() { _ = engine.Close() })
	for expr, want := range map[string]int{"a": 0, "last_over_time(a[3m])": 1} {
		q, err := engine.NewInstantQuery(t.Context(), s, nil, expr, time.Unix(200, 0))
		if err != nil {
			t.Fatal(err)
		}
		v, err := q.Exec(t.Context()).Vector()
		if err != nil || len(v) != want {
			t.Errorf("%s: %v, %v; want %d", expr, v, err, want)
		}
		q.Close()
	}
}

func TestWhoAsksForSeriesGetsNoSamples(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		_, _ = io.WriteString(w, `{"status":"success","data":[{"__name__":"b"},{"__name__":"a","job":"shop"}]}`)
	}))
	t.Cleanup(server.Close)
	q, err := open(t, server.URL, source.Options{}).Querier(0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	set := q.Select(t.Context(), true, &storage.SelectHints{Start: 0, End: 10_000, Func: "series"}, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	var got []string
	for set.Next() {
		got = append(got, set.At().Labels().String())
		if set.At().Iterator(nil).Next() != chunkenc.ValNone {
			t.Errorf("%s has samples", set.At().Labels())
		}
	}
	if diff := cmp.Diff([]string{`{__name__="a", job="shop"}`, `{__name__="b"}`}, got); diff != "" || set.Err() != nil {
		t.Error(diff, set.Err())
	}
	if diff := cmp.Diff([]string{"/api/v1/series"}, asked); diff != "" {
		t.Errorf("the source was asked for more than the series: %s", diff)
	}
}

func TestBadAnswersAreErrors(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[`+strings.Repeat(" ", 1<<16)+`]}}`)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"truncated": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resul`)
		},
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"a string": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"string","result":[1,"a"]}}`)
		},
		"a histogram": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[[1,"1","2","1"]]}]}]}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			t.Cleanup(server.Close)
			s := open(t, server.URL, source.Options{AnswerLimit: 1 << 14})
			if v, err := s.Query(t.Context(), "up", time.Now()); err == nil {
				t.Errorf("got %v", v)
			}
		})
	}
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	u, _ := url.Parse(silent.URL)
	s, err := source.New(source.Config{URL: promconfig.URL{URL: u}, Timeout: model.Duration(50 * time.Millisecond), HTTPClientConfig: promconfig.DefaultHTTPClientConfig}, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Query(t.Context(), "up", time.Now()); err == nil {
		t.Error("a source that is silent must not be waited for")
	}
	s.Close()
}
