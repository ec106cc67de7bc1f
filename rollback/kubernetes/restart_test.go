package kubernetes

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
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
	h.wire.set(nil, func() error { h.wire.set(nil, nil); restartAPIServer(t, c); return errLost })
	op := back("op-1", bad, good)
	if err := p.Restore(t.Context(), op); err == nil {
		t.Fatal("the answer was lost, and Restore returned nil")
	}
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

// restartAPIServer kills it without a warning, and starts the same program with
// the same arguments.
func restartAPIServer(t *testing.T, c *cluster) {
	for _, pid := range c.plane.PIDs() {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			t.Errorf("the arguments of the API server cannot be read: %v", err)
			return
		}
		var args []string
		for _, a := range bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
			args = append(args, string(a))
		}
		if filepath.Base(args[0]) != "kube-apiserver" {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("the API server cannot be killed: %v", err)
			return
		}
		cmd := exec.CommandContext(context.Background(), args[0], args[1:]...) //nolint:gosec // the very program that ran
		cmd.Dir = c.plane.Dir
		eventually(t, "it starts anew", func() (bool, any) { err := cmd.Start(); return err == nil, err })
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return
	}
	t.Error("no API server runs")
}
