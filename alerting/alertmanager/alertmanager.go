// Package alertmanager tells people through Alertmanager's own notifiers:
// email, PagerDuty, Opsgenie and all the others that have a <kind>_configs in a
// receiver, except slack and webhook, which Belay sends itself.
package alertmanager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/notify/discord"
	"github.com/prometheus/alertmanager/notify/email"
	"github.com/prometheus/alertmanager/notify/incidentio"
	"github.com/prometheus/alertmanager/notify/jira"
	"github.com/prometheus/alertmanager/notify/mattermost"
	"github.com/prometheus/alertmanager/notify/msteams"
	"github.com/prometheus/alertmanager/notify/msteamsv2"
	"github.com/prometheus/alertmanager/notify/opsgenie"
	"github.com/prometheus/alertmanager/notify/pagerduty"
	"github.com/prometheus/alertmanager/notify/pushover"
	"github.com/prometheus/alertmanager/notify/rocketchat"
	"github.com/prometheus/alertmanager/notify/sns"
	"github.com/prometheus/alertmanager/notify/telegram"
	"github.com/prometheus/alertmanager/notify/victorops"
	"github.com/prometheus/alertmanager/notify/webex"
	"github.com/prometheus/alertmanager/notify/wechat"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// Options say which entry of which receiver a Notifier is.
type Options struct {
	Receiver amconfig.Receiver // as alerting.Config.Expanded returns it
	Kind     string            // "email" for an entry of email_configs
	Index    int
	Template *template.Template // required; see Templates
	Logger   *slog.Logger       // nil discards
}

// A Notifier sends incidents and groups through one of Alertmanager's
// notifiers. It has no threads.
type Notifier struct {
	opts         Options
	sender       notify.Notifier
	sendResolved bool
}

var (
	_ alerting.Notifier   = (*Notifier)(nil)
	_ alerting.Threadless = (*Notifier)(nil)
)

// Templates reads Alertmanager's default templates and those of files. external
// is the address that they link to.
func Templates(files []string, external string) (*template.Template, error) {
	t, err := template.FromGlobs(files)
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	if t.ExternalURL, err = url.Parse(external); err != nil {
		return nil, fmt.Errorf("external_url: %w", err)
	}
	return t, nil
}

// Kinds are the kinds that New opens.
func Kinds() []string { return slices.Sorted(maps.Keys(builders())) }

// New opens the notifier of an entry. It sends nothing.
func New(opts Options) (*Notifier, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	build, ok := builders()[opts.Kind]
	if !ok {
		return nil, fmt.Errorf("receiver %s: %q is no kind of receiver; allowed: %s", opts.Receiver.Name, opts.Kind, strings.Join(Kinds(), ", "))
	}
	sender, resolved, err := build(opts)
	if err != nil {
		return nil, fmt.Errorf("receiver %s: %s: %w", opts.Receiver.Name, opts.Kind, err)
	}
	return &Notifier{opts: opts, sender: sender, sendResolved: resolved.SendResolved()}, nil
}

type builder func(o Options) (notify.Notifier, notify.ResolvedSender, error)

// of makes a builder of a list of entries and what opens one.
func of[C notify.ResolvedSender, N notify.Notifier](list func(amconfig.Receiver) []C, open func(C, Options) (N, error)) builder {
	return func(o Options) (notify.Notifier, notify.ResolvedSender, error) {
		entries := list(o.Receiver)
		if o.Index < 0 || o.Index >= len(entries) {
			return nil, nil, fmt.Errorf("it has %d entries, none of number %d", len(entries), o.Index)
		}
		n, err := open(entries[o.Index], o)
		return n, entries[o.Index], err
	}
}

type receiver = amconfig.Receiver

