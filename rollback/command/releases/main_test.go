package releases

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
)

// The test binary plays every program that the tests start: the commands, the
// releases' processes, and commands that die on the way.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "as-") {
		// A program with the race detector otherwise sleeps for a second at its end.
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	switch args := os.Args[2:]; os.Args[1] {
	case "as-releases":
		os.Exit(Main(ctx, args, os.Stdin, os.Stdout, os.Stderr))
	case "as-releases-lost": // does its work, and the answer is lost
		Main(ctx, args, os.Stdin, os.Stdout, os.Stderr)
		os.Exit(1)
	case "as-releases-raced": // has read what runs, and waits until somebody has come between
		gate := filepath.Join(args[1], "raced")
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			panic(err)
		}
		for {
			if _, err := os.Stat(gate); err != nil || ctx.Err() != nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		os.Exit(Main(ctx, args, os.Stdin, os.Stdout, os.Stderr))
	case "as-activate-dying": // DIR SERVICE OP SEEN TO STEP
		dying(args)
	case "as-shop": // serves until it is told to stop
		<-ctx.Done()
		os.Exit(0)
	case "as-shop-stubborn": // does not stop when it is told to, and has a child
		signal.Ignore(syscall.SIGTERM)
		child := exec.CommandContext(ctx, os.Args[0], "as-shop-child")
		if err := child.Start(); err != nil {
			panic(err)
		}
		if err := os.WriteFile(args[0], fmt.Appendf(nil, "%d", child.Process.Pid), 0o600); err != nil {
			panic(err)
		}
		select {}
	case "as-shop-child":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "as-shop-web": // LISTEN STATUS
		stop() // SIGTERM ends it
		err := http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if args[1] != "200" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case "as-shop-broken":
		fmt.Fprintln(os.Stderr, "panic: out of luck")
		os.Exit(2)
	default:
		panic("no such role: " + os.Args[1])
	}
}

// dying activates, and kills itself as SIGKILL does when it comes to a step.
func dying(args []string) {
	s, err := Open(args[0], args[1])
	if err != nil {
		panic(err)
	}
	s.at = func(step string) {
		if step == args[5] {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, err := s.Activate(Op{ID: args[2], Seen: belay.Content(args[3]), To: belay.Content(args[4])}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// add makes a release of which the body and the arguments are the content.
func add(t testing.TB, s *Service, name, body string, m Manifest) belay.Content {
	t.Helper()
	if m.Argv == nil {
		m.Argv = []string{self(t), "as-shop"}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "body.txt"), body)
	write(t, filepath.Join(dir, ManifestFile), mustJSON(t, m))
	rev, err := s.Add(name, dir)
	if err != nil {
		t.Fatal(err)
	}
	return rev.Content
}

func deploy(t testing.TB, s *Service, name string) {
	t.Helper()
	if _, err := s.Deploy(name); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *Service {
	t.Helper()
	s, err := Open(t.TempDir(), "checkout")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	return s
}

// startSupervisor runs a supervisor as a process of its own until the test ends.
func startSupervisor(t testing.TB, s *Service) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), self(t), "as-releases", "--dir", filepath.Dir(s.dir), "supervise", s.name)
	said, err := os.CreateTemp(t.TempDir(), "supervisor")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = said.Close()
		if b, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
			t.Logf("the supervisor said:\n%s", b)
		}
	})
	return cmd
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func state(t testing.TB, s *Service) command.StateReport {
	t.Helper()
	st, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// lines returns the log without its times, hashes left out.
func lines(t testing.TB, s *Service) []string {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range log {
		from, _, _ := strings.Cut(c.From, "@")
		to, _, _ := strings.Cut(c.To, "@")
		if c.Repeat {
			out = append(out, c.By+" already applied "+to)
		} else {
			out = append(out, c.By+" "+from+" → "+to)
		}
	}
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never seen: %s", what)
		}
	}
}

// gone says that a process has ended: a zombie has.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	after := b[strings.LastIndexByte(string(b), ')')+1:]
	return strings.HasPrefix(strings.TrimSpace(string(after)), "Z")
}
