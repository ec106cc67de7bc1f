package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/alertingtest"
	"github.com/belaydev/belay/journal"
)

func newOutbox(t *testing.T, j belay.Journal, destinations ...alerting.Destination) *alerting.Outbox {
	t.Helper()
	o, err := alerting.NewOutbox(alerting.OutboxOptions{Journal: j, Destinations: destinations})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func to(name string, n alerting.Notifier) alerting.Destination {
	return alerting.Destination{Name: name, Notifier: n}
}

// knownTo returns a journal that has told these destinations before, so that
// nothing counts as past to them. It holds one event.
func knownTo(t *testing.T, destinations ...string) *journal.Store {
	t.Helper()
	j := openJournal(t)
	mustAppend(t, j, "belay", belay.Event{Kind: belay.KindStarted, Reason: "started"})
	for _, d := range destinations {
		if err := j.Advance(t.Context(), d, 1); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// A teller writes the story of one incident into a journal.
type teller struct {
	t        *testing.T
	j        belay.Journal
	incident belay.Incident
	rollback belay.Rollback
}

func tell(t *testing.T, j belay.Journal, id string) *teller {
	i := anIncident(anAlert("CheckoutErrors", "critical", summary("error ratio")))
	i.ID = id
	r := aRollback(belay.RollbackRefused)
	r.Incident = id
	return &teller{t: t, j: j, incident: i, rollback: *r}
}

func (s *teller) says(k belay.Kind, reason string, change ...func(*belay.Incident)) {
	s.t.Helper()
	for _, c := range change {
		c(&s.incident)
	}
	i := s.incident
	mustAppend(s.t, s.j, belay.IncidentStream(i.Service), belay.Event{Kind: k, Reason: reason, Service: i.Service, Incident: &i})
}

func (s *teller) rolls(k belay.Kind, state belay.RollbackState, reason string, change ...func(*belay.Rollback)) {
	s.t.Helper()
	s.rollback.State = state
	for _, c := range change {
		c(&s.rollback)
	}
	r := s.rollback
	mustAppend(s.t, s.j, belay.RollbackStream(checkout), belay.Event{Kind: k, Reason: reason, Service: checkout, Rollback: &r})
}

func resolve(i *belay.Incident) { i.State, i.ResolvedAt = belay.Resolved, at("14:07:40") }

func ackedBy(who string) func(*belay.Incident) {
	return func(i *belay.Incident) { i.State, i.AcknowledgedBy = belay.Acknowledged, who }
}

// whole tells a whole incident: nine turns, of which eight have a reply.
func (s *teller) whole() {
	s.t.Helper()
	s.says(belay.KindOpened, "opened")
	s.says(belay.KindAcked, "alice is on it", ackedBy("alice"))
	s.rolls(belay.KindPlanned, belay.RollbackPlanned, "planned")
	s.rolls(belay.KindCountdown, belay.RollbackCountdown, "countdown")
	s.rolls(belay.KindIntent, belay.RollbackIntended, "intended")
	s.rolls(belay.KindRecovered, belay.RollbackRecovered, "recovered")
	s.says(belay.KindNoted, "a note")
	s.says(belay.KindResolved, "resolved", resolve)
	mustAppend(s.t, s.j, "review/"+s.incident.ID, belay.Event{
		Kind: belay.KindReview, Reason: "drafted", Review: &belay.Review{Incident: s.incident.ID, State: "draft"},
	})
}

// awaitQuiet waits until a destination has told everything there is.
func awaitQuiet(t *testing.T, o *alerting.Outbox, j belay.Journal, destinations ...string) {
	t.Helper()
	var last belay.Seq
	for ev := range j.Read(t.Context(), 0) {
		if ev.Kind != belay.KindDelivery {
			last = ev.Seq
		}
	}
	for _, d := range destinations {
		eventually(t, d+" has told everything", func() bool {
			cursor, err := j.Cursor(t.Context(), d)
			return err == nil && cursor >= last && o.Depth() == 0
		})
	}
}

// eventually polls for what has no signal.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func deliveries(t *testing.T, j belay.Journal) []string {
	t.Helper()
	var out []string
	for _, ev := range events(t, j, "delivery.") {
		d := ev.Delivery
		out = append(out, fmt.Sprintf("%s %s %s %s", d.Kind, d.Key, d.Result, d.Ref))
	}
	return out
}

func once(keys ...string) map[string]int {
	m := map[string]int{}
	for _, k := range keys {
		m[k] = 1
	}
	return m
}

func TestAnIncidentIsOneMessageEditedInPlaceWithItsStoryInTheThread(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	tell(t, j, "i1").whole()
	awaitQuiet(t, o, j, "slack:#ops")

	if diff := cmp.Diff(once("i1"), ch.Parents()); diff != "" {
		t.Errorf("parents: %s", diff)
	}
	posts := ch.Posts()
	var thread []string
	for _, p := range posts[1:] {
		if p.Thread != posts[0].Ref {
			t.Errorf("%q stands outside the thread", p.Message.Event.Reason)
		}
		thread = append(thread, alerting.Text(p.Message))
	}
	want := []string{"alice is on it", "planned", "countdown", "intended", "recovered", "a note", "resolved", "drafted"}
	if diff := cmp.Diff(want, thread); diff != "" {
		t.Errorf("thread: %s", diff)
	}
	last := posts[0].Message
	if last.Incident.State != belay.Resolved || last.Review == nil || last.Rollback.State != belay.RollbackRecovered {
		t.Errorf("the parent shows %s, %v, %v", last.Incident.State, last.Rollback, last.Review)
	}
}

func TestADeliverySaysWhatItTells(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	s := tell(t, j, "i1")
	s.says(belay.KindOpened, "opened")
	awaitQuiet(t, o, j, "slack:#ops")
	s.rolls(belay.KindPlanned, belay.RollbackPlanned, "planned")
	planned := await(t, j, isKind(belay.KindPlanned)).Seq
	awaitQuiet(t, o, j, "slack:#ops")

	var told []belay.Delivery
	for _, ev := range events(t, j, "delivery.") {
		if ev.Stream != "delivery/slack:#ops" || ev.Reason == "" || ev.Service != checkout {
			t.Errorf("event %+v", ev)
		}
		told = append(told, *ev.Delivery)
	}
	reply := fmt.Sprintf("i1/%d", planned)
	want := []belay.Delivery{
		{Destination: "slack:#ops", Incident: "i1", Key: "i1", Kind: "parent", Result: "begun", Tells: 2, Tries: 1},
		{Destination: "slack:#ops", Incident: "i1", Key: "i1", Kind: "parent", Result: "sent", Ref: "ref-1", Tells: 2, Tries: 1},
		{Destination: "slack:#ops", Incident: "i1", Key: reply, Kind: "reply", Result: "begun", Tells: planned, Tries: 1},
		{Destination: "slack:#ops", Incident: "i1", Key: reply, Kind: "reply", Result: "sent", Ref: "ref-2", Tells: planned, Tries: 1},
		{Destination: "slack:#ops", Incident: "i1", Key: "i1", Kind: "update", Result: "sent", Ref: "ref-1", Tells: planned, Tries: 1},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsOfTheChannelNeverDoubleAMessage(t *testing.T) {
	limited := &alerting.RetryAfterError{After: 400 * time.Millisecond, Err: errors.New("429")}
	for name, tc := range map[string]struct {
		fault   alertingtest.Fault
		atLeast time.Duration
		results string
	}{
		"429 with Retry-After is honoured":   {alertingtest.Once(1, alertingtest.Refuse(limited)), 400 * time.Millisecond, "begun retry begun sent"},
		"accepted, then no answer":           {alertingtest.Once(1, alertingtest.AcceptThenTimeout), 0, "begun retry adopted"},
		"not accepted, no answer either":     {alertingtest.Once(1, alertingtest.Refuse(alerting.ErrAmbiguous)), 0, "begun retry adopted"},
		"two refusals":                       {alertingtest.Once(2, alertingtest.Refuse(errors.New("502"))), 0, "begun retry begun retry begun sent"},
		"no answer, then refused when asked": {failures(alertingtest.AcceptThenTimeout, alertingtest.Refuse(errors.New("502"))), 0, "begun retry retry adopted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
			ch.Fail(tc.fault)
			o := newOutbox(t, j, to("slack:#ops", ch))
			began := time.Now()
			start(t, o.Run)
			tell(t, j, "i1").says(belay.KindOpened, "opened")
			awaitQuiet(t, o, j, "slack:#ops")
			if took := time.Since(began); took < tc.atLeast {
				t.Errorf("took %s, asked to wait %s", took, tc.atLeast)
			}
			if diff := cmp.Diff(once("i1"), ch.Parents()); diff != "" {
				t.Error(diff)
			}
			var results []string
			for _, ev := range events(t, j, "delivery.") {
				results = append(results, ev.Delivery.Result)
			}
			if diff := cmp.Diff(tc.results, strings.Join(results, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// failures befall one call each.
func failures(faults ...alertingtest.Fault) alertingtest.Fault {
	var mu sync.Mutex
	return func(ctx context.Context, call int, m alerting.Message, post func() string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(faults) == 0 {
			return post(), nil
		}
		f := faults[0]
		faults = faults[1:]
		return f(ctx, call, m, post)
	}
}

// A mortal journal kills its process at the n-th write: before it is done, or
// right after.
type mortalJournal struct {
	belay.Journal
	mu    sync.Mutex
	left  int
	after bool
	kill  context.CancelFunc
	dead  bool
}

func (m *mortalJournal) write(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left--
	last := m.left == 0
	if m.dead || last && !m.after {
		m.dead = true
		m.kill()
		return context.Canceled
	}
	err := do()
	if last {
		m.dead = true
		m.kill()
		return context.Canceled
	}
	return err
}

func (m *mortalJournal) Append(ctx context.Context, stream string, expect belay.Seq, evs ...belay.Event) (pos belay.Seq, err error) {
	err = m.write(func() error {
		pos, err = m.Journal.Append(ctx, stream, expect, evs...)
		return err
	})
	return pos, err
}

func (m *mortalJournal) Advance(ctx context.Context, d string, to belay.Seq) error {
	return m.write(func() error { return m.Journal.Advance(ctx, d, to) })
}

func TestAKillAtAnyWriteLeavesOneParentAndOneReplyPerTurn(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
			tell(t, j, "i1").whole()
			ctx, kill := context.WithTimeout(t.Context(), 10*time.Second)
			mortal := &mortalJournal{Journal: j, left: n, after: after, kill: kill}
			o := newOutbox(t, mortal, to("slack:#ops", ch))
			done := make(chan error, 1)
			go func() { done <- o.Run(ctx) }()
			quiet := false
			eventually(t, "everything is told, or the process is dead", func() bool {
				cursor, _ := j.Cursor(t.Context(), "slack:#ops")
				quiet = cursor >= 10
				return quiet || ctx.Err() != nil
			})
			kill()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			survivor := newOutbox(t, j, to("slack:#ops", ch))
			stop := start(t, survivor.Run)
			awaitQuiet(t, survivor, j, "slack:#ops")
			stop()
			if diff := cmp.Diff(once("i1"), ch.Parents()); diff != "" {
				t.Fatalf("killed at write %d (after: %v): parents %s", n, after, diff)
			}
			want := once("i1/3", "i1/4", "i1/5", "i1/6", "i1/7", "i1/8", "i1/9", "i1/10")
			if diff := cmp.Diff(want, ch.Replies()); diff != "" {
				t.Fatalf("killed at write %d (after: %v): replies %s", n, after, diff)
			}
			if shown := ch.Posts()[0].Message; shown.Incident.State != belay.Resolved || shown.Review == nil {
				t.Fatalf("killed at write %d (after: %v): the parent shows %s", n, after, shown.Incident.State)
			}
			_ = j.Close()
			if quiet && mortal.left > 0 {
				break // it lived to the end: every write has been tried
			}
		}
	}
}

func TestASlowDestinationDelaysNobodyElse(t *testing.T) {
	j, slow, quick := knownTo(t, "slack:#slow", "slack:#quick"), &alertingtest.Channel{}, &alertingtest.Channel{}
	slow.Fail(alertingtest.Hang)
	o := newOutbox(t, j, to("slack:#slow", slow), to("slack:#quick", quick))
	start(t, o.Run)
	tell(t, j, "i1").whole()
	eventually(t, "the quick one has told the story", func() bool { return len(quick.Posts()) == 9 })
	if n := len(slow.Posts()); n != 0 {
		t.Errorf("the slow one has %d messages", n)
	}
	if o.Depth() < 9 || o.OldestAge() <= 0 {
		t.Errorf("depth %d, oldest %s: what the slow one has not told does not show", o.Depth(), o.OldestAge())
	}
}

func TestWaitingStatesAreShownAsOneEdit(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	s := tell(t, j, "i1")
	s.says(belay.KindOpened, "opened")
	awaitQuiet(t, o, j, "slack:#ops")

	entered, release := make(chan struct{}, 1), make(chan struct{})
	ch.Fail(alertingtest.Once(1, func(_ context.Context, _ int, _ alerting.Message, post func() string) (string, error) {
		entered <- struct{}{}
		<-release
		return post(), nil
	}))
	for n := range 20 {
		s.says(belay.KindUpdated, "changed", func(i *belay.Incident) {
			i.Alerts = []belay.Alert{anAlert("CheckoutErrors", "critical", func(a *belay.Alert) { a.Value = belay.Value(n) })}
		})
		if n == 0 {
			<-entered // the first edit is under way, the others will wait
		}
	}
	eventually(t, "twenty turns wait", func() bool { return o.Depth() == 20 })
	close(release)
	awaitQuiet(t, o, j, "slack:#ops")
	p := ch.Posts()[0]
	if p.Edits != 2 || p.Message.Incident.Alerts[0].Value != 19 {
		t.Errorf("%d edits, shows %v; want 2, the last of them the newest state, 19", p.Edits, p.Message.Incident.Alerts[0].Value)
	}
}

func TestWhatCanNeverBeDeliveredIsGivenUpAndTheNextIsTold(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	ch.Fail(alertingtest.Once(1, alertingtest.Refuse(fmt.Errorf("channel_not_found: %w", alerting.ErrPermanent))))
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	tell(t, j, "i1").says(belay.KindOpened, "opened")
	awaitQuiet(t, o, j, "slack:#ops")
	s := tell(t, j, "i2")
	s.says(belay.KindOpened, "opened")
	s.says(belay.KindNoted, "a note")
	awaitQuiet(t, o, j, "slack:#ops")
	if diff := cmp.Diff(once("i2"), ch.Parents()); diff != "" {
		t.Error(diff)
	}
	got := deliveries(t, j)
	if want := "parent i1 dead "; len(got) < 2 || got[1] != want {
		t.Errorf("deliveries %q, want the second to be %q", got, want)
	}
}

func TestAMessageGoesOutOnceThoughTheJournalCannotBeWritten(t *testing.T) {
	j, ch := &brokenJournal{Journal: knownTo(t, "slack:#ops")}, &alertingtest.Channel{}
	told := make(chan string, 100)
	o, err := alerting.NewOutbox(alerting.OutboxOptions{
		Journal: j, Destinations: []alerting.Destination{to("slack:#ops", ch)},
		Tell: func(_ context.Context, kind, text string) { told <- kind + ": " + text },
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, o.Run)
	j.set("delivery/")
	s := tell(t, j, "i1")
	s.says(belay.KindOpened, "opened")
	s.says(belay.KindNoted, "a note")
	if got := <-told; !strings.HasPrefix(got, "journal: deliveries cannot be journalled") {
		t.Errorf("told %q", got)
	}
	eventually(t, "both messages are out", func() bool { return len(ch.Posts()) == 2 && o.Depth() == 0 })
	if cursor, err := j.Cursor(t.Context(), "slack:#ops"); err != nil || cursor != 1 {
		t.Errorf("the cursor moved to %d though nothing is journalled (%v)", cursor, err)
	}
	j.set("")
	awaitQuiet(t, o, j, "slack:#ops") // written later, by itself
	if diff := cmp.Diff(once("i1"), ch.Parents()); diff != "" {
		t.Error(diff)
	}
	want := []string{"parent i1 sent ref-1", "reply i1/3 sent ref-2", "update i1 sent ref-1"}
	got := deliveries(t, j)
	if len(got) == 2 { // both events were there before the parent was posted
		want = want[:2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestANewDestinationIsToldOfWhatIsOpenAndNotOfThePast(t *testing.T) {
	j, old := openJournal(t), &alertingtest.Channel{}
	tell(t, j, "past").whole()
	s := tell(t, j, "open")
	s.says(belay.KindOpened, "opened")
	s.says(belay.KindNoted, "a note of before")
	o := newOutbox(t, j, to("slack:#new", old))
	start(t, o.Run)
	s.says(belay.KindNoted, "a note of now")
	awaitQuiet(t, o, j, "slack:#new")
	if diff := cmp.Diff(once("open"), old.Parents()); diff != "" {
		t.Error(diff)
	}
	if posts := old.Posts(); posts[len(posts)-1].Message.Event.Reason != "a note of now" || len(posts) > 2 {
		t.Errorf("%d posts, the last: %s", len(posts), posts[len(posts)-1].Message.Event.Reason)
	}
}

func TestOnlyImportantTurnsGetAReply(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	veto := func(guard string) func(*belay.Rollback) {
		return func(r *belay.Rollback) { r.Answers = []belay.Answer{{Guard: guard, Veto: "no by " + guard}} }
	}
	s := tell(t, j, "i1")
	s.says(belay.KindOpened, "opened", func(i *belay.Incident) { i.Severity = "warning" })
	s.says(belay.KindUpdated, "no reply: a value changed")
	s.says(belay.KindJoined, "now critical", func(i *belay.Incident) { i.Severity = "critical" })
	s.says(belay.KindJoined, "no reply: still critical")
	s.rolls(belay.KindRefused, belay.RollbackRefused, "no evidence", veto("evidence"))
	s.rolls(belay.KindRefused, belay.RollbackRefused, "no reply: the same guard", veto("evidence"))
	s.rolls(belay.KindRefused, belay.RollbackRefused, "frozen", veto("freeze"))
	s.rolls(belay.KindPlanned, belay.RollbackPlanned, "planned", func(r *belay.Rollback) { r.Answers = nil })
	s.rolls(belay.KindRefused, belay.RollbackRefused, "frozen again", veto("freeze"))
	mustAppend(t, j, belay.TargetStream(checkout), belay.Event{
		Kind: belay.KindPreexisting, Reason: "1.42.0 is back", Deployment: &belay.Deployment{Service: checkout},
	})
	mustAppend(t, j, belay.TargetStream(checkout), belay.Event{
		Kind: belay.KindDeployment, Reason: "no reply: a deployment", Deployment: &belay.Deployment{Service: checkout},
	})
	s.says(belay.KindNoted, "the end")
	awaitQuiet(t, o, j, "slack:#ops")
	var got []string
	for _, p := range ch.Posts()[1:] {
		got = append(got, p.Message.Event.Reason)
	}
	want := []string{"now critical", "no evidence", "frozen", "planned", "frozen again", "1.42.0 is back", "the end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// threadless is a channel without threads.
type threadless struct{ *alertingtest.Channel }

func (threadless) Threadless() {}

func TestAChannelWithoutThreadsGetsParentsAndProvesNothing(t *testing.T) {
	j, ch := knownTo(t, "webhook:ops/0"), &alertingtest.Channel{}
	o := newOutbox(t, j, to("webhook:ops/0", threadless{ch}))
	start(t, o.Run)
	tell(t, j, "i1").whole()
	awaitQuiet(t, o, j, "webhook:ops/0")
	if n := len(ch.Posts()); n != 1 {
		t.Errorf("%d messages, want the parent alone", n)
	}
	for _, ev := range events(t, j, "delivery.") {
		if d := ev.Delivery; d.Tells != 0 || d.Kind != "webhook" {
			t.Errorf("%s tells of %d: a webhook would confirm a planned rollback", d.Kind, d.Tells)
		}
	}
}

func TestWhatADestinationDoesNotWantIsNotToldThere(t *testing.T) {
	j, ch := knownTo(t, "slack:#payments"), &alertingtest.Channel{}
	d := to("slack:#payments", ch)
	d.Wants = func(s belay.ServiceID) bool { return s.Name == "payments" }
	o := newOutbox(t, j, d)
	start(t, o.Run)
	tell(t, j, "i1").says(belay.KindOpened, "opened")
	s := tell(t, j, "i2")
	s.incident.Service.Name = "payments"
	s.says(belay.KindOpened, "opened")
	awaitQuiet(t, o, j, "slack:#payments")
	if diff := cmp.Diff(once("i2"), ch.Parents()); diff != "" {
		t.Error(diff)
	}
}

func TestTwoDestinationsOfOneNameAreRefused(t *testing.T) {
	_, err := alerting.NewOutbox(alerting.OutboxOptions{Journal: openJournal(t), Destinations: []alerting.Destination{
		to("a", &alertingtest.Channel{}), to("a", &alertingtest.Channel{}),
	}})
	if err == nil || !strings.Contains(err.Error(), `two destinations are named "a"`) {
		t.Errorf("error %v", err)
	}
}
