package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	amcommon "github.com/prometheus/alertmanager/config/common"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/review"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

// keys are the top-level keys of the file with their types: what `belay config
// show` masks by, and what the schema is made of.
type keys struct {
	Global            globalKeys                      `yaml:"global"`              // what holds for all; the union of Prometheus's, Alertmanager's and Belay's own
	ScrapeConfigs     []*promconfig.ScrapeConfig      `yaml:"scrape_configs"`      // whom to ask for samples; verbatim [Prometheus](https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config)
	ScrapeConfigFiles []string                        `yaml:"scrape_config_files"` // files, or globs, of further scrape_configs; they stay in the folder of this file
	RemoteWrite       []*promconfig.RemoteWriteConfig `yaml:"remote_write"`        // where every stored sample is sent as well; verbatim [Prometheus](https://prometheus.io/docs/prometheus/latest/configuration/configuration/#remote_write)
	Probes            []probe.Probe                   `yaml:"probes"`              // checks from outside, by Prometheus's blackbox exporter; they record probe_success and probe_duration_seconds
	Alerting          promconfig.AlertingConfig       `yaml:"alerting"`            // Alertmanagers that are told as well; verbatim [Prometheus](https://prometheus.io/docs/prometheus/latest/configuration/configuration/#alertmanager_config)
	RuleFiles         []string                        `yaml:"rule_files"`          // Prometheus rule files, or globs
	Metrics           collector.Metrics               `yaml:"metrics"`             // where samples are kept
	Services          []serviceKeys                   `yaml:"services"`            // what is deployed
	Rollback          rollback.Policy                 `yaml:"rollback"`            // the policy of services that say nothing else; what each guard sees to is in docs/safety.md
	AlertmanagerFile  string                          `yaml:"alertmanager_config"` // an alertmanager.yml, instead of the six keys below
	Route             *amconfig.Route                 `yaml:"route"`               // who is told of what; verbatim [Alertmanager](https://prometheus.io/docs/alertmanager/latest/configuration/#route)
	Receivers         []amconfig.Receiver             `yaml:"receivers"`           // names for places that are told together; verbatim [Alertmanager](https://prometheus.io/docs/alertmanager/latest/configuration/#receiver). slack_configs are sent through Belay's own Slack app
	InhibitRules      []amcommon.InhibitRule          `yaml:"inhibit_rules"`       // which alerts mute others; verbatim [Alertmanager](https://prometheus.io/docs/alertmanager/latest/configuration/#inhibit_rule)
	TimeIntervals     []amconfig.TimeInterval         `yaml:"time_intervals"`      // named times; verbatim [Alertmanager](https://prometheus.io/docs/alertmanager/latest/configuration/#time_interval)
	MuteTimeIntervals []amconfig.MuteTimeInterval     `yaml:"mute_time_intervals"` // the same under its older name
	Templates         []string                        `yaml:"templates"`           // verbatim [Alertmanager](https://prometheus.io/docs/alertmanager/latest/configuration/#file-layout-and-global-settings)
	People            []web.Person                    `yaml:"people"`              // one identity over Slack, pages and command line; approvals name people, never raw ids
	Slack             alerting.Slack                  `yaml:"slack"`               // the app by which Belay speaks in Slack
	Incidents         alerting.IncidentsConfig        `yaml:"incidents"`           // how long incidents last
	Review            review.Config                   `yaml:"review"`              // post-incident reviews
	Journal           JournalConfig                   `yaml:"journal"`             // what Belay remembers
	Web               web.Config                      `yaml:"web"`                 // pages and API; [who may do what](who-may.md)

	RemoteRead    any `yaml:"remote_read"`    // accepted with a warning, since it has no meaning here
	Storage       any `yaml:"storage"`        // accepted with a warning, since it has no meaning here
	Tracing       any `yaml:"tracing"`        // accepted with a warning, since it has no meaning here
	OTLP          any `yaml:"otlp"`           // accepted with a warning, since it has no meaning here
	Runtime       any `yaml:"runtime"`        // accepted with a warning, since it has no meaning here
	EventRecorder any `yaml:"event_recorder"` // accepted with a warning, since it has no meaning here
}

// globalKeys is the union of three sets of keys that share none.
type globalKeys struct {
	Global       `yaml:",inline"`
	Prometheus   promconfig.GlobalConfig `yaml:",inline"`
	Alertmanager amconfig.GlobalConfig   `yaml:",inline"`
}

