package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/pipeline"
)

// untold is how many incidents may wait until Slack, which takes a message a
// second, knows of their end; before that no further lamp is lit.
const untold = 8

// lamps is a target that numbers its pages. Its lamps are lit one after the
// other, each until its alert was seen.
type lamps struct {
	mu     sync.Mutex
	pages  int
	lit    int  // how many lamps were lit so far
	on     bool // the newest of them still is
	ended  int  // the newest whose alert has ended
	finish bool // no more lamps
}

func (l *lamps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages++
	fmt.Fprintf(w, "pages_total %d\n", l.pages)
	for k := 1; k <= l.lit; k++ {
		on := 0
		if k == l.lit && l.on {
			on = 1
		}
		fmt.Fprintf(w, "lamp{n=\"%d\"} %d\n", k, on)
	}
	for k := range 200 { // load
		fmt.Fprintf(w, "ballast{n=\"%d\"} %d\n", k, l.pages*k)
	}
}

func (l *lamps) count() (pages, lit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages, l.lit
}

func (l *lamps) change(f func(*lamps)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// saw puts a lamp out when its alert fires.
func (l *lamps) saw(a belay.Alert) {
	l.change(func(l *lamps) {
		switch {
		case a.Labels.Get("n") != fmt.Sprint(l.lit):
		case a.State == belay.AlertFiring:
			l.on = false
		case a.State == belay.AlertInactive:
			l.ended = l.lit
		}
	})
}

// next lights a lamp when the one before has ended and people were told of the
// end of nearly all.
func (l *lamps) next(told int) {
	l.change(func(l *lamps) {
		if l.ended == l.lit && l.lit > 0 && !l.finish && l.lit-told < untold {
			l.lit, l.on = l.lit+1, true
		}
	})
}

const reloadConfig = `
global: {scrape_interval: %[6]s, scrape_timeout: %[6]s, evaluation_interval: 200ms, min_interval: 25ms}
scrape_configs:
  - job_name: lamps
    static_configs: [{targets: [%[1]q], labels: {service: lamps}}]
%[2]s
rule_files: [rules.yml]
services:
  - {name: lamps, owners: {slack_channel: "#checkout"}}
%[3]s
route: {receiver: hook}
receivers: [{name: hook, webhook_configs: [{url: %[4]q}]}]
slack: {api_url: %[5]q, bot_token_file: token}
metrics: {path: metrics}
journal: {path: belay.db}
review: {publish: [{directory: reviews}]}
web: {listen: "127.0.0.1:0"}
`

const lampRules = "groups: [{name: lamps, rules: [{alert: Lamp, expr: lamp > 0, labels: {severity: critical}}%s]}]\n"

// reloadStage is a Belay whose files change all the time.
type reloadStage struct {
	stage
	lamps    *lamps
	target   string
	shopping *httptest.Server // the target's
	api      string
	hook     *httptest.Server
	telling  sync.Mutex
	hooked   map[string]int // how many incidents the webhook was told the end of
	heard    []belay.Event  // what the journal has gained while it was watched
	p        *pipeline.Pipeline
}

func newReloadStage(t *testing.T) *reloadStage {
	t.Helper()
	s := &reloadStage{
		stage: stage{t: t, dir: t.TempDir(), slack: slacktest.New(slacktest.Options{Channels: []string{"checkout"}})},
		lamps: &lamps{}, hooked: map[string]int{},
	}
	api, target := httptest.NewServer(s.slack), httptest.NewUnstartedServer(s.lamps)
	// Prometheus's scraping leaves a connection open for each scrape
	// configuration that is replaced; it is the server that lets go of them.
	target.Config.IdleTimeout = 2 * time.Second
	target.Start()
	t.Cleanup(api.Close)
	t.Cleanup(target.Close)
	s.hook = httptest.NewServer(http.HandlerFunc(s.takeHook))
	t.Cleanup(s.hook.Close)
	s.shopping = target
	s.api, s.target = api.URL+"/api/", strings.TrimPrefix(target.URL, "http://")
	s.journal = filepath.Join(s.dir, "belay.db")
	s.put("token", "xoxb-test")
	s.good(0)
	return s
}

// takeHook counts the lamps whose end it is told of.
func (s *reloadStage) takeHook(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Alerts []struct {
			Status string            `json:"status"`
			Labels map[string]string `json:"labels"`
		} `json:"alerts"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		s.t.Errorf("the webhook got: %v", err)
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	for _, a := range body.Alerts {
		if a.Status == "resolved" {
			s.hooked[a.Labels["n"]]++
		}
	}
}

// good writes the i-th good configuration; they differ in what is scraped,
// judged, deployed and allowed.
func (s *reloadStage) good(i int) {
	job, service, rule := "", "", ""
	if i%2 == 1 {
		job = fmt.Sprintf("  - {job_name: more, scrape_interval: 1s, static_configs: [{targets: [%q]}], metrics_path: /more}", s.target)
		service = "  - {name: payments, rollback: {mode: off}}"
		rule = ", {record: lamps:sum, expr: sum(lamp)}"
	}
	s.put("rules.yml", fmt.Sprintf(lampRules, rule))
	s.config = s.put("belay.yml", fmt.Sprintf(reloadConfig, s.target, job, service, s.hook.URL, s.api, scrapeEvery))
}

// bad spoils the configuration in the i-th way.
func (s *reloadStage) bad(i int) {
	switch i % 4 {
	case 0:
		s.put("belay.yml", "global: [")
	case 1:
		s.put("rules.yml", "groups: [{name: lamps, rules: [{alert: Lamp, expr: 'lamp >'}]}]")
	case 2:
		s.put("belay.yml", strings.Replace(fmt.Sprintf(reloadConfig, s.target, "", "", s.hook.URL, s.api, scrapeEvery), "belay.db", "other.db", 1))
	case 3:
		s.put("belay.yml", strings.Replace(fmt.Sprintf(reloadConfig, s.target, "", "", s.hook.URL, s.api, scrapeEvery), "bot_token_file: token", "bot_token_file: nowhere", 1))
	}
}

func (s *reloadStage) open() {
	s.t.Helper()
	cfg, err := pipeline.Load(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.p, err = pipeline.New(cfg, pipeline.Options{Version: "test"}); err != nil {
		s.t.Fatal(err)
	}
	if err := s.p.Reload(s.t.Context()); err == nil {
		s.t.Error("reloaded before it ran")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.p.Run(ctx) }()
	s.t.Cleanup(s.stop)
}

func (s *reloadStage) wait(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

func TestTwoHundredReloadsUnderLoadLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	before := goleak.IgnoreCurrent()
	s := newReloadStage(t)
	s.open()
	s.wait("the first page", func() bool { pages, _ := s.lamps.count(); return pages > 0 })
	unwatch := s.watch()
	s.lamps.change(func(l *lamps) { l.lit, l.on = 1, true })

	settled := 0
	for i := range reloads {
		if i%2 == 0 {
			s.good(i / 2)
		} else {
			s.bad(i / 2)
		}
		err := s.p.Reload(t.Context())
		if good := i%2 == 0; good != (err == nil) {
			t.Fatalf("reload %d: %v", i, err)
		}
		pages, _ := s.lamps.count()
		s.wait("a page", func() bool { now, _ := s.lamps.count(); return now > pages || i%pageEvery != 0 })
		if i == reloads/5 {
			settled = runtime.NumGoroutine()
		}
	}
	if now := runtime.NumGoroutine(); now > settled+20 {
		t.Errorf("%d goroutines after a fifth of the reloads, %d after all %d", settled, now, reloads)
	}
	s.lamps.change(func(l *lamps) { l.finish = true })
	s.good(0)
	if err := s.p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	lit := s.expectEachLampOnce()
	s.expectToldOnce(lit)
	unwatch()
	s.wait("the webhook knows of every end", func() bool { s.telling.Lock(); defer s.telling.Unlock(); return len(s.hooked) == lit })
	s.stop()
	s.expectEveryPage()
	http.DefaultClient.CloseIdleConnections() // Slack's
	s.shopping.CloseClientConnections()       // Prometheus's scraping wraps its client so that it cannot be told to
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}

// story returns what the journal has gained while it was watched. To read the
// journal itself again and again would keep a busy machine from anything else.
func (s *reloadStage) story() []belay.Event {
	s.telling.Lock()
	defer s.telling.Unlock()
	return slices.Clone(s.heard)
}

// watch shows the lamps what the journal gains, until unwatch.
func (s *reloadStage) watch() (unwatch func()) {
	s.t.Helper()
	j, err := journal.Open(s.t.Context(), s.journal, journal.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev, err := range j.Tail(ctx, 0) {
			if err != nil {
				continue
			}
			s.telling.Lock()
			s.heard = append(s.heard, ev)
			s.telling.Unlock()
			if ev.Alert != nil {
				s.lamps.saw(*ev.Alert)
			}
			_, ended := s.told()
			s.lamps.next(ended)
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = j.Close()
	}
}

// expectEachLampOnce waits until the last lamp is out and says how many there
// were: each must have fired once and ended once.
func (s *reloadStage) expectEachLampOnce() int {
	s.t.Helper()
	fired, ended := map[string]int{}, map[string]int{}
	count := func() {
		clear(fired)
		clear(ended)
		for _, ev := range s.story() {
			if ev.Alert != nil && ev.Alert.State == belay.AlertFiring {
				fired[ev.Alert.Labels.Get("n")]++
			} else if ev.Alert != nil && ev.Alert.State == belay.AlertInactive {
				ended[ev.Alert.Labels.Get("n")]++
			}
		}
	}
	_, lit := s.lamps.count()
	s.wait("every lamp went out", func() bool { count(); return len(ended) >= lit })
	if lit < 3 {
		s.t.Errorf("only %d lamps were lit", lit)
	}
	for k := 1; k <= lit; k++ {
		if n := fmt.Sprint(k); fired[n] != 1 || ended[n] != 1 {
			s.t.Errorf("lamp %s fired %d times and ended %d times", n, fired[n], ended[n])
		}
	}
	return lit
}

// expectToldOnce waits until each incident has its message, and has it once,
// with its end.
func (s *reloadStage) expectToldOnce(lit int) {
	s.t.Helper()
	incidents := map[string]bool{}
	alerts := map[string]bool{}
	s.wait("all incidents are resolved", func() bool {
		clear(incidents)
		clear(alerts)
		open := map[string]bool{}
		for _, ev := range s.story() {
			if ev.Incident != nil {
				incidents[ev.Incident.ID] = true
				open[ev.Incident.ID] = ev.Incident.State != belay.Resolved
			}
			if ev.Kind == belay.KindResolved {
				for _, a := range ev.Incident.Alerts {
					alerts[a.ID] = true
				}
			}
		}
		for _, is := range open {
			if is {
				return false
			}
		}
		return len(incidents) > 0
	})
	if len(alerts) != lit {
		s.t.Errorf("%d lamps were lit, the incidents tell of %d alerts", lit, len(alerts))
	}
	s.wait("all incidents are told to their end", func() bool { _, ended := s.told(); return ended >= len(incidents) })
	keys, _ := s.told()
	slices.Sort(keys)
	if len(keys) != len(incidents) || len(slices.Compact(keys)) != len(incidents) {
		s.t.Errorf("%d incidents, told as %v", len(incidents), keys)
	}
}

// told returns the incidents that Slack has a message of, and how many of these
// messages tell the end.
func (s *reloadStage) told() (keys []string, ended int) {
	for _, m := range s.slack.Parents() {
		keys = append(keys, m.Key())
		if strings.Contains(strings.ToLower(m.Text), "resolved") {
			ended++
		}
	}
	return keys, ended
}

// expectEveryPage reads the samples of a Belay that has stopped.
func (s *reloadStage) expectEveryPage() {
	s.t.Helper()
	db, err := tsdb.OpenDBReadOnly(filepath.Join(s.dir, "metrics"), "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	q, err := db.Querier(0, time.Now().Add(time.Hour).UnixMilli())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	values := func(name string) map[float64]int {
		out := map[float64]int{}
		set := q.Select(s.t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name), labels.MustNewMatcher(labels.MatchEqual, "job", "lamps"))
		for set.Next() {
			it := set.At().Iterator(nil)
			for it.Next() == chunkenc.ValFloat {
				_, v := it.At()
				out[v]++
			}
		}
		if set.Err() != nil {
			s.t.Fatal(set.Err())
		}
		return out
	}
	seen, slow := values("pages_total"), values("up")[0] // scrapes of which this machine was too slow
	pages, _ := s.lamps.count()
	var lost []int
	for k := 1; k < pages; k++ { // the last may have been cut off by the end
		if seen[float64(k)] == 0 {
			lost = append(lost, k)
		}
	}
	if len(lost) > slow {
		s.t.Errorf("of %d pages these were lost: %v", pages, lost)
	}
	s.t.Logf("%d pages, %d scrapes timed out", pages, slow)
}

func TestAReloadThatFailsSaysWhyAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newReloadStage(t)
	s.open()
	s.wait("it runs", func() bool { pages, _ := s.lamps.count(); return pages > 3 })
	metrics := func() string { return s.get("/metrics") }
	if !strings.Contains(metrics(), "belay_config_last_reload_successful 1") {
		t.Error("the start does not count as a successful load")
	}
	s.bad(1)
	err := s.p.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "rules.yml:1:") {
		t.Errorf("the reason does not name the line: %v", err)
	}
	if !strings.Contains(metrics(), "belay_config_last_reload_successful 0") {
		t.Error("the metric does not tell")
	}
	if !strings.Contains(s.get("/api/belay/v1/status"), "the configuration was not reloaded") {
		t.Error("the status does not tell")
	}
	before := len(s.events())
	s.good(1)
	if body := s.post("/-/reload"); !strings.Contains(body, "is reloaded") {
		t.Errorf("POST /-/reload: %s", body)
	}
	if !strings.Contains(s.get("/api/belay/v1/services"), "payments") {
		t.Error("the new service is not shown")
	}
	if !strings.Contains(metrics(), "belay_config_last_reload_successful 1") || strings.Contains(s.get("/api/belay/v1/status"), "not reloaded") {
		t.Error("success is not told")
	}
	configured := 0
	for _, ev := range s.events()[before:] {
		if ev.Kind == belay.KindConfigured && strings.Contains(ev.Reason, "SHA-256") {
			configured++
		}
	}
	if configured != 1 {
		t.Errorf("%d times in the journal", configured)
	}
}

func (s *reloadStage) get(path string) string {
	return s.call(http.MethodGet, path)
}

func (s *reloadStage) post(path string) string {
	return s.call(http.MethodPost, path)
}

func (s *reloadStage) call(method, path string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.p.Addr().String()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(s.dir, "belay.token"))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

// A revision is known good after it has soaked, however often the
// configuration is reloaded meanwhile.
func TestASoakGoesOnThroughReloads(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	cfg, err := pipeline.Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.New(cfg, pipeline.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- p.Run(ctx) }()
	t.Cleanup(s.stop)
	s.await("v1 soaks", standing(belay.Soaking))
	soaking := func() bool {
		for _, ev := range s.events() {
			if ev.Ledger != nil && ev.Ledger.Standing == belay.Good {
				return false
			}
		}
		return true
	}
	for i := 0; soaking(); i++ {
		if i == 200 {
			t.Fatal("200 reloads, and the soak has not ended: each begins it anew")
		}
		s.put("rules.yml", stageRules+fmt.Sprintf("      - {alert: Another, expr: 'queue_length > %d'}\n", 1000+i))
		if err := p.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
