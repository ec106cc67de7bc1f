package alerting

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

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
	Route     Route           `yaml:"route"`
	Receivers []Receiver      `yaml:"receivers"`
	Slack     Slack           `yaml:"slack"`
	Incidents IncidentsConfig `yaml:"incidents"`

	// Upstream is all of Alertmanager's configuration, validated. References to
	// the environment stand unresolved in it; see Expanded.
	Upstream amconfig.Config `yaml:"-"`

	File     string   `yaml:"-"` // in which Alertmanager's keys stand
	Warnings []string `yaml:"-"` // what is valid and not acted on, with file and line

	text   []byte                 // Alertmanager's keys as they stand in the file
	reread func() amconfig.Config // a copy of Upstream that shares nothing with it
}

// An IncidentsConfig says how long incidents last.
type IncidentsConfig struct {
	ReopenWindow model.Duration `yaml:"reopen_window"` // what fires again this soon after the end of an incident continues it, unless another release went out meanwhile; 0s: never
}

// A Route is the root of the routing tree, whose receiver gets what no route
// below it claims.
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

// Load reads Alertmanager's keys and "slack", and checks that what they name
// exists. Whatever Alertmanager takes is taken; what Belay does not act on is a
// warning. Paths become relative to the folder of the file. It touches no
// network and no secrets.
func Load(doc *strict.Doc, services []ServiceOwner) (Config, strict.Problems) {
	c := Config{Incidents: IncidentsConfig{ReopenWindow: model.Duration(10 * time.Minute)}}
	up := alertmanager(doc)
	ps := append(doc.Decode(&c.Slack, "slack"), doc.Decode(&c.Incidents, "incidents")...)
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
		c.undelivered(up)
	}
	for i := range up.problems {
		if up.problems[i].Allowed == "" {
			up.problems[i].Allowed = wayOut(up.problems[i].What)
		}
	}
	c.Warnings = up.warnings
	c.Upstream, c.text = up.cfg, up.doc.Only(append(Keys(), "global")...)
	c.reread = func() amconfig.Config {
		again := &upstream{doc: up.doc}
		again.read()
		again.judge(true)
		return again.cfg
	}
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
