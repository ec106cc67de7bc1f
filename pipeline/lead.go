package pipeline

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// A lead says which of several Belays on one journal tells people. All of them
// judge and decide, each compares before it appends; but a channel can compare
// nothing, so one alone speaks to it.
type lead struct {
	held  chan struct{} // closed when this one leads
	gauge prometheus.GaugeFunc
}

func newLead() *lead {
	l := &lead{held: make(chan struct{})}
	l.gauge = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "belay_leader", Help: "1 when this Belay tells people, 0 while another one on the same journal does.",
	}, func() float64 {
		if l.holds() {
			return 1
		}
		return 0
	})
	return l
}

func (l *lead) holds() bool {
	select {
	case <-l.held:
		return true
	default:
		return false
	}
}

// takeLead leads as soon as no other does. Where that cannot be settled it
// leads all the same: people told twice are better off than people not told.
// release may be called when ctx has ended.
func (b *base) takeLead(ctx context.Context) (release func()) {
	settled := make(chan func() error, 1)
	go func() {
		defer close(settled)
		release, err := b.journal.Lead(ctx)
		if ctx.Err() != nil && err != nil {
			return
		}
		if err != nil {
			b.p.log.Warn("this Belay tells people without knowing whether another one does", "error", err)
		} else {
			settled <- release
		}
		close(b.lead.held)
	}()
	return func() {
		if release, ok := <-settled; ok {
			if err := release(); err != nil {
				b.p.log.Warn("the lead cannot be given up; it ends with this process", "error", err)
			}
		}
	}
}

// leading puts off a part until this Belay leads.
func (b *base) leading(part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !until(ctx, b.lead.held) {
			return nil
		}
		return part(ctx)
	}
}
