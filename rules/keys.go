package rules

import (
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// NoData says what a rule makes of data that is absent or cannot be known.
type NoData string

// The values of NoData.
const (
	// NoDataUnknown holds what is unknown as it is, and shows it. What is gone
	// while its targets answer resolves. This is the default.
	NoDataUnknown NoData = "unknown"
	// NoDataAlert finds an alert for each label set that is unknown, or absent
	// for no longer than 15 minutes, and one for the rule as a whole where it
	// knows none. Such an alert says Unknown or Absent, never Fail, so that
	// people are told and nothing acts.
	NoDataAlert NoData = "alert"
	// NoDataResolve is Prometheus's behaviour: what the expression does not
	// give is well, also while targets do not answer. Only a query that fails
	// holds.
	NoDataResolve NoData = "resolve"
)

// own reads one of the keys that Belay adds to Prometheus's.
func (r *reader) own(f field, rule *Rule) {
	if rule.Recording {
		r.problem(f.key.Line, "", "rule %q records a series; only an alert has the key %q", rule.Name, f.name)
		return
	}
	text := f.value.Value
	single := f.value.Kind == yaml.ScalarNode
	switch f.name {
	case "mode":
		rule.Observe = true
		if !single || text != "observe" {
			r.problem(f.key.Line, "observe", "rule %q: mode %s is not known", rule.Name, shown(f.value))
		}
	case "no_data":
		rule.NoData = NoData(text)
		if !single || (rule.NoData != NoDataUnknown && rule.NoData != NoDataAlert && rule.NoData != NoDataResolve) {
			r.problem(f.key.Line, "unknown, alert, resolve", "rule %q: no_data %s is not known", rule.Name, shown(f.value))
		}
	case "min_samples":
		n, err := strconv.Atoi(text)
		rule.MinSamples = n
		if !single || err != nil || n < 1 {
			r.problem(f.key.Line, "a whole number from 1", "rule %q: min_samples %s is not a number of samples", rule.Name, shown(f.value))
		}
	case "resolve_when":
		r.resolveWhen(f, rule)
	}
}

func (r *reader) resolveWhen(f field, rule *Rule) {
	const allowed = "an expression whose value is an instant vector"
	if f.value.Kind != yaml.ScalarNode || strings.TrimSpace(f.value.Value) == "" {
		r.problem(f.key.Line, allowed, "rule %q: a %s stands where the expression of resolve_when belongs", rule.Name, kindOf(f.value))
		return
	}
	expr, err := r.parser.ParseExpr(f.value.Value)
	if err != nil {
		r.problem(f.value.Line, "", "rule %q: resolve_when: the expression cannot be read: %v", rule.Name, err)
		return
	}
	if t := expr.Type(); t != parser.ValueTypeVector {
		r.problem(f.value.Line, allowed, "rule %q: resolve_when gives a %s", rule.Name, parser.DocumentedType(t))
		return
	}
	rule.ResolveWhen = expr
}

// shown is a value as it stands in a file, or what stands there instead.
func shown(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode {
		return "(a " + kindOf(node) + ")"
	}
	return strconv.Quote(node.Value)
}
