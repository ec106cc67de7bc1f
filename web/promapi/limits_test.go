package promapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay/web/promapi"
)

var staleNaN = math.Float64frombits(value.StaleNaN)

// slow answers no query until its context ends or it is let go.
type slow struct {
	storage.Queryable
	asked chan struct{}
	let   chan struct{}
}

func (s slow) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return slowQuerier{q, s}, err
}

type slowQuerier struct {
	storage.Querier
	s slow
}

func (q slowQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	q.s.asked <- struct{}{}
	select {
	case <-q.s.let:
		return q.Querier.Select(ctx, sorted, hints, ms...)
	case <-ctx.Done():
		return storage.ErrSeriesSet(ctx.Err())
	}
}

func TestQueriesBeyondTheLimitWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	s := slow{openDB(t, t.TempDir()), make(chan struct{}, 10), make(chan struct{})}
	ours := serve(t, promapi.Options{Queryable: s, Limits: promapi.Limits{Concurrency: 2}})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if code, body := ask(t, ours+"/api/v1/query?query=up", nil); code != http.StatusOK {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	<-s.asked
	<-s.asked
	if code, _ := ask(t, ours+"/api/v1/rules", nil); code != http.StatusOK {
		t.Error("the rules wait for queries")
	}
	select {
	case <-s.asked:
		t.Error("a third query is at work")
	case <-time.After(50 * time.Millisecond):
	}
	close(s.let)
	all.Wait()
}

func TestAQueryEndsInTime(t *testing.T) {
	t.Parallel()
	s := slow{openDB(t, t.TempDir()), make(chan struct{}, 10), make(chan struct{})}
	ours := serve(t, promapi.Options{Queryable: s, Limits: promapi.Limits{Concurrency: 1, Timeout: 200 * time.Millisecond}})
	var all sync.WaitGroup
	for _, path := range []string{"/api/v1/query?query=up", "/api/v1/series?match[]=up"} {
		all.Go(func() {
			if code, body := ask(t, ours+path, nil); code != http.StatusServiceUnavailable && code != 422 && code != 499 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		})
	}
	all.Wait()
}

func TestAQueryOverTooManySamplesIsRefused(t *testing.T) {
	t.Parallel()
	db := openDB(t, t.TempDir())
	fill(t, db)
	ours := serve(t, promapi.Options{Queryable: db, Limits: promapi.Limits{Samples: 1}})
	if code, body := ask(t, ours+"/api/v1/query?query=answer[5m]", nil); code != http.StatusUnprocessableEntity || !strings.Contains(string(body), "too many samples") {
		t.Errorf("%d %s", code, body)
	}
}

func TestWhatIsNotServedIsSaidSo(t *testing.T) {
	t.Parallel()
	db := openDB(t, t.TempDir())
	notYet := errors.New("still opening the metrics")
	for name, test := range map[string]struct {
		opts   promapi.Options
		method string
		path   string
		body   string
		code   int
		said   string
	}{
		"the admin API":                  {promapi.Options{Queryable: db}, "POST", "/api/v1/admin/tsdb/delete_series?match[]=up", "", 404, "not_found"},
		"an address that is none":        {promapi.Options{Queryable: db}, "GET", "/api/v1/nonsense", "", 404, "belay serves nothing at /api/v1/nonsense"},
		"a label's values below another": {promapi.Options{Queryable: db}, "GET", "/api/v1/label/a/b/values", "", 404, "not_found"},
		"writing without a storage":      {promapi.Options{Queryable: db}, "POST", "/api/v1/write", "", 404, "not_found"},
		"reading chunks without one":     {promapi.Options{Queryable: db}, "POST", "/api/v1/read", "", 404, "not_found"},
		"a method that is not taken":     {promapi.Options{Queryable: db}, "DELETE", "/api/v1/series", "", 405, "takes GET, POST"},
		"a post where none is taken":     {promapi.Options{Queryable: db}, "POST", "/api/v1/rules", "", 405, "takes GET"},
		"a get of the receiver":          {promapi.Options{Queryable: db, Appendable: db}, "GET", "/api/v1/write", "", 405, "takes POST"},
		"before it is ready":             {promapi.Options{Queryable: db, Ready: func() error { return notYet }}, "GET", "/api/v1/query?query=1", "", 503, "still opening"},
		"a body that is too large":       {promapi.Options{Queryable: db, Limits: promapi.Limits{Body: 100}}, "POST", "/api/v1/query", "query=" + strings.Repeat("1", 200), 413, "too large"},
		"a form that is broken":          {promapi.Options{Queryable: db}, "POST", "/api/v1/query", "query=%zz", 400, "bad_data"},
		"a write that is too large":      {promapi.Options{Queryable: db, Appendable: db, Limits: promapi.Limits{WriteBody: 10}}, "POST", "/api/v1/write", strings.Repeat("x", 100), 400, "too large"},
		"a write that is no write":       {promapi.Options{Queryable: db, Appendable: db}, "POST", "/api/v1/write", "nonsense", 400, "corrupt"},
		"metrics.source has no storage":  {promapi.Options{Queryable: db, DB: func() *tsdb.DB { return nil }}, "GET", "/api/v1/status/tsdb", "", 500, "TSDB not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours := serve(t, test.opts)
			req, err := http.NewRequestWithContext(t.Context(), test.method, ours+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if strings.HasSuffix(test.path, "/write") {
				req.Header.Set("Content-Type", "application/x-protobuf")
				req.Header.Set("Content-Encoding", "snappy")
			}
			code, body := do(t, req)
			if code != test.code || !strings.Contains(string(body), test.said) {
				t.Errorf("%d %s, want %d and %q", code, body, test.code, test.said)
			}
		})
	}
}