// Show returns the configuration as it is in force: with the defaults that
// hold, paths as they were resolved, secrets masked. It loads again; where a
// mask stands a secret has to be put in before it can be used.
func (c *Config) Show() ([]byte, error) {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return nil, fmt.Errorf("show the configuration: %w", err)
	}
	doc, ps := strict.Parse(c.File, text)
	if len(ps) > 0 {
		return nil, ps
	}
	var top yaml.Node
	if ps := doc.Decode(&top); len(ps) > 0 {
		return nil, ps
	}
	if top.Kind == 0 {
		top = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	root := &top
	if root.Kind == yaml.DocumentNode {
		root = root.Content[0]
	}
	if c.Alerting.File != c.File {
		if err := c.inline(root); err != nil {
			return nil, err
		}
	}
	for _, s := range []struct {
		key   string
		value any
	}{
		{"global", c.Collector.Global},
		{"global", c.Global},
		{"scrape_configs", c.Collector.ScrapeConfigs},
		{"remote_write", c.Collector.RemoteWrite},
		{"alerting", c.Forward.AlertingConfig},
		{"rule_files", c.RuleFiles},
		{"metrics", c.Collector.Metrics},
		{"rollback", c.Policy},
		{"slack", c.Alerting.Slack},
		{"incidents", c.Alerting.Incidents},
		{"review", c.Review},
		{"journal", c.Journal},
		{"web", c.Web},
	} {
		if err := overlay(root, s.key, s.value); err != nil {
			return nil, err
		}
	}
	remove(root, "scrape_config_files") // they are among the scrape_configs
	c.showServices(root)
	mask(root, reflect.TypeFor[keys]())
	plain(root)
	out, err := yaml.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("show the configuration: %w", err)
	}
	return out, nil
}

// inline puts what alertmanager_config names where it would stand.
func (c *Config) inline(root *yaml.Node) error {
	text, err := os.ReadFile(c.Alerting.File)
	if err != nil {
		return fmt.Errorf("show the configuration: %w", err)
	}
	var am yaml.Node
	if err := yaml.Unmarshal(text, &am); err != nil || len(am.Content) == 0 {
		return fmt.Errorf("show the configuration: %s: %w", c.Alerting.File, err)
	}
	for _, key := range alerting.Keys() {
		if v := child(am.Content[0], key); v != nil {
			set(root, key, v)
		}
	}
	if g := child(am.Content[0], "global"); g != nil {
		mine := child(root, "global")
		if mine == nil {
			mine = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			set(root, "global", mine)
		}
		for i := 0; i+1 < len(g.Content); i += 2 {
			set(mine, g.Content[i].Value, g.Content[i+1])
		}
	}
	remove(root, "alertmanager_config")
	return nil
}

// showServices fills in what holds for each service.
func (c *Config) showServices(root *yaml.Node) {
	list := child(root, "services")
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for i, n := range list.Content {
		if i >= len(c.Services) || n.Kind != yaml.MappingNode {
			continue
		}
		s := c.Services[i]
		_ = overlay(n, "environment", s.ID.Environment)
		_ = overlay(n, "match", s.Match)
		_ = overlay(n, "rollback", s.Policy)
		if command := child(child(n, "platform"), "command"); command != nil && child(command, "dir") == nil {
			_ = overlay(command, "dir", filepath.Dir(c.File))
		}
	}
}

// overlay writes a value below a key, over what stands there.
func overlay(root *yaml.Node, key string, value any) error {
	var n yaml.Node
	text, err := yaml.Marshal(value)
	if err == nil {
		err = yaml.Unmarshal(text, &n)
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", key, err)
	}
	if len(n.Content) == 0 {
		return nil
	}
	v := n.Content[0]
	old := child(root, key)
	if v.Kind != yaml.MappingNode || old == nil || old.Kind != yaml.MappingNode {
		if v.Tag != "!!null" && (len(v.Content) > 0 || v.Kind == yaml.ScalarNode) {
			set(root, key, v)
		}
		return nil
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		if v.Content[i+1].Tag != "!!null" {
			set(old, v.Content[i].Value, v.Content[i+1])
		}
	}
	return nil
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func set(n *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = v
			return
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, v)
}

func remove(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return
		}
	}
}

const secretMask = "<secret>"

// inEnvironment is a secret that is not in the file: the environment has it.
var inEnvironment = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)

// mask replaces every value of a secret type.
func mask(n *yaml.Node, t reflect.Type) {
	secrets(n, t, func(n *yaml.Node) { *n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: secretMask} })
}

// secrets visits every value of a secret type that stands in the file itself.
func secrets(n *yaml.Node, t reflect.Type, visit func(*yaml.Node)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if stands := stands()[t]; stands != nil {
		t = stands
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case strings.HasPrefix(t.Name(), "Secret") && n.Kind == yaml.ScalarNode:
		if n.Value != "" && n.Tag != "!!null" && !inEnvironment.MatchString(n.Value) {
			visit(n)
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range n.Content {
			secrets(c, t.Elem(), visit)
		}
	case n.Kind == yaml.MappingNode && (t.Kind() == reflect.Map || t.Kind() == reflect.Struct):
		for i := 0; i+1 < len(n.Content); i += 2 {
			ft := strict.FieldType(t, n.Content[i].Value)
			if ft == nil {
				ft = collector.Discoveries()[n.Content[i].Value]
			}
			if ft != nil {
				secrets(n.Content[i+1], ft, visit)
			}
		}
	}
}

// plain takes comments and braces out, so that the result reads alike
// throughout.
func plain(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	n.Style &^= yaml.FlowStyle
	for _, c := range n.Content {
		plain(c)
	}
}
