package rules

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/belaydev/belay"
)

// A plan is a Set at work: its groups, and who reads what. A reload replaces
// the whole plan.
type plan struct {
	e       *Engine
	opts    *Options // that it is made for
	groups  []*group
	readers map[string][]*group // by metric name
	nosy    []*group            // groups that may read any name
	written map[string]bool     // names that rules write
	states  map[*Rule]*ruleState

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (e *Engine) newPlan(set Set, opts *Options) (*plan, error) {
	set.link()
	p := &plan{
		e: e, opts: opts, readers: map[string][]*group{}, states: map[*Rule]*ruleState{},
		written: map[string]bool{alertsMetric: true, alertsForStateMetric: true}, cancel: func() {},
	}
	for _, def := range set.Groups {
		if err := p.add(def); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) add(def *Group) error {
	g := newGroup(p.e, p, def)
	p.groups = append(p.groups, g)
	for _, st := range g.rules {
		p.states[st.rule] = st
	}
	for _, r := range def.Rules {
		if r.Recording {
			p.written[r.Name] = true
		}
		if r.Anomaly != nil {
			for _, name := range bandMetrics {
				p.written[name] = true
			}
		}
		if r.Recording && p.opts.Appendable == nil {
			return fmt.Errorf("rules: %s:%d: rule %q records a series, and there is no storage that takes it", r.File, r.Line, r.Name)
		}
	}
	names, nosy := def.reads()
	if nosy {
		p.nosy = append(p.nosy, g)
	}
	for name := range names {
		p.readers[name] = append(p.readers[name], g)
	}
	return nil
}

// has reports whether a stream is that of one of the plan's rules.
func (p *plan) has(stream string) bool {
	for r := range p.states {
		if r.Stream() == stream {
			return true
		}
	}
	return false
}

// start evaluates the groups until stop, or until ctx ends.
func (p *plan) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	for _, g := range p.groups {
		p.wg.Go(func() { g.run(ctx) })
	}
}

// stop ends evaluations that run, which changes nothing, and waits for them.
func (p *plan) stop() {
	p.cancel()
	p.wg.Wait()
}

// take adopts what the journal says of the plan's rules, and leaves the rest.
func (p *plan) take(memories map[string]*memory) {
	for _, g := range p.groups {
		for _, st := range g.rules {
			if m := memories[st.rule.Stream()]; m != nil {
				g.locked(func() { st.take(m, now()) })
				delete(memories, st.rule.Stream())
			}
		}
	}
}

// Reload evaluates another Set from now on, also while Run runs. Rules that
// agree in group, name and labels with one from before keep their alerts,
// judgements, counts and evaluations, and groups that agree in file and name
// their schedule; the alerts of rules that are gone resolve. When it returns an
// error nothing has changed. The Set must not be in use by another engine.
func (e *Engine) Reload(set Set) error {
	commit, err := e.Prepare(set, *e.options())
	if err != nil {
		return err
	}
	commit()
	return nil
}

// Prepare does all of a Reload that can fail, and changes nothing; commit does
// the rest, and waits for the evaluations that run. The options take the place
// of those from before, but for the journal, the logger and the metrics.
// Between Prepare and commit there must be no other Reload.
func (e *Engine) Prepare(set Set, opts Options) (commit func(), err error) {
	before := e.options()
	opts.Journal, opts.Logger, opts.Metrics = before.Journal, before.Logger, before.Metrics
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	next, err := e.newPlan(set, &opts)
	if err != nil {
		return nil, err
	}
	e.reloading.Lock()
	defer e.reloading.Unlock()
	var memories map[string]*memory
	if e.running != nil { // a rule that is new may have a past
		if memories, err = remember(e.running, opts.Journal, ""); err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
	}
	return func() { e.replace(next, &opts, memories) }, nil
}

// replace puts a plan in the place of the present one. It cannot fail.
func (e *Engine) replace(next *plan, opts *Options, memories map[string]*memory) {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	before := e.plan.Load()
	if e.running == nil {
		e.current.Store(opts)
		e.plan.Store(next)
		return
	}
	before.stop()
	removed := next.inherit(before, memories)
	e.current.Store(opts)
	e.plan.Store(next)
	ctx := e.running
	next.start(ctx)
	e.orphans.Go(func() { e.retire(ctx, removed) })
}

// inherit moves the state of the rules that stay, gives the new ones what the
// journal says of them, and returns those that are gone. No group runs.
func (p *plan) inherit(before *plan, memories map[string]*memory) (removed []*ruleState) {
	old := map[string]*ruleState{}
	clocks := map[[2]string]*group{}
	for _, g := range before.groups {
		clocks[[2]string{g.def.File, g.def.Name}] = g
		for _, st := range g.rules {
			old[st.rule.ID] = st
		}
	}
	for _, g := range p.groups {
		if was := clocks[[2]string{g.def.File, g.def.Name}]; was != nil {
			g.continues(was)
		}
		for _, st := range g.rules {
			was, m := old[st.rule.ID], memories[st.rule.Stream()]
			switch {
			case was != nil:
				st.continues(was)
				delete(old, st.rule.ID)
			case m != nil:
				st.take(m, now())
			}
		}
	}
	for _, g := range before.groups {
		for _, st := range g.rules {
			if old[st.rule.ID] == st {
				removed = append(removed, st)
			}
		}
	}
	return removed
}

// continues takes over the schedule, and the samples that wait.
func (g *group) continues(was *group) {
	g.lastEval, g.took, g.retry = was.lastEval, was.took, was.retry
	g.clock.touched = was.waiting()
	if len(g.rules) != len(was.rules) || !sameRules(g.def, was.def) {
		g.lastEval = time.Time{} // what is new is not made to wait
	}
}

func sameRules(a, b *Group) bool {
	for i, r := range a.Rules {
		was := b.Rules[i]
		if r.ID != was.ID || r.query != was.query || r.For != was.For || r.KeepFiringFor != was.KeepFiringFor {
			return false
		}
	}
	return true
}

// continues takes over everything but the rule itself.
func (st *ruleState) continues(was *ruleState) {
	g, rule, watch := st.g, st.rule, st.watch
	*st = *was
	st.g, st.rule, st.watch = g, rule, watch.continues(was.watch)
}

// retire ends what rules that are gone have left: their alerts, durably, and
// the series that they wrote.
func (e *Engine) retire(ctx context.Context, removed []*ruleState) {
	orphans := map[string]*memory{}
	for _, st := range removed {
		orphans[st.rule.Stream()] = &memory{end: st.end, alerts: append([]belay.Alert(nil), st.alerts...)}
		if len(st.series) > 0 {
			if err := st.g.write(ctx, st, nil, now().Add(-st.g.def.QueryOffset)); err != nil {
				e.log.Debug("series of a rule that is gone could not be marked as stale", "rule", st.rule.Name, "error", err)
			}
		}
	}
	e.forgetAll(ctx, orphans)
}
