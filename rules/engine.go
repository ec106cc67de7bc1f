package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

// Options are what an Engine works with. Journal is required, and one of
// Queryable and Query.
type Options struct {
	Logger    *slog.Logger        // nil: silence
	Metrics   *telemetry.Registry // nil: not shown
	Journal   belay.Journal
	Queryable storage.Queryable
	// Query answers instant queries instead of the engine's own PromQL over
	// Queryable, such as by asking the API of another server. Rules are then
	// evaluated on their interval alone, targets are not asked for, and a query
	// that fails makes its rule unknown.
	Query func(ctx context.Context, expr string, ts time.Time) (promql.Vector, error)
	// Appendable takes the series of recording rules, ALERTS and
	// ALERTS_FOR_STATE. Nil writes none, which a set with recording rules
	// does not allow.
	Appendable storage.AppendableV2
	// Targets returns the targets that discovery names now. Nil: every query
	// that succeeds is believed.
	Targets func() []Target
	// Changed returns when what makes series with these labels was last changed,
	// as by a deployment, zero if it is not known: anomaly rules compare what
	// comes after with what was before. Nil: nothing is ever known.
	Changed func(labels.Labels) time.Time
	// AnomalyState is the file in which what anomaly rules have learned outlives
	// the process. "": they learn again, from stored samples.
	AnomalyState string
	// OnJudged is told each evaluation's judgements of one alerting rule, by
	// the rule's ID. It must not block.
	OnJudged func(rule string, judgements []belay.Judgement)
	// OnJournalError is told each alert whose change could not be journalled;
	// the change has not taken place and is tried again. It must not block.
	OnJournalError func(err error, alert belay.Alert)

	EvaluationInterval time.Duration // the longest pause between evaluations; default 15s
	MinInterval        time.Duration // the shortest pause after an evaluation for new samples; default 1s
	OnScrape           bool          // evaluate when Touched tells of new samples
	Lookback           time.Duration // how old the newest sample of a series may be; default 5m
	ExternalLabels     labels.Labels // for templates
	ExternalURL        *url.URL      // for templates
}

const (
	maxSamples   = 50_000_000
	maxTimeout   = 2 * time.Minute
	concurrency  = 4
	startupGrace = time.Minute // until discovery has named its first target
)

func (o *Options) defaults() error {
	if o.Journal == nil || (o.Queryable == nil && o.Query == nil) {
		return errors.New("rules: a journal and a queryable are required")
	}
	if o.Query != nil {
		o.OnScrape, o.Targets = false, nil
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.New()
	}
	if o.EvaluationInterval <= 0 {
		o.EvaluationInterval = 15 * time.Second
	}
	if o.MinInterval <= 0 {
		o.MinInterval = time.Second
	}
	if o.Lookback <= 0 {
		o.Lookback = 5 * time.Minute
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{}
	}
	return nil
}

// An Engine evaluates a Set. Its methods may be called from any goroutine.
type Engine struct {
	current atomic.Pointer[Options]
	log     *slog.Logger
	queries *promql.Engine
	slots   chan struct{}
	plan    atomic.Pointer[plan] // what is evaluated now
	started time.Time            // set by Run
	told    struct {
		lag, delay telemetry.Histogram
	}

	reloading sync.Mutex      // held by Run while it starts, and by Reload
	running   context.Context //nolint:containedctx // that of Run, for the groups that Reload starts; nil before
	orphans   sync.WaitGroup  // goroutines that resolve what removed rules left
}

// New makes an engine. It reads and writes nothing until Run.
func New(set Set, opts Options) (*Engine, error) {
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	e := &Engine{log: opts.Logger, slots: make(chan struct{}, concurrency)}
	e.current.Store(&opts)
	e.queries = promql.NewEngine(promql.EngineOpts{
		MaxSamples: maxSamples, Timeout: maxTimeout, LookbackDelta: opts.Lookback,
		EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return e.options().EvaluationInterval.Milliseconds() },
		Parser:                   parser.NewParser(parser.Options{}),
	})
	e.told.lag = opts.Metrics.Histogram("belay_rule_evaluation_lag_seconds", "From the commit of samples to the start of the evaluation that reads them.")
	e.told.delay = opts.Metrics.Histogram("belay_detection_delay_seconds", "From the newest sample behind a firing alert to its place in the journal.")
	p, err := e.newPlan(set, &opts)
	if err != nil {
		return nil, err
	}
	e.plan.Store(p)
	return e, nil
}

