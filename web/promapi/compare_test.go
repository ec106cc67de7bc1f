package promapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web/promapi"
)

// queries is how many generated queries both must answer alike.
const queries = 300

// openDB opens a storage for the time of a test.
func openDB(t *testing.T, dir string) *tsdb.DB {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = (30 * 24 * time.Hour).Milliseconds()
	opts.EnableExemplarStorage, opts.MaxExemplars = true, 1000
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// serve serves the API until the test ends and returns its URL.
func serve(t *testing.T, opts promapi.Options) string {
	t.Helper()
	s := httptest.NewServer(promapi.New(opts))
	t.Cleanup(s.Close)
	return s.URL
}

func ask(t *testing.T, address string, form url.Values) (code int, body []byte) {
	t.Helper()
	method, in := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		method, in = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, in)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (code int, body []byte) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// canonical writes an answer so that two that say the same read the same: the
// engine gives warnings and the series of a result in any order, unless the
// query sorts. Of more than ten warnings it shows any ten; those are counted.
func canonical(t *testing.T, body []byte, sorted bool) string {
	t.Helper()
	var answer struct {
		Status          string          `json:"status"`
		Data            json.RawMessage `json:"data"`
		ErrorType       string          `json:"errorType"`
		Error           string          `json:"error"`
		Warnings, Infos []string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, list := range []*[]string{&answer.Warnings, &answer.Infos} {
		slices.Sort(*list)
		if len(*list) > 10 {
			*list = []string{fmt.Sprint(len(*list))}
		}
	}
	data := string(answer.Data)
	var result struct {
		ResultType string            `json:"resultType"`
		Result     []json.RawMessage `json:"result"`
	}
	if !sorted && json.Unmarshal(answer.Data, &result) == nil && (result.ResultType == "vector" || result.ResultType == "matrix") {
		slices.SortFunc(result.Result, func(x, y json.RawMessage) int { return bytes.Compare(x, y) })
		data = fmt.Sprintf("%s %s", result.ResultType, result.Result)
	}
	return fmt.Sprintf("%s %s %s\n%s\n%q\n%q", answer.Status, answer.ErrorType, answer.Error, data, answer.Warnings, answer.Infos)
}

// A tally counts what was compared.
type tally struct{ requests, succeeded, filled, vague, differ int }

// compare asks both the same and tells of a difference. There is none where
// Prometheus differs from itself: of equals, topk takes any.
func (n *tally) compare(t *testing.T, ours, theirs, path string, form url.Values) {
	t.Helper()
	sorted := strings.HasPrefix(form.Get("query"), "sort")
	question := func(server string) (int, string, []byte) {
		code, body := ask(t, server+path, form)
		return code, fmt.Sprint(code, " ", canonical(t, body, sorted)), body
	}
	code, want, body := question(theirs)
	_, got, _ := question(ours)
	n.requests++
	if code == http.StatusOK {
		n.succeeded++
		if !bytes.Contains(body, []byte(`"result":[]`)) && !bytes.Contains(body, []byte(`"data":[]`)) {
			n.filled++
		}
	}
	if want == got {
		return
	}
	for range 20 {
		if _, again, _ := question(theirs); again != want {
			n.vague++
			return
		}
	}
	n.differ++
	if n.differ <= 5 {
		t.Errorf("%s %v\nPrometheus: %.1500s\nBelay:      %.1500s", path, form, want, got)
	}
}

func TestGeneratedQueriesAreAnsweredAsPrometheusDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := peers.StartPrometheus(t, "", "--storage.tsdb.path="+w.theirs).URL
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db, Appendable: db, DB: func() *tsdb.DB { return db }})

	g := &generator{rng: rand.New(rand.NewPCG(3, 2026)), w: w}
	var instant, ranges, names tally
	for range queries {
		query := g.vector(1 + g.rng.IntN(3))
		at := w.start.Add(time.Duration(30+g.rng.IntN(50)) * time.Minute)
		instant.compare(t, ours, theirs, "/api/v1/query", url.Values{"query": {query}, "time": {fmt.Sprint(at.Unix())}})
		ranges.compare(t, ours, theirs, "/api/v1/query_range", url.Values{
			"query": {query}, "start": {fmt.Sprint(at.Add(-20 * time.Minute).Unix())}, "end": {at.Format(time.RFC3339)}, "step": {g.of("60", "1m", "37.5", "300")},
		})
		over := "start=" + fmt.Sprint(w.start.Unix()) + "&end=" + fmt.Sprint(at.Unix()) + "&match[]=" + url.QueryEscape(g.selector())
		names.compare(t, ours, theirs, "/api/v1/series?"+over, nil)
		names.compare(t, ours, theirs, "/api/v1/labels?"+over, nil)
		names.compare(t, ours, theirs, "/api/v1/label/"+g.of("job", "instance", "code", "__name__", "U__gr_f6__e", "nope")+"/values?"+over, nil)
		names.compare(t, ours, theirs, "/api/v1/format_query?query="+url.QueryEscape(query), nil)
		names.compare(t, ours, theirs, "/api/v1/parse_query?query="+url.QueryEscape(query), nil)
	}
	for what, n := range map[string]tally{"query": instant, "query_range": ranges, "names": names} {
		t.Logf("%-11s %d compared, %d of them succeeded, %d with something in them, %d that Prometheus answers now so, now so, %d mismatches",
			what, n.requests, n.succeeded, n.filled, n.vague, n.differ)
		if n.succeeded < n.requests*8/10 || n.filled < n.requests*6/10 || n.vague > n.requests/50 {
			t.Errorf("%s: too few of the questions have an answer", what)
		}
	}
}

func TestQuestionsThatAreWrongGetTheSameErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := peers.StartPrometheus(t, "", "--storage.tsdb.path="+w.theirs).URL
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db, DB: func() *tsdb.DB { return db }})
	var n tally
	for _, path := range []string{
		"/query", "/query?query=up{", "/query?query=up&time=x", "/query?query=up&timeout=-1s", "/query?query=up&limit=-1", "/query?query=nope(up)",
		"/query?query=up+*+on(job)+up", "/query_range?query=up", "/query_range?query=up&start=5&end=1&step=1", "/query_range?query=up&start=1&end=5&step=0",
		"/query_range?query=up&start=1&end=99999999&step=1", "/query_range?query=up[5m]&start=1&end=5&step=1",
		"/series", "/series?match[]={}", "/series?match[]=up&start=9&end=2", "/labels?match[]={", "/labels?start=x", "/label/0%20bad/values?match[]=%7B",
		"/query_exemplars?query=up&start=9&end=2", "/query_exemplars?query=up%7B", "/format_query?query=1%2B", "/parse_query?query=",
		"/metadata?limit=x", "/targets/metadata?limit=x", "/query_exemplars?query=up&start=1&end=2",
		"/rules?type=x", "/rules?match[]={}", "/rules?match[]=up{", "/rules", "/alerts", "/targets", "/metadata", "/alertmanagers", "/scrape_pools",
		"/query?query=count(up)&stats=all&time=" + fmt.Sprint(w.end.Unix()) + "&limit=1",
	} {
		if strings.Contains(path, "stats=all") {
			continue // times of evaluation
		}
		n.compare(t, ours, theirs, "/api/v1"+path, nil)
	}
	t.Logf("%d compared, %d mismatches", n.requests, n.differ)
}
