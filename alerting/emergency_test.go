package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/alertingtest"
)

func TestAnEmergencyIsToldEverywhereOncePerKindInFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &alertingtest.Channel{}, &alertingtest.Channel{}
		e := alerting.NewEmergency([]alerting.Destination{to("a", a), to("b", b)}, alerting.EmergencyOptions{})
		say := func(kind, text string) { e.Tell(t.Context(), kind, text); e.Wait() }
		say("journal", "the journal cannot be written: disk full")
		say("journal", "still not")
		say("clock", "the clock jumped")
		time.Sleep(5 * time.Minute)
		say("journal", "and still not")
		var got []string
		for _, p := range a.Posts() {
			got = append(got, alerting.Text(p.Message))
		}
		want := []string{
			"Belay itself: the journal cannot be written: disk full",
			"Belay itself: the clock jumped",
			"Belay itself: and still not",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if n := len(b.Posts()); n != 3 {
			t.Errorf("the other destination has %d", n)
		}
		if key := a.Posts()[0].Message.Key; !strings.HasPrefix(key, "emergency/journal/") {
			t.Errorf("key %q", key)
		}
	})
}

func TestAnEmergencyBlocksNobodyAndGivesUpAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, good := &alertingtest.Channel{}, &alertingtest.Channel{}
		hung.Fail(alertingtest.Hang)
		e := alerting.NewEmergency([]alerting.Destination{to("hung", hung), to("good", good)}, alerting.EmergencyOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		for n := range 100 {
			e.Tell(ctx, fmt.Sprint("kind-", n), "help")
		}
		cancel() // whoever tells may be gone at once
		if took := time.Since(began); took > 0 {
			t.Errorf("telling took %s", took)
		}
		e.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("given up after %s", took)
		}
		if n := hung.Calls(); n != 8 {
			t.Errorf("%d messages hang at once, want 8", n)
		}
		if n := len(good.Posts()); n < 8 {
			t.Errorf("the good destination heard only %d", n)
		}
	})
}

func TestAnEmergencyIsTriedAgainAndNotDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, gone := &alertingtest.Channel{}, &alertingtest.Channel{}
		ch.Fail(failures(alertingtest.Refuse(errors.New("502")), alertingtest.AcceptThenTimeout))
		gone.Fail(alertingtest.Refuse(alerting.ErrPermanent))
		e := alerting.NewEmergency([]alerting.Destination{to("ch", ch), to("gone", gone)}, alerting.EmergencyOptions{})
		e.Tell(t.Context(), "journal", "help")
		e.Wait()
		if n := len(ch.Posts()); n != 1 || ch.Calls() != 3 {
			t.Errorf("%d messages after %d calls, want 1 after 3", n, ch.Calls())
		}
		if gone.Calls() != 1 {
			t.Errorf("what is permanent was tried %d times", gone.Calls())
		}
	})
}
