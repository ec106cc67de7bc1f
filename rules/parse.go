package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/strict"
)

var (
	groupKeys = []string{"interval", "labels", "limit", "name", "query_offset", "rules"}
	ruleKeys  = []string{"alert", "annotations", "anomaly", "expr", "for", "keep_firing_for", "labels", "min_samples", "mode", "no_data", "record", "resolve_when"}
	laterKeys = []string{"release", "slo"}
)

// Load reads rule files; an entry with *, ? or [ is a pattern. All problems of
// all files are found at once; a Set that comes with problems is not complete.
func Load(files []string) (Set, strict.Problems) {
	var set Set
	var ps strict.Problems
	seen := map[string]bool{}
	for _, entry := range files {
		names, problem := expand(entry)
		if problem != nil {
			ps = append(ps, *problem)
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			text, err := os.ReadFile(name)
			if err != nil {
				ps = append(ps, strict.Problem{File: name, What: "cannot be read: " + reasonOf(err), Allowed: "a rule file that this user may read"})
				continue
			}
			one, problems := Parse(name, text)
			set.Groups = append(set.Groups, one.Groups...)
			ps = append(ps, problems...)
		}
	}
	set.identify()
	return set, ps
}

func expand(entry string) ([]string, *strict.Problem) {
	if !strings.ContainsAny(entry, "*?[") {
		return []string{filepath.Clean(entry)}, nil
	}
	names, err := filepath.Glob(entry)
	switch {
	case err != nil:
		return nil, &strict.Problem{File: entry, What: "is not a pattern for files: " + err.Error(), Allowed: "a pattern such as rules/*.yml"}
	case len(names) == 0:
		return nil, &strict.Problem{File: entry, What: "no file matches this pattern", Allowed: "a file, or a pattern that matches some"}
	}
	return names, nil
}

func reasonOf(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Parse reads the text of one rule file; file only names it in problems.
func Parse(file string, text []byte) (Set, strict.Problems) {
	if _, ps := strict.Parse(file, text); len(ps) > 0 {
		return Set{}, ps
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return Set{}, strict.Problems{{File: file, What: err.Error()}}
	}
	if len(doc.Content) == 0 {
		return Set{}, nil // an empty file
	}
	r := &reader{file: file, parser: parser.NewParser(parser.Options{})}
	set := r.set(doc.Content[0])
	slices.SortStableFunc(r.problems, func(a, b strict.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.What, b.What)
	})
	set.identify()
	return set, r.problems
}

// A reader walks the nodes of one file and gathers problems.
type reader struct {
	file     string
	parser   parser.Parser
	problems strict.Problems
}

func (r *reader) problem(line int, allowed, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if allowed == "" {
		allowed = wayOut(what)
	}
	r.problems = append(r.problems, strict.Problem{File: r.file, Line: line, What: what, Allowed: allowed})
}

func (r *reader) set(top *yaml.Node) Set {
	var set Set
	lines := map[string]int{}
	for _, f := range fieldsOf(top) {
		if f.name != "groups" {
			r.problem(f.key.Line, "groups", "unknown key %q", f.name)
			continue
		}
		for _, node := range r.list(f, "groups") {
			g := r.group(node)
			if g == nil {
				continue
			}
			if first, ok := lines[g.Name]; ok {
				r.problem(g.Line, "", "group %q is here twice in one file, first at line %d", g.Name, first)
			} else if g.Name != "" {
				lines[g.Name] = g.Line
			}
			set.Groups = append(set.Groups, g)
		}
	}
	r.duplicates(top)
	return set
}

