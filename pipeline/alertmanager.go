package pipeline

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	amcommon "github.com/prometheus/alertmanager/config/common"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
	"github.com/belaydev/belay/web/amapi"
)

// buildRouting makes what says who is told of what, and when not.
func (p *parts) buildRouting() error {
	p.silences, p.inbox = p.base.silences, p.base.inbox
	p.telling = alerting.Telling{Routing: alerting.NewRouting(p.cfg.Alerting.Upstream), Silences: p.silences, Alerts: p.alerts}
	return nil
}

// resolveTimeout is how long alerts fire that are sent in without an end.
func (c *Config) resolveTimeout() time.Duration {
	if g := c.Alerting.Upstream.Global; g != nil && g.ResolveTimeout > 0 {
		return time.Duration(g.ResolveTimeout)
	}
	return alerting.ResolveTimeout
}

// alerts are those that Belay's own rules found, and those that others sent in.
func (p *parts) alerts() []belay.Alert { return slices.Concat(p.engine.Alerts(), p.inbox.Active()) }

// silenced says which silence mutes an alert, as the end of a sentence that
// begins with its name; "" when none does.
func (p *parts) silenced(a belay.Alert) string {
	now := time.Now()
	for _, s := range p.silences.Muting(a.Labels, now) {
		return "is silenced by " + s.CreatedBy + " until " + alerting.Clock(s.EndsAt, now)
	}
	return ""
}

// emergencies leaves the destinations that an emergency goes to: where the
// routing leads it, and the channels of owners.
func (p *parts) emergencies(all []alerting.Destination) []alerting.Destination {
	to := p.telling.Routing.Receivers(alerting.EmergencyLabels())
	return slices.DeleteFunc(slices.Clone(all), func(d alerting.Destination) bool {
		return d.Wants == nil && len(d.Receivers) > 0 && !slices.ContainsFunc(d.Receivers, func(r string) bool { return slices.Contains(to, r) })
	})
}

// alertmanagerAPI serves /api/v2.
func (p *parts) alertmanagerAPI(actor func(r *http.Request, claimed string) string) http.Handler {
	because := func(err error) error {
		switch {
		case errors.Is(err, alerting.ErrUnknownSilence):
			return web.Because(amapi.ErrNotFound, err)
		case errors.Is(err, alerting.ErrInvalidSilence), errors.Is(err, alerting.ErrInvalidAlert):
			return web.Because(amapi.ErrInvalid, err)
		}
		return err
	}
	var receivers []string
	for _, r := range p.cfg.Alerting.Receivers {
		receivers = append(receivers, r.Name)
	}
	return amapi.New(amapi.Options{
		Alerts: p.apiAlerts, Receivers: receivers, Config: p.alertmanagerConfig(), Started: p.base.started,
		Version: p.base.p.opts.Version, Actor: actor, Logger: p.log,
		Post: func(ctx context.Context, sent []amapi.Incoming, sender string) error {
			in := make([]alerting.Incoming, len(sent))
			for i, s := range sent {
				in[i] = alerting.Incoming{Labels: s.Labels, Annotations: s.Annotations, StartsAt: s.StartsAt, EndsAt: s.EndsAt, URL: s.GeneratorURL}
			}
			return because(p.inbox.Post(ctx, in, sender))
		},
		Silences: p.silences.All,
		SetSilence: func(ctx context.Context, s belay.Silence) (string, error) {
			id, err := p.silences.Set(ctx, s)
			return id, because(err)
		},
		Expire: func(ctx context.Context, id, actor string) error { return because(p.silences.Expire(ctx, id, actor)) },
	})
}

// apiAlerts are the alerts that fire, with what becomes of each.
func (p *parts) apiAlerts() []amapi.Alert {
	now := time.Now()
	alerts := slices.DeleteFunc(p.alerts(), func(a belay.Alert) bool { return a.State != belay.AlertFiring || a.Observe })
	out := make([]amapi.Alert, len(alerts))
	for i, x := range p.telling.ExplainAll(alerts, now) {
		a := amapi.Alert{Alert: alerts[i], Fingerprint: alerting.Fingerprint(alerts[i].Labels), EndsAt: p.inbox.Until(alerts[i].ID)}
		if a.EndsAt.IsZero() {
			a.EndsAt = now.Add(alerting.ResolveTimeout)
		}
		if a.URL == "" && p.cfg.Global.ExternalURL != "" {
			a.URL, _ = url.JoinPath(p.cfg.Global.ExternalURL, "alerts")
		}
		for _, s := range x.Silences {
			a.SilencedBy = append(a.SilencedBy, s.ID)
		}
		if x.Inhibited != nil {
			a.InhibitedBy = []string{x.Inhibited.Source.Fingerprint().String()}
		}
		for _, r := range x.Routes {
			a.Groups = append(a.Groups, amapi.GroupOf{
				Key: r.Key + ":" + r.GroupLabels.String(), Receiver: r.Receiver,
				Labels: r.GroupLabels.Map(), RouteLabels: r.RouteLabels.Map(), MutedBy: r.MutedBy,
			})
		}
		out[i] = a
	}
	return out
}

