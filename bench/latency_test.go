package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay/peers"
)

// Both sides are started as often as latencyPairs says, since each start gives
// their scrapes and evaluations another beat; the fault then comes as often as
// rounds says, and is gone for pause at least in between.
const (
	latencyPairs = 5
	rounds       = 6
	pause        = 2 * time.Second
)

const faultRules = `
groups:
- name: fault
  rules:
  - {alert: Fault, expr: 'fault > 0', labels: {severity: critical, service: shop}}
`

// A lane is one side of the comparison: a target of its own, which notes when a
// page first told of the fault, and a receiver of its own, which notes when it
// had taken the message of it.
type lane struct {
	*httptest.Server
	mu            sync.Mutex
	faulty        bool
	seen          time.Time // a page told of the fault, first
	told, cleared chan time.Time
}

func newLane(b *testing.B) *lane {
	b.Helper()
	l := &lane{told: make(chan time.Time, 100), cleared: make(chan time.Time, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", l.page)
	mux.HandleFunc("/hook", l.take)
	l.Server = httptest.NewServer(mux)
	b.Cleanup(l.Close)
	return l
}

func (l *lane) page(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := 0
	if l.faulty {
		v = 1
	}
	fmt.Fprintf(w, "fault %d\n", v)
	if l.faulty && l.seen.IsZero() {
		l.seen = time.Now()
	}
}

// take accepts Alertmanager's JSON, which both sides send.
func (l *lane) take(_ http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	at := time.Now()
	var body struct{ Status string }
	if err != nil || json.Unmarshal(text, &body) != nil {
		return
	}
	if body.Status == "firing" {
		l.told <- at
	} else {
		l.cleared <- at
	}
}

// round brings the fault and returns how long after it, and after the page that
// first told of it, the receiver had the message.
func (l *lane) round(b *testing.B) (fault, page time.Duration) {
	b.Helper()
	begin := time.Now()
	l.mu.Lock()
	l.faulty, l.seen = true, time.Time{}
	l.mu.Unlock()
	at := await(b, l.told)
	l.mu.Lock()
	l.faulty = false
	fault, page = at.Sub(begin), at.Sub(l.seen)
	l.mu.Unlock()
	await(b, l.cleared)
	return fault, page
}

func await(b *testing.B, c chan time.Time) time.Time {
	b.Helper()
	select {
	case at := <-c:
		return at
	case <-time.After(time.Minute):
		b.Fatal("no message came for a minute")
		panic("unreachable")
	}
}

// BenchmarkScrapeToMessage lets a value cross a threshold, without a `for`, and
// measures from the page that first showed it until the receiver had the
// message: with Belay, and with a Prometheus and an Alertmanager that are tuned
// as fast as they go. Both run at the same time and scrape every second. Beside
// them run a Prometheus and an Alertmanager with their defaults.
func BenchmarkScrapeToMessage(b *testing.B) {
	bin := buildBelay(b)
	took := map[string][]float64{}
	ready := startDefaults(b)
	for range latencyPairs {
		latencyPair(b, bin, took)
	}
	ready(took)
	for what, all := range took {
		slices.Sort(all)
		b.ReportMetric(median(all), what+"-p50-ms")
		b.ReportMetric(all[(len(all)*95-1)/100], what+"-p95-ms")
	}
}

// latencyPair starts both sides, and adds what their rounds took, in
// milliseconds.
func latencyPair(b *testing.B, bin string, took map[string][]float64) {
	b.Helper()
	ours, theirs := newLane(b), newLane(b)
	defer runBelay(b, bin, ours)()
	defer runPeers(b, theirs)()
	var mu sync.Mutex
	var both sync.WaitGroup
	for who, l := range map[string]*lane{"ours": ours, "theirs": theirs} {
		both.Go(func() {
			for i := range rounds {
				time.Sleep(pause + time.Duration(i)*time.Second/rounds) // spread over the beat of the scrapes
				fault, page := l.round(b)
				mu.Lock()
				took[who+"-page"] = append(took[who+"-page"], page.Seconds()*1000)
				took[who+"-fault"] = append(took[who+"-fault"], fault.Seconds()*1000)
				mu.Unlock()
			}
		})
	}
	both.Wait()
}

func runPeers(b *testing.B, l *lane) (stop func()) {
	b.Helper()
	am := peers.StartAlertmanager(b, fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook"}]}]
`, l.URL))
	rules := filepath.Join(b.TempDir(), "rules.yml")
	if err := os.WriteFile(rules, []byte(faultRules), 0o600); err != nil {
		b.Fatal(err)
	}
	prometheus := peers.StartPrometheus(b, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: shop, static_configs: [{targets: [%q]}]}]
`, rules, am.Address, strings.TrimPrefix(l.URL, "http://")))
	return func() { prometheus.Stop(); am.Stop() }
}

// runBelay runs the binary, as people do.
func runBelay(b *testing.B, bin string, l *lane) (stop func()) {
	b.Helper()
	dir, listen := b.TempDir(), freeAddress(b)
	for name, text := range map[string]string{"rules.yml": faultRules, "belay.yml": fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: shop, static_configs: [{targets: [%q]}]}]
rule_files: [rules.yml]
services: [{name: shop}]
route: {receiver: hook}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook"}]}]
web: {listen: %q}
`, strings.TrimPrefix(l.URL, "http://"), l.URL, listen)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	cmd := exec.CommandContext(b.Context(), bin, "run", "--config", filepath.Join(dir, "belay.yml"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	b.Cleanup(stop)
	if err := awaitReady(b.Context(), listen); err != nil {
		b.Fatal(err)
	}
	return stop
}