func (r *reader) group(node *yaml.Node) *Group {
	node = follow(node)
	if node.Kind != yaml.MappingNode {
		r.problem(node.Line, strings.Join(groupKeys, ", "), "a %s stands where a group belongs", kindOf(node))
		return nil
	}
	r.duplicates(node)
	var y struct {
		Name   string
		Limit  int
		Labels map[string]string
	}
	g := &Group{File: r.file, Line: node.Line}
	var rules, group field
	plain := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, f := range fieldsOf(node) {
		switch f.name {
		case "rules":
			rules = f
		case "interval":
			g.Interval = r.duration(f)
		case "query_offset":
			g.QueryOffset = r.duration(f)
		case "name", "limit", "labels":
			plain.Content = append(plain.Content, f.key, f.value)
			if f.name == "labels" {
				group = f
			}
		default:
			r.problem(f.key.Line, strings.Join(groupKeys, ", "), "unknown key %q in a group", f.name)
		}
	}
	r.decode(plain, &y)
	g.Name, g.Limit = y.Name, y.Limit
	if g.Name == "" {
		r.problem(node.Line, "", "a group has no name")
	}
	r.groupLabels(group, y.Labels)
	if rules.value != nil {
		for _, n := range r.list(rules, "rules") {
			if rule := r.rule(n, g, y.Labels); rule != nil {
				g.Rules = append(g.Rules, rule)
			}
		}
	}
	return g
}

// groupLabels lets rulefmt judge them as if they stood at a rule, since every
// rule of the group gets them.
func (r *reader) groupLabels(f field, lbls map[string]string) {
	probe := rulefmt.Rule{Alert: "group", Expr: "1", Labels: lbls}
	for _, we := range probe.Validate(rulefmt.RuleNode{}, model.UTF8Validation, r.parser) {
		r.validation("group", &we, f.key, field{}, f)
	}
}

func (r *reader) rule(node *yaml.Node, g *Group, groupLabels map[string]string) *Rule {
	node = follow(node)
	if node.Kind != yaml.MappingNode {
		r.problem(node.Line, strings.Join(ruleKeys, ", "), "a %s stands where a rule belongs", kindOf(node))
		return nil
	}
	before := len(r.problems)
	r.duplicates(node)
	rule := &Rule{Group: g.Name, File: r.file, Line: node.Line}
	plain, found := r.split(node, rule)
	var y rulefmt.Rule
	if !r.decode(plain, &y) {
		return nil
	}
	var yn rulefmt.RuleNode
	_ = plain.Decode(&yn) // the same text as above, which decodes
	y.For, y.KeepFiringFor = model.Duration(rule.For), model.Duration(rule.KeepFiringFor)
	rule.Name, rule.Recording = y.Alert, y.Alert == ""
	if rule.Recording {
		rule.Name = y.Record
	}
	title := fmt.Sprintf("rule %q", rule.Name)
	r.onlyAlert(found.anomaly, rule)
	for _, we := range knownToRulefmt(y, rule).Validate(yn, model.UTF8Validation, r.parser) {
		if y.Expr == "" && (found.later || rule.Anomaly != nil) && strings.Contains(we.Error(), "'expr'") {
			continue
		}
		r.validation(title, &we, node, found.annotations, found.labels)
	}
	for _, f := range found.own {
		r.own(f, rule)
	}
	if len(r.problems) > before {
		return nil
	}
	return r.finish(rule, y, yn.Expr.Line, groupLabels)
}

// finish adds what follows from a rule that is well-formed.
func (r *reader) finish(rule *Rule, y rulefmt.Rule, line int, groupLabels map[string]string) *Rule {
	expr, err := r.parser.ParseExpr(y.Expr)
	if err != nil {
		r.problem(line, "", "rule %q: %v", rule.Name, err)
		return nil
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		r.problem(line, "an expression whose value is an instant vector or a scalar", "rule %q: the expression gives a %s", rule.Name, parser.DocumentedType(t))
		return nil
	}
	merged := map[string]string{}
	for k, v := range groupLabels {
		merged[k] = v
	}
	for k, v := range y.Labels {
		merged[k] = v
	}
	rule.Expr, rule.query = expr, expr.String()
	rule.Labels, rule.Annotations = labels.FromMap(merged), y.Annotations
	rule.selectors, rule.comparisons = selectorsOf(expr), comparisonsOf(expr)
	if rule.Anomaly != nil {
		rule.comparisons = nil // what it compares only chooses its series
	} else if isWhole(expr) {
		rule.comparisons[0].whole = true
	}
	rule.Labels.Range(func(l labels.Label) {
		if isTemplate(l.Value) {
			rule.templated = append(rule.templated, l.Name)
		}
	})
	return rule
}

