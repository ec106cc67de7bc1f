package pipeline

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/strict"
)

// A Finding is what is allowed but unwise.
type Finding struct {
	Name string // of the check, as docs/configuration.md lists it
	File string
	Line int // 0 when the whole file is meant
	What string
}

// String returns "file:line: name: what".
func (f Finding) String() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return at + ": " + f.Name + ": " + f.What
}

// A Check is one thing that Lint looks for.
type Check struct {
	Name string
	Why  string // a sentence
	find func(*linter)
}

// Checks returns what Lint looks for, in the order of the documentation.
func Checks() []Check {
	return []Check{
		{"inline-secret", "a secret stands in the file, and with it in version control", (*linter).inlineSecrets},
		{"nobody-is-told", "no receiver, no owner's channel and no Alertmanager is told of anything", (*linter).nobodyIsTold},
		{"service-without-owner", "a service has no channel of its own, so that its incidents go to everybody's", (*linter).withoutOwner},
		{"service-without-platform", "Belay can tell of a service, but not take its releases back", (*linter).withoutPlatform},
		{"service-without-rule", "a service may be rolled back, and no rule could ever lead to it", (*linter).withoutRule},
		{"auto-without-veto", "a service is rolled back without a countdown in which somebody may say Stop", (*linter).withoutVeto},
		{"auto-without-kill-switch", "a service is rolled back by itself, and no file stops it all", (*linter).withoutKillSwitch},
		{"rule-without-for", "an alert fires at its first bad sample", (*linter).withoutFor},
		{"rule-without-severity", "an alert has no label severity, by which routes and rollbacks tell the grave from the rest", (*linter).withoutSeverity},
		{"rule-without-summary", "an alert has no annotation summary or description to tell people what it means", (*linter).withoutSummary},
		{"unknown-series", "an expression reads a recorded series that no rule here records", (*linter).unknownSeries},
		{"unknown-job", "an expression names a job that nothing here scrapes", (*linter).unknownJob},
		{"rule-files-match-nothing", "a pattern of rule_files matches no file", (*linter).emptyPatterns},
	}
}

// Lint returns what is allowed but unwise, by file and line.
func (c *Config) Lint() []Finding {
	l := &linter{cfg: c}
	text, err := os.ReadFile(c.File)
	if err != nil {
		text = nil // findings then name the file alone
	}
	l.doc, _ = strict.Parse(c.File, text)
	for _, check := range Checks() {
		l.name = check.Name
		check.find(l)
	}
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return l.found
}

type linter struct {
	cfg   *Config
	doc   *strict.Doc
	name  string // of the present check
	found []Finding
}

// at adds a finding in the configuration file.
func (l *linter) at(what string, path ...any) {
	l.found = append(l.found, Finding{l.name, l.cfg.File, l.doc.Line(path...), what})
}

// alerts visits every alerting rule that tells people.
func (l *linter) alerts(visit func(r *rules.Rule, say func(format string, args ...any))) {
	l.rules(func(r *rules.Rule, say func(string, ...any)) {
		if !r.Recording && !r.Observe {
			visit(r, say)
		}
	})
}

func (l *linter) rules(visit func(r *rules.Rule, say func(format string, args ...any))) {
	for _, g := range l.cfg.Rules.Groups {
		for _, r := range g.Rules {
			visit(r, func(format string, args ...any) {
				l.found = append(l.found, Finding{l.name, r.File, r.Line, fmt.Sprintf("%q "+format, append([]any{r.Name}, args...)...)})
			})
		}
	}
}

// services visits every service with its place.
func (l *linter) services(visit func(s Service, say func(what string))) {
	for i, s := range l.cfg.Services {
		visit(s, func(what string) { l.at(s.ID.String()+" "+what, "services", i) })
	}
}

func (l *linter) inlineSecrets() {
	var n yaml.Node
	if ps := l.doc.Decode(&n); len(ps) > 0 || len(n.Content) == 0 {
		return
	}
	secrets(n.Content[0], reflect.TypeFor[keys](), func(n *yaml.Node) {
		if u, err := url.Parse(n.Value); err == nil && (u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost") && u.User == nil {
			return // the address of something on this host
		}
		l.found = append(l.found, Finding{l.name, l.cfg.File, n.Line, "a secret stands in the file; its key that ends in _file, or ${NAME} of the environment, keeps it out of version control"})
	})
}

func (l *linter) nobodyIsTold() {
	if len(l.cfg.Alerting.Destinations(l.cfg.owners())) == 0 && l.cfg.Forward.Empty() {
		l.at("neither route.receiver nor a service's owners.slack_channel nor alerting is set", "route")
	}
}

