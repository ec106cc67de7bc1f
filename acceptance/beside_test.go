package acceptance_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/pipeline"
)

const quick = "scrape_interval: 500ms, scrape_timeout: 500ms"

func rulesText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAPrometheusFederatesFromBelayAndReceivesItsRemoteWrite(t *testing.T) {
	t.Parallel()
	receiver := peers.StartPrometheus(t, "", "--web.enable-remote-write-receiver")
	target := answering(t)
	belay := start(t, `
global: {`+quick+`, evaluation_interval: 500ms, external_labels: {from: belay}}
scrape_configs: [{job_name: shop, static_configs: [{targets: ["`+target+`"]}]}]
remote_write: [{url: "`+receiver.URL+`/api/v1/write", queue_config: {batch_send_deadline: 200ms}}]
`, rulesText(t))
	federating := peers.StartPrometheus(t, `
scrape_configs:
  - job_name: belay
    `+strings.ReplaceAll(quick, ", ", "\n    ")+`
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job="shop"}', '{__name__=~"job:.*"}']}
    static_configs: [{targets: [`+strings.TrimPrefix(belay.url, "http://")+`]}]
`)
	series := `{"__name__":"answer","from":"belay","instance":"` + target + `","job":"shop"} 42`
	recorded := `{"__name__":"job:answer:sum","from":"belay","job":"shop"} 42`
	for _, server := range []string{federating.URL, receiver.URL} {
		awaitResult(t, server, "answer", series)
		awaitResult(t, server, "job:answer:sum", recorded)
	}
	awaitResult(t, belay.url, "answer", strings.Replace(series, `"from":"belay",`, "", 1))
	awaitResult(t, belay.url, `ALERTS{alertstate="firing"}`, `{"__name__":"ALERTS","alertname":"AnswerIsKnown","alertstate":"firing","instance":"`+target+`","job":"shop","severity":"critical"} 1`)

	for path, want := range map[string]string{
		"/api/v1/targets": `"scrapePool":"shop"`, "/api/v1/metadata": `"help":"What it is."`,
		"/api/v1/rules?type=record": `"query":"sum by (job) (answer)"`, "/api/v1/alerts": `"summary":"it is 42"`,
		"/api/v1/status/config": "job_name: shop", "/api/v1/status/tsdb": `"numSeries"`, "/api/v1/status/runtimeinfo": `"storageRetention":"`,
		"/api/v1/status/buildinfo": `"branch":"belay test"`, "/api/v1/label/job/values": `["shop"]`, "/api/v1/status/flags": `"status":"success"`,
	} {
		if code, body, err := ask(t, belay.url+path, nil); err != nil || code != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d %v %.400s, want %s", path, code, err, body, want)
		}
	}
}

func TestAPrometheusWritesIntoBelayAndItsRulesSeeIt(t *testing.T) {
	t.Parallel()
	target := answering(t)
	belay := start(t, `
global: {`+quick+`, evaluation_interval: 500ms}
scrape_configs: [{job_name: other, static_configs: [{targets: ["`+target+`"]}], metric_relabel_configs: [{source_labels: [__name__], regex: answer, action: drop}]}]
`, rulesText(t))
	for _, message := range []string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"} {
		peers.StartPrometheus(t, `
global: {`+quick+`, external_labels: {by: `+message+`}}
scrape_configs: [{job_name: shop, static_configs: [{targets: [`+target+`]}]}]
remote_write:
  - url: `+belay.url+`/api/v1/write
    protobuf_message: `+message+`
    authorization: {credentials_file: `+belay.tokenFile+`}
    queue_config: {batch_send_deadline: 200ms}
`, "--enable-feature=metadata-wal-records")
	}
	awaitResult(t, belay.url, "count by (by) (answer == 42)", `{"by":"io.prometheus.write.v2.Request"} 1`, `{"by":"prometheus.WriteRequest"} 1`)
	awaitResult(t, belay.url, `count(ALERTS{alertname="AnswerIsKnown",alertstate="firing"})`, "{} 2")

	code, body, err := ask(t, belay.url+"/api/v1/write", map[string][]string{})
	if err != nil || code != http.StatusUnauthorized {
		t.Errorf("a write without a token: %d %s %v", code, body, err)
	}
}

func TestVictoriaMetricsServesAsTheSource(t *testing.T) {
	t.Parallel()
	vm := peers.StartVictoriaMetrics(t)
	belay := start(t, `
global: {evaluation_interval: 500ms, scrape_interval: 1s, scrape_timeout: 1s}
metrics: {source: {url: "`+vm.URL+`"}}
`, strings.Split(rulesText(t), "      - record")[0]+"      - alert"+strings.SplitN(rulesText(t), "      - alert", 2)[1])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, vm.URL+"/api/v1/import/prometheus", strings.NewReader("answer{job=\"far\"} 43\n"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	awaitResult(t, belay.url, "answer + 1", `{"job":"far"} 44`)
	awaitResult(t, belay.url, `sum by (job) (max_over_time(answer[5m]))`, `{"job":"far"} 43`)
	eventually(t, "the alert of what VictoriaMetrics has", func() string {
		_, body, err := ask(t, belay.url+"/api/v1/alerts", nil)
		if err != nil || !bytes.Contains(body, []byte(`"labels":{"alertname":"AnswerIsKnown","job":"far","severity":"critical"}`)) || !bytes.Contains(body, []byte(`"state":"firing"`)) {
			return fmt.Sprint(string(body), err)
		}
		return ""
	})
	for path, want := range map[string]string{
		"/api/v1/series?match[]=answer": `[{"__name__":"answer","job":"far"}]`, "/api/v1/labels?match[]=answer": `["__name__","job"]`, "/api/v1/label/job/values": `["far"]`,
	} {
		if code, body, err := ask(t, belay.url+path, nil); err != nil || code != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d %v %s, want %s", path, code, err, body, want)
		}
	}
}

func TestPromtoolAndBelayTakeTheSameFiles(t *testing.T) {
	t.Parallel()
	promtool := peers.Require(t, peers.Promtool)
	abs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "config", abs + "/prometheus.yml"}, {"check", "rules", abs + "/rules.yml"}} {
		if said, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, said)
		}
	}
	if _, err := pipeline.Load("testdata/prometheus.yml"); err != nil {
		t.Errorf("Belay: %v", err)
	}
	belay := start(t, "global: {"+quick+"}\nscrape_configs: [{job_name: shop, static_configs: [{targets: [\""+answering(t)+"\"]}]}]\n", rulesText(t))
	awaitResult(t, belay.url, "sum(answer)", "{} 42")
	for want, args := range map[string][]string{
		`{} => 42 @`:        {"query", "instant", belay.url, "sum(answer)"},
		`42 @[`:             {"query", "range", belay.url, "sum(answer)"},
		`__name__="answer"`: {"query", "series", "--match=answer", belay.url},
		`shop`:              {"query", "labels", belay.url, "job"},
	} {
		said, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(said), want) {
			t.Errorf("promtool %v: %v\n%s, want %s", args, err, said, want)
		}
	}
}
