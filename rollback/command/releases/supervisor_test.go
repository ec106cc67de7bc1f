package releases

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

func running(t testing.TB, s *Service, content belay.Content) Status {
	t.Helper()
	var st Status
	eventually(t, "a converged state", func() bool {
		r, err := s.State()
		if err != nil || r.Progress != belay.Converged || r.Content != string(content) {
			return false
		}
		st, err = s.ReadStatus()
		return err == nil
	})
	return st
}

func TestTheSupervisorFollowsTheLink(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{Version: "1.0"})
	two := add(t, s, "v2", "b", Manifest{Version: "2.0"})
	deploy(t, s, "v1")
	cmd := startSupervisor(t, s)
	first := running(t, s, one)
	if first.Version != "1.0" || first.PID == 0 || first.Restarts != 0 {
		t.Errorf("status of the first release: %+v", first)
	}
	deploy(t, s, "v2")
	second := running(t, s, two)
	if second.Version != "2.0" || second.PID == first.PID || !gone(first.PID) {
		t.Errorf("status of the second release: %+v after %+v", second, first)
	}
	must(t, s.Restart())
	eventually(t, "another process of the same release", func() bool {
		st, err := s.ReadStatus()
		return err == nil && st.State == Running && st.PID != second.PID
	})
	third := running(t, s, two)
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, "the end of the release's process", func() bool { return gone(third.PID) })
	eventually(t, "a state that says so", func() bool {
		st := state(t, s)
		return st.Progress == belay.Stuck && st.Reason == "the supervisor is not running"
	})
}

func TestADeploymentStartsTheReleaseOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	add(t, s, "v1", "a", Manifest{})
	add(t, s, "v2", "b", Manifest{})
	deploy(t, s, "v1")
	said := startSupervisor(t, s).Stderr.(*os.File).Name()
	running(t, s, belay.Content(state(t, s).Content))
	for _, v := range []string{"v2", "v1", "v2", "v1"} {
		deploy(t, s, v)
		running(t, s, belay.Content(state(t, s).Content))
	}
	b, err := os.ReadFile(said)
	must(t, err)
	if got := strings.Count(string(b), "release started"); got != 5 {
		t.Errorf("releases were started %d times, want 5:\n%s", got, b)
	}
}

func TestACrashLoopIsStuckUntilAnotherReleaseComes(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{})
	two := add(t, s, "v2", "b", Manifest{Argv: []string{self(t), "as-shop-broken"}})
	deploy(t, s, "v2")
	startSupervisor(t, s)
	var reason string
	eventually(t, "a crash loop", func() bool {
		st := state(t, s)
		reason = st.Reason
		return st.Progress == belay.Stuck && strings.HasPrefix(reason, "crash loop")
	})
	if !strings.HasPrefix(reason, "crash loop: exit status 2, ") {
		t.Errorf("the reason is %q", reason)
	}
	_, err := s.Activate(Op{ID: "op", Seen: two, To: one})
	must(t, err)
	if st := running(t, s, one); st.Crashes != 0 || st.Restarts != 0 {
		t.Errorf("the next release inherits crashes: %+v", st)
	}
}

func TestStoppingEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	s := open(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	stubborn := add(t, s, "v1", "a", Manifest{Argv: []string{self(t), "as-shop-stubborn", pidFile}})
	two := add(t, s, "v2", "b", Manifest{})
	deploy(t, s, "v1")
	startSupervisor(t, s)
	st := running(t, s, stubborn)
	var child int
	eventually(t, "the stubborn release's child", func() bool {
		b, _ := os.ReadFile(pidFile)
		child, _ = strconv.Atoi(string(b))
		return child > 0
	})
	deploy(t, s, "v2")
	running(t, s, two)
	for _, pid := range []int{st.PID, child} {
		eventually(t, "the end of the old group", func() bool { return gone(pid) })
	}
}

func TestAKilledSupervisorLeavesNoReleaseBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	t.Parallel()
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{})
	deploy(t, s, "v1")
	cmd := startSupervisor(t, s)
	st := running(t, s, one)
	must(t, cmd.Process.Kill())
	eventually(t, "the end of the release's process", func() bool { return gone(st.PID) })
	startSupervisor(t, s)
	if again := running(t, s, one); again.PID == st.PID {
		t.Errorf("the new supervisor did not start the release: %+v", again)
	}
}

func TestASecondSupervisorIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{})
	deploy(t, s, "v1")
	startSupervisor(t, s)
	running(t, s, one)
	err := Supervisor{Dir: filepath.Dir(s.dir), Service: s.name}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another supervisor is running") {
		t.Errorf("Run returned %v", err)
	}
}

func TestAReleaseIsConvergedWhenItsHealthAnswers(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	s := open(t)
	web := func(status string) Manifest {
		return Manifest{Argv: []string{self(t), "as-shop-web", addr, status}, Health: "http://" + addr + "/healthz"}
	}
	add(t, s, "v1", "a", web("503"))
	two := add(t, s, "v2", "b", web("200"))
	deploy(t, s, "v1")
	startSupervisor(t, s)
	eventually(t, "the failing health check as the reason", func() bool {
		st := state(t, s)
		if st.Progress == belay.Converged {
			t.Fatal("converged without health")
		}
		return st.Progress == belay.Progressing && strings.Contains(st.Reason, "503 Service Unavailable")
	})
	deploy(t, s, "v2")
	running(t, s, two)
}

func TestAStableRunEndsTheRowOfCrashes(t *testing.T) {
	s := open(t)
	add(t, s, "v1", "a", Manifest{})
	deploy(t, s, "v1")
	begin := time.Now()
	w := &watch{Supervisor: Supervisor{Service: s.name, Logger: discard()}, svc: s, child: &child{started: begin, end: func() {}}}
	w.st = Status{Release: "v1", State: Running, Crashes: 4}
	w.step(begin.Add(stable - time.Millisecond))
	if w.st.Crashes != 4 {
		t.Errorf("%d crashes shortly before the run is stable, want 4", w.st.Crashes)
	}
	w.step(begin.Add(stable))
	if w.st.Crashes != 0 || w.wait != firstWait {
		t.Errorf("%d crashes after a stable run, waits %s", w.st.Crashes, w.wait)
	}
}
