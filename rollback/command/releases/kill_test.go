package releases

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestActivateKilledAtAnyStepMakesOneChangeInTheEnd(t *testing.T) {
	for _, tc := range []struct {
		step    string
		changed bool // the link was moved when it died
	}{
		{"mark", false},
		{"link", false},
		{"rename", false},
		{"sync", true},
		{"log", true},
		{"unmark", true},
		{"signal", true},
		{"done", true},
	} {
		t.Run(tc.step, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			good := add(t, s, "v1", "a", Manifest{})
			bad := add(t, s, "v2", "b", Manifest{})
			deploy(t, s, "v1")
			deploy(t, s, "v2")
			err := exec.CommandContext(t.Context(), self(t), "as-activate-dying", filepath.Dir(s.dir), s.name, "op", string(bad), string(good), tc.step).Run()
			if err == nil || err.Error() != "signal: killed" {
				t.Fatalf("activate ended with %v, want to be killed at step %s", err, tc.step)
			}

			want := []string{"deploy - → v1", "deploy v1 → v2"}
			runs, by := bad, ""
			if tc.changed {
				want, runs, by = append(want, "op v2 → v1"), good, "op"
			}
			if st := state(t, s); st.Content != string(runs) || st.Operation != by {
				t.Errorf("%s runs by %q, want %s by %q", st.Content, st.Operation, runs, by)
			}
			if diff := cmp.Diff(want, lines(t, s)); diff != "" {
				t.Errorf("log after the kill (-want +got):\n%s", diff)
			}
			result, err := s.Activate(Op{ID: "op", Seen: bad, To: good})
			must(t, err)
			if tc.changed {
				want = append(want, "op already applied v1")
			} else {
				want = append(want, "op v2 → v1")
			}
			if (result == AlreadyApplied) != tc.changed {
				t.Errorf("the repetition was %q", result)
			}
			if diff := cmp.Diff(want, lines(t, s)); diff != "" {
				t.Errorf("log after the repetition (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(s.pendingFile()); err == nil {
				t.Error("the marker of the pending change is still there")
			}
		})
	}
}

func TestActivateKilledAtRandomMomentsMakesOneChangeInTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills many processes")
	}
	s := open(t)
	good := add(t, s, "v1", "a", Manifest{})
	bad := add(t, s, "v2", "b", Manifest{})
	deploy(t, s, "v1")
	took := time.Millisecond
	for i := range 25 {
		deploy(t, s, "v2")
		before := len(lines(t, s))
		id := "op-" + string(rune('a'+i))
		cmd := exec.CommandContext(t.Context(), self(t), "as-releases", "--dir", filepath.Dir(s.dir), "activate", s.name)
		cmd.Env = append(os.Environ(), "BELAY_OPERATION="+id, "BELAY_SEEN="+string(bad), "BELAY_TO="+string(good))
		begin := time.Now()
		must(t, cmd.Start())
		if i > 0 { // the first run measures how long it takes
			time.Sleep(rand.N(took + took/4))
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
		if i == 0 {
			took = time.Since(begin)
		}
		if _, err := s.Activate(Op{ID: id, Seen: bad, To: good}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		changes := 0
		log, err := s.Log()
		must(t, err)
		for _, c := range log[before:] {
			if c.By != id {
				t.Errorf("round %d: a line by %q", i, c.By)
			}
			if !c.Repeat {
				changes++
			}
		}
		if changes != 1 || state(t, s).Content != string(good) {
			t.Fatalf("round %d: %d changes, want one: %v", i, changes, lines(t, s)[before:])
		}
	}
}