// options are those that are in force. They never change; others may take
// their place.
func (e *Engine) options() *Options { return e.current.Load() }

// reads returns the metric names whose samples should lead to an evaluation.
// What the group writes itself is not among them, or it would never rest.
func (g *Group) reads() (names map[string]bool, nosy bool) {
	names = map[string]bool{}
	for _, r := range g.Rules {
		for _, s := range r.selectors {
			names[s.name] = true
		}
		if r.ResolveWhen != nil {
			for _, s := range selectorsOf(r.ResolveWhen) {
				names[s.name] = true
			}
		}
	}
	nosy = names[""]
	for _, own := range []string{"", alertsMetric, alertsForStateMetric} {
		delete(names, own)
	}
	for _, r := range g.Rules {
		if r.Recording {
			delete(names, r.Name)
		}
	}
	return names, nosy
}

// Touched tells that samples of these metric names were committed. It does not
// block. Without Options.OnScrape it does nothing.
func (e *Engine) Touched(names map[string]struct{}, at time.Time) {
	if !e.options().OnScrape || len(names) == 0 {
		return
	}
	p := e.plan.Load()
	news := false
	for name := range names {
		news = news || !p.written[name]
		for _, g := range p.readers[name] {
			g.touch(at)
		}
	}
	for _, g := range p.nosy {
		if news { // or what rules write would wake them for ever
			g.touch(at)
		}
	}
}

// Lag returns the age of the oldest samples that wait for their evaluation, or
// of the oldest evaluation that has not ended; 0 when nothing waits.
func (e *Engine) Lag() time.Duration {
	var oldest time.Time
	for _, g := range e.plan.Load().groups {
		if t := g.waiting(); !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	if oldest.IsZero() {
		return 0
	}
	return max(0, time.Since(oldest))
}

// Evaluate evaluates every group once, as of an explicit time: in the order of
// the files, whatever the intervals. It is for a clock that is not this
// machine's (a test of rules, the past), and must not be called while Run runs.
func (e *Engine) Evaluate(ctx context.Context, ts time.Time) {
	for _, g := range e.plan.Load().groups {
		g.evaluate(ctx, ts)
		g.locked(func() { g.lastEval = ts })
	}
}

// Run reads the journal and evaluates until ctx ends, which is no error. It
// returns an error when the journal cannot be read. Call it once.
func (e *Engine) Run(ctx context.Context) error {
	defer func() { _ = e.queries.Close() }() // never fails without a query tracker
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orphans, err := e.begin(ctx)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	e.orphans.Go(func() { e.keepWatches(ctx) })
	e.forgetAll(ctx, orphans)
	<-ctx.Done()
	e.reloading.Lock()
	defer e.reloading.Unlock()
	e.running = nil
	e.plan.Load().stop()
	e.orphans.Wait()
	e.saveWatches()
	return nil
}

// begin takes over what the journal says and starts the groups. It returns what
// the journal says of rules that are gone.
func (e *Engine) begin(ctx context.Context) (map[string]*memory, error) {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	e.started = time.Now()
	memories, err := remember(ctx, e.options().Journal, "")
	if err != nil {
		return nil, err
	}
	p := e.plan.Load()
	p.take(memories)
	e.running = ctx
	e.restoreWatches(p)
	p.start(ctx)
	return memories, nil
}

// forgetAll resolves what rules left behind that are gone, until it is durable.
func (e *Engine) forgetAll(ctx context.Context, orphans map[string]*memory) {
	for {
		orphans = e.forget(ctx, orphans, now())
		if len(orphans) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(e.options().EvaluationInterval):
		}
	}
}

// now is the present time as storage keeps it: in milliseconds, UTC.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// vector runs an instant query. A scalar result is a vector without labels.
func (e *Engine) vector(ctx context.Context, query string, ts time.Time, lookback time.Duration) (promql.Vector, error) {
	if e.options().Query != nil {
		return e.options().Query(ctx, query, ts)
	}
	opts := promql.NewPrometheusQueryOpts(false, lookback, nil)
	q, err := e.queries.NewInstantQuery(ctx, e.options().Queryable, opts, query, ts)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	switch v := res.Value.(type) {
	case promql.Vector:
		return v, nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
	}
	return nil, fmt.Errorf("the result is a %s, not a vector or a scalar", res.Value.Type())
}
