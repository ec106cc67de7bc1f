package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/telemetry"
	"github.com/belaydev/belay/web"
)

// Options are what a Pipeline may be given.
type Options struct {
	Logger  *slog.Logger // nil discards
	Version string       // of Belay, as it is shown
}

// A Pipeline is one Belay: every part, put together.
type Pipeline struct {
	cfg  Config // as New was given it
	opts Options
	log  *slog.Logger

	reloading sync.Mutex
	base      atomic.Pointer[base] // while Run runs
}

// New returns a pipeline for a configuration. It touches nothing until Run.
func New(cfg Config, opts Options) (*Pipeline, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pipeline{cfg: cfg, opts: opts, log: opts.Logger}, nil
}

// Addr returns the address at which the pages are, nil while there are none.
func (p *Pipeline) Addr() net.Addr {
	if b := p.base.Load(); b != nil {
		return b.server.Addr()
	}
	return nil
}

// A base is what stays while configurations come and go: what remembers, what
// collects, and what listens.
type base struct {
	p         *Pipeline
	ctx       context.Context // Run's
	journal   *journal.Store
	metrics   *telemetry.Registry
	collector *collector.Collector
	prober    *probe.Prober
	engine    *rules.Engine // made with the first parts; reloaded, so that what it counts goes on
	started   time.Time
	view      *web.View
	server    *web.Server // the one that listens
	token     string
	tokenFile string
	reloads   reloads
	silences  *alerting.Silences
	inbox     *alerting.Inbox // of alerts that others send
	watchman  watchman
	lead      *lead

	present atomic.Pointer[parts] // those that follow the present configuration
	swap    chan swap
	ended   chan struct{}  // closed when Run takes no more swaps
	telling sync.WaitGroup // emergencies of earlier configurations
}

// Run opens the journal, starts every part and blocks until ctx ends, or until
// a part cannot go on. Samples keep coming until all that reads them has
// stopped.
func (p *Pipeline) Run(ctx context.Context) error {
	for _, w := range p.cfg.Warnings {
		p.log.Warn("configuration", "warning", w)
	}
	b, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.journal.Close() }() // nothing is left to write
	if err := b.mark(ctx, belay.KindStarted, "Belay "+p.opts.Version+" started"); err != nil {
		return err
	}
	if err := b.mark(ctx, belay.KindConfigured, p.cfg.described()); err != nil {
		return err
	}
	collecting, stopCollecting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCollecting()
	collected := make(chan error, 1)
	go func() { collected <- b.collector.Run(collecting) }()

	p.base.Store(b)
	leading, stopLeading := context.WithCancel(ctx)
	release := b.takeLead(leading)
	err = b.runAll(ctx, collected)
	stopLeading()
	release() // nobody tells any more
	p.base.Store(nil)
	stopCollecting()
	if collectErr := <-collected; collectErr != nil && err == nil {
		err = fmt.Errorf("collector: %w", collectErr)
	}
	b.present.Load().close()
	b.telling.Wait()
	if ctx.Err() != nil {
		err = errors.Join(err, b.mark(context.WithoutCancel(ctx), belay.KindStopped, "Belay stopped as it was told to"))
	}
	return err
}

// open makes everything and starts nothing.
func (p *Pipeline) open(ctx context.Context) (*base, error) {
	b := &base{p: p, ctx: ctx, started: time.Now(), metrics: telemetry.New(), swap: make(chan swap), ended: make(chan struct{}), lead: newLead()}
	b.reloads.succeeded(time.Now())
	var err error
	if b.tokenFile, err = filepath.Abs(besides(p.cfg, "belay.token")); err != nil {
		return nil, err
	}
	if b.journal, err = journal.Open(ctx, p.cfg.Journal.Path, journal.Options{Metrics: b.metrics}); err != nil {
		return nil, err
	}
	b.silences = alerting.NewSilences(b.journal, p.log, nil)
	b.inbox = alerting.NewInbox(b.journal, alerting.InboxOptions{Logger: p.log})
	if err := errors.Join(b.silences.Load(ctx), b.inbox.Load(ctx)); err != nil {
		return nil, errors.Join(err, b.journal.Close())
	}
	if err := b.build(p.cfg); err != nil {
		return nil, errors.Join(err, b.journal.Close())
	}
	return b, nil
}

func (b *base) build(cfg Config) error {
	var err error
	if b.token, err = web.LoadOrCreateToken(b.tokenFile); err != nil {
		return err
	}
	b.collector, err = collector.New(cfg.collecting(), collector.Options{
		Logger: b.p.log, Metrics: b.metrics, Needed: cfg.needed(),
		OnCommit: func(names map[string]struct{}, at time.Time) { b.engine.Touched(names, at) },
	})
	if err != nil {
		return err
	}
	if b.prober, err = probe.New(cfg.Probes, probe.Options{Appendable: b.collector, Logger: b.p.log}); err != nil {
		return err
	}
	b.view = web.NewView(b.journal, b.p.log)
	first, err := b.parts(cfg)
	if err != nil {
		return err
	}
	b.server = first.server
	b.present.Store(first)
	return nil
}

// runAll runs what stays, and one set of parts after the other.
func (b *base) runAll(ctx context.Context, collected chan error) error {
	defer close(b.ended)
	g, ctx := errgroup.WithContext(ctx)
	run := func(name string, part func(context.Context) error) { g.Go(named(ctx, name, part)) }
	run("web", b.server.Run)
	run("pages", b.view.Run)
	run("silences", b.silences.Run)
	run("inbox", b.inbox.Run)
	run("probes", b.collected(b.prober.Run))
	run("rules", b.collected(b.engine.Run))
	run("collector", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-collected:
			collected <- nil // Run waits for it, too
			if err == nil {
				err = errors.New("it stopped by itself")
			}
			return err
		}
	})
	g.Go(func() error { return b.runParts(ctx) })
	return g.Wait()
}

// collected puts off a part until samples can be stored and read.
func (b *base) collected(part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !until(ctx, b.collector.Ready()) {
			return nil
		}
		return part(ctx)
	}
}

// runParts runs the present parts until ctx ends, one of them cannot go on, or
// others take their place: those start when these have stopped, since each
// takes up from the journal what the one before it left.
func (b *base) runParts(ctx context.Context) error {
	for {
		running, stop := context.WithCancel(ctx)
		stopped := make(chan error, 1)
		now := b.present.Load()
		go func() { stopped <- now.run(running) }()
		select {
		case err := <-stopped:
			stop()
			return err
		case next := <-b.swap:
			stop()
			if err := <-stopped; err != nil && ctx.Err() == nil {
				b.p.log.Error("a part ended with an error while the configuration was swapped", "error", err)
			}
			next.parts.judge()
			next.parts.rollback.Continue(now.rollback)
			b.telling.Go(now.close)
			b.present.Store(next.parts)
			b.server.Adopt(next.parts.server)
			close(next.done)
		}
	}
}

// named returns a function that runs a part, and puts its name before its
// error. An error after the end of ctx is none.
func named(ctx context.Context, name string, part func(context.Context) error) func() error {
	return func() error {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

func until(ctx context.Context, ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *base) mark(ctx context.Context, kind belay.Kind, reason string) error {
	_, err := b.journal.Append(ctx, "belay", belay.AnySeq, belay.Event{At: time.Now(), Kind: kind, Reason: reason})
	return err
}

// besides returns a path beside the journal.
func besides(cfg Config, name string) string {
	return filepath.Join(filepath.Dir(cfg.Journal.Path), name)
}
