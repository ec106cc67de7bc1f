package demo

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestLoadRemembersHowEachVersionAnswered(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 23, 14, 2, s, 0, time.UTC) }
	l := newLoad("http://unused", 60)
	type told struct {
		Stint int
		What  string
		Sec   int
	}
	var got []told
	l.notify = func(stint int, what string, when time.Time) {
		got = append(got, told{stint, what, when.Second()})
	}
	for _, r := range []struct {
		version string
		code    int
		sec     int
	}{
		{"", 0, 0}, // nobody answers yet
		{"1.41.3", 200, 1},
		{"1.41.3", 404, 2}, // the client's own fault
		{"", 0, 3},         // the gap of the swap
		{"1.42.0", 500, 4},
		{"1.42.0", 200, 5},
		{"1.42.0", 503, 6},
		{"", 0, 7},
		{"1.41.3", 200, 8},
	} {
		l.record(r.version, r.code, at(r.sec), 0)
	}
	wantTold := []told{
		{0, firstAnswer, 1},
		{0, firstGood, 1},
		{0, firstBadAnswer, 3},
		{1, firstAnswer, 4},
		{1, firstBadAnswer, 4},
		{1, firstGood, 5},
		{2, firstAnswer, 8},
		{2, firstGood, 8},
	}
	if d := cmp.Diff(wantTold, got); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	want := []Stint{
		{Version: "1.41.3", First: at(1), Last: at(2), FirstBad: at(3), LastBad: at(3), Good: 2, Unreachable: 1},
		{Version: "1.42.0", First: at(4), Last: at(6), FirstBad: at(4), LastBad: at(7), Good: 1, Errors: 2, Unreachable: 1},
		{Version: "1.41.3", First: at(8), Last: at(8), Good: 1},
	}
	if d := cmp.Diff(want, l.Stints()); d != "" {
		t.Errorf("stints (-want +got):\n%s", d)
	}
}

func TestTwoVersionsThatAnswerAtOnceHaveOneStintEach(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 23, 14, 2, s, 0, time.UTC) }
	l := newLoad("http://unused", 60)
	for i, step := range []struct{ takesUp, version string }{
		{"1.41.3", "1.41.3"},
		{"1.42.0", "1.41.3"}, // not yet
		{"", "1.42.0"},
		{"", "1.41.3"}, // still
		{"", "1.42.0"},
		{"1.41.3", "1.42.0"},
		{"", "1.41.3"},
		{"", "1.42.0"},
		{"", "1.41.3"},
	} {
		if step.takesUp != "" {
			l.takesUp(step.takesUp)
		}
		l.record(step.version, 200, at(i+1), 0)
	}
	want := []Stint{
		{Version: "1.41.3", First: at(1), Last: at(4), Good: 3},
		{Version: "1.42.0", First: at(3), Last: at(8), Good: 4},
		{Version: "1.41.3", First: at(7), Last: at(9), Good: 2},
	}
	if d := cmp.Diff(want, l.Stints()); d != "" {
		t.Errorf("stints (-want +got):\n%s", d)
	}
}

func TestLoadGoesOnWhileNobodyAnswersAndEndsWithItsContext(t *testing.T) {
	addr := mustAddress(t)
	l := newLoad("http://"+addr, 200)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("refused", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.gap > 5 })
	stop := startShop(t, addr, "1.41.3", FaultNone)
	until("answered", func() bool { return l.stint(0).Good > 10 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	until("refused again", func() bool { return l.stint(0).Unreachable > 5 })
	startShop(t, addr, "1.42.0", FaultErrors)
	until("the fault is seen", func() bool { return l.stint(1).Errors > 2 })
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("load does not end")
	}
}
