package rollback_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
	"github.com/belaydev/belay/strict"
)

// A town is several services on fake platforms that depend on each other.
type town struct {
	t         *testing.T
	journal   *memory
	platforms map[string]*rollbacktest.Fake

	mu  sync.Mutex
	red map[string]time.Time // service → since when
}

func id(name string) belay.ServiceID {
	return belay.ServiceID{Environment: "production", Name: name}
}

// townPolicy allows several rollbacks in an hour; one at a time is what the
// tests are about.
const townPolicy = `
rollback: {mode: auto, veto: 10s, soak: 1m, recovery_hold: 30s, recovery_timeout: 5m, cooldown: 3m, kill_switch_file: %s, budget: {in_flight: %d, per_hour: 10, share_of_services: 100%%}}
`

// settle runs a town in which every service has a good version: "shop" depends
// on "checkout", and that on "payments"; others are there, too.
func settle(t *testing.T, inFlight int, test func(tw *town)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tw := &town{t: t, journal: newMemory(), platforms: map[string]*rollbacktest.Fake{}, red: map[string]time.Time{}}
		doc, _ := strict.Parse("belay.yml", fmt.Appendf(nil, townPolicy, filepath.Join(t.TempDir(), "STOP"), inFlight))
		policy, ps := rollback.LoadPolicy(doc, rollback.DefaultPolicy(), "rollback")
		if len(ps) > 0 {
			t.Fatal(ps)
		}
		depends := map[string][]belay.ServiceID{"shop": {id("checkout")}, "checkout": {id("payments")}}
		var services []rollback.Service
		for _, name := range []string{"shop", "checkout", "payments", "mail", "search", "stock", "users"} {
			p := rollbacktest.NewFake(belay.Target{Service: id(name), Platform: "fake"}, rollback.Atomic)
			p.Deploy(v1)
			tw.platforms[name] = p
			services = append(services, rollback.Service{
				ID: id(name), Policy: policy, PlatformName: "fake", Platform: p, DependsOn: depends[name],
				Match: func(ls labels.Labels) bool { return ls.Get("service") == name },
			})
		}
		c, err := rollback.New(services, rollback.Options{Journal: tw.journal, Alerts: tw.alerts, Judgements: tw.judgements})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Run(ctx) })
		wg.Go(func() { tw.people(ctx) })
		time.Sleep(2 * time.Minute)
		test(tw)
		cancel()
		wg.Wait()
	})
}

func (tw *town) people(ctx context.Context) {
	for ev, err := range tw.journal.Tail(ctx, 0) {
		if err == nil && ev.Rollback != nil {
			_, _ = tw.journal.Append(ctx, "delivery/test", belay.AnySeq, belay.Event{
				At: time.Now(), Kind: belay.KindDelivery, Reason: "told",
				Delivery: &belay.Delivery{Destination: "test", Incident: ev.Rollback.Incident, Key: fmt.Sprint(ev.Seq), Result: "sent", Tells: ev.Seq},
			})
		}
	}
}

func (tw *town) alerts() []belay.Alert {
	tw.mu.Lock()
	defer tw.mu.Unlock()
	var out []belay.Alert
	for name, since := range tw.red {
		out = append(out, belay.Alert{
			ID: name, Rule: name + "Errors", Labels: labels.FromStrings("service", name, "severity", "critical"), State: belay.AlertFiring,
			ActiveAt: since, FiredAt: since, Verdict: belay.Fail, Failed: 3, DataAt: time.Now(), EvaluatedAt: time.Now(),
		})
	}
	return out
}

func (tw *town) judgements() []belay.Judgement {
	tw.mu.Lock()
	defer tw.mu.Unlock()
	var out []belay.Judgement
	for name := range tw.platforms {
		v := belay.Pass
		if _, red := tw.red[name]; red {
			v = belay.Fail
		}
		out = append(out, belay.Judgement{Rule: name + "Errors", Labels: labels.FromStrings("service", name), Verdict: v, At: time.Now(), DataAt: time.Now()})
	}
	return out
}

func (tw *town) breaks(names ...string) {
	tw.t.Helper()
	tw.mu.Lock()
	for _, name := range names {
		tw.red[name] = time.Now()
	}
	tw.mu.Unlock()
	for _, name := range names {
		tw.incident(name, belay.Triggered, belay.KindOpened)
	}
}

func (tw *town) mends(name string) {
	tw.t.Helper()
	tw.mu.Lock()
	delete(tw.red, name)
	tw.mu.Unlock()
}

func (tw *town) incident(name string, state belay.IncidentState, kind belay.Kind) {
	tw.t.Helper()
	in := belay.Incident{ID: name + "-1", Service: id(name), Title: name + " is broken", State: state, OpenedAt: time.Now()}
	if _, err := tw.journal.Append(tw.t.Context(), belay.IncidentStream(in.Service), belay.AnySeq, belay.Event{At: time.Now(), Kind: kind, Service: in.Service, Reason: "so", Incident: &in}); err != nil {
		tw.t.Fatal(err)
	}
}

