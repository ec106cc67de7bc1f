// Package forward sends Belay's alerts on to the Alertmanagers that people
// keep, as Prometheus would: with its notifier, the key "alerting" of its
// configuration, and its rules for sending again. It tells; it judges nothing.
//
// What it sends follows from the journal alone, so that a restart loses
// neither a firing alert nor one that resolved a moment before. Rules with
// mode: observe are not forwarded.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/notifier"

	"github.com/belaydev/belay"
)

// Options are what a Forwarder works with. Journal is required.
type Options struct {
	Logger  *slog.Logger // nil: silence
	Journal belay.Journal
	// Registerer takes the notifier's own metrics. Nil: they are not shown.
	Registerer         prometheus.Registerer
	ExternalLabels     labels.Labels
	ExternalURL        string        // begins the links to the expressions
	EvaluationInterval time.Duration // default 15s
	ResendDelay        time.Duration // between two messages of the same alert; default 1m
}

const (
	queueCapacity  = 10_000
	checkEvery     = time.Second // how often due alerts are looked for
	discoveryDelay = time.Second // how long found Alertmanagers are gathered
)

// A Forwarder sends alerts to Alertmanagers.
type Forwarder struct {
	cfg    config.Config
	opts   Options
	log    *slog.Logger
	notify *notifier.Manager
	reg    prometheus.Registerer
}

// New makes a Forwarder. It touches no network until Run.
func New(cfg Config, opts Options) (*Forwarder, error) {
	if opts.Journal == nil {
		return nil, errors.New("forward: a journal is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Registerer == nil {
		opts.Registerer = prometheus.NewRegistry()
	}
	if opts.EvaluationInterval <= 0 {
		opts.EvaluationInterval = 15 * time.Second
	}
	if opts.ResendDelay <= 0 {
		opts.ResendDelay = time.Minute
	}
	f := &Forwarder{opts: opts, log: opts.Logger, reg: opts.Registerer}
	f.cfg.AlertingConfig = cfg.AlertingConfig
	f.cfg.GlobalConfig.ExternalLabels = opts.ExternalLabels
	f.cfg.GlobalConfig.MetricNameValidationScheme = model.UTF8Validation
	f.notify = notifier.NewManager(&notifier.Options{
		QueueCapacity: queueCapacity, DrainOnShutdown: true, Registerer: f.reg,
	}, model.UTF8Validation, opts.Logger)
	if err := f.notify.ApplyConfig(&f.cfg); err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	return f, nil
}

// Alertmanagers returns the addresses to which alerts go at the moment.
func (f *Forwarder) Alertmanagers() []*url.URL { return f.notify.Alertmanagers() }

// DroppedAlertmanagers returns those that relabel_configs took out.
func (f *Forwarder) DroppedAlertmanagers() []*url.URL { return f.notify.DroppedAlertmanagers() }

// Run forwards until ctx ends, which is no error. Call it once.
func (f *Forwarder) Run(ctx context.Context) error {
	sd, err := discovery.CreateAndRegisterSDMetrics(f.reg)
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	find := discovery.NewManager(ctx, f.log, f.reg, sd, discovery.Name("notify"), discovery.Updatert(discoveryDelay))
	if find == nil {
		return errors.New("forward: discovery of Alertmanagers could not be made")
	}
	places := map[string]discovery.Configs{}
	for name, am := range f.cfg.AlertingConfig.AlertmanagerConfigs.ToMap() {
		places[name] = am.ServiceDiscoveryConfigs
	}
	if err := find.ApplyConfig(places); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = find.Run() }) // its error is that of ctx
	wg.Go(func() { f.notify.Run(find.SyncCh()) })
	err = f.follow(ctx)
	cancel()
	f.notify.Stop()
	wg.Wait()
	return err
}

// follow keeps the alerts of the journal and sends what is due.
func (f *Forwarder) follow(ctx context.Context) error {
	b := newBook(f.opts)
	var last belay.Seq
	for ev, err := range f.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return f.ended(ctx, err)
		}
		last = ev.Seq
		b.fold(ev)
	}
	events, failed := make(chan belay.Event), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { failed <- tail(ctx, f.opts.Journal, last, events) })
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return f.ended(ctx, err)
		case ev := <-events:
			b.fold(ev)
		case <-tick.C:
		}
		// Before discovery has found anyone, a message would reach nobody.
		if len(f.notify.Alertmanagers()) > 0 {
			if due := b.due(time.Now()); len(due) > 0 {
				f.notify.Send(due...)
			}
		}
	}
}

func tail(ctx context.Context, j belay.Journal, after belay.Seq, events chan<- belay.Event) error {
	for ev, err := range j.Tail(ctx, after) {
		if err != nil {
			return err
		}
		select {
		case events <- ev:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (f *Forwarder) ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("forward: read the journal: %w", err)
	}
	return nil
}
