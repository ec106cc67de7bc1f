package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/pipeline"
)

// TestMain lets the test binary play the program behind a command platform.
func TestMain(m *testing.M) {
	if file := os.Getenv(childConfig); file != "" {
		os.Exit(beBelay(file))
	}
	if len(os.Args) > 2 && os.Args[1] == "platform" {
		os.Exit(playPlatform(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// contents are what the versions hash to.
var contents = map[string]string{"v1": "sha256:0001", "v2": "sha256:0002"}

// playPlatform keeps what runs in a file: the smallest platform there is. The
// file "fault" beside it makes it hang, or print rubbish, at a restore.
func playPlatform(verb, dir string) int {
	running := filepath.Join(dir, "running")
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(b))
	}
	switch fault := read("fault"); {
	case fault == "hang" && verb == "restore":
		time.Sleep(time.Hour)
	case fault == "rubbish" && verb == "state":
		fmt.Println("<html>502 Bad Gateway</html>")
		return 0
	}
	switch verb {
	case "state":
		fi, err := os.Stat(running)
		if err != nil {
			return 1
		}
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"content": contents[read("running")], "version": read("running"), "progress": "converged", "changed_at": fi.ModTime().UTC()})
	case "revisions":
		fmt.Println(`[{"content":"sha256:0002","version":"v2"},{"content":"sha256:0001","version":"v1"}]`)
	case "restore":
		if contents[read("running")] != os.Getenv("BELAY_SEEN") {
			return 78
		}
		if os.WriteFile(running, []byte(os.Getenv("BELAY_VERSION")), 0o600) != nil {
			return 1
		}
		log, err := os.OpenFile(filepath.Join(dir, "platform.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		fmt.Fprintln(log, os.Getenv("BELAY_OPERATION"))
		_ = log.Close()
	}
	return 0
}

// A stage is a whole Belay with real parts round it: a shop that is scraped
// over HTTP, programs as its platform, a Slack server that keeps its limits.
type stage struct {
	t       *testing.T
	dir     string // of the platform and the configuration
	journal string
	slack   *slacktest.Server
	config  string

	mu       sync.Mutex
	requests float64
	errors   float64
	deaf     bool // the shop does not answer scrapes
	shop     *http.Server
	address  string
	cancel   context.CancelFunc
	done     chan error
}

const stageConfig = `
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms, min_interval: 100ms}
scrape_configs:
  - job_name: shop
    static_configs: [{targets: [%q], labels: {service: checkout}}]
rule_files: [rules.yml]
services:
  - name: checkout
    platform:
      command: {state: [%[2]q, platform, state, %[3]q], revisions: [%[2]q, platform, revisions, %[3]q], restore: [%[2]q, platform, restore, %[3]q], timeout: 30s, poll: 200ms}
    owners: {slack_channel: "#checkout"}
rollback: {mode: auto, allow_checked: true, soak: 1500ms, veto: 500ms, recovery_hold: 700ms, recovery_timeout: 2m, failed: 2 of 2, kill_switch_file: STOP, budget: {share_of_services: 100%%}}
slack: {api_url: %[4]q, bot_token_file: token}
metrics: {path: metrics}
journal: {path: %[5]q}
review: {publish: [{directory: reviews}]}
web: {listen: "127.0.0.1:0"}
`

const stageRules = `
groups:
  - name: shop
    rules:
      - alert: CheckoutErrors
        expr: sum by (service, version) (rate(errors_total[1s])) / sum by (service, version) (rate(requests_total[1s])) > 0.05
        for: 300ms
        labels: {severity: critical}
      - alert: CheckoutQueue
        expr: max by (service) (queue_length) > 100
        labels: {severity: critical}
      - alert: CheckoutRequests
        expr: sum by (service) (rate(requests_total[1s])) < 0
        labels: {severity: critical}
`

func newStage(t *testing.T, journalDir string) *stage {
	t.Helper()
	return newStageOn(t, journalDir, slacktest.New(slacktest.Options{Channels: []string{"checkout"}}))
}

func newStageOn(t *testing.T, journalDir string, slack *slacktest.Server) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, dir: t.TempDir(), slack: slack}
	if journalDir == "" {
		journalDir = s.dir
	}
	s.journal = filepath.Join(journalDir, "belay.db")
	api := httptest.NewServer(s.slack)
	t.Cleanup(api.Close)
	s.openShop("127.0.0.1:0")
	s.put("running", "v1")
	s.put("token", "xoxb-test")
	s.put("rules.yml", stageRules)
	s.config = s.put("belay.yml", fmt.Sprintf(stageConfig, s.address, self, s.dir, api.URL+"/api/", s.journal))
	return s
}

