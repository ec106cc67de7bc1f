package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/forward"
	"github.com/belaydev/belay/alerting/slack"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/source"
	"github.com/belaydev/belay/review"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/web"
)

// parts follow one configuration. A reload makes new ones.
type parts struct {
	base *base
	cfg  Config
	log  *slog.Logger

	engine    *rules.Engine // the base's
	judge     func()        // makes the engine follow this configuration; cannot fail
	incidents *alerting.Incidents
	outbox    *alerting.Outbox
	forward   *forward.Forwarder // nil unless alerting names an Alertmanager
	registry  *prometheus.Registry
	emergency *alerting.Emergency
	rollback  *rollback.Controller
	review    *review.Writer
	server    *web.Server
	destined  []alerting.Destination
	silences  *alerting.Silences
	inbox     *alerting.Inbox
	groups    *alerting.Groups
	telling   alerting.Telling
	desk      *slack.Desk    // nil where messages carry no buttons
	source    *source.Source // nil unless metrics.source names one
}

// parts makes what follows a configuration. It starts nothing, and touches
// nothing that runs.
func (b *base) parts(cfg Config) (*parts, error) {
	p := &parts{base: b, cfg: cfg, log: b.p.log, registry: prometheus.NewRegistry()}
	for _, build := range []func() error{p.buildWatch, p.buildRouting, p.buildTell, p.buildAct, p.buildWeb} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// run blocks until ctx ends and all parts have stopped, or one cannot go on.
func (p *parts) run(ctx context.Context) error {
	p.inbox.SetResolveTimeout(p.cfg.resolveTimeout())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(named(ctx, "groups", p.base.leading(p.groups.Run)))
	g.Go(named(ctx, "incidents", p.incidents.Run))
	g.Go(named(ctx, "outbox", p.base.leading(p.outbox.Run)))
	g.Go(named(ctx, "rollback", p.rollback.Run))
	if p.forward != nil {
		g.Go(named(ctx, "alerting", p.forward.Run))
	}
	if p.desk != nil {
		g.Go(named(ctx, "slack", p.desk.Run))
	}
	g.Go(named(ctx, "review", p.base.collected(p.review.Run)))
	return g.Wait()
}

// close waits until emergencies are told, ten seconds at most, and gives up
// what the parts that have stopped still hold.
func (p *parts) close() {
	p.emergency.Wait()
	if p.source != nil {
		p.source.Close()
	}
	for _, d := range p.destined {
		if c, ok := d.Notifier.(interface{ Close() }); ok {
			c.Close()
		}
	}
}

// buildWatch makes what turns targets into alerts.
func (p *parts) buildWatch() error {
	external, err := url.Parse(p.cfg.Global.ExternalURL)
	if err != nil {
		return fmt.Errorf("external_url: %w", err)
	}
	if p.source, err = openSource(p.cfg); err != nil {
		return err
	}
	opts := rules.Options{
		Logger: p.log, Metrics: p.base.metrics, Journal: p.base.journal,
		Queryable: p.queryable(), Appendable: p.base.collector, Targets: p.targets(p.base.collector),
		AnomalyState: besides(p.cfg, "anomaly.state"), Changed: p.changed,
		OnJudged: func(string, []belay.Judgement) { p.base.present.Load().rollback.Wake() },
		OnJournalError: func(err error, a belay.Alert) {
			p.base.present.Load().emergency.Tell(context.Background(), "journal", fmt.Sprintf("Belay cannot write its journal (%v). %s is %s (%s); nothing will be rolled back until the journal can be written again.", err, a.Rule, a.State, a.Labels))
		},
		EvaluationInterval: time.Duration(p.cfg.Collector.Global.EvaluationInterval),
		MinInterval:        time.Duration(p.cfg.Global.MinInterval),
		OnScrape:           p.cfg.Global.Evaluation == "on_scrape",
		ExternalLabels:     p.cfg.Collector.Global.ExternalLabels,
		ExternalURL:        external,
	}
	if p.source != nil {
		opts.Query = p.source.Query
	}
	if p.base.engine == nil {
		p.base.engine, err = rules.New(p.cfg.Rules, opts)
	} else {
		p.judge, err = p.base.engine.Prepare(p.cfg.Rules, opts)
	}
	p.engine = p.base.engine
	return err
}

// targets tells the rules which targets there are, in their own words. It is
// nil when nothing is scraped, so that nobody waits for a first target.
func (p *parts) targets(c *collector.Collector) func() []rules.Target {
	if len(p.cfg.Collector.ScrapeConfigs) == 0 {
		return nil
	}
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
func (p *parts) service(ls labels.Labels) (belay.ServiceID, bool) {
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

// changed tells since when the revision runs that serves under these labels.
func (p *parts) changed(ls labels.Labels) time.Time {
	id, ok := p.service(ls)
	if !ok {
		return time.Time{}
	}
	_, since, _ := p.base.view.Running(id)
	return since
}

// buildTell makes what turns alerts into incidents, messages and reviews.
func (p *parts) buildTell() error {
	destinations, err := p.destinations()
	if err != nil {
		return err
	}
	p.destined = destinations
	p.emergency = alerting.NewEmergency(p.emergencies(destinations), alerting.EmergencyOptions{Logger: p.log})
	p.incidents, err = alerting.New(alerting.Options{Journal: p.base.journal, Match: p.service, Grouped: p.telling.Routing != nil, Reopen: time.Duration(p.cfg.Alerting.Incidents.ReopenWindow), Logger: p.log, Tell: p.emergency.Tell})
	if err != nil {
		return err
	}
	p.groups, err = alerting.NewGroups(alerting.GroupsOptions{
		Journal: p.base.journal, Routing: p.telling.Routing, Silences: p.silences, Destinations: destinations,
		Match: p.service, Logger: p.log, Metrics: p.base.metrics,
	})
	if err != nil {
		return err
	}
	p.outbox, err = alerting.NewOutbox(alerting.OutboxOptions{
		Journal: p.base.journal, Destinations: destinations, Links: p.links, Picture: p.picture,
		Routing: p.telling.Routing, Muted: p.telling.IncidentMuted, Logger: p.log, Metrics: p.base.metrics, Tell: p.emergency.Tell,
	})
	if err != nil {
		return err
	}
	if !p.cfg.Forward.Empty() {
		p.forward, err = forward.New(p.cfg.Forward, forward.Options{
			Journal: p.base.journal, Logger: p.log, Registerer: p.registry,
			ExternalLabels: p.cfg.Collector.Global.ExternalLabels, ExternalURL: p.cfg.Global.ExternalURL,
			EvaluationInterval: time.Duration(p.cfg.Collector.Global.EvaluationInterval),
		})
		if err != nil {
			return err
		}
	}
	p.review, err = review.New(p.cfg.Review, review.Options{
		Journal: p.base.journal, Queryable: p.queryable, Logger: p.log,
		ScrapeInterval: p.scrapeInterval, Directory: p.reviewDir(), ExternalURL: p.cfg.Global.ExternalURL,
	})
	return err
}

// picture draws an incident as it is now.
func (p *parts) picture(ctx context.Context, incident string) ([]byte, error) {
	d, err := p.review.Draft(ctx, incident)
	if err != nil {
		return nil, err
	}
	return d.PNG()
}

// scrapeInterval is the longest interval of any scrape configuration: how far
// off a time that was read from samples may be.
func (p *parts) scrapeInterval(belay.ServiceID) time.Duration {
	longest := time.Duration(0)
	for _, sc := range p.cfg.Collector.ScrapeConfigs {
		longest = max(longest, time.Duration(sc.ScrapeInterval))
	}
	if longest == 0 {
		longest = time.Duration(p.cfg.Collector.Global.ScrapeInterval)
	}
	return longest
}

func (p *parts) reviewDir() string {
	if len(p.cfg.Review.Publish) > 0 {
		return p.cfg.Review.Publish[0].Directory
	}
	return besides(p.cfg, "reviews")
}

func (p *parts) links(i belay.Incident) alerting.Links {
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
func (p *parts) buildAct() error {
	var services []rollback.Service
	for _, s := range p.cfg.Services {
		services = append(services, rollback.Service{
			ID: s.ID, Policy: s.Policy, PlatformName: s.PlatformName, Platform: p.base.steady(s.Platform), DependsOn: s.DependsOn,
			Match: func(ls labels.Labels) bool { id, ok := p.service(ls); return ok && id == s.ID },
		})
	}
	interval := p.scrapeInterval(belay.ServiceID{})
	var err error
	p.rollback, err = rollback.New(services, rollback.Options{
		Journal: p.base.journal, Alerts: p.alerts, Judgements: p.engine.Judgements, Lag: p.engine.Lag, Foreign: p.foreign, Silenced: p.silenced,
		MaxLag:     max(15*time.Second, 2*interval),
		StaleAfter: max(10*time.Second, 4*interval),
		Emergency:  func(kind, text string) { p.emergency.Tell(context.Background(), kind, text) },
		Logger:     p.log,
	})
	return err
}

// buildWeb makes what people and programs look at.
func (p *parts) buildWeb() error {
	var err error
	if p.desk, err = slack.NewDesk(p.cfg.Alerting.Slack, slack.DeskOptions{Decide: p.click, Refused: p.base.strange, Log: p.log}); err != nil {
		return err
	}
	p.server, err = web.New(p.cfg.Web, web.Options{
		View: p.base.view, Journal: p.base.journal, Services: p.serviceInfo(),
		Alerts: p.alerts, Silences: p.silences.All, Judgements: p.engine.Judgements,
		Targets: targetInfo(p.base.collector), Rules: ruleInfo(p.engine),
		Outbox:     func() (int, time.Duration) { return p.outbox.Depth(), p.outbox.OldestAge() },
		KillSwitch: p.killSwitch, Notices: p.notices, Reload: p.base.p.Reload,
		Ready: p.ready, Kept: p.kept, Prometheus: p.prometheusAPI(p.registry),
		Alertmanager: p.alertmanagerAPI, Explain: p.explain,
		Actions: actions(p), Slack: p.interactions(), Gatherer: p.registry, Log: p.log, Version: p.base.p.opts.Version, Guards: guardNames(),
		ReviewDir: p.reviewDir(), Token: p.base.token, TokenFile: p.base.tokenFile, AllowedHosts: p.allowedHosts(),
	})
	if err != nil {
		return err
	}
	for _, c := range []prometheus.Collector{
		p.base.metrics, &p.base.reloads, p.base.lead.gauge, p.server.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := p.registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func (p *parts) ready() error {
	select {
	case <-p.base.collector.Ready():
		return nil
	default:
		return errors.New("still opening the metrics")
	}
}

// notices are what whoever runs this Belay should know.
func (p *parts) notices() []string {
	out := append(slices.Clone(p.cfg.Warnings), p.flapping()...)
	if !p.base.lead.holds() {
		out = append(out, "another Belay on this journal tells people; this one judges, decides, and takes over the telling when that one ends")
	}
	if why := p.base.reloads.problem(); why != "" {
		out = append(out, "the configuration was not reloaded, the one before stays in force: "+why)
	}
	return out
}

func (p *parts) allowedHosts() []string {
	if u, err := url.Parse(p.cfg.Global.ExternalURL); err == nil && u.Hostname() != "" {
		return []string{u.Hostname()}
	}
	return nil
}

func (p *parts) killSwitch() string {
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
