package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

func TestACommandThatFailsSaysWhatFailedAndWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		argv []string
		want []string // all of them are in the error
	}{
		"no such file":              {[]string{"./no-such-program"}, []string{"command state (./no-such-program) could not be started in the directory", "no such file"}},
		"no such program in PATH":   {[]string{"no-such-program-anywhere"}, []string{"could not be started", "not found"}},
		"an exit code":              {self("as-exit", "2", "first line\nthe cluster is on fire\n\n"), []string{"command state (", "exit status 2: the cluster is on fire"}},
		"an exit code, no words":    {self("as-exit", "4", ""), []string{"exit status 4"}},
		"a signal":                  {self("as-die"), []string{"died: signal: terminated"}},
		"nothing":                   {self("as-print", ""), []string{"it printed nothing", `""`}},
		"rubbish":                   {self("as-print", "<html>502</html>"), []string{"something else than JSON", `"<html>502</html>"`}},
		"much rubbish":              {self("as-print", strings.Repeat("x", 5000)), []string{strings.Repeat("x", 200) + `"… (5000 bytes)`}},
		"a key nobody knows":        {self("as-print", `{"content": "a", "progress": "converged", "colour": "red"}`), []string{`unknown field "colour"`}},
		"too much on stdout":        {self("as-flood", "stdout"), []string{"it printed more than 1048576 bytes"}},
		"too much on stderr":        {self("as-flood", "stderr"), []string{"it printed more than 1048576 bytes"}},
		"superseded makes no sense": {self("as-exit", "78", "moved on"), []string{"exit status 78: moved on"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := platform(t, tc.argv, tc.argv).State(t.Context(), target)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is\n%v\nwithout %s", err, want)
				}
			}
			if errors.Is(err, belay.ErrSuperseded) || errors.Is(err, rollback.ErrTryLater) {
				t.Errorf("%v means more than that it failed", err)
			}
		})
	}
}

func TestExitCodesOfRestore(t *testing.T) {
	for name, tc := range map[string]struct {
		argv                 []string
		ok                   bool
		superseded, tryLater bool
	}{
		"0 is done":                   {self("as-exit", "0", ""), true, false, false},
		"75 is try later":             {self("as-exit", "75", "locked"), false, false, true},
		"78 is superseded":            {self("as-exit", "78", "v3 runs"), false, true, false},
		"1 leaves open what happened": {self("as-exit", "1", "oops"), false, false, false},
		"no program":                  {[]string{"./nothing"}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := platform(t, printState("sha256:bb"), tc.argv).Restore(t.Context(), operation("op"))
			if (err == nil) != tc.ok || errors.Is(err, belay.ErrSuperseded) != tc.superseded || errors.Is(err, rollback.ErrTryLater) != tc.tryLater {
				t.Errorf("Restore returned %v", err)
			}
		})
	}
	_, err := platform(t, self("as-exit", "75", "locked"), nil0).Revisions(t.Context(), target)
	if !errors.Is(err, rollback.ErrTryLater) {
		t.Errorf("Revisions returned %v, want ErrTryLater", err)
	}
}

var nil0 = []string{"unused"}

func TestRestoreComparesBeforeItActs(t *testing.T) {
	for name, tc := range map[string]struct {
		state      []string
		op         func(*belay.Operation)
		ran        bool
		superseded bool
	}{
		"what was seen runs": {state: printState("sha256:bb"), ran: true},
		"what is wanted runs: ask, it may be a repetition": {state: printState("sha256:aa"), ran: true},
		"something else runs":                              {state: printState("sha256:cc"), superseded: true},
		"what runs is unknown":                             {state: self("as-exit", "1", "")},
		"the operation has no id":                          {state: printState("sha256:bb"), op: func(o *belay.Operation) { o.ID = "" }},
		"the operation changes nothing":                    {state: printState("sha256:bb"), op: func(o *belay.Operation) { o.To.Content = o.Seen }},
		"the operation has seen nothing":                   {state: printState("sha256:bb"), op: func(o *belay.Operation) { o.Seen = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "ran")
			op := operation("op")
			if tc.op != nil {
				tc.op(&op)
			}
			err := platform(t, tc.state, self("as-recorder", file)).Restore(t.Context(), op)
			if (err == nil) != tc.ran || errors.Is(err, belay.ErrSuperseded) != tc.superseded {
				t.Errorf("Restore returned %v", err)
			}
			if _, err := os.Stat(file); (err == nil) != tc.ran {
				t.Errorf("the restore command ran: %v, want %v", err == nil, tc.ran)
			}
		})
	}
}

