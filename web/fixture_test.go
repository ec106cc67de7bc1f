package web_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/web"
)

const hostile = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`

var (
	checkout = belay.ServiceID{Environment: "production", Name: "checkout"}
	search   = belay.ServiceID{Environment: "production", Name: "search"}
	bad      = belay.Revision{Content: "sha256:b16b00b5b16b00b5b16b00b5b16b00b5b16b00b5b16b00b5b16b00b5b16b00b5", Version: "v1.4.3"}
	good     = belay.Revision{Content: "sha256:600d600d600d600d600d600d600d600d600d600d600d600d600d600d600d600d", Version: "v1.4.2"}
	start    = time.Date(2026, 3, 14, 14, 2, 0, 0, time.UTC)
)

func token() string { return "belay_" + strings.Repeat("ab", 32) }

// at numbers events and spreads them over time.
func at(events ...belay.Event) []belay.Event {
	for i := range events {
		events[i].Seq = belay.Seq(i + 1)
		events[i].Stream, events[i].Pos = "s", belay.Seq(i+1)
		if events[i].At.IsZero() {
			events[i].At = start.Add(time.Duration(i) * 7 * time.Second)
		}
	}
	return events
}

func alert(state belay.AlertState) belay.Alert {
	return belay.Alert{
		ID: "a1", Rule: "CheckoutErrors", Group: "checkout", State: state, Value: 0.184, Condition: "> 0.02", Expr: "errors / total > 0.02",
		Labels:      labels.FromStrings("alertname", "CheckoutErrors", "service", "checkout", "severity", "critical"),
		Annotations: map[string]string{"summary": "18.4 % of the requests to checkout fail"},
		ActiveAt:    start.Add(40 * time.Second), FiredAt: start.Add(50 * time.Second), EvaluatedAt: start.Add(55 * time.Second), Verdict: belay.Fail, Failed: 3,
	}
}

func incident(id string, state belay.IncidentState) *belay.Incident {
	i := &belay.Incident{
		ID: id, Service: checkout, Title: "Checkout answers with errors", Severity: "critical", State: state,
		OpenedAt: start.Add(time.Minute), Alerts: []belay.Alert{alert(belay.AlertFiring)},
	}
	if state == belay.Resolved {
		i.ResolvedAt = start.Add(4 * time.Minute)
		i.Alerts = []belay.Alert{alert(belay.AlertInactive)}
		i.Alerts[0].ResolvedAt = i.ResolvedAt
	}
	return i
}

func answers() []belay.Answer {
	return []belay.Answer{
		{Step: 1, Guard: "evidence", Says: "CheckoutErrors failed 3 times of 3 on fresh data, the newest 2 s old."},
		{Step: 2, Guard: "own_lag", Says: "Belay keeps up: 0.2 s behind."},
		{Step: 3, Guard: "suspect", Says: "v1.4.3 was deployed 52 s before the first failure, and nothing else was."},
		{Step: 4, Guard: "still_running", Says: "v1.4.3 still runs."},
		{Step: 5, Guard: "known_good", Says: "v1.4.2 is known good since yesterday."},
		{Step: 6, Guard: "owner", Says: "Nobody else would undo it."},
		{Step: 7, Guard: "mode", Says: "The mode is auto."},
	}
}

func rollbackIn(state belay.RollbackState) *belay.Rollback {
	r := &belay.Rollback{
		ID: "r-5f2c81d09a3e", Incident: "i-7k2m", Target: belay.Target{Service: checkout, Platform: "command"},
		From: bad, To: good, Mode: belay.ModeAuto, State: state, Answers: answers(),
		Reason:    "Every guard agrees: Belay goes back from v1.4.3 to v1.4.2.",
		Suspects:  []belay.Suspect{{Deployment: deployment(), Score: 0.94, Why: "It began 52 s before the first failure, and the signal was green before it."}},
		DecidedAt: start.Add(63 * time.Second), VetoUntil: start.Add(73 * time.Second),
	}
	if state == belay.RollbackRecovered {
		r.IntentAt, r.ActedAt, r.ConvergedAt = start.Add(73*time.Second), start.Add(74*time.Second), start.Add(80*time.Second)
		r.HealthyAt, r.ClosedAt = start.Add(90*time.Second), start.Add(4*time.Minute)
		r.Reason = "Fresh data has proved for 2 min 30 s that checkout is well again."
	}
	return r
}

func deployment() belay.Deployment {
	return belay.Deployment{ID: "d-1", Service: checkout, From: good, To: bad, StartedAt: start, FinishedAt: start.Add(12 * time.Second), Result: "succeeded", Actor: "ada", URL: "https://ci.example.org/42"}
}

// loop is the story of one incident from release to review.
func loop() []belay.Event {
	d := deployment()
	a := alert(belay.AlertFiring)
	back := belay.Deployment{ID: "d-2", Service: checkout, From: bad, To: good, StartedAt: start.Add(74 * time.Second), FinishedAt: start.Add(80 * time.Second), Result: "succeeded", Operation: "r-5f2c81d09a3e"}
	return at(
		belay.Event{Kind: belay.KindStarted, Reason: "Belay v0.1.0 has started."},
		belay.Event{Kind: belay.KindLedger, Service: checkout, Reason: "v1.4.2 soaked for 15 min with every rule green: it is known good.", Ledger: &belay.LedgerEntry{Service: checkout, Revision: good, Standing: belay.Good, Since: start.Add(-24 * time.Hour)}},
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "v1.4.3 was put in place of v1.4.2.", Actor: "ada", Deployment: &d},
		belay.Event{Kind: belay.KindAlert, Service: checkout, Reason: "CheckoutErrors fires: 0.184 > 0.02 for 10 s.", Alert: &a},
		belay.Event{Kind: belay.KindOpened, Service: checkout, Reason: "CheckoutErrors fires for checkout: 18.4 % of its requests fail.", Incident: incident("i-7k2m", belay.Triggered)},
		belay.Event{Kind: belay.KindDelivery, Service: checkout, Reason: "Slack was told.", Delivery: &belay.Delivery{Destination: "slack #checkout-oncall", Incident: "i-7k2m", Key: "i-7k2m", Kind: "parent", Result: "sent", Tries: 1}},
		belay.Event{Kind: belay.KindCountdown, Service: checkout, Reason: "Belay goes back to v1.4.2 in 10 s unless somebody stops it.", Rollback: rollbackIn(belay.RollbackCountdown)},
		belay.Event{Kind: belay.KindIntent, Service: checkout, Reason: "Nobody stopped it and every guard still agrees: asking the platform for v1.4.2.", Rollback: rollbackIn(belay.RollbackIntended)},
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "v1.4.2 was put in place of v1.4.3 by Belay.", Deployment: &back},
		belay.Event{Kind: belay.KindHealthy, Service: checkout, Reason: "Fresh data shows that checkout is well.", Rollback: rollbackIn(belay.RollbackProving)},
		belay.Event{Kind: belay.KindLedger, Service: checkout, Reason: "An incident was attributed to v1.4.3: it is held back.", Ledger: &belay.LedgerEntry{Service: checkout, Revision: bad, Standing: belay.Bad, Held: true, Since: start.Add(90 * time.Second)}},
		belay.Event{Kind: belay.KindRecovered, Service: checkout, Reason: "The symptom stayed clear: recovered.", Rollback: rollbackIn(belay.RollbackRecovered)},
		belay.Event{Kind: belay.KindResolved, Service: checkout, Reason: "All alerts of the incident have ended.", Incident: incident("i-7k2m", belay.Resolved)},
		belay.Event{Kind: belay.KindReview, Service: checkout, Reason: "The review is drafted.", Review: &belay.Review{Incident: "i-7k2m", State: "draft", Files: []string{"i-7k2m.md", "i-7k2m.svg"}}},
	)
}

// house is a server over a real journal, as the pipeline builds it.
type house struct {
	server  *web.Server
	view    *web.View
	journal *journal.Store
	http    *httptest.Server
	reviews string
	opts    web.Options
	calls   *calls
}

// calls notes what actions were asked for.
type calls struct {
	mu   sync.Mutex
	list []string
	err  error
}

func (c *calls) note(words ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, strings.Join(words, " "))
	return c.err
}

func (c *calls) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.list...)
}

func (c *calls) reload(context.Context) error { return c.note("reload") }

func (c *calls) actions() web.Actions {
	return web.Actions{
		Deploy: func(_ context.Context, n web.DeployNotice) error {
			return c.note("deploy", n.Event, n.Service.String(), string(n.Revision), n.Actor)
		},
		RollbackPlan: func(context.Context, belay.ServiceID) (belay.Rollback, error) {
			return *rollbackIn(belay.RollbackPlanned), c.note("plan")
		},
		RollbackStart: func(_ context.Context, s belay.ServiceID, actor string) (belay.Rollback, error) {
			return *rollbackIn(belay.RollbackPlanned), c.note("start", s.String(), actor)
		},
		RollbackReport: func(context.Context, belay.ServiceID, time.Time) (any, error) {
			return map[string]any{"rows": []any{}}, c.note("report")
		},
		AlertsReport: func(context.Context, time.Time) (any, error) {
			return map[string]any{"rules": []any{}}, c.note("alerts report")
		},
		RollbackApprove: func(_ context.Context, id, plan, actor string) error { return c.note("approve", id, plan, actor) },
		RollbackStop:    func(_ context.Context, id, actor, reason string) error { return c.note("stop", id, actor, reason) },
		RollbackRelease: func(_ context.Context, s belay.ServiceID, content belay.Content, actor string) error {
			return c.note("release", s.String(), string(content), actor)
		},
		Ack:     func(_ context.Context, id, actor, text string) error { return c.note("ack", id, actor, text) },
		Note:    func(_ context.Context, id, actor, text string) error { return c.note("note", id, actor, text) },
		Resolve: func(_ context.Context, id, actor, text string) error { return c.note("resolve", id, actor, text) },
		Assign:  func(_ context.Context, id, actor, to string) error { return c.note("assign", id, actor, to) },
		Rate:    func(_ context.Context, id, actor, to string) error { return c.note("severity", id, actor, to) },
		Merge:   func(_ context.Context, id, actor, to string) error { return c.note("merge", id, actor, to) },
		Silence: func(_ context.Context, s belay.Silence) error {
			return c.note("silence", strings.Join(s.Matchers, " "), s.EndsAt.Sub(s.StartsAt).String(), s.CreatedBy, s.Comment)
		},
		Expire: func(_ context.Context, id, actor string) error { return c.note("expire", id, actor) },
	}
}

// build makes a server and fills its view with the events. change may alter
// the options before.
func build(t testing.TB, events []belay.Event, change func(*web.Options)) *house {
	t.Helper()
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for _, e := range events {
		e.Seq, e.Pos = 0, 0
		if _, err := store.Append(t.Context(), "test", belay.AnySeq, e); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{journal: store, reviews: t.TempDir(), calls: &calls{}, view: web.NewView(store, nil)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.view.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	registry := prometheus.NewPedanticRegistry()
	h.opts = web.Options{
		View: h.view, Journal: store, Token: token(), TokenFile: "/var/lib/belay/belay.token", Version: "v0.1.0", ReviewDir: h.reviews,
		Services: []web.ServiceInfo{
			{ID: checkout, Platform: "command", Mode: belay.ModeAuto, Match: map[string]string{"service": "checkout"}},
			{ID: search, Platform: "command", Mode: belay.ModeNotify, Match: map[string]string{"service": "search"}},
		},
		Gatherer: registry, Actions: h.calls.actions(), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return start.Add(10 * time.Minute) },
	}
	if change != nil {
		change(&h.opts)
	}
	if h.server, err = web.New(web.Config{Listen: "127.0.0.1:0"}, h.opts); err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(h.server.Collector())
	h.http = httptest.NewServer(h.server.Handler())
	t.Cleanup(h.http.Close)
	h.catchUp(t)
	return h
}

// catchUp waits until the view has read all that the journal holds.
func (h *house) catchUp(t testing.TB) {
	t.Helper()
	var end belay.Seq
	for e, err := range h.journal.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		end = e.Seq
	}
	deadline := time.After(time.Minute)
	for h.view.Seq() < end || !h.view.CaughtUp() {
		select {
		case <-deadline:
			t.Fatalf("the view is at %d of %d", h.view.Seq(), end)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (h *house) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.reviews, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
