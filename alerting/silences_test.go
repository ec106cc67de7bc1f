package alerting_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

func hush(matcher string, now time.Time, d time.Duration) belay.Silence {
	return belay.Silence{Matchers: []string{matcher}, StartsAt: now, EndsAt: now.Add(d), CreatedBy: "ann", Comment: "known"}
}

func TestASilenceThatIsNotJournalledDoesNotHold(t *testing.T) {
	j := newMemory()
	s := alerting.NewSilences(j, nil, nil)
	j.full = true
	_, err := s.Set(t.Context(), hush(`a="b"`, time.Now(), time.Hour))
	if !errors.Is(err, errFull) || errors.Is(err, alerting.ErrInvalidSilence) || len(s.All()) > 0 || len(s.Muting(labels.FromStrings("a", "b"), time.Now())) > 0 {
		t.Errorf("%v, %v", err, s.All())
	}
	j.full = false
	id, err := s.Set(t.Context(), hush(`a="b"`, time.Now(), time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	j.full = true
	if err := s.Expire(t.Context(), id, "bob"); !errors.Is(err, errFull) || len(s.Muting(labels.FromStrings("a", "b"), time.Now())) != 1 {
		t.Errorf("ended although that is not journalled: %v", err)
	}
}

func TestASilenceLivesAsInAlertmanager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, now, alert := newMemory(), time.Now().UTC(), labels.FromStrings("alertname", "A", "team", "shop")
		s := alerting.NewSilences(j, nil, nil)
		set := func(sil belay.Silence) string {
			t.Helper()
			id, err := s.Set(t.Context(), sil)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		id := set(hush(`team=~"shop|pay"`, now, time.Hour))
		if m := s.Muting(alert, now); len(m) != 1 || m[0].ID != id || len(s.Muting(labels.FromStrings("team", "core"), now)) != 0 {
			t.Errorf("muting %v", m)
		}
		longer := hush(`team=~"shop|pay"`, now, 2*time.Hour)
		longer.ID = id
		if again := set(longer); again != id {
			t.Error("a longer silence is another one")
		}
		other := hush(`team="shop"`, now, time.Hour)
		other.ID = id
		second := set(other)
		states := map[string]string{}
		for _, sil := range s.All() {
			states[sil.ID] = sil.State(time.Now())
		}
		if diff := cmp.Diff(map[string]string{id: "expired", second: "active"}, states); diff != "" {
			t.Errorf("other matchers make another silence: %s", diff)
		}
		later := set(hush(`team="shop"`, now.Add(3*time.Hour), time.Hour))
		time.Sleep(90 * time.Minute)
		if m := s.Muting(alert, time.Now()); len(m) != 0 {
			t.Errorf("its time is over: %v", m)
		}
		time.Sleep(2 * time.Hour)
		if m := s.Muting(alert, time.Now()); len(m) != 1 || m[0].ID != later {
			t.Errorf("its time has come: %v", m)
		}
		// Another process on the same journal knows all of it.
		elsewhere := alerting.NewSilences(j, nil, nil)
		if err := elsewhere.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.All(), elsewhere.All()); diff != "" {
			t.Error(diff)
		}
		if err := elsewhere.Expire(t.Context(), later, "bob"); err != nil {
			t.Fatal(err)
		}
		if err := s.Expire(t.Context(), later, "ann"); err != nil || len(s.Muting(alert, time.Now())) != 0 {
			t.Errorf("ended elsewhere: %v", err)
		}
		time.Sleep(6 * 24 * time.Hour)
		if all := s.All(); len(all) != 0 {
			t.Errorf("remembered for ever: %v", all)
		}
	})
}

