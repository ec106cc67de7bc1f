package rollback_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
	"github.com/belaydev/belay/strict"
)

// decided is a platform that notes when it is first asked to restore.
type decided struct {
	*rollbacktest.Fake
	asked chan time.Time
}

func (d *decided) Restore(ctx context.Context, op belay.Operation) error {
	select {
	case d.asked <- time.Now():
	default:
	}
	return d.Fake.Restore(ctx, op)
}

// From the decision (a person's order, which is journalled with a full sync) to
// the first call of the platform: all guards, and the intent, journalled with a
// full sync as well, on the real journal.
func BenchmarkDecisionToPlatform(b *testing.B) {
	const services = 200
	var took []time.Duration
	for b.Loop() {
		took = append(took, decideAll(b, services)...)
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

func decideAll(b *testing.B, n int) []time.Duration {
	b.Helper()
	dir := b.TempDir()
	store, err := journal.Open(b.Context(), filepath.Join(dir, "belay.db"), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	doc, _ := strict.Parse("belay.yml", fmt.Appendf(nil, autoPolicy, filepath.Join(dir, "STOP")))
	policy, ps := rollback.LoadPolicy(doc, rollback.DefaultPolicy(), "rollback")
	if len(ps) > 0 {
		b.Fatal(ps)
	}
	asked := make(chan time.Time, 1)
	var services []rollback.Service
	for i := range n {
		id := belay.ServiceID{Environment: "production", Name: fmt.Sprint("s", i)}
		p := &decided{rollbacktest.NewFake(belay.Target{Service: id, Platform: "fake"}, rollback.Atomic), asked}
		p.Deploy(v1)
		p.Deploy(v2)
		good := belay.LedgerEntry{Service: id, Revision: v1, Standing: belay.Good, Since: time.Now()}
		if _, err := store.Append(b.Context(), belay.TargetStream(id), belay.AnySeq, belay.Event{At: time.Now(), Kind: belay.KindLedger, Service: id, Ledger: &good, Reason: "known good"}); err != nil {
			b.Fatal(err)
		}
		services = append(services, rollback.Service{ID: id, Policy: policy, PlatformName: "fake", Platform: p, Match: func(labels.Labels) bool { return false }})
	}
	c, err := rollback.New(services, rollback.Options{Journal: store, Alerts: func() []belay.Alert { return nil }, Judgements: func() []belay.Judgement { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	seen := map[belay.ServiceID]bool{}
	for ev, err := range store.Tail(ctx, 0) { // until it knows what runs everywhere
		if err != nil {
			b.Fatal(err)
		}
		if ev.Ledger != nil && ev.Ledger.Revision.Content == v2.Content {
			seen[ev.Service] = true
		}
		if len(seen) == n {
			break
		}
	}
	var took []time.Duration
	for _, s := range services {
		begin := time.Now()
		if _, err := c.Start(ctx, s.ID, "ann"); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-asked).Sub(begin))
	}
	cancel()
	wg.Wait()
	_ = store.Close()
	return took
}