func (l *linter) withoutOwner() {
	l.services(func(s Service, say func(string)) {
		if s.SlackChannel == "" {
			say("has no owners.slack_channel")
		}
	})
}

func (l *linter) withoutPlatform() {
	l.services(func(s Service, say func(string)) {
		if s.Platform == nil {
			say("names no platform: Belay can tell, but not roll back")
		}
	})
}

// withoutRule looks at labels whose values are no templates: the others are
// known only when an alert fires.
func (l *linter) withoutRule() {
	l.services(func(s Service, say func(string)) {
		if s.Platform == nil || s.Policy.Mode == belay.ModeOff {
			return
		}
		led := false
		l.rules(func(r *rules.Rule, _ func(string, ...any)) {
			dynamic := false
			r.Labels.Range(func(lb labels.Label) { dynamic = dynamic || strings.Contains(lb.Value, "{{") })
			led = led || !r.Recording && (dynamic || s.Policy.Matches(r.Labels))
		})
		if !led {
			say("can be rolled back, and no rule of rule_files has the labels that rollback.when asks for: " + strings.Join(s.Policy.When, ", "))
		}
	})
}

func (l *linter) withoutVeto() {
	l.services(func(s Service, say func(string)) {
		if s.Policy.Mode == belay.ModeAuto && time.Duration(s.Policy.Veto) == 0 {
			say("is rolled back without a veto: nobody can say Stop")
		}
	})
}

func (l *linter) withoutKillSwitch() {
	l.services(func(s Service, say func(string)) {
		if s.Policy.Mode == belay.ModeAuto && s.Policy.KillSwitchFile == "" {
			say("is rolled back by itself, and kill_switch_file is empty")
		}
	})
}

func (l *linter) withoutFor() {
	l.alerts(func(r *rules.Rule, say func(string, ...any)) {
		if r.For == 0 {
			say("has no for: one bad sample is enough")
		}
	})
}

func (l *linter) withoutSeverity() {
	l.alerts(func(r *rules.Rule, say func(string, ...any)) {
		if r.Labels.Get("severity") == "" {
			say("has no label severity")
		}
	})
}

func (l *linter) withoutSummary() {
	l.alerts(func(r *rules.Rule, say func(string, ...any)) {
		if r.Annotations["summary"] == "" && r.Annotations["description"] == "" {
			say("has no annotation summary or description")
		}
	})
}

// unknownSeries knows recorded series by the colon in their names, which no
// target may use.
func (l *linter) unknownSeries() {
	recorded := map[string]bool{}
	l.rules(func(r *rules.Rule, _ func(string, ...any)) { recorded[r.Name] = recorded[r.Name] || r.Recording })
	l.rules(func(r *rules.Rule, say func(string, ...any)) {
		for _, name := range read(r, model.MetricNameLabel) {
			if strings.Contains(name, ":") && !recorded[name] {
				say("reads %s, which no rule here records", name)
			}
		}
	})
}

// unknownJob knows all jobs only where nothing else brings series.
func (l *linter) unknownJob() {
	if l.cfg.Collector.Metrics.Source != nil || len(l.cfg.Collector.ScrapeConfigs) == 0 {
		return
	}
	jobs := map[string]bool{}
	for _, sc := range l.cfg.Collector.ScrapeConfigs {
		if sc.HonorLabels || len(sc.RelabelConfigs)+len(sc.MetricRelabelConfigs) > 0 {
			return // the job may come from elsewhere
		}
		jobs[sc.JobName] = true
	}
	l.rules(func(r *rules.Rule, say func(string, ...any)) {
		for _, job := range read(r, "job") {
			if !jobs[job] {
				say("asks for job=%q, which no scrape configuration has", job)
			}
		}
	})
}

// read returns the values that an expression asks of a label, by equality.
func read(r *rules.Rule, label string) []string {
	var out []string
	for _, expr := range []parser.Expr{r.Expr, r.ResolveWhen} {
		if expr == nil {
			continue
		}
		for _, selector := range parser.ExtractSelectors(expr) {
			for _, m := range selector {
				if m.Name == label && m.Type == labels.MatchEqual && m.Value != "" && !slices.Contains(out, m.Value) {
					out = append(out, m.Value)
				}
			}
		}
	}
	return out
}

func (l *linter) emptyPatterns() {
	for i, pattern := range l.cfg.rulePatterns {
		if !l.cfg.matched[pattern] {
			l.at(fmt.Sprintf("%q matches no file", pattern), "rule_files", i)
		}
	}
}
