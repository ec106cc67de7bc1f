package alerting_test

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// A memory is a journal for tests whose clock is not the wall's: a database
// waits outside of it.
type memory struct {
	mu      sync.Mutex
	events  []belay.Event
	cursors map[string]belay.Seq
	changed chan struct{}
	full    bool
}

var errFull = errors.New("the disk is full")

func newMemory() *memory {
	return &memory{cursors: map[string]belay.Seq{}, changed: make(chan struct{})}
}

func (m *memory) Append(_ context.Context, stream string, expect belay.Seq, events ...belay.Event) (belay.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return 0, errFull
	}
	pos := belay.Seq(0)
	for _, ev := range m.events {
		if ev.Stream == stream {
			pos = ev.Pos
		}
	}
	if expect != belay.AnySeq && expect != pos {
		return 0, belay.ErrConflict
	}
	for _, ev := range events {
		pos++
		ev.Seq, ev.Stream, ev.Pos = belay.Seq(len(m.events)+1), stream, pos
		m.events = append(m.events, ev)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return pos, nil
}

func (m *memory) after(seq belay.Seq) ([]belay.Event, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[seq:], m.changed
}

func (m *memory) Read(_ context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		events, _ := m.after(after)
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
			events, changed := m.after(after)
			for _, ev := range events {
				if !yield(ev, nil) {
					return
				}
				after = ev.Seq
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
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

// counted is a channel that counts what is posted.
type counted struct {
	mu sync.Mutex
	n  int
}

func (c *counted) Notify(context.Context, alerting.Message) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return "ref", nil
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
