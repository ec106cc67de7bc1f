package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
)

func open(t *testing.T, path string, opts journal.Options) *journal.Store {
	t.Helper()
	s, err := journal.Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func event(reason string) belay.Event {
	return belay.Event{At: time.Unix(1_700_000_000, 123), Kind: belay.KindNoted, Reason: reason}
}

func reasons(t *testing.T, s *journal.Store, after belay.Seq) []string {
	t.Helper()
	var got []string
	for ev, err := range s.Read(t.Context(), after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s/%d %s", ev.Seq, ev.Stream, ev.Pos, ev.Reason))
	}
	return got
}

func TestEventsComeBackInOrderWithTheirPlaces(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "deep", "belay.db"), journal.Options{})
	for _, a := range []struct {
		stream string
		expect belay.Seq
		events []belay.Event
	}{
		{"a", 0, []belay.Event{event("one"), event("two")}},
		{"b", belay.AnySeq, []belay.Event{event("three")}},
		{"a", 2, []belay.Event{event("four")}},
	} {
		if _, err := s.Append(t.Context(), a.stream, a.expect, a.events...); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"1 a/1 one", "2 a/2 two", "3 b/1 three", "4 a/3 four"}
	if diff := cmp.Diff(want, reasons(t, s, 0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[2:], reasons(t, s, 2)); diff != "" {
		t.Error(diff)
	}
}

func TestAWholeNounSurvivesTheRoundTrip(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	in := event("fires")
	in.Kind = belay.KindAlert
	in.Alert = &belay.Alert{ID: "x", Value: belay.Value(math.NaN()), ActiveAt: in.At.UTC(), For: time.Second}
	if _, err := s.Append(t.Context(), "rule/x", 0, in); err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if !math.IsNaN(float64(ev.Alert.Value)) || !ev.Alert.ActiveAt.Equal(in.Alert.ActiveAt) || ev.Alert.For != time.Second {
			t.Errorf("got %+v", ev.Alert)
		}
	}
}

func TestTwoWritersCannotBothWin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "belay.db")
	stores := []*journal.Store{open(t, path, journal.Options{}), open(t, path, journal.Options{})}
	var won, lost sync.Map
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			for pos := range belay.Seq(50) {
				_, err := s.Append(context.Background(), "s", pos, event(fmt.Sprint("writer ", i)))
				switch {
				case err == nil:
					if other, loaded := won.LoadOrStore(pos, i); loaded {
						t.Errorf("position %d was won by %v and %d", pos, other, i)
					}
				case errors.Is(err, belay.ErrConflict):
					lost.Store(pos, i)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(reasons(t, stores[0], 0)); got == 0 || got > 50 {
		t.Errorf("%d events, want 1 to 50", got)
	}
}

func TestAFullJournalRefusesAndSaysSo(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "belay.db"), journal.Options{MaxBytes: 128 << 10})
	var err error
	n := 0
	for ; n < 1000 && err == nil; n++ {
		_, err = s.Append(t.Context(), "s", belay.Seq(n), event(strings.Repeat("x", 4000)))
	}
	if !journal.Full(err) {
		t.Fatalf("after %d appends: %v, want a full journal", n, err)
	}
	if got := len(reasons(t, s, 0)); got != n-1 {
		t.Errorf("%d events readable, want the %d that were accepted", got, n-1)
	}
}

func TestTailSeesWhatThisAndAnotherProcessAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "belay.db")
	reader := open(t, path, journal.Options{Poll: 5 * time.Millisecond})
	writer := open(t, path, journal.Options{})
	go func() {
		_, _ = reader.Append(context.Background(), "s", 0, event("own"))
		_, _ = writer.Append(context.Background(), "s", 1, event("other"))
	}()
	var got []string
	for ev, err := range reader.Tail(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.Reason); len(got) == 2 {
			break
		}
	}
	if diff := cmp.Diff([]string{"own", "other"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestACursorOnlyMovesForward(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	for _, step := range []struct{ to, want belay.Seq }{{0, 0}, {7, 7}, {3, 7}} {
		if err := s.Advance(t.Context(), "slack:#a", step.to); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Cursor(t.Context(), "slack:#a"); err != nil || got != step.want {
			t.Errorf("after advancing to %d: %d, %v; want %d", step.to, got, err, step.want)
		}
	}
}

func TestTwoProcessesMayOpenANewFileAtOnce(t *testing.T) {
	for range 4 {
		path := filepath.Join(t.TempDir(), "belay.db")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				s, err := journal.Open(context.Background(), path, journal.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				_ = s.Close()
			})
		}
		wg.Wait()
	}
}

func TestAnEventWithoutAReasonIsRefused(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if _, err := s.Append(t.Context(), "s", 0, belay.Event{At: time.Now(), Kind: belay.KindNoted}); err == nil {
		t.Error("accepted")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, kind := range []belay.Kind{belay.KindNoted, belay.KindIntent} {
		b.Run(fmt.Sprintf("durable=%t", kind.Durable()), func(b *testing.B) {
			s, err := journal.Open(b.Context(), filepath.Join(b.TempDir(), "belay.db"), journal.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			ev := event("x")
			ev.Kind = kind
			for b.Loop() {
				if _, err := s.Append(b.Context(), "s", belay.AnySeq, ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
