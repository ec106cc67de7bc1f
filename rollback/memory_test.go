package rollback_test

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
)

// memory is a journal that lives as long as the test: thousands of schedules
// fit into minutes. What is appended goes through JSON, as in a file, so that a
// restart finds only what a restart would find. That it is a journal like the
// real one is shown by TestMemoryIsAJournalLikeTheRealOne; scenes that are not
// many run on the real one.
type memory struct {
	mu      sync.Mutex
	events  []belay.Event
	ends    map[string]belay.Seq
	cursors map[string]belay.Seq
	news    chan struct{} // closed and replaced at each append
}

func newMemory() *memory {
	return &memory{ends: map[string]belay.Seq{}, cursors: map[string]belay.Seq{}, news: make(chan struct{})}
}

func (m *memory) Append(ctx context.Context, stream string, expect belay.Seq, events ...belay.Event) (belay.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if expect != belay.AnySeq && expect != m.ends[stream] {
		return 0, belay.ErrConflict
	}
	for _, ev := range events {
		text, err := json.Marshal(ev)
		if err != nil {
			return 0, err
		}
		var stored belay.Event
		if err := json.Unmarshal(text, &stored); err != nil {
			return 0, err
		}
		m.ends[stream]++
		stored.Seq, stored.Stream, stored.Pos = belay.Seq(len(m.events)+1), stream, m.ends[stream]
		m.events = append(m.events, stored)
	}
	close(m.news)
	m.news = make(chan struct{})
	return m.ends[stream], nil
}

func (m *memory) since(after belay.Seq) ([]belay.Event, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[min(int(after), len(m.events)):], m.news
}

func (m *memory) Read(_ context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		events, _ := m.since(after)
		for _, ev := range events {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (m *memory) Tail(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		for {
			events, news := m.since(after)
			for _, ev := range events {
				if after = ev.Seq; ctx.Err() != nil || !yield(ev, nil) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-news:
			}
		}
	}
}

func (m *memory) Cursor(_ context.Context, destination string) (belay.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[destination], nil
}

func (m *memory) Advance(_ context.Context, destination string, to belay.Seq) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursors[destination] = max(m.cursors[destination], to)
	return nil
}

func TestMemoryIsAJournalLikeTheRealOne(t *testing.T) {
	store, err := journal.Open(t.Context(), t.TempDir()+"/belay.db", journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	tell := func(j belay.Journal) (out []any) {
		note := func(v ...any) { out = append(out, v...) }
		for _, a := range []struct {
			stream string
			expect belay.Seq
			n      int
		}{{"a", 0, 1}, {"a", 0, 1}, {"a", 1, 2}, {"b", belay.AnySeq, 1}, {"b", 2, 1}, {"a", belay.AnySeq, 1}} {
			end, err := j.Append(t.Context(), a.stream, a.expect, slices.Repeat([]belay.Event{{At: time.Now(), Kind: belay.KindNoted, Reason: "so"}}, a.n)...)
			note(end, err == nil)
		}
		for ev, err := range j.Read(t.Context(), 1) {
			note(ev.Seq, ev.Stream, ev.Pos, err == nil)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for ev, err := range j.Tail(ctx, 3) {
			note(ev.Seq, err == nil)
			if ev.Seq == 5 {
				break
			}
		}
		_ = j.Advance(t.Context(), "d", 3)
		_ = j.Advance(t.Context(), "d", 2)
		at, err := j.Cursor(t.Context(), "d")
		note(at, err == nil)
		return out
	}
	if diff := cmp.Diff(tell(store), tell(newMemory())); diff != "" {
		t.Errorf("(-real +memory):\n%s", diff)
	}
}
