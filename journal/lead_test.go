package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/belaydev/belay/journal"
)

func TestOneLeadsAndTheOtherTakesOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "belay.db")
	open := func() *journal.Store {
		s, err := journal.Open(t.Context(), path, journal.Options{Poll: 5 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	release, err := open().Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := open()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := second.Lead(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two lead: %v", err)
	}
	leads := make(chan error, 1)
	go func() {
		release, err := second.Lead(t.Context())
		if err == nil {
			err = release()
		}
		leads <- err
	}()
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := <-leads; err != nil {
		t.Errorf("the second does not take over: %v", err)
	}
}

func TestALeadThatCannotBeSettledIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "belay.db")
	s, err := journal.Open(t.Context(), path, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := os.Mkdir(path+".leader", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lead(t.Context()); err == nil {
		t.Error("a folder was locked")
	}
}
