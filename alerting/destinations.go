package alerting

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"

	"github.com/belaydev/belay"
)

// A DestinationConfig describes one destination; exactly one of Slack, Webhook
// and Kind is set. The pipeline makes a Destination of it.
type DestinationConfig struct {
	Name      string
	Receivers []string          // that are told here; none for the channel of a service's owners alone
	Services  []belay.ServiceID // whose incidents are always told here, as their owners read it
	Slack     *SlackChannel
	Webhook   *Webhook
	Kind      string // one of Alertmanager's own notifiers: "email", "pagerduty", …
	Index     int    // which entry of that kind of the receiver
	// SendResolved says whether the end of an alert is told.
	SendResolved bool
}

// Owned says whether the incidents of a service are told here whatever their
// alerts route to.
func (d DestinationConfig) Owned(s belay.ServiceID) bool { return slices.Contains(d.Services, s) }

// Destinations returns where to tell: each entry of each receiver, and the
// channels of the owners, each for its services. A channel that is several of
// these is told once.
func (c Config) Destinations(services []ServiceOwner) []DestinationConfig {
	var out []DestinationConfig
	add := func(d DestinationConfig) {
		same := slices.IndexFunc(out, func(o DestinationConfig) bool { return o.Name == d.Name })
		if same < 0 {
			out = append(out, d)
			return
		}
		for _, r := range d.Receivers {
			if !slices.Contains(out[same].Receivers, r) {
				out[same].Receivers = append(out[same].Receivers, r)
			}
		}
		out[same].Services = append(out[same].Services, d.Services...)
	}
	for n, r := range c.Receivers {
		if !c.routed(r.Name) {
			continue
		}
		for i := range r.Webhooks {
			w := &r.Webhooks[i]
			add(DestinationConfig{
				Name: entryName("webhook", r.Name, i), Receivers: []string{r.Name},
				Webhook: w, SendResolved: w.SendResolved == nil || *w.SendResolved,
			})
		}
		for i := range r.Slacks {
			if !c.deliverable(r.Slacks[i]) {
				continue // Load has warned of it
			}
			add(DestinationConfig{Name: slackName(r.Slacks[i].Channel), Receivers: []string{r.Name}, Slack: &r.Slacks[i], SendResolved: true})
		}
		if n < len(c.Upstream.Receivers) {
			for _, d := range upstreamKinds(c.Upstream.Receivers[n]) {
				add(d)
			}
		}
	}
	for _, s := range services {
		if s.SlackChannel != "" {
			add(DestinationConfig{
				Name: slackName(s.SlackChannel), Services: []belay.ServiceID{s.ID}, SendResolved: true,
				Slack: &SlackChannel{Channel: s.SlackChannel},
			})
		}
	}
	return out
}

// routed says whether a route leads to the receiver.
func (c Config) routed(receiver string) bool {
	var leads func(r *amconfig.Route) bool
	leads = func(r *amconfig.Route) bool {
		return r != nil && (r.Receiver == receiver || slices.ContainsFunc(r.Routes, leads))
	}
	return receiver == c.Route.Receiver || leads(c.Upstream.Route)
}

func entryName(kind, receiver string, i int) string {
	return kind + ":" + receiver + "/" + strconv.Itoa(i)
}

// slackName names a channel's destination the same however it is written.
func slackName(channel string) string {
	return "slack:#" + strings.TrimPrefix(channel, "#")
}

// upstreamKinds returns the entries of a receiver that Alertmanager's own
// notifiers send.
func upstreamKinds(r amconfig.Receiver) []DestinationConfig {
	var out []DestinationConfig
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		kind, ok := strings.CutSuffix(key, "_configs")
		if !ok || kind == "webhook" || kind == "slack" {
			continue
		}
		for n := range v.Field(i).Len() {
			d := DestinationConfig{Name: entryName(kind, r.Name, n), Receivers: []string{r.Name}, Kind: kind, Index: n, SendResolved: true}
			if s, ok := v.Field(i).Index(n).Interface().(notify.ResolvedSender); ok {
				d.SendResolved = s.SendResolved()
			}
			out = append(out, d)
		}
	}
	return out
}

// deliverable says whether Belay can post there at all.
func (c Config) deliverable(s SlackChannel) bool {
	return c.Slack.hasToken() && strings.TrimPrefix(s.Channel, "#") != ""
}

// undelivered warns of what would be told by Alertmanager, and not by Belay.
func (c Config) undelivered(up *upstream) {
	for i, r := range up.cfg.Receivers {
		if !c.routed(r.Name) {
			continue
		}
		told := len(c.Receivers[i].Webhooks) + len(upstreamKinds(r))
		for j, s := range c.Receivers[i].Slacks {
			at := []any{"receivers", i, "slack_configs", j}
			switch {
			case !c.Slack.hasToken():
				up.warn(fmt.Sprintf("NOT DELIVERED: the receiver %q posts to Slack, and Belay has no token for it; give slack: {bot_token_file: FILE} at the top of Belay's file", r.Name), at...)
			case !c.deliverable(s):
				up.warn(fmt.Sprintf("NOT DELIVERED: the receiver %q posts to Slack and names no channel", r.Name), at...)
			default:
				told++
			}
			if s.SendResolved != nil && !*s.SendResolved {
				up.warn("send_resolved: false has no meaning in Slack, where one message is edited from first to last", append(at, "send_resolved")...)
			}
		}
		if told == 0 && (r.Name == c.Route.Receiver || len(c.Receivers[i].Slacks) > 0) {
			up.warn(fmt.Sprintf("NOBODY IS TOLD by the receiver %q, to which a route leads", r.Name), "receivers", i)
		}
	}
	slices.Sort(up.warnings)
}
