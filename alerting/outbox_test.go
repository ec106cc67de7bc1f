package alerting_test

import (
	"context"
	"fmt"
	"strings"
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
	for _, ev := range events(t, j, "") {
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
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
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
