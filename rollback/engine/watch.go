package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// Watch looks at once and then every interval, and emits what has changed,
// until ctx ends; then it returns nil. It returns the first error of look.
func Watch(ctx context.Context, every time.Duration, look func() (belay.State, error), emit func(belay.State)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last belay.State
	for {
		now, err := look()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !same(last, now) {
			emit(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// same compares two states without the time at which they were read, and
// without the token, which moves with every step of an update.
func same(a, b belay.State) bool {
	sameTimes := a.ChangedAt.Equal(b.ChangedAt) && a.Revision.Created.Equal(b.Revision.Created)
	for _, s := range []*belay.State{&a, &b} {
		s.At, s.ChangedAt, s.Revision.Created, s.Token = time.Time{}, time.Time{}, time.Time{}, ""
	}
	return a == b && sameTimes
}

// Revisions turns records, newest first, into what can be restored. lacks says
// what is missing of a record, as a sentence. Of several records with the same
// content the first counts.
func Revisions(records []Record, lacks func(Record) (string, error)) ([]belay.Revision, error) {
	var out []belay.Revision
	for _, r := range records {
		if slices.ContainsFunc(out, func(have belay.Revision) bool { return have.Content == r.Revision.Content }) {
			continue
		}
		why, err := lacks(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Revision, err)
		}
		r.Revision.Missing, r.Revision.Detail = why != "", why
		out = append(out, r.Revision)
	}
	return out, nil
}
