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
)

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
			s := tell(t, j, "i1")
			s.says(belay.KindOpened, "opened")
			s.rolls(belay.KindCountdown, belay.RollbackCountdown, "countdown")
			s.says(belay.KindResolved, "resolved", resolve)
			ctx, kill := context.WithTimeout(t.Context(), time.Minute)
			mortal := &mortalJournal{Journal: j, left: n, after: after, kill: kill}
			o := newOutbox(t, mortal, to("slack:#ops", ch))
			done := make(chan error, 1)
			go func() { done <- o.Run(ctx) }()
			quiet := false
			eventually(t, "everything is told, or the process is dead", func() bool {
				cursor, _ := j.Cursor(t.Context(), "slack:#ops")
				quiet = cursor >= 4
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
			want := once("i1/3", "i1/4")
			if diff := cmp.Diff(want, ch.Replies()); diff != "" {
				t.Fatalf("killed at write %d (after: %v): replies %s", n, after, diff)
			}
			if shown := ch.Posts()[0].Message; shown.Incident.State != belay.Resolved || shown.Rollback == nil {
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
