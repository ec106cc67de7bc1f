// Package pipeline puts the parts together: it reads the one configuration
// file, lets each part read its own keys, and runs what they make, from sample
// to review.
package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/forward"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/review"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

// Config is a whole configuration file, read and validated. It only composes:
// each part owns its own keys.
type Config struct {
	File      string
	Hash      string // of the file and the rule files
	Global    Global
	Collector collector.Config
	Probes    []probe.Probe
	Policy    rollback.Policy // of services that say nothing else
	RuleFiles []string        // as matched, sorted
	Rules     rules.Set
	Services  []Service
	Alerting  alerting.Config
	Forward   forward.Config // the Alertmanagers that are told as well
	Review    review.Config
	Journal   JournalConfig
	Web       web.Config
	Warnings  []string // what was accepted and has no meaning here

	rulePatterns []string        // rule_files as they stand
	matched      map[string]bool // those of them that match a file
}

// Global are Belay's own keys of `global`; Prometheus's are the collector's.
type Global struct {
	Evaluation  string         `yaml:"evaluation"`   // judge when samples arrive, or at evaluation_interval alone; one of on_scrape, interval
	MinInterval model.Duration `yaml:"min_interval"` // a group is judged at most this often, on average
	ExternalURL string         `yaml:"external_url"` // where people reach the pages; links in messages lead there
}

// JournalConfig is the section journal.
type JournalConfig struct {
	Path string `yaml:"path"` // a SQLite file, relative to the configuration file; belay.token, the admin token, is made beside it
}

// A Service is one entry of services.
type Service struct {
	ID            belay.ServiceID
	Match         map[string]string
	RevisionLabel string
	PlatformName  string
	Platform      rollback.Platform // nil without one
	DependsOn     []belay.ServiceID
	SlackChannel  string
	Approvers     []string // people and @groups
	FourEyes      bool
	Policy        rollback.Policy
}

// Matches says whether labels belong to the service.
func (s Service) Matches(ls labels.Labels) bool {
	for name, value := range s.Match {
		if ls.Get(name) != value {
			return false
		}
	}
	return true
}

// notYet are keys of the contract that later versions fill, each with the way
// out for now.
var notYet = map[string]string{
	"hooks": "belay deploy start|finish|fail",
}

// meaningless are keys of a pasted prometheus.yml that have no meaning here.
var meaningless = []string{"remote_read", "storage", "tracing", "otlp", "runtime", "event_recorder"}

// known returns the keys that this version reads.
func known() []string {
	return slices.DeleteFunc(strict.KeysOf(reflect.TypeFor[keys]()), func(key string) bool { return slices.Contains(meaningless, key) })
}

// Load reads and validates a configuration file and the rule files it names.
// It touches no network. The error is strict.Problems, all at once, or that the
// file cannot be read.
func Load(file string) (Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(file, text)
}

// Parse is Load for a text that was read already; file names it in problems
// and places relative paths.
func Parse(file string, text []byte) (Config, error) {
	doc, problems := strict.Parse(file, text)
	if len(problems) > 0 {
		return Config{}, problems
	}
	dir := filepath.Dir(file)
	cfg := Config{File: file, Global: Global{Evaluation: "on_scrape", MinInterval: model.Duration(time.Second)}, Journal: JournalConfig{Path: "data/belay.db"}}
	add := func(ps strict.Problems) { problems = append(problems, ps...) }

	add(cfg.topLevel(doc))
	add(cfg.readGlobal(doc))
	var ps strict.Problems
	cfg.Collector, ps = collector.Load(doc.Without(func(key string) bool { return slices.Contains(alerting.GlobalKeys(), key) }, "global"))
	add(ps)
	cfg.Probes, ps = probe.Load(doc, cfg.Collector.Global.ScrapeInterval)
	add(ps)
	add(cfg.readRules(doc, dir))
	add(doc.Decode(&cfg.Journal, "journal"))
	cfg.Journal.Path = under(dir, cfg.Journal.Path)
	add(cfg.readServices(doc, dir))
	cfg.Alerting, ps = alerting.Load(doc, cfg.owners())
	add(ps)
	cfg.Warnings = append(cfg.Warnings, cfg.Alerting.Warnings...)
	cfg.Forward, ps = forward.Load(doc)
	add(ps)
	cfg.Review, ps = review.Load(doc)
	add(ps)
	for i := range cfg.Review.Publish {
		cfg.Review.Publish[i].Directory = under(dir, cfg.Review.Publish[i].Directory)
	}
	cfg.Web, ps = web.Load(doc)
	add(ps)
	add(cfg.checkApprovers(doc))
	cfg.Warnings = append(cfg.Warnings, cfg.Web.Warnings()...)
	cfg.Hash = cfg.hashed(text)
	for i := range problems {
		if problems[i].Allowed == "" {
			problems[i].Allowed = "a value as docs/configuration.md has it"
		}
	}
	return cfg, problems.Err()
}

