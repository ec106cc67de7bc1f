package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/template"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/alertmanager"
	"github.com/belaydev/belay/alerting/slack"
	"github.com/belaydev/belay/alerting/webhook"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/web"
)

// destinations opens the channels that the configuration describes.
func (p *parts) destinations() ([]alerting.Destination, error) {
	var out []alerting.Destination
	upstream, err := p.cfg.Alerting.Expanded()
	if err != nil {
		return nil, err
	}
	templates, err := alertmanager.Templates(upstream.Templates, p.cfg.Global.ExternalURL)
	if err != nil {
		return nil, err
	}
	for _, d := range p.cfg.Alerting.Destinations(p.cfg.owners()) {
		n, err := p.notifier(d, upstream, templates)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
		to := alerting.Destination{Name: d.Name, Notifier: n, Receivers: d.Receivers, SendResolved: d.SendResolved}
		if len(d.Services) > 0 {
			to.Wants = d.Owned
		}
		out = append(out, to)
	}
	return out, nil
}

func (p *parts) notifier(d alerting.DestinationConfig, upstream amconfig.Config, templates *template.Template) (alerting.Notifier, error) {
	if d.Kind != "" {
		i := slices.IndexFunc(upstream.Receivers, func(r amconfig.Receiver) bool { return r.Name == d.Receivers[0] })
		return alertmanager.New(alertmanager.Options{Receiver: upstream.Receivers[i], Kind: d.Kind, Index: d.Index, Template: templates, Logger: p.log})
	}
	if d.Webhook != nil {
		w, err := d.Webhook.Expanded()
		if err != nil {
			return nil, err
		}
		return webhook.New(w, webhook.Options{Receiver: d.Receivers[0], ExternalURL: p.cfg.Global.ExternalURL})
	}
	return slack.New(p.cfg.Alerting.Slack, *d.Slack, slack.Options{Log: p.log})
}

func (p *parts) serviceInfo() []web.ServiceInfo {
	out := make([]web.ServiceInfo, len(p.cfg.Services))
	for i, s := range p.cfg.Services {
		out[i] = web.ServiceInfo{ID: s.ID, Platform: s.PlatformName, Mode: s.Policy.Mode, Match: s.Match}
	}
	return out
}

// guardNames are those of the guards that can refuse a rollback.
func guardNames() []string {
	var out []string
	for _, g := range rollback.Guards() {
		out = append(out, g.Name)
	}
	return out
}

func targetInfo(c *collector.Collector) func() []web.TargetInfo {
	return func() []web.TargetInfo {
		targets := c.Targets()
		out := make([]web.TargetInfo, len(targets))
		for i, t := range targets {
			out[i] = web.TargetInfo{Job: t.Job, URL: t.URL, Labels: t.Labels, Healthy: t.Healthy, Error: t.LastError, LastScrape: t.LastScrape}
		}
		return out
	}
}

func ruleInfo(e *rules.Engine) func() []web.RuleGroupInfo {
	return func() []web.RuleGroupInfo {
		groups := e.Groups()
		out := make([]web.RuleGroupInfo, len(groups))
		for i, g := range groups {
			out[i] = web.RuleGroupInfo{Name: g.Name, File: g.File, Interval: g.Interval}
			for _, r := range g.Rules {
				out[i].Rules = append(out[i].Rules, oneRule(r))
			}
		}
		return out
	}
}

func oneRule(r rules.RuleStatus) web.RuleInfo {
	info := web.RuleInfo{
		Name: r.Name, Kind: "alert", Expr: r.Query, For: r.For, Labels: r.Labels,
		Error: r.LastError, EvaluatedAt: r.LastEvaluation, Observe: r.Observe,
		Evaluations: evaluations(r),
	}
	switch {
	case r.Recording:
		info.Kind = "record"
	case r.State == "firing" || r.State == "pending":
		info.Verdict = belay.Fail
	case r.Health == "unknown" && !r.LastEvaluation.IsZero():
		info.Verdict = belay.Unknown
		if info.Error == "" {
			info.Error = r.Why
		}
	case r.State != "":
		info.Verdict = belay.Pass
	}
	return info
}

