package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program finds a program that a test needs, or skips the test; where nothing
// may be skipped, it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is not here; scripts/test-deps installs it", name)
	}
	t.Skipf("%s is not here; scripts/test-deps installs it", name)
	return ""
}

// freeAddress returns an address on which nobody listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// get returns the body of a page, trying until it is served with 200.
func get(t *testing.T, url string) []byte {
	t.Helper()
	var last error
	for range 200 {
		body, err := try(t.Context(), url)
		if err == nil {
			return body
		}
		last = err
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s: %v", url, last)
	return nil
}

func try(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return body, err
}

// runToEnd starts a program and ends it with the test.
func runToEnd(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.String())
		}
	})
}

func TestARealPrometheusScrapesTheMetricsPage(t *testing.T) {
	t.Parallel()
	prometheus, promtool := program(t, "prometheus"), program(t, "promtool")
	s := newStage(t, "")
	address := freeAddress(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.put("belay.yml", strings.Replace(string(config), "127.0.0.1:0", address, 1))
	s.start()
	s.await("v1 known good", standing("good"))
	s.put("running", "v2")
	s.await("resolved", kind("incident.resolved"))

	page := get(t, "http://"+address+"/metrics")
	for range 100 { // the last message may still be on its way
		if bytes.Contains(page, []byte("belay_outbox_depth 0")) {
			break
		}
		time.Sleep(100 * time.Millisecond)
		page = get(t, "http://"+address+"/metrics")
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(page)
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, said)
	}
	for _, want := range []string{
		`belay_incidents_total{environment="production",service="checkout",severity="critical"} 1`,
		`belay_rollbacks_total{environment="production",mode="auto",result="recovered",service="checkout"} 1`,
		`belay_rolled_back{environment="production",service="checkout"} 1`,
		"belay_scrape_duration_seconds_bucket", "belay_rule_evaluation_duration_seconds_sum", "belay_rule_evaluation_lag_seconds_count",
		"belay_detection_delay_seconds_count", "belay_journal_append_duration_seconds_count", "belay_notifications_total{", "belay_outbox_depth 0", "belay_build_info{",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("no %s on the page", want)
		}
	}

	peer, dir := freeAddress(t), t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "scrape_configs: [{job_name: belay, scrape_interval: 500ms, scrape_timeout: 500ms, static_configs: [{targets: [%q]}]}]\n", address), 0o600); err != nil {
		t.Fatal(err)
	}
	runToEnd(t, prometheus, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+peer)
	for _, query := range []string{`up{job="belay"} == 1`, `belay_rollbacks_total{result="recovered"} == 1`, `histogram_quantile(0.99, sum by (le) (belay_scrape_duration_seconds_bucket)) > 0`} {
		awaitResult(t, "http://"+peer, query)
	}
}

// awaitResult asks a Prometheus until a query has a result.
func awaitResult(t *testing.T, peer, query string) {
	t.Helper()
	for range 100 {
		body := get(t, peer+"/api/v1/query?query="+strings.NewReplacer(" ", "%20", "{", "%7B", "}", "%7D", `"`, "%22", "=", "%3D", ">", "%3E").Replace(query))
		var answer struct{ Data struct{ Result []any } }
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		if len(answer.Data.Result) > 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the Prometheus that scrapes Belay has no result for %s", query)
}
