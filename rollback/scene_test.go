package rollback_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
	"github.com/belaydev/belay/strict"
)

var (
	checkout = belay.ServiceID{Environment: "production", Name: "checkout"}
	target   = belay.Target{Service: checkout, Platform: "fake"}
	v1       = belay.Revision{Content: "sha256:1111", Version: "1.41.3"}
	v2       = belay.Revision{Content: "sha256:2222", Version: "1.42.0"}
	v3       = belay.Revision{Content: "sha256:3333", Version: "1.43.0"}
)

const autoPolicy = `
rollback: {mode: auto, veto: 10s, soak: 1m, recovery_hold: 30s, recovery_timeout: 5m, cooldown: 3m, kill_switch_file: %s}
`

// A scene is one service on a fake platform, with a real journal, and rules
// and people played by the test. Time is the bubble's.
type scene struct {
	t         *testing.T
	platform  *rollbacktest.Fake
	journal   belay.Journal
	store     belay.Journal // the same, when it does not refuse
	stop      func()
	killFile  string
	policy    string
	incidents int

	mu        sync.Mutex
	alerts    []belay.Alert
	verdicts  map[string]belay.Verdict
	failing   bool // the journal refuses
	emergency []string
	deaf      bool   // no channel confirms anything
	foreign   string // why what the alerts rest on is not Belay's own
	silenced  string // which silence mutes the alerts
	listing   func() // called when the platform is asked for revisions
}

// slow is the scene's platform, which takes its time to list revisions.
type slow struct {
	*rollbacktest.Fake
	s *scene
}

func (p slow) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	p.s.mu.Lock()
	listing := p.s.listing
	p.s.mu.Unlock()
	if listing != nil {
		listing()
	}
	return p.Fake.Revisions(ctx, t)
}

// play runs a test in a bubble where v1 is deployed and known to be good.
func play(t *testing.T, policy string, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, policy, newMemory())
		s.platform.Deploy(v1)
		s.start()
		time.Sleep(2 * time.Minute)
		s.expectStanding(v1, belay.Good)
		test(s)
		s.stop()
	})
}

// onDisk opens the real journal.
func onDisk(t *testing.T) belay.Journal {
	t.Helper()
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newScene(t *testing.T, policy string, store belay.Journal) *scene {
	t.Helper()
	dir := t.TempDir()
	s := &scene{
		t: t, store: store, platform: rollbacktest.NewFake(target, rollback.Atomic), killFile: filepath.Join(dir, "STOP"),
		policy: policy, verdicts: map[string]belay.Verdict{"CheckoutErrors": belay.Pass},
	}
	s.journal = faultyJournal{Journal: store, scene: s}
	return s
}

func (s *scene) load() rollback.Policy {
	s.t.Helper()
	doc, ps := strict.Parse("belay.yml", fmt.Appendf(nil, s.policy, s.killFile))
	if len(ps) > 0 {
		s.t.Fatal(ps)
	}
	p, ps := rollback.LoadPolicy(doc, rollback.DefaultPolicy(), "rollback")
	if len(ps) > 0 {
		s.t.Fatal(ps)
	}
	return p
}

// start runs a controller, and people who read every message at once.
func (s *scene) start() *rollback.Controller {
	s.t.Helper()
	c, err := rollback.New([]rollback.Service{{
		ID: checkout, Policy: s.load(), PlatformName: "fake", Platform: slow{s.platform, s},
		Match: func(ls labels.Labels) bool { return ls.Get("service") == "checkout" },
	}}, rollback.Options{
		Journal: s.journal, Alerts: s.presentAlerts, Judgements: s.presentJudgements,
		Foreign:   func(belay.Alert) string { s.mu.Lock(); defer s.mu.Unlock(); return s.foreign },
		Silenced:  func(belay.Alert) string { s.mu.Lock(); defer s.mu.Unlock(); return s.silenced },
		Emergency: func(_, text string) { s.mu.Lock(); s.emergency = append(s.emergency, text); s.mu.Unlock() },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	wg.Go(func() { s.people(ctx) })
	s.stop = func() { cancel(); wg.Wait() }
	return c
}

// restart is kill -9 and a new process: nothing but the journal survives.
func (s *scene) restart() *rollback.Controller {
	s.t.Helper()
	s.stop()
	return s.start()
}

// people confirm each rollback event, unless they are deaf.
func (s *scene) people(ctx context.Context) {
	for ev, err := range s.store.Tail(ctx, 0) {
		s.mu.Lock()
		deaf := s.deaf
		s.mu.Unlock()
		if err != nil || deaf || ev.Rollback == nil {
			continue
		}
		_, _ = s.store.Append(ctx, "delivery/test", belay.AnySeq, belay.Event{
			At: time.Now(), Kind: belay.KindDelivery, Reason: "told",
			Delivery: &belay.Delivery{Destination: "test", Incident: ev.Rollback.Incident, Key: fmt.Sprint(ev.Seq), Result: "sent", Tells: ev.Seq},
		})
	}
}

func (s *scene) presentAlerts() []belay.Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]belay.Alert, len(s.alerts))
	for i, a := range s.alerts {
		if a.Verdict == belay.Fail {
			a.DataAt, a.EvaluatedAt = time.Now(), time.Now()
		}
		out[i] = a
	}
	return out
}

