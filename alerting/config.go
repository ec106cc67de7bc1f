package alerting

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/strict"
)

// A Config says who is told, and how. Its keys are Alertmanager's, at the top
// of Belay's file, and the block "slack".
type Config struct {
	Route     Route      `yaml:"route"`
	Receivers []Receiver `yaml:"receivers"`
	Slack     Slack      `yaml:"slack"`

	File     string   `yaml:"-"` // in which Alertmanager's keys stand
	Warnings []string `yaml:"-"` // what is valid and not acted on, with file and line
}

// A Route names the receiver of all incidents.
type Route struct {
	Receiver string `yaml:"receiver"`
}

// A Receiver is a name for places that are told together.
type Receiver struct {
	Name     string         `yaml:"name"`
	Webhooks []Webhook      `yaml:"webhook_configs"`
	Slacks   []SlackChannel `yaml:"slack_configs"`
}

// A Webhook is one entry of webhook_configs.
type Webhook struct {
	URL          Secret                       `yaml:"url"`
	URLFile      string                       `yaml:"url_file"`      // read at each message, so that it can be replaced
	SendResolved *bool                        `yaml:"send_resolved"` // nil is true
	MaxAlerts    int                          `yaml:"max_alerts"`    // 0 is no bound
	Timeout      model.Duration               `yaml:"timeout"`       // of one request; 0 is 10 s
	HTTPConfig   *promconfig.HTTPClientConfig `yaml:"http_config"`
}

// A SlackChannel is one entry of slack_configs.
type SlackChannel struct {
	Channel      string `yaml:"channel"` // "#name", "name" or an id
	SendResolved *bool  `yaml:"send_resolved"`
	Username     string `yaml:"username"`
}

// Slack is the app by which Belay speaks in Slack.
type Slack struct {
	APIURL            string `yaml:"api_url"`             // for tests and proxies; "" is Slack's own
	BotToken          Secret `yaml:"bot_token"`           // the app's bot token, or ${NAME} of the environment; better is bot_token_file
	BotTokenFile      string `yaml:"bot_token_file"`      // holds the app's bot token, xoxb-…
	AppTokenFile      string `yaml:"app_token_file"`      // holds the app-level token of Socket Mode, xapp-…
	SigningSecretFile string `yaml:"signing_secret_file"` // holds the secret by which Slack signs what it sends
}