// actions hand what people ask for to the part that decides, and put its
// refusals into the words of the API.
func actions(p *parts) web.Actions {
	refusals := func(err error) error {
		switch {
		case errors.Is(err, rollback.ErrRefused), errors.Is(err, alerting.ErrResolved), errors.Is(err, alerting.ErrRollbackPending), errors.Is(err, alerting.ErrNotMerged), errors.Is(err, belay.ErrConflict):
			return web.Because(web.ErrRefused, err)
		case errors.Is(err, alerting.ErrUnknownIncident), errors.Is(err, rollback.ErrUnknown), errors.Is(err, alerting.ErrUnknownSilence):
			return web.Because(web.ErrNotFound, err)
		case errors.Is(err, alerting.ErrInvalidSilence), errors.Is(err, alerting.ErrSeverity), errors.Is(err, errNobody):
			return web.Because(web.ErrInvalid, err)
		}
		return err
	}
	return web.Actions{
		Deploy: func(ctx context.Context, n web.DeployNotice) error {
			return refusals(p.rollback.Announce(ctx, rollback.Notice{
				Phase: n.Event, Service: n.Service, Revision: string(n.Revision), Version: n.Version,
				Commit: n.Commit, Actor: n.Actor, URL: n.URL, Irreversible: n.Irreversible,
			}))
		},
		RollbackPlan: func(ctx context.Context, s belay.ServiceID) (belay.Rollback, error) {
			rb, err := p.rollback.Plan(ctx, s)
			return rb, refusals(err)
		},
		RollbackReport: func(ctx context.Context, s belay.ServiceID, since time.Time) (any, error) {
			report, err := p.rollback.Report(ctx, s, since)
			return report, refusals(err)
		},
		RollbackStart: func(ctx context.Context, s belay.ServiceID, actor string) (belay.Rollback, error) {
			if err := p.mayApprove(s, actor, nil); err != nil {
				return belay.Rollback{}, refusals(err)
			}
			rb, err := p.rollback.Start(ctx, s, actor)
			return rb, refusals(err)
		},
		RollbackApprove: func(ctx context.Context, id, plan, actor string) error {
			return refusals(p.approve(ctx, id, plan, actor))
		},
		RollbackStop: func(ctx context.Context, id, actor, reason string) error {
			if id == web.StopAll {
				return refusals(p.rollback.StopAll(ctx, actor, reason))
			}
			return refusals(p.rollback.Stop(ctx, id, actor, reason))
		},
		RollbackRelease: func(ctx context.Context, s belay.ServiceID, c belay.Content, actor string) error {
			if err := p.mayApprove(s, actor, nil); err != nil {
				return refusals(err)
			}
			return refusals(p.rollback.Release(ctx, s, c, actor))
		},
		Ack: func(ctx context.Context, id, actor, _ string) error { return refusals(p.incidents.Ack(ctx, id, actor)) },
		Note: func(ctx context.Context, id, actor, text string) error {
			return refusals(p.incidents.Note(ctx, id, actor, text))
		},
		Resolve: func(ctx context.Context, id, actor, text string) error {
			return refusals(p.incidents.Resolve(ctx, id, actor, text))
		},
		Assign: func(ctx context.Context, id, actor, to string) error {
			if err := p.cfg.assignable(to); err != nil {
				return refusals(err)
			}
			return refusals(p.incidents.Assign(ctx, id, actor, to))
		},
		Rate: func(ctx context.Context, id, actor, severity string) error {
			return refusals(p.incidents.Rate(ctx, id, actor, severity))
		},
		Merge: func(ctx context.Context, id, actor, into string) error {
			return refusals(p.incidents.Merge(ctx, id, into, actor))
		},
		AlertsReport: func(ctx context.Context, since time.Time) (any, error) {
			return alerting.ReportAlerts(ctx, p.base.journal, since)
		},
		Silence: func(ctx context.Context, s belay.Silence) error {
			_, err := p.silences.Set(ctx, s)
			return refusals(err)
		},
		Expire: func(ctx context.Context, id, actor string) error { return refusals(p.silences.Expire(ctx, id, actor)) },
	}
}
