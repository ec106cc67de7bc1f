package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

var target = belay.Target{Service: belay.ServiceID{Environment: "staging", Name: "checkout"}, Platform: "command"}

// The test binary plays every command that the tests run.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "as-") {
		// A program with the race detector otherwise sleeps for a second at its end.
		check(os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")))
		os.Exit(m.Run())
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "as-print": // TEXT
		fmt.Print(args[0])
	case "as-exit": // CODE STDERR
		fmt.Fprint(os.Stderr, args[1])
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "as-die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {}
	case "as-hang": // PIDFILE: with a child, neither of which can be asked to end
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		child := exec.CommandContext(context.Background(), os.Args[0], "as-sleep")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		check(child.Start())
		check(os.WriteFile(args[0], fmt.Appendf(nil, "%d %d", os.Getpid(), child.Process.Pid), 0o600))
		time.Sleep(time.Hour)
	case "as-leave": // PIDFILE TEXT: ends well, and leaves a child behind that holds its output
		child := exec.CommandContext(context.Background(), os.Args[0], "as-sleep")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		check(child.Start())
		check(os.WriteFile(args[0], fmt.Appendf(nil, "%d", child.Process.Pid), 0o600))
		fmt.Print(args[1])
	case "as-sleep":
		time.Sleep(time.Hour)
	case "as-flood": // stdout | stderr
		out := os.Stdout
		if args[0] == "stderr" {
			out = os.Stderr
		}
		signal.Ignore(syscall.SIGPIPE)
		for {
			_, _ = out.Write(make([]byte, 64<<10))
		}
	case "as-chatty": // prints 3 MiB on both outputs, then its last words
		for range 48 {
			_, err := os.Stdout.Write(make([]byte, 64<<10))
			check(err)
			_, err = os.Stderr.Write(make([]byte, 64<<10))
			check(err)
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Fprintln(os.Stderr, "\nlast words")
		os.Exit(1)
	case "as-recorder": // FILE: writes what it was told
		stdin, err := io.ReadAll(os.Stdin)
		check(err)
		wd, err := os.Getwd()
		check(err)
		b, err := json.Marshal(told{Env: ownEnv(), Stdin: string(stdin), Dir: wd})
		check(err)
		check(os.WriteFile(args[0], b, 0o600))
	case "as-slow-restore": // BEGUN DONE: talks while nobody listens
		check(os.WriteFile(args[0], fmt.Appendf(nil, "%d", os.Getppid()), 0o600))
		for os.Getppid() == mustInt(args[0]) {
			time.Sleep(5 * time.Millisecond)
		}
		for range 10 {
			_, err := fmt.Fprintln(os.Stderr, "still at it")
			check(err)
			_, err = fmt.Println("still at it")
			check(err)
		}
		stdin, err := io.ReadAll(os.Stdin)
		check(err)
		check(os.WriteFile(args[1]+".new", stdin, 0o600))
		check(os.Rename(args[1]+".new", args[1]))
	case "as-belay": // BEGUN DONE: restores
		p := platform(nil, printState("sha256:bb"), self("as-slow-restore", args[0], args[1]))
		check(p.Restore(context.Background(), operation("op")))
	}
	os.Exit(0)
}

// told is what as-recorder was told.
type told struct {
	Env   []string
	Stdin string
	Dir   string
}

func ownEnv() []string {
	var own []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "BELAY_") {
			own = append(own, kv)
		}
	}
	return own
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}

func mustInt(file string) int {
	b, err := os.ReadFile(file)
	check(err)
	n, err := strconv.Atoi(string(b))
	check(err)
	return n
}

// self is the argument list that plays a role.
func self(args ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{exe}, args...)
}

func printState(content string) []string {
	return self("as-print", fmt.Sprintf(`{"content": %q, "progress": "converged"}`, content))
}

// platform returns a platform with a state and a restore command.
func platform(t testing.TB, state, restore []string) *Platform {
	p, err := New(Config{
		State: state, Revisions: state, Restore: restore,
		Timeout: 20 * time.Second, Poll: 20 * time.Millisecond,
	}, Options{})
	if err != nil {
		if t == nil {
			panic(err)
		}
		t.Fatal(err)
	}
	return p
}

func operation(id string) belay.Operation {
	return belay.Operation{
		ID: id, Target: target, Seen: "sha256:bb", Token: "7",
		To: belay.Revision{Content: "sha256:aa", Version: "v1.2 (good)"},
	}
}

// pids reads the process ids that a role has written, once it has.
func pids(t testing.TB, file string) []int {
	t.Helper()
	var out []int
	eventually(t, "the process ids in "+filepath.Base(file), func() bool {
		b, _ := os.ReadFile(file)
		out = out[:0]
		for _, f := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(f)
			out = append(out, n)
		}
		return len(out) > 0
	})
	return out
}

// gone says that a process has ended; one that nobody has waited for has, too.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	return strings.HasPrefix(strings.TrimSpace(string(b[strings.LastIndexByte(string(b), ')')+1:])), "Z")
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never seen: %s", what)
		}
	}
}
