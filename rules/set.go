package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rules/anomaly"
)

// A Set is everything that the rule files say, in their order.
type Set struct {
	Groups []*Group
}

// A Group is evaluated as one, its rules in their order.
type Group struct {
	Name        string
	File        string
	Line        int
	Interval    time.Duration // 0: the engine's EvaluationInterval
	QueryOffset time.Duration // how far in the past its rules are evaluated
	Limit       int           // most alerts or series of one rule; 0: no limit
	Rules       []*Rule
}

// A Rule finds alerts or records a series.
type Rule struct {
	ID            string // hash of group, name and labels; names the stream "rule/<ID>"
	Name          string // the alert's name, or that of the series it records
	Group         string
	File          string
	Line          int
	Recording     bool
	Expr          parser.Expr
	For           time.Duration
	KeepFiringFor time.Duration
	Labels        labels.Labels // the group's and its own; values may be templates
	Annotations   map[string]string
	Observe       bool        // judge and record, never notify
	ResolveWhen   parser.Expr // a firing alert resolves only where this holds; nil: where Expr does not
	NoData        NoData
	Anomaly       *anomaly.Config // what Expr should be follows from its own history; nil for a threshold
	MinSamples    int             // fewer samples behind a finding judge nothing; 0: any number does

	query       string
	selectors   []selector      // what its expression reads
	comparisons []comparison    // what its expression compares, none if it does not
	templated   []string        // names of labels whose values are templates
	inputs      []selector      // selectors down to what targets expose, through recording rules
	newest      []selector      // those of inputs that must be asked for the newest samples
	makes       map[string]bool // labels that it gives its findings itself, so that they say nothing of their origin
	depends     []*Rule         // recording rules that it reads, directly or not
}

// Stream returns the journal stream of the rule's alerts.
func (r *Rule) Stream() string { return streamPrefix + r.ID }

// Query returns the expression as PromQL text.
func (r *Rule) Query() string { return r.query }

const streamPrefix = "rule/"

// identify gives each rule its ID. Rules that agree in group, name and labels
// are told apart by their order.
func (s Set) identify() {
	seen := map[string]int{}
	for _, g := range s.Groups {
		for _, r := range g.Rules {
			key := strings.Join([]string{g.Name, strconv.FormatBool(r.Recording), r.Name, r.Labels.String()}, "\xff")
			seen[key]++
			r.ID = hash(key, strconv.Itoa(seen[key]))
		}
	}
}

// hash returns 16 hex digits of SHA-256 over the parts.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0xff})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// alertID returns the id of the finding with these labels.
func (r *Rule) alertID(lset labels.Labels) string {
	var buf [1024]byte
	return hash(r.ID, string(lset.Bytes(buf[:])))
}

// link follows the series that recording rules write back to what they read,
// so that a rule over recorded series knows its targets.
func (s Set) link() {
	recorded := map[string][]*Rule{}
	for _, g := range s.Groups {
		for _, r := range g.Rules {
			if r.Recording {
				recorded[r.Name] = append(recorded[r.Name], r)
			}
		}
	}
	for _, g := range s.Groups {
		for _, r := range g.Rules {
			l := linker{recorded: recorded, seen: map[*Rule]bool{r: true}, texts: map[string]bool{}}
			l.follow(r)
			r.inputs, r.depends, r.newest = l.inputs, l.depends, uncovered(l.inputs)
			r.makes = map[string]bool{labels.AlertName: true}
			for _, source := range append([]*Rule{r}, r.depends...) {
				source.Labels.Range(func(lbl labels.Label) { r.makes[lbl.Name] = true })
				addMade(r.makes, source.Expr)
			}
		}
	}
}

type linker struct {
	recorded map[string][]*Rule
	seen     map[*Rule]bool
	texts    map[string]bool
	inputs   []selector
	depends  []*Rule
}

func (l *linker) follow(r *Rule) {
	for _, s := range r.selectors {
		sources := l.recorded[s.name]
		if len(sources) == 0 && !l.texts[s.text] {
			l.texts[s.text] = true
			l.inputs = append(l.inputs, s)
		}
		for _, source := range sources {
			if l.seen[source] {
				continue
			}
			l.seen[source] = true
			l.depends = append(l.depends, source)
			l.follow(source)
		}
	}
}

// placeholder returns the labels under which a rule is judged that finds no
// series: its own, and those that its selectors ask for by name.
func (r *Rule) placeholder() labels.Labels {
	lb := labels.NewBuilder(labels.EmptyLabels())
	clash := map[string]bool{}
	for _, s := range r.inputs {
		for _, m := range s.matchers {
			if m.Type != labels.MatchEqual || m.Name == model.MetricNameLabel {
				continue
			}
			if v := lb.Get(m.Name); v != "" && v != m.Value {
				clash[m.Name] = true
			}
			lb.Set(m.Name, m.Value)
		}
	}
	for name := range clash {
		lb.Del(name)
	}
	r.Labels.Range(func(l labels.Label) {
		if !isTemplate(l.Value) {
			lb.Set(l.Name, l.Value)
		}
	})
	lb.Set(labels.AlertName, r.Name)
	return lb.Labels()
}

func isTemplate(s string) bool { return strings.Contains(s, "{{") }

// subject is the alert that stands for the whole rule in events that concern
// no single finding.
func (r *Rule) subject() belay.Alert {
	return belay.Alert{
		ID: r.ID, Rule: r.Name, Group: r.Group, Labels: r.placeholder(), State: belay.AlertInactive,
		Expr: r.query, For: r.For, Verdict: belay.Unknown, Observe: r.Observe,
	}
}
