package promapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web/promapi"
)

// result asks a server until a query has a result, and returns it without its
// times.
func result(t *testing.T, server, query string) []string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		_, body := ask(t, server+"/api/v1/query", url.Values{"query": {query}})
		var answer struct {
			Data struct {
				Result []struct {
					Metric           map[string]string
					Value, Histogram []any
				}
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		var out []string
		for _, r := range answer.Data.Result {
			name, err := json.Marshal(r.Metric)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(string(name), append(r.Value, r.Histogram...)[1:]))
		}
		if len(out) > 0 {
			slices.Sort(out)
			return out
		}
	}
	t.Errorf("%s has no result for %s", server, query)
	return nil
}

// fill appends the newest samples of a few series, with a series that has ended.
func fill(t *testing.T, to storage.AppendableV2) {
	t.Helper()
	now := time.Now().UnixMilli()
	app := to.AppenderV2(t.Context())
	add := func(ts int64, v float64, ls ...string) {
		if _, err := app.Append(0, labels.FromStrings(ls...), 0, ts, v, nil, nil, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	add(now-60_000, 41, "__name__", "answer", "job", "deep", "instance", "a:1")
	add(now-1000, 42, "__name__", "answer", "job", "deep", "instance", "a:1")
	add(now-1000, 7, "__name__", "answer", "job", "deep", "region", "us")
	add(now-600_000, 9, "__name__", "answer", "job", "old")
	add(now-2000, 1, "__name__", "ended", "job", "deep")
	add(now-1000, staleNaN, "__name__", "ended", "job", "deep")
	add(now-1000, 1, "__name__", "größe", "with.dot", "x")
	for _, h := range []struct {
		name string
		opts storage.AOptions
	}{{"sizes", storage.AOptions{}}} {
		if _, err := app.Append(0, labels.FromStrings("__name__", h.name, "job", "deep"), 0, now-1000, 0, tsdbutil.GenerateTestHistogram(3), nil, h.opts); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Append(0, labels.FromStrings("__name__", h.name+"_custom", "job", "deep"), 0, now-1000, 0, tsdbutil.GenerateTestCustomBucketsHistogram(3), nil, h.opts); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Append(0, labels.FromStrings("__name__", h.name+"_gauge", "job", "deep"), 0, now-1000, 0, nil, tsdbutil.GenerateTestGaugeFloatHistogram(3), h.opts); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestARealPrometheusFederatesFromBelay(t *testing.T) {
	t.Parallel()
	db := openDB(t, t.TempDir())
	fill(t, db)
	ours := serve(t, promapi.Options{Queryable: db, ExternalLabels: labels.FromStrings("region", "eu")})
	theirs := peers.StartPrometheus(t, `
scrape_configs:
  - job_name: federate
    scrape_interval: 500ms
    scrape_timeout: 500ms
    honor_labels: true
    scrape_native_histograms: true
    metrics_path: /federate
    params: {'match[]': ['{job=~"deep|old"}']}
    static_configs: [{targets: [`+strings.TrimPrefix(ours, "http://")+`]}]
`).URL
	want := []string{`{"__name__":"answer","instance":"a:1","job":"deep","region":"eu"}[42]`, `{"__name__":"answer","job":"deep","region":"us"}[7]`}
	if diff := cmp.Diff(want, result(t, theirs, "answer")); diff != "" {
		t.Error(diff)
	}
	for _, query := range []string{"histogram_count(sizes)", "histogram_sum(sizes_gauge)", "sizes"} {
		a, b := result(t, ours, query), result(t, theirs, query)
		if diff := cmp.Diff(a, strip(b, `,"region":"eu"`, `"region":"eu"`)); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
	if got := result(t, theirs, "count({__name__=~\"ended|answer\",job=~\"deep|old\"})"); !slices.Equal(got, []string{"{}[2]"}) {
		t.Errorf("a series that ended or grew old is federated: %v", got)
	}
}

func strip(in []string, texts ...string) []string {
	for i := range in {
		for _, text := range texts {
			in[i] = strings.ReplaceAll(in[i], text, "")
		}
	}
	return in
}

// TestFederationSaysWhatPrometheusSays holds both pages against each other,
// in both formats.
func TestFederationSaysWhatPrometheusSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := peers.StartPrometheus(t, "global: {external_labels: {region: eu, job: never}}", "--storage.tsdb.path="+w.theirs).URL
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db, ExternalLabels: labels.FromStrings("region", "eu", "job", "never")})
	path := "/federate?match[]=" + url.QueryEscape(`{job=~".+"}`) + "&match[]=" + url.QueryEscape(`{"utf8.metric"}`) + "&match[]=up"
	for _, accept := range []string{
		"text/plain;version=0.0.4", "text/plain;version=1.0.0;escaping=allow-utf-8",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8",
	} {
		want, got := federated(t, theirs+path, accept), federated(t, ours+path, accept)
		if len(want) < 50 {
			t.Errorf("%s: only %d samples", accept, len(want))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Prometheus (-), Belay (+)\n%s", accept, diff)
		}
	}
	for _, bad := range []string{"/federate?match[]=%7B", "/federate"} {
		a, _ := ask(t, theirs+bad, nil)
		b, _ := ask(t, ours+bad, nil)
		if a != b {
			t.Errorf("%s: %d from Prometheus, %d from Belay", bad, a, b)
		}
	}
}

// federated returns the samples of a page, each as a line, sorted.
func federated(t *testing.T, address, accept string) []string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := []string{"Content-Type: " + res.Header.Get("Content-Type")}
	in := bufio.NewReader(res.Body)
	for {
		var f dto.MetricFamily
		var line string
		if strings.HasPrefix(accept, "text/") {
			line, err = in.ReadString('\n')
			if before, after, ok := strings.Cut(line, "{"); ok {
				pairs := strings.Split(after[:strings.LastIndex(after, "}")], ",") // no value has a comma
				slices.Sort(pairs)
				line = fmt.Sprint(before, pairs, after[strings.LastIndex(after, "}"):])
			}
			lines = append(lines, line)
		} else {
			err = protodelim.UnmarshalFrom(in, &f)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range f.Metric {
			slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
			lines = append(lines, strings.ReplaceAll(fmt.Sprint(f.GetName(), " ", f.GetType(), " ", m.String()), "  ", " "))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestARealPrometheusWritesIntoBelay(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
				_, _ = fmt.Fprint(w, "# HELP answer What it is.\n# TYPE answer gauge\nanswer{of=\"all\"} 42\n# TYPE asked counter\nasked_total 17 # {trace_id=\"abc\"} 1\n# EOF\n")
			}))
			t.Cleanup(source.Close)
			db := openDB(t, t.TempDir())
			ours := serve(t, promapi.Options{Queryable: db, Appendable: db, DB: func() *tsdb.DB { return db }})
			peers.StartPrometheus(t, `
global: {external_labels: {from: prometheus}}
scrape_configs:
  - {job_name: source, scrape_interval: 500ms, scrape_timeout: 500ms, static_configs: [{targets: [`+strings.TrimPrefix(source.URL, "http://")+`]}]}
remote_write:
  - {url: `+ours+`/api/v1/write, protobuf_message: `+message+`, send_exemplars: true, queue_config: {batch_send_deadline: 200ms}}
`, "--enable-feature=exemplar-storage,metadata-wal-records")
			instance := strings.TrimPrefix(source.URL, "http://")
			want := []string{`{"__name__":"answer","from":"prometheus","instance":"` + instance + `","job":"source","of":"all"}[42]`}
			if diff := cmp.Diff(want, result(t, ours, "answer")); diff != "" {
				t.Error(diff)
			}
			if got := result(t, ours, `sum(up{job="source"})`); !slices.Equal(got, []string{"{}[1]"}) {
				t.Error(got)
			}
			if message == "prometheus.WriteRequest" { // 2 sends it without a sample, which its own receiver refuses
				awaitExemplar(t, ours)
			}
		})
	}
}