func TestRestoreIsToldEverythingTwice(t *testing.T) {
	t.Setenv("BELAY_TOKEN", "an admin's token, which is nobody's business")
	t.Setenv("BELAY_URL", "http://127.0.0.1:9720")
	dir := t.TempDir()
	file := filepath.Join(dir, "told")
	p, err := New(Config{State: printState("sha256:bb"), Revisions: nil0, Restore: self("as-recorder", file), Dir: "work"}, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(t.Context(), operation("op-1")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got told
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Env)
	want := told{
		Env: []string{
			"BELAY_ENVIRONMENT=staging", "BELAY_OPERATION=op-1", "BELAY_SEEN=sha256:bb", "BELAY_SERVICE=checkout",
			"BELAY_TO=sha256:aa", "BELAY_TOKEN=7", "BELAY_VERSION=v1.2 (good)",
		},
		Stdin: `{"operation":"op-1","seen":"sha256:bb","to":"sha256:aa","token":"7","service":"checkout","environment":"staging","version":"v1.2 (good)"}` + "\n",
		Dir:   filepath.Join(dir, "work"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestAHangingCommandIsKilledWithItsChildren(t *testing.T) {
	for _, what := range []string{"state", "restore"} {
		for _, end := range []string{"time-out", "cancel"} {
			t.Run(what+" by "+end, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "pids")
				p := platform(t, printState("sha256:bb"), self("as-hang", file))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				want := context.Canceled
				if end == "time-out" {
					want = context.DeadlineExceeded
				}
				run := p.process(what, p.cfg.Restore, target)
				done := make(chan error, 1)
				if end == "time-out" {
					run.timeout = 500 * time.Millisecond
				}
				go func() {
					if what == "restore" {
						done <- run.act(ctx, nil)
						return
					}
					_, err := run.read(ctx)
					done <- err
				}()
				group := pids(t, file)
				if end == "cancel" {
					cancel()
				}
				select {
				case err := <-done:
					if !errors.Is(err, want) || errors.Is(err, belay.ErrSuperseded) {
						t.Errorf("got %v, want %v", err, want)
					}
				case <-time.After(time.Minute):
					t.Fatal("the call hangs as its command does")
				}
				for _, pid := range group {
					eventually(t, "the end of the group", func() bool { return gone(pid) })
				}
			})
		}
	}
}

func TestACommandsLeftOvers(t *testing.T) {
	t.Run("of a read are killed, and what it printed counts", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "pids")
		st, err := platform(t, self("as-leave", file, `{"content": "a", "progress": "converged"}`), nil0).State(t.Context(), target)
		if err != nil || st.Revision.Content != "a" {
			t.Errorf("State: %v, %v", st, err)
		}
		pid := pids(t, file)[0]
		eventually(t, "the end of what was left behind", func() bool { return gone(pid) })
	})
	t.Run("of a restore are left alone", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "pids")
		begin := time.Now()
		if err := platform(t, printState("sha256:bb"), self("as-leave", file, "")).Restore(t.Context(), operation("op")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("Restore waited %s for what was left behind", took)
		}
		pid := pids(t, file)[0]
		if gone(pid) {
			t.Error("what the restore has started is gone")
		}
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	})
}

func TestATalkativeRestoreIsNeitherKilledNorKept(t *testing.T) {
	t.Parallel()
	err := platform(t, printState("sha256:bb"), self("as-chatty")).Restore(t.Context(), operation("op"))
	if err == nil || !strings.HasSuffix(err.Error(), "exit status 1: last words") {
		t.Errorf("Restore returned %.300v", err)
	}
}

func TestARestoreFinishesWhenBelayIsKilled(t *testing.T) {
	t.Parallel()
	begun, done := filepath.Join(t.TempDir(), "begun"), filepath.Join(t.TempDir(), "done")
	argv := self("as-belay", begun, done)
	belayd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	if err := belayd.Start(); err != nil {
		t.Fatal(err)
	}
	pids(t, begun)
	_ = belayd.Process.Kill()
	_ = belayd.Wait()
	eventually(t, "the end of the restore's work", func() bool { _, err := os.Stat(done); return err == nil })
	b, err := os.ReadFile(done)
	if err != nil || !strings.Contains(string(b), `"operation":"op"`) {
		t.Errorf("the restore read %q, %v", b, err)
	}
}

func TestWatchTellsChangesOnly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	file := filepath.Join(t.TempDir(), "state")
	say := func(text string) {
		if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	say(`{"content": "a", "progress": "converged", "changed_at": "2026-01-02T15:04:05Z"}`)
	p := platform(t, []string{"cat", file}, nil0)
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan belay.State, 100), make(chan error, 1)
	go func() { done <- p.Watch(ctx, target, func(s belay.State) { states <- s }) }()
	first := <-states
	say(`{"content": "a", "progress": "converged", "changed_at": "2026-01-02T16:04:05+01:00"}`) // the same moment
	time.Sleep(3 * p.cfg.Poll)
	say(`{"content": "b", "progress": "progressing", "reason": "1 of 3", "changed_at": "2026-01-02T15:05:05Z"}`)
	second := <-states
	if first.Revision.Content != "a" || second.Revision.Content != "b" || second.Reason != "1 of 3" || second.Target != target || second.At.IsZero() {
		t.Errorf("got %+v, then %+v", first, second)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watch returned %v after its context had ended", err)
	}
	say("rubbish")
	if err := p.Watch(t.Context(), target, func(belay.State) { t.Error("rubbish was told") }); err == nil {
		t.Error("Watch returned nil, and sees nothing")
	}
}

func TestItDeclaresWhatItIs(t *testing.T) {
	p := platform(t, nil0, nil0)
	if diff := cmp.Diff(rollback.Capabilities{CAS: rollback.Checked, Stamped: true}, rollback.CapabilitiesOf(p)); diff != "" {
		t.Error(diff)
	}
	if _, err := New(Config{State: nil0, Revisions: nil0}, Options{}); err == nil {
		t.Error("a platform without a restore command was made")
	}
}