// Token returns the bot token, read from its file where it has one.
func (s Slack) Token() (string, error) {
	if s.BotTokenFile == "" {
		return s.BotToken.Value()
	}
	b, err := os.ReadFile(s.BotTokenFile)
	if err != nil {
		return "", fmt.Errorf("slack bot_token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("slack bot_token_file %s: it is empty", s.BotTokenFile)
	}
	return token, nil
}

func (s Slack) hasToken() bool { return s.BotToken != "" || s.BotTokenFile != "" }

// A ServiceOwner says which channel the owners of a service read. Owners are
// handed over in the order of the key "services".
type ServiceOwner struct {
	ID           belay.ServiceID
	SlackChannel string // "" is none
}

// A DestinationConfig describes one destination; exactly one of Slack and
// Webhook is set. The pipeline makes a Destination of it.
type DestinationConfig struct {
	Name     string
	Receiver string            // "" for the channel of a service's owners
	Services []belay.ServiceID // nil is every service
	Slack    *SlackChannel
	Webhook  *Webhook
}

// Wants says whether the incidents of a service are told here.
func (d DestinationConfig) Wants(s belay.ServiceID) bool {
	return d.Services == nil || slices.Contains(d.Services, s)
}

// Destinations returns where to tell: the receiver that the route names, for
// every service, and the channels of the owners, each for its services. A
// channel that is both is told once.
func (c Config) Destinations(services []ServiceOwner) []DestinationConfig {
	var out []DestinationConfig
	add := func(d DestinationConfig) {
		same := slices.IndexFunc(out, func(o DestinationConfig) bool { return o.Name == d.Name })
		switch {
		case same < 0:
			out = append(out, d)
		case d.Services == nil:
			out[same].Services = nil
		case out[same].Services != nil:
			out[same].Services = append(out[same].Services, d.Services...)
		}
	}
	for _, r := range c.Receivers {
		if r.Name != c.Route.Receiver {
			continue
		}
		for i := range r.Webhooks {
			add(DestinationConfig{Name: "webhook:" + r.Name + "/" + strconv.Itoa(i), Receiver: r.Name, Webhook: &r.Webhooks[i]})
		}
		for i := range r.Slacks {
			if !c.deliverable(r.Slacks[i]) {
				continue // Load has warned of it
			}
			add(DestinationConfig{Name: slackName(r.Slacks[i].Channel), Receiver: r.Name, Slack: &r.Slacks[i]})
		}
	}
	for _, s := range services {
		if s.SlackChannel != "" {
			add(DestinationConfig{
				Name: slackName(s.SlackChannel), Services: []belay.ServiceID{s.ID},
				Slack: &SlackChannel{Channel: s.SlackChannel},
			})
		}
	}
	return out
}

// slackName names a channel's destination the same however it is written.
func slackName(channel string) string {
	return "slack:#" + strings.TrimPrefix(channel, "#")
}

// Load reads Alertmanager's keys and "slack", and checks that what they name
// exists. Whatever Alertmanager takes is taken; what Belay does not act on is a
// warning. Paths become relative to the folder of the file. It touches no
// network and no secrets.
func Load(doc *strict.Doc, services []ServiceOwner) (Config, strict.Problems) {
	var c Config
	up := alertmanager(doc)
	ps := doc.Decode(&c.Slack, "slack")
	c.resolveSlack(filepath.Dir(doc.File))
	c.read(up)
	ps = append(ps, c.checkSlack(doc, services)...)
	c.File = up.doc.File
	up.read()
	if len(up.problems) == 0 {
		up.problems = c.checkRoute(up.doc)
	}
	if len(up.problems) == 0 {
		up.judge(c.Slack.hasToken())
		c.adopt(up.cfg)
	}
	if len(up.problems) == 0 {
		up.later()
		c.undelivered(up)
	}
	for i := range up.problems {
		if up.problems[i].Allowed == "" {
			up.problems[i].Allowed = wayOut(up.problems[i].What)
		}
	}
	c.Warnings = up.warnings
	return c, append(ps, up.problems...)
}

// The keys of receivers as Belay reads them; Alertmanager's own types refuse
// what nobody knows.
type (
	receiverKeys struct {
		Name     string               `yaml:"name"`
		Webhooks []webhookKeys        `yaml:"webhook_configs"`
		Slacks   []slackKeys          `yaml:"slack_configs"`
		Rest     map[string]yaml.Node `yaml:",inline"`
	}
	webhookKeys struct {
		Webhook `yaml:",inline"`
		Rest    map[string]yaml.Node `yaml:",inline"`
	}
	slackKeys struct {
		SlackChannel `yaml:",inline"`
		Rest         map[string]yaml.Node `yaml:",inline"`
	}
	routeKeys struct {
		Route `yaml:",inline"`
		Rest  map[string]yaml.Node `yaml:",inline"`
	}
)

// read takes what Belay itself acts on. What does not fit here fits
// Alertmanager's types no better; they say so.
func (c *Config) read(up *upstream) {
	var route routeKeys
	_ = up.doc.Decode(&route, "route")
	c.Route = route.Route
	dir := filepath.Dir(up.doc.File)
	for i := 0; up.doc.Has("receivers", i); i++ {
		var keys receiverKeys
		_ = up.doc.Decode(&keys, "receivers", i)
		r := Receiver{Name: keys.Name}
		for _, w := range keys.Webhooks {
			w.URLFile = promconfig.JoinDir(dir, w.URLFile)
			if w.HTTPConfig != nil {
				w.HTTPConfig.SetDirectory(dir)
			}
			r.Webhooks = append(r.Webhooks, w.Webhook)
		}
		for _, s := range keys.Slacks {
			r.Slacks = append(r.Slacks, s.SlackChannel)
		}
		c.Receivers = append(c.Receivers, r)
	}
}

// adopt takes over what Alertmanager's `global` says for all receivers.
func (c *Config) adopt(am amconfig.Config) {
	if am.Global == nil {
		return
	}
	if !c.Slack.hasToken() {
		c.Slack.BotToken, c.Slack.BotTokenFile = Secret(am.Global.SlackAppToken), promconfig.JoinDir(filepath.Dir(c.File), am.Global.SlackAppTokenFile)
	}
	if reflect.DeepEqual(am.Global.HTTPConfig, amconfig.DefaultGlobalConfig().HTTPConfig) {
		return
	}
	for _, r := range c.Receivers {
		for i := range r.Webhooks {
			if r.Webhooks[i].HTTPConfig == nil {
				r.Webhooks[i].HTTPConfig = am.Global.HTTPConfig
			}
		}
	}
}

// deliverable says whether Belay can post there at all.
func (c Config) deliverable(s SlackChannel) bool {
	return c.Slack.hasToken() && strings.TrimPrefix(s.Channel, "#") != ""
}

// undelivered warns of what would be told by Alertmanager, and not by Belay.
func (c Config) undelivered(up *upstream) {
	for i, r := range up.cfg.Receivers {
		if r.Name != c.Route.Receiver {
			continue
		}
		told := len(c.Receivers[i].Webhooks)
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
		all := kinds(r)
		delete(all, "webhook_configs")
		delete(all, "slack_configs")
		for kind := range all {
			up.warn(fmt.Sprintf("NOT DELIVERED: %s of the receiver %q is not built yet; webhook_configs and slack_configs are", kind, r.Name), "receivers", i, kind)
		}
		if told == 0 {
			up.warn(fmt.Sprintf("NOBODY IS TOLD by the receiver %q, to which every incident goes", r.Name), "receivers", i)
		}
	}
	slices.Sort(up.warnings)
}

func (c Config) checkSlack(doc *strict.Doc, services []ServiceOwner) strict.Problems {
	var ps strict.Problems
	if c.Slack.APIURL != "" && !webAddress(c.Slack.APIURL) {
		ps = append(ps, doc.At(fmt.Sprintf("%q is not a web address", c.Slack.APIURL), "http:// or https:// and a host", "slack", "api_url"))
	}
	if c.Slack.BotToken != "" && c.Slack.BotTokenFile != "" {
		ps = append(ps, doc.At("both bot_token and bot_token_file are given", "one of them", "slack", "bot_token_file"))
	}
	for i, s := range services {
		if s.SlackChannel != "" && !c.Slack.hasToken() {
			ps = append(ps, doc.At("owners of "+s.ID.String()+" are told in Slack, but Belay has no token for it", needToken,
				"services", i, "owners", "slack_channel"))
		}
	}
	return ps
}

const needToken = "slack: {bot_token_file: FILE} at the top of the file" //nolint:gosec // a hint, not a secret

func (c Config) checkRoute(doc *strict.Doc) strict.Problems {
	var names []string
	for _, r := range c.Receivers {
		if r.Name != "" {
			names = append(names, r.Name)
		}
	}
	switch {
	case c.Route.Receiver == "" && (doc.Has("receivers") || doc.Has("route")):
		return strict.Problems{doc.At("the route names no receiver", known(names), "route")}
	case c.Route.Receiver != "" && !slices.Contains(names, c.Route.Receiver):
		return strict.Problems{doc.At(fmt.Sprintf("no receiver is named %q", c.Route.Receiver), known(names), "route", "receiver")}
	}
	return nil
}

func known(names []string) string {
	if len(names) == 0 {
		return "a name under receivers, where there is none yet"
	}
	return strings.Join(names, ", ")
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// resolveSlack makes paths relative to the folder of the configuration file.
func (c *Config) resolveSlack(dir string) {
	for _, p := range []*string{&c.Slack.BotTokenFile, &c.Slack.AppTokenFile, &c.Slack.SigningSecretFile} {
		*p = promconfig.JoinDir(dir, *p)
	}
}
