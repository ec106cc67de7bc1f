package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A child is `belay run` as a process of its own. It can be killed and started
// again; its log grows on.
type child struct {
	binary, config, log string

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the present process has ended
	how     error         // why it ended, readable after ended
}

// Start starts the process, which does not end with ctx. It must not run
// already.
func (c *child) Start(ctx context.Context) error {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.binary, "run", "--config", c.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = childEnv(os.Environ())
	cmd.SysProcAttr = ownGroup()
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // see ownGroup; the thread stays until the process has ended
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.mu.Lock()
			c.process, c.ended, c.how = cmd.Process, ended, nil
			c.mu.Unlock()
		}
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		c.mu.Lock()
		c.how = err
		c.mu.Unlock()
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start belay: %w", err)
	}
	return nil
}

// childEnv keeps what would point the child elsewhere out of its environment.
func childEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "BELAY_") {
			out = append(out, kv)
		}
	}
	return out
}

// Ended is closed when the present process has ended, for whatever reason.
func (c *child) Ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Why says how the process ended.
func (c *child) Why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.how == nil {
		return errors.New("belay run ended by itself with exit code 0")
	}
	return fmt.Errorf("belay run ended by itself: %w", c.how)
}

// PID returns the id of the present process, 0 before the first.
func (c *child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

// Kill ends the process as a power cut would, and waits until it is gone.
func (c *child) Kill() {
	c.signal(syscall.SIGKILL)
	if ended := c.Ended(); ended != nil {
		<-ended
	}
}

// Stop asks the process to end, and kills it when it has not after ten
// seconds. It returns an error when the process did not end cleanly.
func (c *child) Stop(ctx context.Context) error {
	ended := c.Ended()
	if ended == nil {
		return nil
	}
	select {
	case <-ended: // it was gone before
		return nil
	default:
	}
	c.signal(syscall.SIGTERM)
	timeout, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-ended:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.how != nil {
			return fmt.Errorf("belay run did not stop cleanly: %w", c.how)
		}
		return nil
	case <-timeout.Done():
		c.Kill()
		return errors.New("belay run did not stop within 10s and was killed")
	}
}

func (c *child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = c.process.Signal(sig) // os.ErrProcessDone when it is gone already
	}
}
