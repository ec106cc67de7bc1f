package kubernetes

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers/plane"
)

// TestTheAPIServerRestartsInTheMiddle kills the API server at the worst moment,
// when the patch was applied and the answer is on its way, and starts it anew.
// The same operation is repeated until it is answered, as a controller does.
func TestTheAPIServerRestartsInTheMiddle(t *testing.T) {
	t.Parallel()
	c, err := startCluster(t.Context(), plane.Require(t)) // of its own: the others need theirs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	h := handsOn(t, c, deployment, everything...)
	p := h.platform(t, func(_ *Config, o *Options) { o.Lost = 10 * 60e9 })
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	h.deploy(t, "v2", "2")
	bad := converged(t, p, "2")

	states := make(chan belay.State, 1000)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Watch(ctx, target, func(s belay.State) { states <- s }); err != nil {
			t.Errorf("Watch gave up: %v", err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	if first := <-states; first.Revision.Content != bad {
		t.Fatalf("Watch begins with %v", first)
	}
	restarted := make(chan error, 1)
	h.wire.set(nil, func() error {
		h.wire.set(nil, nil)
		start, err := c.plane.KillAPIServer()
		if err != nil {
			return err
		}
		go func() { restarted <- start(context.WithoutCancel(t.Context())) }()
		return errLost
	})
	op := back("op-1", bad, good)
	if err := p.Restore(t.Context(), op); !errors.Is(err, errLost) {
		t.Fatalf("the answer was lost, and Restore returned %v", err)
	}
	t.Cleanup(func() {
		if err := <-restarted; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the operation is answered", func() (bool, any) { err := p.Restore(t.Context(), op); return err == nil, err })
	eventually(t, "Watch tells of it", func() (bool, any) {
		select {
		case s := <-states:
			return s.Revision.Content == good && s.Operation == op.ID && s.Progress == belay.Converged, s
		default:
			return false, "nothing new"
		}
	})
	h.deploy(t, "v3", "3")
	eventually(t, "Watch tells of what comes after", func() (bool, any) {
		select {
		case s := <-states:
			return s.Revision.Version == "3", s
		default:
			return false, "nothing new"
		}
	})
	if n := h.wire.written(); n != 1 {
		t.Errorf("%d patches were sent, want one", n)
	}
}
