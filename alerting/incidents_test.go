package alerting_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/journal"
)

func openJournal(t *testing.T) *journal.Store {
	t.Helper()
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// byService claims alerts by their label "service", in production.
func byService(l labels.Labels) (belay.ServiceID, bool) {
	return belay.ServiceID{Environment: "production", Name: l.Get("service")}, l.Has("service")
}

func newIncidents(t *testing.T, j belay.Journal, change ...func(*alerting.Options)) *alerting.Incidents {
	t.Helper()
	opts := alerting.Options{Journal: j, Match: byService}
	for _, c := range change {
		c(&opts)
	}
	c, err := alerting.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs until stop is called, or the test ends.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func appendAlert(t *testing.T, j belay.Journal, a belay.Alert) {
	t.Helper()
	ev := belay.Event{At: time.Now(), Kind: belay.KindAlert, Reason: a.Rule + " is " + string(a.State), Alert: &a}
	mustAppend(t, j, "rule/"+a.ID, ev)
}

func mustAppend(t *testing.T, j belay.Journal, stream string, ev belay.Event) {
	t.Helper()
	if ev.At.IsZero() {
		ev.At = time.Now()
	}
	if _, err := j.Append(t.Context(), stream, belay.AnySeq, ev); err != nil {
		t.Fatal(err)
	}
}

// events returns those of the kinds that begin with prefix.
func events(t *testing.T, j belay.Journal, prefix string) []belay.Event {
	t.Helper()
	var out []belay.Event
	for ev, err := range j.Read(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(ev.Kind), prefix) {
			out = append(out, ev)
		}
	}
	return out
}

func kinds(evs []belay.Event) []string {
	var out []string
	for _, ev := range evs {
		out = append(out, strings.TrimPrefix(string(ev.Kind), "incident."))
	}
	return out
}

// await reads the journal, as it grows, until want is true of an event, and
// returns that event.
func await(t *testing.T, j belay.Journal, want func(belay.Event) bool) belay.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ev, err := range j.Tail(ctx, 0) {
		if err == nil && want(ev) {
			return ev
		}
	}
	var all []string
	for _, ev := range events(t, j, "") {
		all = append(all, string(ev.Kind)+": "+ev.Reason)
	}
	t.Fatalf("what is awaited never happened; the journal has:\n%s", strings.Join(all, "\n"))
	return belay.Event{}
}

func isKind(k belay.Kind) func(belay.Event) bool {
	return func(ev belay.Event) bool { return ev.Kind == k }
}

func TestAnIncidentFollowsItsAlertsAndItsRollback(t *testing.T) {
	j := openJournal(t)
	start(t, newIncidents(t, j).Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	id := await(t, j, isKind(belay.KindOpened)).Incident.ID

	r := aRollback(belay.RollbackIntended)
	r.Incident = id
	mustAppend(t, j, belay.RollbackStream(checkout), belay.Event{Kind: belay.KindIntent, Reason: "now", Service: checkout, Rollback: r})
	await(t, j, func(ev belay.Event) bool { return ev.Incident != nil && ev.Incident.State == belay.Mitigating })

	appendAlert(t, j, anAlert("Errors", "critical", endedAt("14:05:00")))
	await(t, j, func(ev belay.Event) bool {
		return ev.Kind == belay.KindUpdated && ev.Incident.Alerts[0].State == belay.AlertInactive
	})
	rec := *r
	rec.State, rec.ClosedAt = belay.RollbackRecovered, at("14:10:00")
	mustAppend(t, j, belay.RollbackStream(checkout), belay.Event{Kind: belay.KindRecovered, Reason: "healthy", Service: checkout, Rollback: &rec})
	await(t, j, isKind(belay.KindResolved))

	want := []string{"opened", "updated", "updated", "updated", "resolved"}
	if diff := cmp.Diff(want, kinds(events(t, j, "incident."))); diff != "" {
		t.Error(diff)
	}
	appendAlert(t, j, anAlert("Errors", "critical", func(a *belay.Alert) { a.FiredAt = at("14:12:00") }))
	again := await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindOpened && ev.Incident.ID != id })
	if again.Incident.State != belay.Triggered {
		t.Errorf("the new incident is %s", again.Incident.State)
	}
}

func TestAlertsThatNoServiceClaimsAreUnassigned(t *testing.T) {
	j := openJournal(t)
	start(t, newIncidents(t, j).Run)
	appendAlert(t, j, anAlert("Lonely", "warning", func(a *belay.Alert) { a.Labels = labels.FromStrings("alertname", "Lonely") }))
	ev := await(t, j, isKind(belay.KindOpened))
	if ev.Service != alerting.Unassigned || ev.Stream != belay.IncidentStream(alerting.Unassigned) || ev.Incident.Title != "unassigned: Lonely" {
		t.Errorf("service %v, stream %s, title %q", ev.Service, ev.Stream, ev.Incident.Title)
	}
}

