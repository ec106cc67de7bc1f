package alerting

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/strict"
)

// A Config says who is told, and how. Its keys are Alertmanager's, at the top
// of Belay's file, and the block "slack".
type Config struct {
	Route     Route      `yaml:"route"`
	Receivers []Receiver `yaml:"receivers"`
	Slack     Slack      `yaml:"slack"`
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
	APIURL            string `yaml:"api_url"` // for tests and proxies; "" is Slack's own
	BotToken          Secret `yaml:"bot_token"`
	BotTokenFile      string `yaml:"bot_token_file"`
	AppTokenFile      string `yaml:"app_token_file"`
	SigningSecretFile string `yaml:"signing_secret_file"`
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

// Load reads the keys "route", "receivers" and "slack", and checks that what
// they name exists. Paths become relative to the folder of the file. It
// touches neither network nor secrets.
func Load(doc *strict.Doc, services []ServiceOwner) (Config, strict.Problems) {
	var c Config
	ps := explain(doc.Decode(&c.Route, "route"), routeLater, "the routing tree is not built yet")
	ps = append(ps, doc.Decode(&c.Slack, "slack")...)
	if !doc.Has("receivers", 0) {
		ps = append(ps, doc.Decode(&c.Receivers, "receivers")...)
	}
	for i := 0; doc.Has("receivers", i); i++ {
		var r Receiver
		bad := doc.Decode(&r, "receivers", i)
		for n := range bad {
			if bad[n].Line == 0 { // from a type that reads itself
				bad[n].Line = doc.Line("receivers", i)
			}
		}
		ps = append(ps, explain(explain(bad, receiverLater, "this kind of receiver is not built yet"),
			slackElsewhere, "Belay posts to Slack with the bot token of the top-level key slack")...)
		c.Receivers = append(c.Receivers, r)
	}
	if len(ps) == 0 {
		ps = c.check(doc, services)
	}
	c.resolve(filepath.Dir(doc.File))
	return c, ps
}

// Alertmanager's keys that are known, but have no meaning here yet.
var (
	routeLater = []string{
		"routes", "group_by", "group_wait", "group_interval", "repeat_interval", "matchers", "match", "match_re",
		"mute_time_intervals", "active_time_intervals", "continue",
	}
	receiverLater = []string{
		"discord_configs", "email_configs", "incidentio_configs", "jira_configs", "mattermost_configs", "msteams_configs",
		"msteamsv2_configs", "opsgenie_configs", "pagerduty_configs", "pushover_configs", "rocketchat_configs", "sns_configs",
		"telegram_configs", "victorops_configs", "webex_configs", "wechat_configs",
	}
	slackElsewhere = []string{"api_url", "api_url_file", "app_token", "app_token_file", "app_url"}
)

// explain gives the reason for keys that are unknown here, but not elsewhere.
func explain(ps strict.Problems, keys []string, why string) strict.Problems {
	for i, p := range ps {
		key, ok := strings.CutPrefix(p.What, "unknown key ")
		if name, err := strconv.Unquote(key); ok && err == nil && slices.Contains(keys, name) {
			ps[i].What = name + ": " + why
		}
	}
	return ps
}

func (c Config) check(doc *strict.Doc, services []ServiceOwner) strict.Problems {
	var ps strict.Problems
	var names []string
	for i, r := range c.Receivers {
		switch {
		case r.Name == "":
			ps = append(ps, doc.At("a receiver without a name", "name: NAME", "receivers", i))
		case slices.Contains(names, r.Name):
			ps = append(ps, doc.At(fmt.Sprintf("two receivers are named %q", r.Name), "a name of its own", "receivers", i, "name"))
		default:
			names = append(names, r.Name)
		}
		for j, w := range r.Webhooks {
			ps = append(ps, w.check(doc, "receivers", i, "webhook_configs", j)...)
		}
		for j, s := range r.Slacks {
			ps = append(ps, s.check(doc, c.Slack, "receivers", i, "slack_configs", j)...)
		}
	}
	ps = append(ps, c.checkRoute(doc, names)...)
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

func (c Config) checkRoute(doc *strict.Doc, names []string) strict.Problems {
	switch {
	case c.Route.Receiver == "" && (len(c.Receivers) > 0 || doc.Has("route")):
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

func (w Webhook) check(doc *strict.Doc, path ...any) strict.Problems {
	var ps strict.Problems
	at := func(key string) []any { return append(slices.Clone(path), key) }
	switch {
	case w.URL == "" && w.URLFile == "":
		ps = append(ps, doc.At("a webhook without an address", "url or url_file", path...))
	case w.URL != "" && w.URLFile != "":
		ps = append(ps, doc.At("both url and url_file are given", "one of them", at("url_file")...))
	case w.URL != "" && !hasEnv(string(w.URL)) && !webAddress(string(w.URL)):
		ps = append(ps, doc.At("url is not a web address", "http:// or https:// and a host", at("url")...))
	}
	if w.MaxAlerts < 0 {
		ps = append(ps, doc.At("max_alerts is below 0", "0 for no bound, or a number of alerts", at("max_alerts")...))
	}
	return ps
}

func (s SlackChannel) check(doc *strict.Doc, app Slack, path ...any) strict.Problems {
	var ps strict.Problems
	if strings.TrimPrefix(s.Channel, "#") == "" {
		ps = append(ps, doc.At("a Slack receiver without a channel", `channel: "#NAME"`, path...))
	}
	if s.SendResolved != nil && !*s.SendResolved {
		ps = append(ps, doc.At("send_resolved: false has no meaning in Slack, where one message is edited from first to last", "true",
			append(slices.Clone(path), "send_resolved")...))
	}
	if !app.hasToken() {
		ps = append(ps, doc.At("a Slack receiver, but Belay has no token for Slack", needToken, path...))
	}
	return ps
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// resolve makes paths relative to the folder of the configuration file.
func (c *Config) resolve(dir string) {
	join := func(p *string) { *p = promconfig.JoinDir(dir, *p) }
	join(&c.Slack.BotTokenFile)
	join(&c.Slack.AppTokenFile)
	join(&c.Slack.SigningSecretFile)
	for _, r := range c.Receivers {
		for i := range r.Webhooks {
			join(&r.Webhooks[i].URLFile)
			if h := r.Webhooks[i].HTTPConfig; h != nil {
				h.SetDirectory(dir)
			}
		}
	}
}