func awaitExemplar(t *testing.T, server string) {
	t.Helper()
	address := server + "/api/v1/query_exemplars?query=asked_total&start=" + fmt.Sprint(time.Now().Add(-time.Minute).Unix()) + "&end=" + fmt.Sprint(time.Now().Add(time.Minute).Unix())
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if _, body := ask(t, address, nil); bytes.Contains(body, []byte(`"trace_id":"abc"`)) {
			return
		}
	}
	t.Error("the exemplar did not arrive")
}

// plain is an appendable whose transactions take no exemplars.
type plain struct{ storage.AppendableV2 }

func TestAStorageWithoutExemplarsTakesTheSamples(t *testing.T) {
	t.Parallel()
	source := openDB(t, t.TempDir())
	ours := serve(t, promapi.Options{Queryable: source, Appendable: plain{source}})
	peers.StartPrometheus(t, "remote_write: [{url: "+ours+"/api/v1/write, send_exemplars: true, queue_config: {batch_send_deadline: 200ms}}]\n"+
		"scrape_configs: [{job_name: self, scrape_interval: 500ms, scrape_timeout: 500ms, static_configs: [{targets: [127.0.0.1:1]}]}]\n")
	if got := result(t, ours, `count(up{job="self"})`); !slices.Equal(got, []string{"{}[1]"}) {
		t.Error(got)
	}
}

func TestPromtoolWorksAgainstTheAPIAndTheFiles(t *testing.T) {
	t.Parallel()
	promtool := peers.Require(t, peers.Promtool)
	w := newWorld(t)
	theirs := peers.StartPrometheus(t, "", "--storage.tsdb.path="+w.theirs).URL
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db})
	start, end := w.start.Format(time.RFC3339), w.end.Format(time.RFC3339)
	for _, args := range [][]string{
		{"query", "instant", "--time=" + end, "SERVER", "sum by (job) (pool_limit)"},
		{"query", "range", "--start=" + start, "--end=" + end, "--step=5m", "SERVER", "pool_limit"},
		{"query", "series", "--start=" + start, "--end=" + end, "--match=up", "SERVER"},
		{"query", "labels", "--start=" + start, "--end=" + end, "SERVER", "job"},
		{"query", "analyze", "--server=SERVER", "--type=histogram", "--match=rpc_duration_seconds", "--time=" + end, "--duration=10m"},
	} {
		run := func(server string) string {
			line := slices.Clone(args)
			for i := range line {
				line[i] = strings.ReplaceAll(line[i], "SERVER", server)
			}
			said, err := exec.CommandContext(t.Context(), promtool, line...).CombinedOutput()
			if err != nil || len(said) == 0 {
				t.Errorf("promtool %v: %v %s", line, err, said)
			}
			return string(said)
		}
		if diff := cmp.Diff(run(theirs), run(ours)); diff != "" {
			t.Errorf("promtool %v: Prometheus (-), Belay (+)\n%s", args[:2], diff)
		}
	}
	for _, file := range []string{"testdata/a.yml", "testdata/b.yml"} {
		abs, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		if said, err := exec.CommandContext(t.Context(), promtool, "check", "rules", abs).CombinedOutput(); err != nil {
			t.Errorf("promtool check rules %s: %v %s", file, err, said)
		}
	}
}