// hashed tells two configurations apart that say something else.
func (c *Config) hashed(text []byte) string {
	texts := [][]byte{text}
	for _, file := range append(slices.Clone(c.RuleFiles), c.Alerting.File, c.Web.TokensFile, c.Web.ConfigFile) {
		t, _ := os.ReadFile(file) // what cannot be read is a problem already
		texts = append(texts, []byte(file), t)
	}
	return hash(texts...)
}

// leadsOut reports whether a symbolic link takes a file out of a folder in
// which it seems to lie. A path that says .. says so openly.
func leadsOut(dir, file string) bool {
	home, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false // reading it will say why
	}
	seems, err := filepath.Rel(dir, file)
	if err != nil || !filepath.IsLocal(seems) {
		return false
	}
	is, err := filepath.Rel(home, real)
	return err == nil && !filepath.IsLocal(is)
}

func under(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (c *Config) topLevel(doc *strict.Doc) strict.Problems {
	var ps strict.Problems
	for _, key := range doc.Keys() {
		way, later := notYet[key]
		switch {
		case slices.Contains(known(), key):
		case slices.Contains(meaningless, key):
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s:%d: %s has no meaning here and is ignored", doc.File, doc.Line(key), key))
		case later:
			ps = append(ps, doc.At(fmt.Sprintf("%s is not built yet", key), way, key))
		default:
			ps = append(ps, doc.At(fmt.Sprintf("unknown key %q", key), strings.Join(known(), ", "), key))
		}
	}
	return ps
}

func (c *Config) readGlobal(doc *strict.Doc) strict.Problems {
	read := struct {
		Global `yaml:",inline"`
		Rest   map[string]yaml.Node `yaml:",inline"`
	}{Global: c.Global}
	ps := doc.Decode(&read, "global")
	c.Global = read.Global
	if c.Global.Evaluation != "on_scrape" && c.Global.Evaluation != "interval" {
		ps = append(ps, doc.At(fmt.Sprintf("unknown evaluation %q", c.Global.Evaluation), "on_scrape, interval", "global", "evaluation"))
	}
	return ps
}

func (c *Config) readRules(doc *strict.Doc, dir string) strict.Problems {
	var globs []string
	ps := doc.Decode(&globs, "rule_files")
	c.rulePatterns, c.matched = globs, map[string]bool{}
	for i, g := range globs {
		files, err := filepath.Glob(under(dir, g))
		switch {
		case err != nil:
			ps = append(ps, doc.At(fmt.Sprintf("rule_files %q: %v", g, err), "a path or a glob such as rules/*.yml", "rule_files", i))
		case len(files) == 0 && !strings.ContainsAny(g, "*?["):
			ps = append(ps, doc.At(fmt.Sprintf("no rule file %q", g), "a file that exists, or a glob such as rules/*.yml", "rule_files", i))
		}
		for _, file := range files {
			if !filepath.IsAbs(g) && leadsOut(dir, file) {
				ps = append(ps, doc.At(fmt.Sprintf("rule_files %q: %s leads out of the folder of this file", g, file), "files below that folder, or an absolute path", "rule_files", i))
			}
		}
		c.matched[g] = len(files) > 0
		c.RuleFiles = append(c.RuleFiles, files...)
	}
	slices.Sort(c.RuleFiles)
	c.RuleFiles = slices.Compact(c.RuleFiles)
	var more strict.Problems
	c.Rules, more = rules.Load(c.RuleFiles)
	return append(ps, more...)
}

func (c *Config) owners() []alerting.ServiceOwner {
	var out []alerting.ServiceOwner
	for _, s := range c.Services {
		out = append(out, alerting.ServiceOwner{ID: s.ID, SlackChannel: s.SlackChannel})
	}
	return out
}