// newest returns the newest rollback of a service.
func (tw *town) newest(name string) belay.Rollback {
	var rb belay.Rollback
	for ev, err := range tw.journal.Read(tw.t.Context(), 0) {
		if err == nil && ev.Rollback != nil && ev.Rollback.Target.Service.Name == name {
			rb = *ev.Rollback
		}
	}
	return rb
}

func (tw *town) expect(name string, state belay.RollbackState, says string) {
	tw.t.Helper()
	if rb := tw.newest(name); rb.State != state || !strings.Contains(rb.Reason, says) {
		tw.t.Errorf("the rollback of %s is %q (%s), want %q with %q", name, rb.State, rb.Reason, state, says)
	}
}

func (tw *town) runs(name string, want belay.Revision) {
	tw.t.Helper()
	st, err := tw.platforms[name].State(tw.t.Context(), belay.Target{Service: id(name), Platform: "fake"})
	if err != nil || st.Revision.Content != want.Content {
		tw.t.Errorf("%s runs %s, %v, want %s", name, st.Revision, err, want)
	}
}

// Both were deployed, and both are red: what the other rests on goes first, and
// the other only once that has recovered.
func TestRelatedServicesAreTakenBackOneAfterTheOther(t *testing.T) {
	settle(t, 5, func(tw *town) {
		tw.platforms["payments"].Deploy(v2)
		time.Sleep(10 * time.Minute)
		tw.platforms["checkout"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("checkout", "payments")
		time.Sleep(30 * time.Second)
		tw.runs("payments", v1)
		tw.runs("checkout", v2)
		tw.expect("checkout", belay.RollbackRefused, "payments, which this service depends on, is")
		tw.mends("payments")
		time.Sleep(40 * time.Second)
		tw.expect("payments", belay.RollbackRecovered, "helped")
		time.Sleep(30 * time.Second)
		tw.runs("checkout", v1)
	})
}

func TestWhatDidNotRecoverStopsWhatIsRelatedToIt(t *testing.T) {
	settle(t, 5, func(tw *town) {
		tw.platforms["payments"].Deploy(v2)
		time.Sleep(10 * time.Minute)
		tw.platforms["checkout"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("checkout", "payments")
		time.Sleep(7 * time.Minute)
		tw.expect("payments", belay.RollbackNotRecovered, "did not help")
		tw.expect("checkout", belay.RollbackRefused, "the rollback of payments, which is related to this service, did not help")
		time.Sleep(5 * time.Minute)
		tw.runs("checkout", v2)
	})
}

// checkout fails, was not deployed, and payments was: the policy of payments
// decides, and a person, since nothing of payments itself fails.
func TestADependencyThatWasDeployedIsProposedByItsOwnPolicy(t *testing.T) {
	settle(t, 5, func(tw *town) {
		tw.platforms["payments"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("checkout")
		time.Sleep(time.Minute)
		tw.expect("checkout", belay.RollbackRefused, "the likeliest cause is a deployment of payments")
		tw.expect("payments", belay.RollbackAwaiting, "checkout fails, which depends on payments; nothing of payments itself fails")
		if rb := tw.newest("payments"); rb.Incident != "checkout-1" {
			tw.t.Errorf("it belongs to incident %q, want checkout's", rb.Incident)
		}
		tw.runs("payments", v2)
		tw.mends("checkout")
		tw.incident("checkout", belay.Resolved, belay.KindResolved)
		time.Sleep(5 * time.Second)
		tw.expect("payments", belay.RollbackStopped, "the incident ended")
	})
}

func TestAnUnrelatedServiceDoesNotWait(t *testing.T) {
	settle(t, 5, func(tw *town) {
		tw.platforms["payments"].Deploy(v2)
		tw.platforms["mail"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("payments", "mail")
		time.Sleep(30 * time.Second)
		tw.runs("payments", v1)
		tw.runs("mail", v1)
	})
}

func TestMostServicesRedAtOnceIsNoReleasesFault(t *testing.T) {
	settle(t, 5, func(tw *town) {
		tw.platforms["mail"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("mail", "search", "stock", "users")
		time.Sleep(time.Minute)
		tw.expect("mail", belay.RollbackRefused, "4 of 7 services are red at once")
		tw.runs("mail", v2)
	})
}

func TestTheBudgetOfRollbacksAtOnceHolds(t *testing.T) {
	settle(t, 1, func(tw *town) {
		tw.platforms["stock"].Deploy(v2)
		tw.platforms["mail"].Deploy(v2)
		time.Sleep(10 * time.Second)
		tw.breaks("stock")
		time.Sleep(15 * time.Second)
		tw.runs("stock", v1)
		tw.breaks("mail")
		time.Sleep(30 * time.Second)
		tw.expect("mail", belay.RollbackRefused, "the budget allows 1 at once")
		tw.mends("stock")
		time.Sleep(time.Minute)
		tw.runs("mail", v1)
	})
}