func TestWhatIsNoSilenceIsRefused(t *testing.T) {
	now := time.Now()
	for name, s := range map[string]belay.Silence{
		"without matchers":           {EndsAt: now.Add(time.Hour)},
		"that mutes everything":      hush(`a=~".*"`, now, time.Hour),
		"with half a matcher":        hush(`a`, now, time.Hour),
		"on a label without a name":  hush(`""!~"$"`, now, time.Hour),
		"with a regex that is none":  hush(`a=~"("`, now, time.Hour),
		"that ends before it starts": hush(`a="b"`, now, -time.Second),
		"that is over":               hush(`a="b"`, now.Add(-2*time.Hour), time.Hour),
		"with a matcher without end": hush(`a="`+strings.Repeat("x", 5000)+`"`, now, time.Hour),
		"with a comment without end": {Matchers: []string{`a="b"`}, EndsAt: now.Add(time.Hour), Comment: strings.Repeat("x", 3000)},
		"with an author without end": {Matchers: []string{`a="b"`}, EndsAt: now.Add(time.Hour), CreatedBy: strings.Repeat("x", 300)},
		"of an id that nobody has":   {ID: "nobody", Matchers: []string{`a="b"`}, EndsAt: now.Add(time.Hour)},
	} {
		silences := alerting.NewSilences(newMemory(), nil, nil)
		if _, err := silences.Set(t.Context(), s); !errors.Is(err, alerting.ErrInvalidSilence) && !errors.Is(err, alerting.ErrUnknownSilence) || len(silences.All()) > 0 {
			t.Errorf("a silence %s: %v", name, err)
		}
	}
}

// FuzzSilence holds that whatever is taken as a silence is read back from the
// journal as what it was, and mutes what it says.
func FuzzSilence(f *testing.F) {
	f.Add(`a="b"`, "a", "b")
	f.Add(`"a b"!~"x\"y"`, "a b", `x"y`)
	f.Add(`ü=~"."`, "ü", "\n")
	f.Fuzz(func(t *testing.T, matcher, name, value string) {
		j := newMemory()
		s := alerting.NewSilences(j, nil, nil)
		if _, err := s.Set(t.Context(), hush(matcher, time.Now(), time.Hour)); err != nil {
			return
		}
		again := alerting.NewSilences(j, nil, nil)
		if err := again.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ls := labels.FromStrings(name, value)
		now := time.Now()
		if a, b := s.Muting(ls, now), again.Muting(ls, now); len(again.All()) != 1 || len(a) != len(b) {
			t.Errorf("%q: %v, read back %v", matcher, a, again.All())
		}
	})
}

func TestASilencedIncidentIsToldWhenTheSilenceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, channel := newMemory(), &counted{}
		silences := alerting.NewSilences(j, nil, nil)
		if _, err := silences.Set(t.Context(), hush(`service="checkout"`, time.Now(), time.Hour)); err != nil {
			t.Fatal(err)
		}
		telling := alerting.Telling{Silences: silences}
		run := func() (stop func()) {
			o, err := alerting.NewOutbox(alerting.OutboxOptions{Journal: j, Muted: telling.IncidentMuted, Destinations: []alerting.Destination{{Name: "c", Notifier: channel}}})
			if err != nil {
				t.Fatal(err)
			}
			return start(t, o.Run)
		}
		stop := run()
		stopIncidents := start(t, newIncidents(t, j).Run)
		appendAlert(t, j, belay.Alert{ID: "a", Rule: "A", State: belay.AlertFiring, Labels: labels.FromStrings("service", "checkout"), ActiveAt: time.Now(), FiredAt: time.Now()})
		time.Sleep(30 * time.Minute)
		if n := channel.count(); n != 0 {
			t.Errorf("%d messages although it is silenced", n)
		}
		stop()
		stop = run() // a restart forgets nothing
		time.Sleep(20 * time.Minute)
		if n := channel.count(); n != 0 {
			t.Errorf("%d messages after the restart", n)
		}
		time.Sleep(11 * time.Minute)
		if n := channel.count(); n != 1 {
			t.Errorf("%d messages after the silence, want 1", n)
		}
		stop()
		stopIncidents()
	})
}
