package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay/peers/dockerd"
)

// A Process is a peer that runs until its test ends.
type Process struct {
	URL     string // http://127.0.0.1:port
	Address string // 127.0.0.1:port
	Dir     string // its own folder, gone after the test
	PID     int

	cmd  *exec.Cmd
	done chan struct{}
	out  output
}

// StartPrometheus runs a Prometheus 3 with a configuration (the text of a
// prometheus.yml; "" is an empty one) and returns when it is ready. Its data
// lies in Dir/data, its configuration is Dir/prometheus.yml; args take the place
// of arguments that say so.
func StartPrometheus(t testing.TB, config string, args ...string) *Process {
	t.Helper()
	path, dir := Require(t, Prometheus), t.TempDir()
	file := write(t, dir, "prometheus.yml", config)
	return start(t, path, dir, "/-/ready", func(address string) []string {
		return merge(args, []string{
			"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address,
			"--web.enable-lifecycle", "--log.level=warn",
		})
	})
}

// StartVictoriaMetrics runs a single-node VictoriaMetrics and returns when it is
// ready. What it is sent can be read after about a second.
func StartVictoriaMetrics(t testing.TB, args ...string) *Process {
	t.Helper()
	path, dir := Require(t, VictoriaMetrics), t.TempDir()
	return start(t, path, dir, "/health", func(address string) []string {
		return merge(args, []string{
			"-storageDataPath=" + filepath.Join(dir, "data"), "-httpListenAddr=" + address, "-retentionPeriod=100y",
			"-search.latencyOffset=0s", "-loggerLevel=WARN",
		})
	})
}

// StartAlertmanager runs an Alertmanager with a configuration (the text of an
// alertmanager.yml; "" sends nothing anywhere) and returns when it is ready.
func StartAlertmanager(t testing.TB, config string, args ...string) *Process {
	t.Helper()
	if config == "" {
		config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
	}
	path, dir := Require(t, Alertmanager), t.TempDir()
	file := write(t, dir, "alertmanager.yml", config)
	return start(t, path, dir, "/-/ready", func(address string) []string {
		return merge(args, []string{
			"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address,
			"--cluster.listen-address=", "--log.level=warn",
		})
	})
}

// merge returns args and those defaults that args do not set.
func merge(args, defaults []string) []string {
	for _, d := range defaults {
		name, _, _ := strings.Cut(d, "=")
		if !slices.ContainsFunc(args, func(a string) bool { return a == name || strings.HasPrefix(a, name+"=") }) {
			args = append(args[:len(args):len(args)], d)
		}
	}
	return args
}

// Stop ends the process before its test ends, as if it had been told to.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Said returns what the process has printed so far.
func (p *Process) Said() string { return p.out.String() }

// attempts is how often a free port is looked for: another process may take the
// port between the looking and the listening.
const attempts = 3

func start(t testing.TB, path, dir, ready string, args func(address string) []string) *Process {
	t.Helper()
	for attempt := 1; ; attempt++ {
		address := freeAddress(t)
		p := &Process{URL: "http://" + address, Address: address, Dir: dir, done: make(chan struct{})}
		p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), path, args(address)...)
		p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.out, &p.out
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.PID = p.cmd.Process.Pid
		go func() { _ = p.cmd.Wait(); close(p.done) }() // how it ended is seen in what it said
		t.Cleanup(func() {
			p.Stop()
			if t.Failed() {
				t.Logf("%s said:\n%s", filepath.Base(path), tail([]byte(p.Said()), 4000))
			}
		})
		err := p.await(t.Context(), ready)
		if err == nil {
			return p
		}
		p.Stop()
		if attempt == attempts {
			t.Fatalf("%s: %v; it said:\n%s", filepath.Base(path), err, tail([]byte(p.Said()), 4000))
		}
	}
}

// await returns when the process answers with 200, ends, or takes more than 30
// seconds.
func (p *Process) await(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx, p.URL+ready)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("it ended at once: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		}
	}
}

func ask(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
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

// StartEngine starts a Docker Engine of its own, which ends with its test.
func StartEngine(t testing.TB) *dockerd.Engine {
	t.Helper()
	e, err := dockerd.Start(t.Context())
	if errors.Is(err, dockerd.ErrMissing) {
		lacks(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("dockerd said:\n%s", e.Said())
		}
	})
	return e
}

// ImportShop makes images of the smallest program that runs until it is asked
// to end (dockerd/shop). Each has a label of its own name, so that each is
// another image. It returns the path of the program.
func ImportShop(t testing.TB, e *dockerd.Engine, names ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "shop")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/belaydev/belay/peers/dockerd/shop")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	for _, name := range names {
		if err := e.Import(t.Context(), dockerd.Image{Name: name, Program: program, Changes: []string{"LABEL name=" + name}}); err != nil {
			t.Fatal(err)
		}
	}
	return program
}
