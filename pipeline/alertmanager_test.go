package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belaydev/belay/pipeline"
)

// childConfig names the file with which this test binary is a Belay of its own,
// one that can be killed.
const childConfig = "BELAY_TEST_CHILD"

// beBelay runs until it is killed.
func beBelay(file string) int {
	cfg, err := pipeline.Load(file)
	if err == nil {
		var p *pipeline.Pipeline
		if p, err = pipeline.New(cfg, pipeline.Options{Version: "test"}); err == nil {
			err = p.Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A child is a Belay in a process of its own.
type child struct {
	t       *testing.T
	file    string
	address string
	cmd     *exec.Cmd
}

func (c *child) start() {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd = exec.CommandContext(c.t.Context(), self)
	c.cmd.Env = append(os.Environ(), childConfig+"="+c.file)
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	get(c.t, "http://"+c.address+"/-/ready")
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// amtool runs it against the child and returns what it says.
func (c *child) amtool(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "amtool", append([]string{"--alertmanager.url=http://" + c.address}, args...)...)
	var bad strings.Builder
	cmd.Stderr = &bad
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("amtool %s: %v\n%s%s", strings.Join(args, " "), err, out, bad.String())
	}
	return string(out)
}

// expect asks amtool until it says something, or no longer does.
func (c *child) expect(says bool, word string, args ...string) {
	c.t.Helper()
	var out string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if out = c.amtool(args...); strings.Contains(out, word) == says {
			return
		}
	}
	c.t.Fatalf("amtool %s: %q in it: want %v\n%s", strings.Join(args, " "), word, says, out)
}

// A pager keeps what Alertmanager's webhook tells.
type pager struct {
	mu   sync.Mutex
	told []string // "page firing PromSays"
}

func (p *pager) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Receiver string
		Version  string
		Alerts   []struct {
			Status string
			Labels map[string]string
		}
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || body.Version != "4" {
		p.told = append(p.told, fmt.Sprintf("unreadable: %v, version %q", err, body.Version))
	}
	for _, a := range body.Alerts {
		p.told = append(p.told, body.Receiver+" "+a.Status+" "+a.Labels["alertname"])
	}
}

func (p *pager) await(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		p.mu.Lock()
		told := strings.Join(p.told, "\n")
		p.mu.Unlock()
		if strings.Contains(told, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never told %q, only\n%s", want, told)
		}
	}
}

const asAlertmanager = `
route:
  receiver: log
  group_wait: 200ms
  group_interval: 1s
  routes:
    - {matchers: [severity="critical"], receiver: page}
receivers:
  - {name: log, webhook_configs: [{url: "%[1]s/log"}]}
  - {name: page, webhook_configs: [{url: "%[1]s/page", http_config: {authorization: {credentials: hush-hush}}}]}
journal: {path: belay.db}
metrics: {path: metrics}
web: {listen: %[2]q}
`

const prometheusToBelay = `
global: {evaluation_interval: 500ms}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
`

// TestPrometheusAndAmtoolTakeBelayForAnAlertmanager runs Debian's Prometheus and
// amtool against a Belay that is killed in between.
func TestPrometheusAndAmtoolTakeBelayForAnAlertmanager(t *testing.T) {
	t.Parallel()
	prometheus := program(t, "prometheus")
	program(t, "amtool")
	page := &pager{}
	hook := httptest.NewServer(page)
	t.Cleanup(hook.Close)
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := &child{t: t, address: freeAddress(t)}
	c.file = put("belay.yml", fmt.Sprintf(asAlertmanager, hook.URL, c.address))
	c.start()
	t.Cleanup(func() { c.kill() })

	put("rules.yml", "groups: [{name: g, rules: [{alert: PromSays, expr: vector(1), labels: {severity: critical}, annotations: {summary: it does}}]}]\n")
	runToEnd(t, prometheus, "--config.file="+put("prometheus.yml", fmt.Sprintf(prometheusToBelay, c.address)),
		"--storage.tsdb.path="+filepath.Join(dir, "prometheus"), "--web.listen-address="+freeAddress(t), "--rules.alert.resend-delay=1s") // it knows its Alertmanagers only after some seconds
	page.await(t, "page firing PromSays")
	c.expect(true, "PromSays", "alert", "query")
	c.expect(true, "summary=\"it does\"", "alert", "query", "-o", "extended")

	c.amtool("alert", "add", "Manual", "team=shop", "--annotation=summary=by hand")
	c.expect(true, "Manual", "alert", "query", "team=shop")
	c.expect(false, "PromSays", "alert", "query", "team=shop")
	page.await(t, "log firing Manual")

	id := strings.TrimSpace(c.amtool("silence", "add", "alertname=Manual", "--comment=known", "--author=ann", "--duration=1h"))
	c.expect(false, "Manual", "alert", "query")
	c.expect(true, "Manual", "alert", "query", "--silenced")
	c.kill() // -9, right after the answer
	c.start()
	c.expect(true, id, "silence", "query")
	c.expect(true, "Manual", "alert", "query", "--silenced")
	if again := strings.TrimSpace(c.amtool("silence", "update", "--duration=2h", id)); !strings.Contains(again, id) {
		t.Errorf("a longer silence is another: %s", again)
	}
	c.amtool("silence", "expire", id)
	c.expect(false, id, "silence", "query")
	c.expect(true, id, "silence", "query", "--expired")
	c.expect(true, "Manual", "alert", "query")

	c.expect(true, "receiver: page", "config", "show")
	if shown := c.amtool("config", "show"); strings.Contains(shown, "hush-hush") || strings.Contains(shown, "journal") {
		t.Errorf("config show tells too much:\n%s", shown)
	}
	c.expect(true, "severity=\"critical\"", "config", "routes", "show")
	if got := strings.TrimSpace(c.amtool("config", "routes", "test", "severity=critical")); got != "page" {
		t.Errorf("routes test: %q", got)
	}
}
