package journal

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// Lead waits until no other process that has this journal open leads, and then
// leads until release. The kernel gives up the lead of a process that dies, so
// nothing has to expire and no clock is asked. It returns the cause of ctx when
// that ends first, and another error when the file beside the journal cannot be
// locked at all.
func (s *Store) Lead(ctx context.Context) (release func() error, err error) {
	tick := time.NewTicker(s.poll)
	defer tick.Stop()
	for {
		lock, _, err := fileutil.Flock(s.path + ".leader")
		if err == nil {
			return lock.Release, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("journal: who leads cannot be settled: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