// explain says what becomes of a label set now, for `belay route test`.
func (p *parts) explain(ls labels.Labels) any { return p.explanation(ls, time.Now()) }

func (p *parts) explanation(ls labels.Labels, now time.Time) RouteTest {
	return routeTest(p.telling, p.service, ls, now)
}

// amKeys are the keys of an alertmanager.yml with their types.
type amKeys struct {
	Global            amconfig.GlobalConfig       `yaml:"global"`
	Route             *amconfig.Route             `yaml:"route"`
	Receivers         []amconfig.Receiver         `yaml:"receivers"`
	InhibitRules      []amcommon.InhibitRule      `yaml:"inhibit_rules"`
	TimeIntervals     []amconfig.TimeInterval     `yaml:"time_intervals"`
	MuteTimeIntervals []amconfig.MuteTimeInterval `yaml:"mute_time_intervals"`
	Templates         []string                    `yaml:"templates"`
}

// alertmanagerConfig is the Alertmanager part of the configuration as it stands
// in the file, every secret masked.
func (p *parts) alertmanagerConfig() string {
	text, err := os.ReadFile(p.cfg.Alerting.File)
	if err != nil {
		return "# " + err.Error()
	}
	doc, ps := strict.Parse(p.cfg.Alerting.File, text)
	if len(ps) > 0 {
		return "# the file has changed, and cannot be read now"
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, key := range append([]string{"global"}, alerting.Keys()...) {
		var n yaml.Node
		if !doc.Has(key) || len(doc.Decode(&n, key)) > 0 || n.Kind == 0 {
			continue
		}
		if n.Kind == yaml.DocumentNode {
			n = *n.Content[0]
		}
		if key == "global" {
			for i := 0; i+1 < len(n.Content); {
				if slices.Contains(alerting.GlobalKeys(), n.Content[i].Value) {
					i += 2
					continue
				}
				n.Content = slices.Delete(n.Content, i, i+2)
			}
			if len(n.Content) == 0 {
				continue
			}
		}
		set(root, key, &n)
	}
	p.standForSlack(root)
	mask(root, reflect.TypeFor[amKeys]())
	maskReferences(root)
	maskWebhooks(root)
	plain(root)
	out, err := yaml.Marshal(root)
	if err != nil {
		return "# " + err.Error()
	}
	return string(out)
}

// standForSlack gives slack_configs that Belay's own token sends what
// Alertmanager's tools want to see.
func (p *parts) standForSlack(root *yaml.Node) {
	needs := slices.ContainsFunc(p.cfg.Alerting.Receivers, func(r alerting.Receiver) bool { return len(r.Slacks) > 0 })
	global := child(root, "global")
	if !needs || child(global, "slack_api_url") != nil || child(global, "slack_api_url_file") != nil {
		return
	}
	if global == nil {
		global = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		root.Content = append([]*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: "global"}, global}, root.Content...)
	}
	set(global, "slack_api_url", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: secretMask})
}

// maskedURL stands for the address of a webhook, which amtools up to 0.26 want
// to be one.
const maskedURL = "http://secret.invalid/"

func maskWebhooks(root *yaml.Node) {
	receivers := child(root, "receivers")
	if receivers == nil {
		return
	}
	for _, r := range receivers.Content {
		hooks := child(r, "webhook_configs")
		if hooks == nil {
			continue
		}
		for _, h := range hooks.Content {
			if u := child(h, "url"); u != nil && u.Value == secretMask {
				u.Value = maskedURL
			}
		}
	}
}

// maskReferences masks what the environment completes, too: Alertmanager's
// tools would not take it for an address.
func maskReferences(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${") {
		n.Value = secretMask
	}
	for _, c := range n.Content {
		maskReferences(c)
	}
}