func TestARestartActsOnWhatChangedMeanwhileAndRepeatsNothing(t *testing.T) {
	j := openJournal(t)
	stop := start(t, newIncidents(t, j).Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	await(t, j, isKind(belay.KindOpened))
	stop()

	stop = start(t, newIncidents(t, j).Run) // nothing has changed
	appendAlert(t, j, anAlert("Queue", "warning"))
	await(t, j, isKind(belay.KindJoined))
	stop()

	appendAlert(t, j, anAlert("Errors", "critical", endedAt("14:05:00"))) // while nobody runs
	appendAlert(t, j, anAlert("Queue", "warning", endedAt("14:06:00")))
	start(t, newIncidents(t, j).Run)
	await(t, j, isKind(belay.KindResolved))
	if diff := cmp.Diff([]string{"opened", "joined", "updated", "resolved"}, kinds(events(t, j, "incident."))); diff != "" {
		t.Error(diff)
	}
}

func TestTwoCorrelatorsNeverOpenTwoIncidentsOfOneService(t *testing.T) {
	j := openJournal(t)
	for range 4 {
		start(t, newIncidents(t, j).Run)
	}
	for n := range 20 {
		name := "A" + string(rune('a'+n))
		appendAlert(t, j, anAlert(name, "warning"))
		appendAlert(t, j, anAlert(name, "warning", endedAt("14:05:00")))
	}
	appendAlert(t, j, anAlert("Last", "critical"))
	await(t, j, func(ev belay.Event) bool {
		return ev.Incident != nil && slices.ContainsFunc(ev.Incident.Alerts, func(a belay.Alert) bool { return a.Rule == "Last" })
	})
	open := ""
	for _, ev := range events(t, j, "incident.") {
		switch {
		case ev.Kind == belay.KindOpened && open != "":
			t.Fatalf("%s opened while %s is open", ev.Incident.ID, open)
		case ev.Kind == belay.KindOpened:
			open = ev.Incident.ID
		case ev.Incident.ID != open:
			t.Fatalf("%s of %s while %q is open", ev.Kind, ev.Incident.ID, open)
		case ev.Kind == belay.KindResolved:
			open = ""
		}
	}
}

func TestPeopleAcknowledgeNoteAndResolve(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j)
	start(t, c.Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	id := await(t, j, isKind(belay.KindOpened)).Incident.ID
	ctx := t.Context()

	for _, err := range []error{
		c.Ack(ctx, id, "alice"), c.Ack(ctx, id, "alice"), c.Ack(ctx, id, "bob"),
		c.Note(ctx, id, "bob", "  the database looks fine  "), c.Resolve(ctx, id, "alice", "false alarm"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, ev := range events(t, j, "incident.")[1:] {
		got = append(got, string(ev.Kind)+" "+ev.Actor+": "+ev.Reason)
	}
	if n := len(got); n == 4 {
		got[3], _, _ = strings.Cut(got[3], " after")
	}
	want := []string{
		"incident.acked alice: alice is on it", "incident.acked bob: bob takes over from alice",
		"incident.noted bob: the database looks fine", "incident.resolved alice: alice resolved it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Errors still fires, but that is what alice has closed.
	appendAlert(t, j, anAlert("Errors", "critical", func(a *belay.Alert) { a.Value = 0.5 }))
	appendAlert(t, j, anAlert("Other", "critical", func(a *belay.Alert) { a.Labels = labels.FromStrings("service", "payments") }))
	await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindOpened && ev.Service.Name == "payments" })
	for _, ev := range events(t, j, "incident.opened")[1:] {
		if ev.Service == checkout {
			t.Errorf("what a person closed is open again: %s", ev.Reason)
		}
	}
}

func TestWhatPeopleCannotDoIsRefusedWithAReason(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j)
	stop := start(t, c.Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	id := await(t, j, isKind(belay.KindOpened)).Incident.ID
	stop() // the methods need no Run
	ctx := t.Context()

	r := aRollback(belay.RollbackCountdown)
	r.Incident = id
	mustAppend(t, j, belay.RollbackStream(checkout), belay.Event{Kind: belay.KindCountdown, Reason: "soon", Service: checkout, Rollback: r})
	for name, tc := range map[string]struct {
		err  error
		is   error
		says string
	}{
		"an unknown incident":       {c.Ack(ctx, "checkout-x", "alice"), alerting.ErrUnknownIncident, "checkout-x"},
		"nobody":                    {c.Ack(ctx, id, " "), nil, "nobody is named"},
		"a name without end":        {c.Ack(ctx, id, strings.Repeat("a", 101)), nil, "at most 100"},
		"an empty note":             {c.Note(ctx, id, "alice", " \n"), nil, "empty"},
		"a note without end":        {c.Note(ctx, id, "alice", strings.Repeat("ä", 2001)), nil, "2001 characters are too many, at most 2000"},
		"resolving under countdown": {c.Resolve(ctx, id, "alice", ""), alerting.ErrRollbackPending, "stop it"},
	} {
		if tc.err == nil || tc.is != nil && !errors.Is(tc.err, tc.is) || !strings.Contains(tc.err.Error(), tc.says) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	r2 := *r
	r2.State = belay.RollbackStopped
	mustAppend(t, j, belay.RollbackStream(checkout), belay.Event{Kind: belay.KindStop, Reason: "no", Service: checkout, Rollback: &r2})
	if err := c.Resolve(ctx, id, "alice", ""); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{c.Ack(ctx, id, "bob"), c.Note(ctx, id, "bob", "x"), c.Resolve(ctx, id, "bob", "")} {
		if !errors.Is(err, alerting.ErrResolved) {
			t.Errorf("after resolution: %v", err)
		}
	}
}

// brokenJournal refuses appends to streams with a prefix while it is broken.
type brokenJournal struct {
	belay.Journal
	mu     sync.Mutex
	prefix string
}

func (b *brokenJournal) set(prefix string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prefix = prefix
}

func (b *brokenJournal) Append(ctx context.Context, stream string, expect belay.Seq, evs ...belay.Event) (belay.Seq, error) {
	b.mu.Lock()
	broken := b.prefix != "" && strings.HasPrefix(stream, b.prefix)
	b.mu.Unlock()
	if broken {
		return 0, errors.New("disk full")
	}
	return b.Journal.Append(ctx, stream, expect, evs...)
}

func TestAJournalThatCannotBeWrittenIsToldAndTriedAgain(t *testing.T) {
	j := &brokenJournal{Journal: openJournal(t), prefix: "incidents/"}
	told := make(chan string, 10)
	start(t, newIncidents(t, j, func(o *alerting.Options) {
		o.Tell = func(_ context.Context, kind, text string) {
			select {
			case told <- kind + ": " + text:
			default:
			}
		}
	}).Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	if got := <-told; !strings.HasPrefix(got, "journal: incidents cannot be written") || !strings.Contains(got, "disk full") {
		t.Errorf("told %q", got)
	}
	if opened := events(t, j, "incident."); len(opened) > 0 {
		t.Fatalf("%d events although the journal is broken", len(opened))
	}
	j.set("")
	await(t, j, isKind(belay.KindOpened)) // no event wakes it: it tries again by itself
}

// An alert may fire and end while Belay starts again or takes a new
// configuration, and people are told of it all the same; of what ended long ago
// they are not.
func TestAFiringThatEndedBeforeAnybodyLookedIsTold(t *testing.T) {
	j := openJournal(t)
	fire := func(rule string, ago time.Duration) {
		a := anAlert(rule, "critical")
		a.FiredAt = time.Now().Add(-ago - time.Second)
		appendAlert(t, j, a)
		a.State, a.ResolvedAt = belay.AlertInactive, time.Now().Add(-ago)
		appendAlert(t, j, a)
	}
	fire("LongAgo", time.Hour)
	fire("Brief", 0)
	stop := start(t, newIncidents(t, j).Run)
	await(t, j, isKind(belay.KindResolved))
	stop()
	for _, other := range []string{"Second", "Third"} { // and no start tells it again
		fire(other, 0)
		stop = start(t, newIncidents(t, j).Run)
		await(t, j, func(ev belay.Event) bool {
			return ev.Kind == belay.KindResolved && ev.Incident.Alerts[0].Rule == other
		})
		stop()
	}
	var opened []string
	for _, ev := range events(t, j, "incident.opened") {
		for _, a := range ev.Incident.Alerts {
			opened = append(opened, a.Rule)
		}
	}
	if diff := cmp.Diff([]string{"Brief", "Second", "Third"}, opened); diff != "" {
		t.Error(diff)
	}
	if first := events(t, j, "incident.opened")[0]; !strings.Contains(first.Reason, "Brief") {
		t.Errorf("people are told %q", first.Reason)
	}
}
