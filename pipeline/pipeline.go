package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/review"
	"github.com/belaydev/belay/rollback"
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
	cfg  Config
	opts Options
	log  *slog.Logger
}

// New returns a pipeline for a configuration. It touches nothing until Run.
func New(cfg Config, opts Options) (*Pipeline, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pipeline{cfg: cfg, opts: opts, log: opts.Logger}, nil
}

// built are the parts of a running pipeline.
type built struct {
	journal   *journal.Store
	metrics   *telemetry.Registry
	collector *collector.Collector
	engine    *rules.Engine
	incidents *alerting.Incidents
	outbox    *alerting.Outbox
	emergency *alerting.Emergency
	rollback  *rollback.Controller
	review    *review.Writer
	view      *web.View
	server    *web.Server
}

// Run opens the journal, starts every part and blocks until ctx ends, or until
// a part cannot go on. Samples keep coming until all that reads them has
// stopped.
func (p *Pipeline) Run(ctx context.Context) error {
	b, err := p.build(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.journal.Close() }() // nothing is left to write
	if err := p.mark(ctx, b.journal, belay.KindStarted, "Belay "+p.opts.Version+" started"); err != nil {
		return err
	}
	collecting, stopCollecting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCollecting()
	collected := make(chan error, 1)
	go func() { collected <- b.collector.Run(collecting) }()

	err = p.runParts(ctx, b, collected)
	stopCollecting()
	if collectErr := <-collected; collectErr != nil && err == nil {
		err = fmt.Errorf("collector: %w", collectErr)
	}
	b.emergency.Wait() // ten seconds at most
	if ctx.Err() != nil {
		err = errors.Join(err, p.mark(context.WithoutCancel(ctx), b.journal, belay.KindStopped, "Belay stopped as it was told to"))
	}
	return err
}

