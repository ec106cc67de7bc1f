package rollbacktest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

var target = belay.Target{Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Platform: "fake"}

func revision(name, body string) belay.Revision {
	return belay.Revision{Content: belay.Content(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(body)))), Version: name}
}

func breakage(f *rollbacktest.Fake, name, says string) rollbacktest.Breakage {
	return rollbacktest.Breakage{Name: name, Says: name, Deploy: func(testing.TB, string) {
		f.Deploy(revision("v2", name))
		f.SetProgress(belay.Stuck, says)
	}}
}

func TestFakeConforms(t *testing.T) {
	for _, cas := range []rollback.CAS{rollback.Atomic, rollback.Checked, rollback.None} {
		t.Run(string(cas), func(t *testing.T) {
			rollbacktest.RunConformance(t, func(*testing.T) rollbacktest.Harness {
				f := rollbacktest.NewFake(target, cas)
				names := map[string]belay.Content{}
				return rollbacktest.Harness{
					Platform: f,
					Target:   target,
					Deploy: func(_ testing.TB, name, body string) {
						names[name] = revision(name, body).Content
						f.Deploy(revision(name, body))
					},
					DeployBroken: func(_ testing.TB, name string) {
						f.Deploy(revision(name, "broken"))
						f.SetProgress(belay.Stuck, "crash loop: exit status 2")
					},
					Breakages: []rollbacktest.Breakage{
						breakage(f, "image pull", "image pull: not found"),
						breakage(f, "crash loop", "crash loop: exit status 2"),
						breakage(f, "unschedulable", "unschedulable: no node has room"),
						breakage(f, "quota", "quota: 10 of 10 CPUs are taken"),
					},
					Restart:   func(testing.TB) { f.Restart() },
					Scale:     func(_ testing.TB, n int) { f.Scale(n) },
					Instances: func(testing.TB) int { return f.Instances() },
					EditLabel: func(testing.TB) { f.Restart() },
					Reapply:   func(_ testing.TB, name, body string) { f.Reapply(revision(name, body)) },
					Remove:    func(_ testing.TB, name string) { f.Vanish(names[name]) },
					RestoreLost: func(ctx context.Context, op belay.Operation) error {
						f.Inject(rollbacktest.TimeoutButApplied())
						return f.Restore(ctx, op)
					},
					Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
						f.Inject(rollbacktest.Meanwhile(meanwhile))
						return f.Restore(ctx, op)
					},
					History: func(testing.TB) []rollbacktest.Change { return f.History() },
				}
			})
		})
	}
}

func TestFaultsDoWhatTheirNamesSay(t *testing.T) {
	good, bad, other := revision("v1", "a"), revision("v2", "b"), revision("v3", "c")
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		fault    rollbacktest.Fault
		err      error
		runs     belay.Revision
		progress belay.Progress
		by       []string // who made the changes after the two deployments
	}{
		"no fault":              {rollbacktest.Fault{}, nil, good, belay.Converged, []string{"op"}},
		"conflict":              {rollbacktest.Conflict(), belay.ErrSuperseded, bad, belay.Converged, nil},
		"an error":              {rollbacktest.Fault{Refuse: boom}, boom, bad, belay.Converged, nil},
		"the answer is lost":    {rollbacktest.TimeoutButApplied(), context.DeadlineExceeded, good, belay.Converged, []string{"op"}},
		"the request is lost":   {rollbacktest.TimeoutNotApplied(), context.DeadlineExceeded, bad, belay.Converged, nil},
		"applied in part":       {rollbacktest.PartialApply("1 of 3 pods"), nil, good, belay.Stuck, []string{"op"}},
		"concurrent deployment": {rollbacktest.ConcurrentDeploy(other), belay.ErrSuperseded, other, belay.Converged, []string{"deploy"}},
		"controller re-applies": {rollbacktest.Reapply(bad), nil, bad, belay.Converged, []string{"op", "controller"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := rollbacktest.NewFake(target, rollback.Atomic)
			f.Deploy(good)
			f.Deploy(bad)
			f.Inject(tc.fault)
			err := f.Restore(t.Context(), belay.Operation{ID: "op", Target: target, Seen: bad.Content, To: good})
			if !errors.Is(err, tc.err) {
				t.Errorf("Restore returned %v, want %v", err, tc.err)
			}
			st, err := f.State(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if st.Revision.Content != tc.runs.Content || st.Progress != tc.progress {
				t.Errorf("%s runs and is %s, want %s and %s", st.Revision, st.Progress, tc.runs, tc.progress)
			}
			var by []string
			for _, c := range f.History()[2:] {
				by = append(by, c.By)
			}
			if diff := cmp.Diff(tc.by, by); diff != "" {
				t.Errorf("changes of content (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAVanishedRevisionIsNotRestored(t *testing.T) {
	f := rollbacktest.NewFake(target, rollback.Atomic)
	good, bad := revision("v1", "a"), revision("v2", "b")
	f.Deploy(good)
	f.Deploy(bad)
	f.Inject(rollbacktest.Vanish(good.Content))
	if err := f.Restore(t.Context(), belay.Operation{ID: "op", Target: target, Seen: bad.Content, To: good}); err == nil {
		t.Error("Restore returned nil, want an error")
	}
	if got := len(f.History()); got != 2 {
		t.Errorf("%d changes of content, want the two deployments", got)
	}
}

func TestAHangLastsUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := rollbacktest.NewFake(target, rollback.Atomic)
		good, bad := revision("v1", "a"), revision("v2", "b")
		f.Deploy(good)
		f.Deploy(bad)
		f.Inject(rollbacktest.HangUntilDone())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Restore(ctx, belay.Operation{ID: "op", Target: target, Seen: bad.Content, To: good}) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Restore returned %v, want it to hang", err)
		default:
		}
		if _, err := f.State(t.Context(), target); err != nil {
			t.Errorf("State: %v while a restore hangs", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Restore returned %v, want context.Canceled", err)
		}
	})
}

func TestFailedReadsEndTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := rollbacktest.NewFake(target, rollback.Atomic)
		f.Deploy(revision("v1", "a"))
		boom := errors.New("boom")
		done := make(chan error, 1)
		go func() { done <- f.Watch(t.Context(), target, func(belay.State) {}) }()
		synctest.Wait()
		f.FailReads(1, boom)
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("Watch returned %v, want %v", err, boom)
		}
		if _, err := f.State(t.Context(), target); err != nil {
			t.Errorf("State after the failures: %v", err)
		}
	})
}