func (s *scene) presentJudgements() []belay.Judgement {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []belay.Judgement
	for rule, v := range s.verdicts {
		j := belay.Judgement{Rule: rule, Labels: labels.FromStrings("service", "checkout"), Verdict: v, At: time.Now()}
		if v == belay.Pass || v == belay.Fail {
			j.DataAt = time.Now()
		}
		out = append(out, j)
	}
	return out
}

func (s *scene) setVerdict(rule string, v belay.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts[rule] = v
	for i := range s.alerts {
		if s.alerts[i].Rule == rule {
			s.alerts[i].Verdict = v
		}
	}
}

func (s *scene) incident() belay.Incident {
	return belay.Incident{ID: fmt.Sprint("checkout-", s.incidents), Service: checkout, Title: "checkout is broken", Severity: "critical", State: belay.Triggered, OpenedAt: time.Now()}
}

// breaks makes the rule fail now, and the incident open.
func (s *scene) breaks() {
	s.t.Helper()
	s.fires("CheckoutErrors")
	s.openIncident()
}

func (s *scene) fires(rule string) {
	s.mu.Lock()
	s.alerts = append(s.alerts, belay.Alert{
		ID: rule, Rule: rule, Labels: labels.FromStrings("alertname", rule, "service", "checkout", "severity", "critical"),
		State: belay.AlertFiring, ActiveAt: time.Now(), FiredAt: time.Now(), Verdict: belay.Fail, Failed: 3, DataAt: time.Now(),
	})
	s.mu.Unlock()
	s.setVerdict(rule, belay.Fail)
}

func (s *scene) openIncident() {
	s.t.Helper()
	s.incidents++
	in := s.incident()
	s.write(belay.IncidentStream(checkout), belay.Event{At: time.Now(), Kind: belay.KindOpened, Service: checkout, Reason: "it broke", Incident: &in})
}

// mends makes the rule pass again.
func (s *scene) mends() {
	s.mu.Lock()
	s.alerts = nil
	s.mu.Unlock()
	s.setVerdict("CheckoutErrors", belay.Pass)
}

func (s *scene) resolveIncident() {
	s.t.Helper()
	in := s.incident()
	in.State = belay.Resolved
	s.write(belay.IncidentStream(checkout), belay.Event{At: time.Now(), Kind: belay.KindResolved, Service: checkout, Reason: "well again", Incident: &in})
}

func (s *scene) write(stream string, ev belay.Event) {
	s.t.Helper()
	if _, err := s.store.Append(s.t.Context(), stream, belay.AnySeq, ev); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) events() []belay.Event {
	s.t.Helper()
	var out []belay.Event
	for ev, err := range s.store.Read(s.t.Context(), 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, ev)
	}
	return out
}

func (s *scene) newest() belay.Rollback {
	s.t.Helper()
	var rb belay.Rollback
	for _, ev := range s.events() {
		if ev.Rollback != nil {
			rb = *ev.Rollback
		}
	}
	return rb
}

func (s *scene) expectState(want belay.RollbackState) belay.Rollback {
	s.t.Helper()
	rb := s.newest()
	if rb.State != want {
		s.t.Fatalf("the rollback is %q (%s), want %q", rb.State, rb.Reason, want)
	}
	return rb
}

func (s *scene) expectStanding(r belay.Revision, want belay.Standing) {
	s.t.Helper()
	var got belay.LedgerEntry
	for _, ev := range s.events() {
		if ev.Ledger != nil && ev.Ledger.Revision.Content == r.Content {
			got = *ev.Ledger
		}
	}
	if got.Standing != want {
		s.t.Fatalf("%s is %q in the ledger, want %q", r, got.Standing, want)
	}
}

// writes returns how often the platform's content was changed by an operation.
func (s *scene) writes() int {
	n := 0
	for _, c := range s.platform.History() {
		if c.By != rollbacktest.ByDeploy && c.By != rollbacktest.ByController {
			n++
		}
	}
	return n
}

func (s *scene) expectWrites(want int) {
	s.t.Helper()
	if got := s.writes(); got != want {
		s.t.Fatalf("%d changes by operations, want %d: %+v", got, want, s.platform.History())
	}
}

// expectIntentFirst holds I4: the journal names every operation that the
// platform has seen, as an intent.
func (s *scene) expectIntentFirst() {
	s.t.Helper()
	intents := map[string]time.Time{}
	for _, ev := range s.events() {
		if _, earlier := intents[rollbackID(ev)]; ev.Kind == belay.KindIntent && !earlier {
			intents[ev.Rollback.ID] = ev.At
		}
	}
	for _, c := range s.platform.History() {
		if c.By == rollbacktest.ByDeploy || c.By == rollbacktest.ByController {
			continue
		}
		if at, ok := intents[c.By]; !ok || at.After(c.At) {
			s.t.Errorf("operation %s changed the platform at %s without an earlier intent", c.By, c.At)
		}
	}
}

func rollbackID(ev belay.Event) string {
	if ev.Rollback == nil {
		return ""
	}
	return ev.Rollback.ID
}

// faultyJournal refuses appends while the scene says so.
type faultyJournal struct {
	belay.Journal
	scene *scene
}

var errDiskFull = errors.New("database or disk is full")

func (j faultyJournal) Append(ctx context.Context, stream string, expect belay.Seq, events ...belay.Event) (belay.Seq, error) {
	j.scene.mu.Lock()
	failing := j.scene.failing
	j.scene.mu.Unlock()
	if failing {
		return 0, errDiskFull
	}
	return j.Journal.Append(ctx, stream, expect, events...)
}
