package rules

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

// A group is a Group at work. One goroutine evaluates it.
type group struct {
	e        *Engine
	p        *plan
	def      *Group
	interval time.Duration
	wake     chan struct{}
	duration telemetry.Histogram

	// clock has a mutex of its own, so that telling of samples waits for nothing.
	clock struct {
		sync.Mutex
		touched time.Time // first commit that no evaluation has seen; zero if none
		begun   time.Time // what the running evaluation answers; zero between evaluations
	}

	mu       sync.Mutex // guards what follows, and the states of the rules
	lastEval time.Time
	took     time.Duration
	pace     time.Time // samples are judged from then on
	retry    bool      // a change could not be journalled
	rules    []*ruleState
}

// A ruleState is what is known of one rule. Only the group's goroutine writes
// it, holding the group's mutex.
type ruleState struct {
	g      *group
	rule   *Rule
	end    belay.Seq
	alerts []belay.Alert
	judged map[string]*judged
	order  []string // keys of judged, as first seen
	trust
	lastErr      error
	lastEval     time.Time
	took         time.Duration
	unknownSince time.Time
	lost         bool
	series       map[string]labels.Labels // written by the last evaluation
	evaluations  []Evaluation             // the last ones, oldest first
	flaps        map[string]*flaps        // by the alert's ID
	watch        *watch                   // of an anomaly rule, nil of any other
}

func newGroup(e *Engine, p *plan, def *Group) *group {
	g := &group{e: e, p: p, def: def, interval: def.Interval, wake: make(chan struct{}, 1)}
	if g.interval <= 0 {
		g.interval = p.opts.EvaluationInterval
	}
	g.duration = p.opts.Metrics.Histogram("belay_rule_evaluation_duration_seconds", "How long one evaluation of a group took.", "group", def.Name)
	for _, r := range def.Rules {
		g.rules = append(g.rules, &ruleState{watch: newWatch(r, g.interval), g: g, rule: r, judged: map[string]*judged{}, flaps: map[string]*flaps{}, trust: trust{quality: Unknown, why: "not evaluated yet"}})
	}
	return g
}

// take adopts what the journal says of the rule.
func (st *ruleState) take(m *memory, at time.Time) {
	st.end, st.alerts, st.lost = m.end, m.alerts, m.lost
	st.takeFlaps(m, at)
	none := st.rule.alertID(st.rule.placeholder())
	for _, a := range m.alerts {
		if a.ID == none && a.Verdict != belay.Fail {
			continue // found for the rule as a whole, not for a label set
		}
		if st.judged[a.ID] == nil {
			st.judge(a.ID, &judged{failed: a.Failed, present: at, j: belay.Judgement{
				Rule: a.Rule, Labels: a.Labels, Verdict: belay.Unknown, Value: a.Value, At: a.EvaluatedAt, DataAt: a.DataAt,
				Reason: "not evaluated since the start", Observe: a.Observe,
			}})
		}
	}
}

func (g *group) locked(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *group) touch(at time.Time) {
	g.clock.Lock()
	if g.clock.touched.IsZero() || at.Before(g.clock.touched) {
		g.clock.touched = at
	}
	g.clock.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *group) waiting() (oldest time.Time) {
	g.clock.Lock()
	defer g.clock.Unlock()
	oldest = g.clock.begun
	if touched := g.clock.touched; oldest.IsZero() || (!touched.IsZero() && touched.Before(oldest)) {
		oldest = touched
	}
	return oldest
}

func (g *group) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
			timer.Reset(time.Until(g.due()))
			continue
		case <-timer.C:
		}
		if !g.turn(ctx) {
			return
		}
		timer.Reset(time.Until(g.due()))
	}
}

// turn waits for one of the engine's slots and evaluates. It returns false
// when ctx has ended.
func (g *group) turn(ctx context.Context) bool {
	committed := g.begin()
	g.locked(func() { g.retry = false })
	select {
	case <-ctx.Done():
		return false
	case g.e.slots <- struct{}{}:
		defer func() { <-g.e.slots }()
	}
	start := time.Now()
	if !committed.IsZero() {
		g.e.told.lag.Observe(start.Sub(committed).Seconds())
	}
	ts := now()
	g.evaluate(ctx, ts)
	took := time.Since(start)
	g.duration.Observe(took.Seconds())
	g.locked(func() { g.keepPace(ts); g.lastEval, g.took = ts, took })
	g.end()
	return ctx.Err() == nil
}

// keepPace notes an evaluation, and with it from when on samples are judged
// again. On average min_interval is kept, but one evaluation may follow another
// sooner. Were that not so, then with a scrape in each min_interval one that
// comes late (or the evaluation at the start, which none brought) would put off
// all that follow: each would wait until min_interval has passed since an
// evaluation that was late itself.
func (g *group) keepPace(ts time.Time) {
	least := g.e.options().MinInterval
	g.pace = g.pace.Add(least)
	switch {
	case g.pace.Before(ts):
		g.pace = ts
	case g.pace.After(ts.Add(least)):
		g.pace = ts.Add(least)
	}
}

// begin takes over the samples that wait, and returns when the first of them
// was committed.
func (g *group) begin() (committed time.Time) {
	g.clock.Lock()
	defer g.clock.Unlock()
	committed, g.clock.touched = g.clock.touched, time.Time{}
	g.clock.begun = time.Now()
	if !committed.IsZero() && committed.Before(g.clock.begun) {
		g.clock.begun = committed
	}
	return committed
}

func (g *group) end() {
	g.clock.Lock()
	defer g.clock.Unlock()
	g.clock.begun = time.Time{}
}

// due returns when the group must be evaluated next: at its heartbeat, for
// samples that wait, and when an alert changes by the clock.
func (g *group) due() time.Time {
	g.clock.Lock()
	waits := !g.clock.touched.IsZero()
	g.clock.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lastEval.IsZero() {
		return time.Time{}
	}
	due := g.lastEval.Add(g.interval)
	if soon := g.lastEval.Add(g.e.options().MinInterval); g.retry && soon.Before(due) {
		due = soon
	}
	if waits && g.pace.Before(due) {
		due = g.pace
	}
	for _, st := range g.rules {
		for _, a := range st.alerts {
			at := st.rule.deadline(a)
			if at.After(g.lastEval) && at.Before(due) {
				due = at
			}
		}
	}
	return due
}

// evaluate runs the rules in their order at ts. What a recording rule writes
// is there for those after it.
func (g *group) evaluate(ctx context.Context, ts time.Time) {
	in := g.e.sight(ts)
	written := map[string]struct{}{}
	for _, st := range g.rules {
		start := time.Now()
		if st.rule.Recording {
			g.record(ctx, st, in, ts)
			written[st.rule.Name] = struct{}{}
		} else {
			g.alert(ctx, st, in, ts)
			st.watch.names(written)
		}
		if ctx.Err() != nil {
			return
		}
		g.locked(func() { st.lastEval, st.took = ts, time.Since(start) })
	}
	g.e.Touched(written, ts)
}

// timeout bounds the queries of one rule.
func (g *group) timeout() time.Duration { return min(g.interval, maxTimeout) }

// fail notes that a rule could not be evaluated, and logs it when that is new.
func (g *group) fail(st *ruleState, err error) {
	before := st.lastErr
	g.locked(func() { st.lastErr = err })
	if err != nil && (before == nil || before.Error() != err.Error()) {
		g.e.log.Warn("rule could not be evaluated", "group", g.def.Name, "rule", st.rule.Name, "file", st.rule.File, "line", st.rule.Line, "error", err)
	}
}
