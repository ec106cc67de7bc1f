// Package dockerd starts a Docker Engine that shares nothing with any other on
// this host: for tests, and for the demo on a swarm. It wants root, dockerd and
// what dockerd needs; scripts/test-deps installs them. Containers use the host's
// network.
package dockerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"
)

// ErrMissing says what an engine of its own would need here.
var ErrMissing = errors.New("a Docker Engine cannot be started")

// An Engine is a dockerd that runs until Stop.
type Engine struct {
	Host string // unix:///…
	Dir  string // holds everything of it; gone after Stop

	API *client.Client

	cmd   *exec.Cmd
	ended chan struct{}
	said  output
}

// Start starts an engine and returns when it answers. It does not end with ctx.
func Start(ctx context.Context) (*Engine, error) {
	path, err := exec.LookPath("dockerd")
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: dockerd is not here; on Debian: apt-get install docker.io iptables", ErrMissing)
	case os.Geteuid() != 0:
		return nil, fmt.Errorf("%w: dockerd wants root", ErrMissing)
	}
	dir, err := os.MkdirTemp(memory(), "belay-docker-") // short: the path of a socket may have 107 bytes
	if err != nil {
		return nil, err
	}
	e := &Engine{Dir: dir, Host: "unix://" + filepath.Join(dir, "docker.sock"), ended: make(chan struct{})}
	if e.API, err = client.New(client.WithHost(e.Host)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	e.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, "--host", e.Host,
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--shutdown-timeout=2")
	e.cmd.Stdout, e.cmd.Stderr = &e.said, &e.said
	e.cmd.SysProcAttr = ownGroup()
	if err := e.run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := e.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dockerd: %w; it said:\n%s", err, e.Said()), e.Stop())
	}
	return e, nil
}

// run starts the process from a thread that stays as long as it does: when that
// thread is gone the kernel ends the process; see ownGroup.
func (e *Engine) run() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			_ = e.cmd.Wait() // how it ended is seen in what it said
			close(e.ended)
		}
	}()
	return <-started
}

func (e *Engine) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.API.Ping(ctx, client.PingOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return err
		}
	}
}

// InitSwarm makes the engine the one manager of a swarm of its own.
func (e *Engine) InitSwarm(ctx context.Context) error {
	_, err := e.API.SwarmInit(ctx, client.SwarmInitOptions{ListenAddr: "127.0.0.1:0", AdvertiseAddr: "127.0.0.1"})
	return err
}

// Env leads the docker and docker-compose commands to the engine.
func (e *Engine) Env() []string {
	return []string{"DOCKER_HOST=" + e.Host, "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0"}
}

// Said returns the end of what the engine has printed.
func (e *Engine) Said() string {
	s := e.said.String()
	return s[max(0, len(s)-3000):]
}

// Stop ends the engine with its containers, and removes everything of it.
func (e *Engine) Stop() error {
	_ = e.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-e.ended:
	case <-time.After(20 * time.Second):
		_ = e.cmd.Process.Kill()
		<-e.ended
	}
	_ = e.API.Close()
	unmount(filepath.Join(e.Dir, "exec", "netns", "default")) // the host's network, which dockerd leaves mounted
	return os.RemoveAll(e.Dir)
}

// output keeps what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