// TestGrafanaFindsWhatItAsksFor sends what Grafana's data source for Prometheus
// sends: to find out what it talks to, for its query editor, for panels, for
// its list of alerts.
func TestGrafanaFindsWhatItAsksFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db, DB: func() *tsdb.DB { return db }, Version: "1.2.3", Config: func() string { return "global: {}\n" }})
	at, from := fmt.Sprint(w.end.Unix()-60), fmt.Sprint(w.start.Unix())
	for _, test := range []struct {
		path string
		form url.Values
		want string
	}{
		{"/api/v1/status/buildinfo", nil, `"version":"` + promapi.Speaks + `"`},
		{"/api/v1/status/buildinfo", nil, `"branch":"belay 1.2.3"`},
		{"/api/v1/query", url.Values{"query": {"1+1"}, "time": {at + ".000"}}, `"result":[` + at + `,"2"]`},
		{"/api/v1/query", url.Values{"query": {`sum by (job) (rate(http_requests_total{job="shop"}[1m0s]))`}, "time": {at}}, `"job":"shop"`},
		{"/api/v1/query_range", url.Values{"query": {"up"}, "start": {from}, "end": {at}, "step": {"15"}}, `"resultType":"matrix"`},
		{"/api/v1/query_range?query=up&start=" + from + "&end=" + at + "&step=60", nil, `"resultType":"matrix"`},
		{"/api/v1/labels", url.Values{"match[]": {`up{job="shop"}`}, "start": {from}, "end": {at}}, `["__name__","instance","job"]`},
		{"/api/v1/label/__name__/values?start=" + from + "&end=" + at + "&limit=40000", nil, `"http_requests_total"`},
		{"/api/v1/label/job/values?match%5B%5D=up&start=" + from + "&end=" + at, nil, `["pay","shop"]`},
		{"/api/v1/series", url.Values{"match[]": {"build_info"}, "start": {from}, "end": {at}, "limit": {"2"}}, `"version":"v0"`},
		{"/api/v1/metadata?limit=20000", nil, `"data":{}`},
		{"/api/v1/rules", nil, `"groups":[]`},
		{"/api/v1/rules?type=alert", nil, `"groups":[]`},
		{"/api/v1/alerts", nil, `"alerts":[]`},
		{"/api/v1/query_exemplars", url.Values{"query": {"up"}, "start": {from}, "end": {at}}, `"data":[]`},
		{"/api/v1/status/config", nil, `{"yaml":"global: {}\n"}`},
		{"/api/v1/status/flags", nil, `"data":{}`},
		{"/api/v1/status/tsdb", nil, `"headStats"`},
		{"/api/v1/status/tsdb/blocks", nil, `"blocks":[{`},
		{"/api/v1/status/walreplay", nil, `"current":0`},
		{"/api/v1/status/runtimeinfo", nil, `"reloadConfigSuccess":true`},
		{"/api/v1/targets?state=active", nil, `"activeTargets":[]`},
	} {
		code, body := ask(t, ours+test.path, test.form)
		if code != http.StatusOK || !strings.Contains(string(body), test.want) || !json.Valid(body) {
			t.Errorf("%s %v: %d %.500s, want %s", test.path, test.form, code, body, test.want)
		}
	}
}

func TestABrowserOnAnotherSiteIsToldNothing(t *testing.T) {
	t.Parallel()
	ours := serve(t, promapi.Options{Queryable: openDB(t, t.TempDir())})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ours+"/api/v1/query?query=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://elsewhere.example")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if allowed := res.Header.Get("Access-Control-Allow-Origin"); allowed != "" || res.StatusCode != http.StatusOK {
		t.Errorf("%d, allowed for %q", res.StatusCode, allowed)
	}
}

// elsewhere is a queryable that reads no chunks, as a source does, and
// remembers what it was asked for.
type elsewhere struct {
	storage.Queryable
	asked chan [2]int64
}

func (e elsewhere) Querier(mint, maxt int64) (storage.Querier, error) {
	e.asked <- [2]int64{mint, maxt}
	return e.Queryable.Querier(mint, maxt)
}

func TestASourceIsAskedForTheLastDayWhereNoTimesAreSaid(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	day := (24 * time.Hour).Milliseconds()
	e := elsewhere{openDB(t, t.TempDir()), make(chan [2]int64, 1)}
	ours := serve(t, promapi.Options{Queryable: e, Now: func() time.Time { return now }})
	for path, want := range map[string][2]int64{
		"/api/v1/series?match[]=up":                 {now.UnixMilli() - day, now.UnixMilli()},
		"/api/v1/labels":                            {now.UnixMilli() - day, now.UnixMilli()},
		"/api/v1/label/job/values?start=17":         {17_000, now.UnixMilli()},
		"/api/v1/series?match[]=up&start=17&end=18": {17_000, 18_000},
	} {
		code, body := ask(t, ours+path, nil)
		if got := <-e.asked; code != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, asked for %v, want %v", path, code, body, got, want)
		}
	}
}