func builders() map[string]builder {
	return map[string]builder{
		"discord": of(func(r receiver) []*discord.DiscordConfig { return r.DiscordConfigs }, func(c *discord.DiscordConfig, o Options) (*discord.Notifier, error) {
			return discord.New(c, o.Template, o.Logger)
		}),
		"email": of(func(r receiver) []*amconfig.EmailConfig { return r.EmailConfigs }, func(c *amconfig.EmailConfig, o Options) (*email.Email, error) {
			return email.New(c, o.Template, o.Logger), nil
		}),
		"incidentio": of(func(r receiver) []*incidentio.IncidentioConfig { return r.IncidentioConfigs }, func(c *incidentio.IncidentioConfig, o Options) (*incidentio.Notifier, error) {
			return incidentio.New(c, o.Template, o.Logger)
		}),
		"jira": of(func(r receiver) []*jira.JiraConfig { return r.JiraConfigs }, func(c *jira.JiraConfig, o Options) (*jira.Notifier, error) {
			return jira.New(c, o.Template, o.Logger)
		}),
		"mattermost": of(func(r receiver) []*mattermost.MattermostConfig { return r.MattermostConfigs }, func(c *mattermost.MattermostConfig, o Options) (*mattermost.Notifier, error) {
			return mattermost.New(c, o.Template, o.Logger)
		}),
		"msteams": of(func(r receiver) []*msteams.MSTeamsConfig { return r.MSTeamsConfigs }, func(c *msteams.MSTeamsConfig, o Options) (*msteams.Notifier, error) {
			return msteams.New(c, o.Template, o.Logger)
		}),
		"msteamsv2": of(func(r receiver) []*msteamsv2.MSTeamsV2Config { return r.MSTeamsV2Configs }, func(c *msteamsv2.MSTeamsV2Config, o Options) (*msteamsv2.Notifier, error) {
			return msteamsv2.New(c, o.Template, o.Logger)
		}),
		"opsgenie": of(func(r receiver) []*opsgenie.OpsGenieConfig { return r.OpsGenieConfigs }, func(c *opsgenie.OpsGenieConfig, o Options) (*opsgenie.Notifier, error) {
			return opsgenie.New(c, o.Template, o.Logger)
		}),
		"pagerduty": of(func(r receiver) []*pagerduty.PagerdutyConfig { return r.PagerdutyConfigs }, func(c *pagerduty.PagerdutyConfig, o Options) (*pagerduty.Notifier, error) {
			return pagerduty.New(c, o.Template, o.Logger)
		}),
		"pushover": of(func(r receiver) []*amconfig.PushoverConfig { return r.PushoverConfigs }, func(c *amconfig.PushoverConfig, o Options) (*pushover.Notifier, error) {
			return pushover.New(c, o.Template, o.Logger)
		}),
		"rocketchat": of(func(r receiver) []*amconfig.RocketchatConfig { return r.RocketchatConfigs }, func(c *amconfig.RocketchatConfig, o Options) (*rocketchat.Notifier, error) {
			return rocketchat.New(c, o.Template, o.Logger)
		}),
		"sns": of(func(r receiver) []*amconfig.SNSConfig { return r.SNSConfigs }, func(c *amconfig.SNSConfig, o Options) (*sns.Notifier, error) {
			return sns.New(c, o.Template, o.Logger)
		}),
		"telegram": of(func(r receiver) []*telegram.TelegramConfig { return r.TelegramConfigs }, func(c *telegram.TelegramConfig, o Options) (*telegram.Notifier, error) {
			return telegram.New(c, o.Template, o.Logger)
		}),
		"victorops": of(func(r receiver) []*amconfig.VictorOpsConfig { return r.VictorOpsConfigs }, func(c *amconfig.VictorOpsConfig, o Options) (*victorops.Notifier, error) {
			return victorops.New(c, o.Template, o.Logger)
		}),
		"webex": of(func(r receiver) []*amconfig.WebexConfig { return r.WebexConfigs }, func(c *amconfig.WebexConfig, o Options) (*webex.Notifier, error) {
			return webex.New(c, o.Template, o.Logger)
		}),
		"wechat": of(func(r receiver) []*amconfig.WechatConfig { return r.WechatConfigs }, func(c *amconfig.WechatConfig, o Options) (*wechat.Notifier, error) {
			return wechat.New(c, o.Template, o.Logger)
		}),
	}
}

// Threadless implements alerting.Threadless.
func (n *Notifier) Threadless() {}

