package kubernetes

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/strict"
)

// A guardian is a whole controller with a journal of its own and rules that are
// always green, on a workload of the real control plane.
type guardian struct {
	*rollback.Controller
	store *journal.Store
}

func (h *hands) guardian(t *testing.T, store *journal.Store) *guardian {
	t.Helper()
	dir := t.TempDir()
	if store == nil {
		var err error
		if store, err = journal.Open(t.Context(), filepath.Join(dir, "belay.db"), journal.Options{Poll: 20 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
	}
	doc, ps := strict.Parse("belay.yml", fmt.Appendf(nil, "rollback: {mode: notify, soak: 500ms, recovery_hold: 1s, recovery_timeout: 2m, kill_switch_file: %s}", filepath.Join(dir, "STOP")))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	policy, ps := rollback.LoadPolicy(doc, rollback.DefaultPolicy(), "rollback")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	c, err := rollback.New([]rollback.Service{{
		ID: target.Service, Policy: policy, PlatformName: target.Platform,
		Platform: h.platform(t, func(_ *Config, o *Options) { o.Specs = rollback.NewSpecs(filepath.Join(dir, "specs")) }),
		Match:    func(labels.Labels) bool { return true },
	}}, rollback.Options{
		Journal: store, Tick: 50 * time.Millisecond, Alerts: func() []belay.Alert { return nil },
		Judgements: func() []belay.Judgement {
			return []belay.Judgement{{Rule: "CheckoutErrors", Verdict: belay.Pass, At: time.Now(), DataAt: time.Now()}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return &guardian{c, store}
}

// standing waits until the ledger says so of the content that runs.
func (g *guardian) standing(t *testing.T, c belay.Content, want belay.Standing) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is %s", c.Short(), want), func() (bool, any) {
		var got belay.LedgerEntry
		for ev, err := range g.store.Read(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Ledger != nil && ev.Ledger.Revision.Content == c {
				got = *ev.Ledger
			}
		}
		return got.Standing == want, got
	})
}

// newest returns the newest rollback of the journal.
func (g *guardian) newest(t *testing.T) belay.Rollback {
	t.Helper()
	var rb belay.Rollback
	for ev, err := range g.store.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Rollback != nil {
			rb = *ev.Rollback
		}
	}
	return rb
}

func (g *guardian) ends(t *testing.T, want belay.RollbackState) {
	t.Helper()
	eventually(t, "the rollback ends "+string(want), func() (bool, any) {
		rb := g.newest(t)
		return rb.State == want, rb
	})
}

func TestAControllerThatPutsTheBadVersionBackIsNotFought(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p := h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	g := h.guardian(t, nil)
	g.standing(t, good, belay.Good)
	h.deploy(t, "v2", "2")
	bad := converged(t, p, "2")
	g.standing(t, bad, belay.Good) // so far nothing speaks against it

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // a GitOps controller that Belay cannot see
		for ctx.Err() == nil {
			if st, err := p.State(ctx, target); err == nil && st.Revision.Content != bad {
				_, _ = h.workloads().Patch(ctx, "shop", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"shop","image":"shop:2"}]}}}}`), metav1.PatchOptions{FieldManager: "gitops"})
			}
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	if _, err := g.Start(t.Context(), target.Service, "anna"); err != nil {
		t.Fatal(err)
	}
	g.ends(t, belay.RollbackFought)
	after := h.wire.written()
	g.standing(t, bad, belay.Bad)
	if _, err := g.Start(t.Context(), target.Service, "anna"); err == nil {
		t.Error("a second order is carried out, although the content was taken back once and came back")
	}
	h.deploy(t, "v2-again", "2")
	time.Sleep(time.Second) // twenty looks of the controller
	if n := h.wire.written(); n != after {
		t.Errorf("%d writes after the fight was seen, want none", n-after)
	}
	if after != 1 {
		t.Errorf("%d patches were sent in all, want one", after)
	}
}

func TestTwoControllersOnOneWorkloadMakeOneChange(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p := h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	both := []*guardian{h.guardian(t, nil), h.guardian(t, nil)} // journals of their own
	for _, g := range both {
		g.standing(t, good, belay.Good)
	}
	h.deploy(t, "v2", "2")
	bad := converged(t, p, "2")
	changes := len(h.log.changes(t))
	var wg sync.WaitGroup
	for _, g := range both {
		wg.Go(func() {
			if _, err := g.Start(t.Context(), target.Service, "anna"); err != nil {
				t.Errorf("Start: %v", err)
			}
		})
	}
	wg.Wait()
	for _, g := range both {
		g.ends(t, belay.RollbackRecovered)
	}
	id := both[0].newest(t).ID
	news := h.log.changes(t)[changes:]
	if len(news) != 1 || news[0].By != id || news[0].From != bad || news[0].To != good {
		t.Errorf("changes of content: %+v, want one, by %s", news, id)
	}
}