func (s *stage) put(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *stage) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *stage) running() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "running"))
	return string(b)
}

// openShop serves what the running version measures: v2 fails a fifth of its
// requests.
func (s *stage) openShop(address string) {
	s.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.shop = &http.Server{Handler: http.HandlerFunc(s.page), ReadHeaderTimeout: time.Second}
	go func() { _ = s.shop.Serve(l) }()
	s.t.Cleanup(func() { _ = s.shop.Close() })
}

func (s *stage) page(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		panic(http.ErrAbortHandler)
	}
	version := s.running()
	s.requests += 20
	if version == "v2" {
		s.errors += 4
	}
	fmt.Fprintf(w, "requests_total{version=%q} %g\nerrors_total{version=%q} %g\nqueue_length %d\n", version, s.requests, version, s.errors, s.queue())
}

// queue is long while the file "queue" says so.
func (s *stage) queue() int {
	if _, err := os.Stat(filepath.Join(s.dir, "queue")); err == nil {
		return 1000
	}
	return 1
}

func (s *stage) setDeaf(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// start runs a Belay until stop.
func (s *stage) start() {
	s.t.Helper()
	cfg, err := pipeline.Load(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	log := slog.DiscardHandler
	if testing.Verbose() {
		log = slog.NewTextHandler(s.t.Output(), nil)
	}
	p, err := pipeline.New(cfg, pipeline.Options{Logger: slog.New(log), Version: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- p.Run(ctx) }()
	s.t.Cleanup(s.stop)
}

func (s *stage) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	if err := <-s.done; err != nil {
		s.t.Errorf("run: %v", err)
	}
}

// events reads the journal from beside the running Belay.
func (s *stage) events() []belay.Event {
	s.t.Helper()
	j, err := journal.Open(s.t.Context(), s.journal, journal.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	var out []belay.Event
	for ev, err := range j.Read(s.t.Context(), 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, ev)
	}
	return out
}

// await waits until an event is there that satisfies a condition.
func (s *stage) await(what string, is func(belay.Event) bool) belay.Event {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		for _, ev := range s.events() {
			if is(ev) {
				return ev
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, ev := range s.events() {
		s.t.Logf("%s %s %s", ev.At.Format("05.000"), ev.Kind, ev.Reason)
	}
	s.t.Fatalf("never: %s", what)
	return belay.Event{}
}

// standing is what the ledger says of v1.
func standing(want belay.Standing) func(belay.Event) bool {
	return func(ev belay.Event) bool {
		return ev.Ledger != nil && ev.Ledger.Revision.Version == "v1" && ev.Ledger.Standing == want
	}
}

func kind(k belay.Kind) func(belay.Event) bool {
	return func(ev belay.Event) bool { return ev.Kind == k }
}

// operations are the content changes that the platform logged.
func (s *stage) operations() []string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "platform.log"))
	return strings.Fields(string(b))
}

func (s *stage) expectNoAct() {
	s.t.Helper()
	if ops := s.operations(); len(ops) != 0 || s.running() != "v2" {
		s.t.Fatalf("it acted: %v, %s runs", ops, s.running())
	}
}