// Notify sends a group as it is, and an incident as a group of its alerts when
// these differ from those that were sent last, which Ref remembers by their
// hash. It returns the new hash, or ErrUnchanged.
func (n *Notifier) Notify(ctx context.Context, m alerting.Message) (string, error) {
	if m.Kind != alerting.Parent {
		return "", alerting.ErrUnchanged
	}
	g := groupOf(m)
	alerts := alertsOf(m, g.Alerts)
	hash := fingerprint(alerts)
	if m.Group == nil && (hash == m.Ref || !g.Firing() && !n.sendResolved) {
		return "", alerting.ErrUnchanged
	}
	ctx = notify.WithGroupKey(ctx, g.Key)
	ctx = notify.WithGroupLabels(ctx, set(g.Labels))
	ctx = notify.WithRouteLabels(ctx, n.rendered(g, alerts))
	ctx = notify.WithReceiverName(ctx, n.opts.Receiver.Name)
	ctx = notify.WithNow(ctx, m.At)
	ctx = notify.WithRepeatInterval(ctx, g.Repeat)
	ctx = notify.WithNotificationReason(ctx, reason(g.Reason))
	again, err := n.sender.Notify(ctx, alerts...)
	switch {
	case err == nil:
		return hash, nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", fmt.Errorf("%s: %w: %w", n.opts.Kind, err, alerting.ErrAmbiguous)
	case !again:
		return "", fmt.Errorf("%s: %w: %w", n.opts.Kind, err, alerting.ErrPermanent)
	}
	return "", fmt.Errorf("%s: %w", n.opts.Kind, err)
}

// rendered fills in the templates that labels of a route may be.
func (n *Notifier) rendered(g alerting.Group, alerts []*alert.Alert) model.LabelSet {
	out := model.LabelSet{}
	if g.RouteLabels.IsEmpty() {
		return out
	}
	render := n.opts.Template.RouteLabelRenderer(n.opts.Template.Data(n.opts.Receiver.Name, set(g.Labels), set(g.RouteLabels), g.Reason, alerts...))
	g.RouteLabels.Range(func(l labels.Label) {
		text, err := render(l.Name)
		if err != nil {
			n.opts.Logger.Error("a label of the route cannot be rendered", "label", l.Name, "error", err)
			return
		}
		out[model.LabelName(l.Name)] = model.LabelValue(text)
	})
	return out
}

// groupOf returns the group of a message. An incident is one of its own.
func groupOf(m alerting.Message) alerting.Group {
	if m.Group != nil {
		return *m.Group
	}
	i := m.Incident
	g := alerting.Group{
		Key:    fmt.Sprintf("{}:{environment=%q, incident=%q, service=%q}", i.Service.Environment, i.ID, i.Service.Name),
		Labels: labels.FromStrings("environment", i.Service.Environment, "incident", i.ID, "service", i.Service.Name),
		Reason: notify.ReasonNewAlertsInGroup.String(), Alerts: slices.Clone(i.Alerts),
	}
	if m.Ref == "" {
		g.Reason = notify.ReasonFirstNotification.String()
	}
	for n := range g.Alerts {
		if i.State == belay.Resolved {
			g.Alerts[n].State = belay.AlertInactive
		}
	}
	if !g.Firing() {
		g.Reason = notify.ReasonAllAlertsResolved.String()
	}
	return g
}

func alertsOf(m alerting.Message, in []belay.Alert) []*alert.Alert {
	out := make([]*alert.Alert, 0, len(in))
	for _, a := range in {
		to := &alert.Alert{UpdatedAt: a.EvaluatedAt, Alert: model.Alert{
			Labels: set(a.Labels), Annotations: model.LabelSet{}, StartsAt: a.ActiveAt, GeneratorURL: a.URL,
		}}
		if to.GeneratorURL == "" {
			to.GeneratorURL = m.Links.Incident
		}
		for name, value := range a.Annotations {
			to.Annotations[model.LabelName(name)] = model.LabelValue(value)
		}
		if a.State != belay.AlertFiring {
			to.EndsAt = ended(a, m)
		}
		out = append(out, to)
	}
	return out
}

// ended is never in the future, where Alertmanager would call the alert firing.
func ended(a belay.Alert, m alerting.Message) time.Time {
	for _, t := range []time.Time{a.ResolvedAt, m.Incident.ResolvedAt, a.EvaluatedAt} {
		if !t.IsZero() && !t.After(m.At) {
			return t
		}
	}
	return m.At
}

func set(ls labels.Labels) model.LabelSet {
	out := model.LabelSet{}
	ls.Range(func(l labels.Label) { out[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return out
}

func reason(words string) notify.NotifyReason {
	for r := notify.ReasonDoNotNotify; r < notify.ReasonUnknown; r++ {
		if r.String() == words {
			return r
		}
	}
	return notify.ReasonUnknown
}

// fingerprint names the set of alerts and their states.
func fingerprint(alerts []*alert.Alert) string {
	h := sha256.New()
	for _, a := range alerts {
		_, _ = fmt.Fprintln(h, a.Fingerprint(), a.EndsAt.IsZero(), a.StartsAt.UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