func (p *Pipeline) runParts(ctx context.Context, b *built, collected chan error) error {
	g, ctx := errgroup.WithContext(ctx)
	part := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("web", b.server.Run)
	part("pages", b.view.Run)
	part("incidents", b.incidents.Run)
	part("outbox", b.outbox.Run)
	part("rollback", b.rollback.Run)
	part("review", func(ctx context.Context) error {
		if !until(ctx, b.collector.Ready()) {
			return nil
		}
		return b.review.Run(ctx)
	})
	part("rules", func(ctx context.Context) error {
		if !until(ctx, b.collector.Ready()) {
			return nil
		}
		return b.engine.Run(ctx)
	})
	part("collector", func(ctx context.Context) error {
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
	return g.Wait()
}

func until(ctx context.Context, ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Pipeline) mark(ctx context.Context, j belay.Journal, kind belay.Kind, reason string) error {
	_, err := j.Append(ctx, "belay", belay.AnySeq, belay.Event{At: time.Now(), Kind: kind, Reason: reason})
	return err
}

func (p *Pipeline) build(ctx context.Context) (*built, error) {
	b := &built{metrics: telemetry.New()}
	var err error
	if b.journal, err = journal.Open(ctx, p.cfg.Journal.Path, journal.Options{Metrics: b.metrics}); err != nil {
		return nil, err
	}
	for _, make := range []func(*built) error{p.buildWatch, p.buildTell, p.buildAct, p.buildWeb} {
		if err := make(b); err != nil {
			return nil, errors.Join(err, b.journal.Close())
		}
	}
	return b, nil
}

// buildWatch makes what turns targets into alerts.
func (p *Pipeline) buildWatch(b *built) error {
	var err error
	b.collector, err = collector.New(p.cfg.Collector, collector.Options{
		Logger: p.log, Metrics: b.metrics,
		OnCommit: func(names map[string]struct{}, at time.Time) { b.engine.Touched(names, at) },
	})
	if err != nil {
		return err
	}
	external, err := url.Parse(p.cfg.Global.ExternalURL)
	if err != nil {
		return fmt.Errorf("external_url: %w", err)
	}
	b.engine, err = rules.New(p.cfg.Rules, rules.Options{
		Logger: p.log, Metrics: b.metrics, Journal: b.journal,
		Queryable: b.collector, Appendable: b.collector, Targets: p.targets(b.collector),
		OnJudged: func(string, []belay.Judgement) { b.rollback.Wake() },
		OnJournalError: func(err error, a belay.Alert) {
			b.emergency.Tell(context.Background(), "journal", fmt.Sprintf("Belay cannot write its journal (%v). %s is %s (%s); nothing will be rolled back until the journal can be written again.", err, a.Rule, a.State, a.Labels))
		},
		EvaluationInterval: time.Duration(p.cfg.Collector.Global.EvaluationInterval),
		MinInterval:        time.Duration(p.cfg.Global.MinInterval),
		OnScrape:           p.cfg.Global.Evaluation == "on_scrape",
		ExternalLabels:     p.cfg.Collector.Global.ExternalLabels,
		ExternalURL:        external,
	})
	return err
}

// targets tells the rules which targets there are, in their own words.
func (p *Pipeline) targets(c *collector.Collector) func() []rules.Target {
	intervals := map[string]time.Duration{}
	for _, sc := range p.cfg.Collector.ScrapeConfigs {
		intervals[sc.JobName] = time.Duration(sc.ScrapeInterval)
	}
	return func() []rules.Target {
		all := c.Targets()
		out := make([]rules.Target, len(all))
		for i, t := range all {
			out[i] = rules.Target{
				Labels: t.Labels, Healthy: t.Healthy, Scraped: t.Scraped, Error: t.LastError,
				LastScrape: t.LastScrape, Interval: intervals[t.Job], Exposes: t.Exposes,
			}
		}
		return out
	}
}

// service names the service that labels belong to: of those that match, the
// one that asks for the most.
func (p *Pipeline) service(ls labels.Labels) (belay.ServiceID, bool) {
	best := -1
	for i, s := range p.cfg.Services {
		if s.Matches(ls) && (best < 0 || len(s.Match) > len(p.cfg.Services[best].Match)) {
			best = i
		}
	}
	if best < 0 {
		return belay.ServiceID{}, false
	}
	return p.cfg.Services[best].ID, true
}

// buildTell makes what turns alerts into incidents, messages and reviews.
func (p *Pipeline) buildTell(b *built) error {
	destinations, err := p.destinations()
	if err != nil {
		return err
	}
	b.emergency = alerting.NewEmergency(destinations, alerting.EmergencyOptions{Logger: p.log})
	b.incidents, err = alerting.New(alerting.Options{Journal: b.journal, Match: p.service, Logger: p.log, Tell: b.emergency.Tell})
	if err != nil {
		return err
	}
	b.outbox, err = alerting.NewOutbox(alerting.OutboxOptions{
		Journal: b.journal, Destinations: destinations, Links: p.links, Logger: p.log, Metrics: b.metrics, Tell: b.emergency.Tell,
	})
	if err != nil {
		return err
	}
	b.review, err = review.New(p.cfg.Review, review.Options{
		Journal: b.journal, Queryable: func() storage.Queryable { return b.collector }, Logger: p.log,
		ScrapeInterval: p.scrapeInterval, Directory: p.reviewDir(), ExternalURL: p.cfg.Global.ExternalURL,
	})
	return err
}

// scrapeInterval is the longest interval of any scrape configuration: how far
// off a time that was read from samples may be.
func (p *Pipeline) scrapeInterval(belay.ServiceID) time.Duration {
	longest := time.Duration(0)
	for _, sc := range p.cfg.Collector.ScrapeConfigs {
		longest = max(longest, time.Duration(sc.ScrapeInterval))
	}
	if longest == 0 {
		longest = time.Duration(p.cfg.Collector.Global.ScrapeInterval)
	}
	return longest
}

// besides returns a path beside the journal.
func (p *Pipeline) besides(name string) string {
	return filepath.Join(filepath.Dir(p.cfg.Journal.Path), name)
}

func (p *Pipeline) reviewDir() string {
	if len(p.cfg.Review.Publish) > 0 {
		return p.cfg.Review.Publish[0].Directory
	}
	return p.besides("reviews")
}

func (p *Pipeline) links(i belay.Incident) alerting.Links {
	base := p.cfg.Global.ExternalURL
	if base == "" {
		return alerting.Links{}
	}
	at := func(parts ...string) string { u, _ := url.JoinPath(base, parts...); return u }
	return alerting.Links{
		Incident: at("incidents", i.ID), Review: at("reviews", i.ID),
		Service: at("services", i.Service.Environment, i.Service.Name),
	}
}

// buildAct makes what rolls back.
func (p *Pipeline) buildAct(b *built) error {
	var services []rollback.Service
	for _, s := range p.cfg.Services {
		services = append(services, rollback.Service{
			ID: s.ID, Policy: s.Policy, PlatformName: s.PlatformName, Platform: s.Platform, DependsOn: s.DependsOn,
			Match: func(ls labels.Labels) bool { id, ok := p.service(ls); return ok && id == s.ID },
		})
	}
	interval := p.scrapeInterval(belay.ServiceID{})
	var err error
	b.rollback, err = rollback.New(services, rollback.Options{
		Journal: b.journal, Alerts: b.engine.Alerts, Judgements: b.engine.Judgements, Lag: b.engine.Lag,
		MaxLag:     max(15*time.Second, 2*interval),
		StaleAfter: max(10*time.Second, 4*interval),
		Emergency:  func(kind, text string) { b.emergency.Tell(context.Background(), kind, text) },
		Logger:     p.log,
	})
	return err
}

// buildWeb makes what people and programs look at.
func (p *Pipeline) buildWeb(b *built) error {
	tokenFile, err := filepath.Abs(p.besides("belay.token"))
	if err != nil {
		return err
	}
	token, err := web.LoadOrCreateToken(tokenFile)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	b.view = web.NewView(b.journal, p.log)
	b.server, err = web.New(p.cfg.Web, web.Options{
		View: b.view, Journal: b.journal, Services: p.serviceInfo(),
		Alerts: b.engine.Alerts, Judgements: b.engine.Judgements,
		Targets: targetInfo(b.collector), Rules: ruleInfo(b.engine),
		Outbox:     func() (int, time.Duration) { return b.outbox.Depth(), b.outbox.OldestAge() },
		KillSwitch: p.killSwitch,
		Ready: func() error {
			select {
			case <-b.collector.Ready():
				return nil
			default:
				return errors.New("still opening the metrics")
			}
		},
		Actions: actions(b), Gatherer: registry, Log: p.log, Version: p.opts.Version,
		ReviewDir: p.reviewDir(), Token: token, TokenFile: tokenFile, AllowedHosts: p.allowedHosts(),
	})
	if err != nil {
		return err
	}
	for _, c := range []prometheus.Collector{
		b.metrics, b.server.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func (p *Pipeline) allowedHosts() []string {
	if u, err := url.Parse(p.cfg.Global.ExternalURL); err == nil && u.Hostname() != "" {
		return []string{u.Hostname()}
	}
	return nil
}

func (p *Pipeline) killSwitch() string {
	var set []string
	for _, s := range p.cfg.Services {
		if file := s.Policy.KillSwitchFile; rollback.Killed(s.Policy) && !slices.Contains(set, file) {
			set = append(set, file)
		}
	}
	if len(set) == 0 {
		return ""
	}
	return fmt.Sprintf("the kill switch is set: %v", set)
}
