package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// A Record is what is kept of one revision.
type Record struct {
	Revision  belay.Revision  `json:"-"`
	Since     time.Time       `json:"since"`               // when this content last became the present one
	Operation string          `json:"operation,omitempty"` // of Belay, that made it so
	Body      json.RawMessage `json:"body"`                // what puts it back
}

// A Memory keeps, in rollback.Specs, what an engine forgets: how to put each
// content back, since when the present one is present, and which operations
// have done their work.
type Memory struct {
	specs *rollback.Specs

	mu      sync.Mutex
	present map[belay.Target]Record
}

// NewMemory returns a memory on specs. It touches nothing.
func NewMemory(specs *rollback.Specs) *Memory {
	return &Memory{specs: specs, present: map[belay.Target]Record{}}
}

// See is told what is present now and returns the record of it: while the
// content stays the same, so do Since and Operation. The record is true even
// when it could not be kept; then See returns an error as well, and tries again
// the next time.
func (m *Memory) See(t belay.Target, now Record) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, known := m.present[t]
	if !known {
		last = m.latest(t)
	}
	if last.Revision.Content == now.Revision.Content {
		now.Since, now.Operation, now.Revision.Created = last.Since, last.Operation, last.Revision.Created
		if known && string(last.Body) == string(now.Body) {
			return last, nil
		}
	} else if !now.Since.After(last.Since) { // a clock that was set back
		now.Since = last.Since.Add(time.Nanosecond)
	}
	spec, err := json.Marshal(now)
	if err == nil {
		err = m.specs.Keep(t, now.Revision, spec)
	}
	if err == nil {
		m.present[t] = now
	}
	return now, err
}

// Present returns the record of what was present at the last look.
func (m *Memory) Present(t belay.Target) Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last, known := m.present[t]; known {
		return last
	}
	return m.latest(t)
}

// latest returns the record of what was present when Belay last looked.
func (m *Memory) latest(t belay.Target) Record {
	records, err := m.List(t)
	if err != nil || len(records) == 0 {
		return Record{}
	}
	newest := records[0]
	for _, r := range records {
		if r.Since.After(newest.Since) {
			newest = r
		}
	}
	return newest
}

// List returns what is kept of a target, what ran last first. What cannot be
// read is left out.
func (m *Memory) List(t belay.Target) ([]Record, error) {
	revs, err := m.specs.List(t)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, r := range revs {
		rec, err := m.Get(t, r.Content)
		if errors.Is(err, rollback.ErrNoSpec) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// Get returns the record of one content, rollback.ErrNoSpec where none is kept.
func (m *Memory) Get(t belay.Target, c belay.Content) (Record, error) {
	rev, spec, err := m.specs.Get(t, c)
	if err != nil {
		return Record{}, err
	}
	rec := Record{}
	if err := json.Unmarshal(spec, &rec); err != nil {
		return Record{}, fmt.Errorf("%w: %w", rollback.ErrNoSpec, err)
	}
	rec.Revision = rev
	return rec, nil
}

// Spend remembers for good that an operation was applied.
func (m *Memory) Spend(op belay.Operation) error {
	return m.specs.Keep(operations(op.Target), belay.Revision{Content: belay.Content(op.ID)}, []byte(op.To.Content))
}

// Spent says whether an operation was applied, as far as is remembered here.
func (m *Memory) Spent(op belay.Operation) (bool, error) {
	_, _, err := m.specs.Get(operations(op.Target), belay.Content(op.ID))
	if errors.Is(err, rollback.ErrNoSpec) {
		return false, nil
	}
	return err == nil, err
}

// operations is where the operations on a target are remembered.
func operations(t belay.Target) belay.Target {
	t.Platform += " operations"
	return t
}