// keys are the places of a rule's keys that are looked at again later.
type keys struct {
	labels, annotations field
	own                 []field // Belay's keys
	anomaly             field
	later               bool // one of laterKeys is there
}

// split holds apart what rulefmt reads and what Belay adds.
func (r *reader) split(node *yaml.Node, rule *Rule) (plain *yaml.Node, found keys) {
	plain = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: node.Line, Column: node.Column}
	for _, f := range fieldsOf(node) {
		switch {
		case f.name == "mode", f.name == "min_samples", f.name == "no_data", f.name == "resolve_when":
			found.own = append(found.own, f)
		case f.name == "for":
			rule.For = r.duration(f)
		case f.name == "keep_firing_for":
			rule.KeepFiringFor = r.duration(f)
		case f.name == "anomaly":
			found.anomaly = f
			r.anomaly(f, rule, plain)
		case slices.Contains(laterKeys, f.name):
			found.later = true
			r.problem(f.key.Line, strings.Join(ruleKeys, ", "), "the key %q is not built yet", f.name)
		case slices.Contains(ruleKeys, f.name):
			plain.Content = append(plain.Content, f.key, f.value)
			switch f.name {
			case "labels":
				found.labels = f
			case "annotations":
				found.annotations = f
			}
		default:
			r.problem(f.key.Line, strings.Join(ruleKeys, ", "), "unknown key %q in a rule", f.name)
		}
	}
	return plain, found
}

func (r *reader) duration(f field) time.Duration {
	if f.value.Kind != yaml.ScalarNode {
		r.problem(f.key.Line, "a duration such as 30s or 1h30m", "a %s stands where a duration belongs in %q", kindOf(f.value), f.name)
		return 0
	}
	if f.value.Tag == "!!null" {
		return 0
	}
	d, err := model.ParseDuration(f.value.Value)
	if err != nil {
		r.problem(f.key.Line, "a duration such as 30s or 1h30m", "%s: %q is not a duration", f.name, f.value.Value)
	}
	return time.Duration(d)
}

var (
	position  = regexp.MustCompile(`^(\d+):\d+: (?:\d+:\d+: )?`)
	ofLabel   = regexp.MustCompile(`^(?:invalid label name: (.*)$|label "([^"]*)": )`)
	ofAnnot   = regexp.MustCompile(`^(?:invalid annotation name: (.*)$|annotation "([^"]*)": )`)
	templates = regexp.MustCompile(`(?:error parsing template \S+ )?template: \S+:\d+: `)
)

// validation turns an error of rulefmt into a problem at the line it means.
func (r *reader) validation(title string, we *rulefmt.WrappedError, node *yaml.Node, annotations, lbls field) {
	line := 0
	if node != nil {
		line = node.Line
	}
	what := we.Unwrap().Error()
	if m := position.FindStringSubmatch(we.Error()); m != nil && !position.MatchString(what) {
		if n, _ := strconv.Atoi(m[1]); n > 0 {
			line = n
		}
	}
	if m := ofLabel.FindStringSubmatch(what); m != nil {
		line = lbls.lineOf(m[1]+m[2], line)
	} else if m := ofAnnot.FindStringSubmatch(what); m != nil {
		line = annotations.lineOf(m[1]+m[2], line)
	}
	what = templates.ReplaceAllString(what, "the template cannot be read: ")
	what = strings.Replace(what, "could not parse expression: ", "the expression cannot be read: ", 1)
	r.problem(line, "", "%s: %s", title, what)
}
