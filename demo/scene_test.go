package demo

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay/rollback/command/releases"
)

// TestMain lets the test's own binary stand in for belay: as a version of the
// shop, and as a `belay run` that only waits.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "demo" && os.Args[2] == "shop" {
		os.Exit(playShop(os.Args[3:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(playBelay())
	}
	os.Exit(m.Run())
}

func playShop(args []string) int {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	listen, version, fault := flags.String("listen", "", ""), flags.String("version", "", ""), flags.String("fault", "", "")
	if err := flags.Parse(args); err != nil {
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := Shop(ctx, ShopOptions{Listen: *listen, Version: *version, Fault: Fault(*fault)})
	if errors.Is(err, ErrCrashed) {
		return 2
	}
	if err != nil {
		return 1
	}
	return 0
}

func playBelay() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("pretending to be belay")
	<-ctx.Done()
	return 0
}

func testScene(t *testing.T, fault Fault) *scene {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScene(t.Context(), sceneOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Binary: binary, Fault: fault, Tempo: drill, Rate: requestRate})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = s.Close(context.Background())
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestASceneOutlivesBelayAndTakesItsReleaseBack(t *testing.T) {
	s := testScene(t, FaultErrors)
	eventually(t, "the good version answers", func() bool { return s.load.stint(0).Good > 20 })

	first := s.belay.PID()
	s.KillBelay()
	if alive(first) {
		t.Error("belay was killed and lives")
	}
	if err := s.StartBelay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.belay.PID() == first {
		t.Error("belay was not started again")
	}

	if err := s.Release(t.Context(), nextVersion); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bad version fails", func() bool { return s.load.stint(1).Errors > 3 })
	takeBack(t, s)
	eventually(t, "the good version answers again", func() bool { return s.load.stint(2).Good > 20 })
	if got := s.load.stint(2); got.Version != goodVersion || got.Errors > 0 {
		t.Errorf("after the rollback: %+v", got)
	}

	last := s.belay.PID()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if alive(last) {
		t.Error("belay outlives the scene")
	}
	if status, err := serviceOf(s).ReadStatus(); err != nil || status.PID != 0 {
		t.Errorf("the shop outlives the scene: %+v, %v", status, err)
	}
	for _, name := range []string{platformLog, slackFile, belayLog, demoLog, shopLog, configFile} {
		if _, err := os.Stat(s.dir.file(name)); err != nil {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
	diaryHolds(t, s, "deployed", firstBadAnswer, "belay killed", "belay stopped", "stint")
}

func serviceOf(s *scene) *releases.Service { return s.platform.(*commandPlatform).service }

// takeBack does what Belay would.
func takeBack(t *testing.T, s *scene) {
	t.Helper()
	revs, err := serviceOf(s).List()
	if err != nil {
		t.Fatal(err)
	}
	op := releases.Op{ID: "test-operation"}
	for _, r := range revs {
		if r.Version == nextVersion {
			op.Seen = r.Content
		} else {
			op.To = r.Content
		}
	}
	if _, err := serviceOf(s).Activate(op); err != nil {
		t.Fatal(err)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func diaryHolds(t *testing.T, s *scene, want ...string) {
	t.Helper()
	text, err := os.ReadFile(s.dir.file(demoLog))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Time time.Time
			Msg  string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time.IsZero() {
			t.Fatalf("a line of the diary is no entry: %q, %v", line, err)
		}
		seen[entry.Msg] = true
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("the diary lacks %q", w)
		}
	}
}

func TestTheCrashingVersionIsStartedAgainAndAgain(t *testing.T) {
	s := testScene(t, FaultCrash)
	eventually(t, "the good version answers", func() bool { return s.load.stint(0).Good > 5 })
	if err := s.Release(t.Context(), nextVersion); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ends with exit status 2", func() bool {
		status, err := serviceOf(s).ReadStatus()
		return err == nil && status.Restarts > 0 && strings.Contains(status.LastExit, "2")
	})
	answers := s.load.stint(1).Good
	eventually(t, "it is started again", func() bool { return s.load.stint(1).Good > answers })
}

func TestAnEndOfBelayIsTold(t *testing.T) {
	s := testScene(t, FaultNone)
	if err := syscall.Kill(s.belay.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w := &watcher{scene: s, witness: witness{fault: s.Fault}}
	err := w.until(t.Context(), "anything", time.Minute, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "belay run ended by itself: signal: killed") {
		t.Errorf("err = %v", err)
	}
}

func TestAnAddressThatIsTakenIsRefused(t *testing.T) {
	taken, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, tc := range []struct{ listen, want string }{
		{taken.Addr().String(), "in use"},
		{mustAddress(t), "in use"}, // by another demo, whose Belay does not run yet
		{"0.0.0.0:9999", "stays on this machine"},
		{"nonsense", "want an address such as"},
	} {
		_, err := newScene(t.Context(), sceneOptions{Dir: t.TempDir(), Listen: tc.listen, Tempo: drill})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, ErrUsage) {
			t.Errorf("--listen %s: %v, want usage error with %q", tc.listen, err, tc.want)
		}
	}
	p, err := claimPages(t.Context(), "127.0.0.1:0")
	if err != nil || strings.HasSuffix(p.Addr, ":0") {
		t.Fatalf("port 0: %q, %v", p.Addr, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	again, err := claim(t.Context(), p.Addr)
	if err != nil {
		t.Fatalf("a claim that was given up is still held: %v", err)
	}
	_ = again.Close()
}
