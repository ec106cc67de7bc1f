package rules

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/rules/anomaly"
)

var anomalyKeys = []string{"budget", "direction", "expr", "min_samples", "season", "sensitivity"}

const allowedSeason = "a duration from 1m, such as 1d, [1d, 1w] of which the longer is a multiple of the shorter, or none"

// anomaly reads the keys under anomaly. Its expression goes to plain, where
// rulefmt looks for it.
func (r *reader) anomaly(f field, rule *Rule, plain *yaml.Node) {
	rule.Anomaly = &anomaly.Config{}
	node := follow(f.value)
	if node.Kind != yaml.MappingNode {
		r.problem(f.key.Line, strings.Join(anomalyKeys, ", "), "a %s stands where the keys of anomaly belong", kindOf(node))
		return
	}
	r.duplicates(node)
	var expr, budget, sensitivity bool
	for _, k := range fieldsOf(node) {
		switch k.name {
		case "expr":
			expr = true
			plain.Content = append(plain.Content, k.key, k.value)
		case "direction":
			rule.Anomaly.Direction = anomaly.Direction(r.oneOf(k, "both", "up", "down"))
		case "sensitivity":
			sensitivity = true
			rule.Anomaly.Sensitivity = anomaly.Sensitivity(r.oneOf(k, "low", "medium", "high"))
		case "budget":
			budget = true
			r.budget(k, rule.Anomaly)
		case "season":
			r.season(k, rule.Anomaly)
		case "min_samples":
			n, err := strconv.Atoi(k.value.Value)
			if err != nil || n < 1 || n > 100_000 {
				r.problem(k.key.Line, "a whole number from 1 to 100000", "anomaly: min_samples %s is not a number of samples", shown(k.value))
			}
			rule.Anomaly.MinSamples = n
		default:
			r.problem(k.key.Line, strings.Join(anomalyKeys, ", "), "unknown key %q in anomaly", k.name)
		}
	}
	if !expr {
		r.problem(f.key.Line, "expr: the PromQL whose series are watched", "anomaly has no expr")
	}
	if budget && sensitivity {
		r.problem(f.key.Line, "sensitivity or budget", "anomaly has both a sensitivity and a budget, which say the same")
	}
}

func (r *reader) oneOf(f field, allowed ...string) string {
	if f.value.Kind != yaml.ScalarNode || !slices.Contains(allowed, f.value.Value) {
		r.problem(f.key.Line, strings.Join(allowed, ", "), "anomaly: %s %s is not known", f.name, shown(f.value))
	}
	return f.value.Value
}

func (r *reader) budget(f field, c *anomaly.Config) {
	v, err := strconv.ParseFloat(f.value.Value, 64)
	if f.value.Kind != yaml.ScalarNode || err != nil || !(v >= anomaly.MinBudget && v <= anomaly.MaxBudget) {
		r.problem(f.key.Line, "a number from "+number(anomaly.MinBudget)+" to "+number(anomaly.MaxBudget)+": false alarms a series and day", "anomaly: budget %s is none", shown(f.value))
	}
	c.Budget = v
}

func (r *reader) season(f field, c *anomaly.Config) {
	node := follow(f.value)
	if node.Kind == yaml.ScalarNode && node.Value == "none" {
		c.Season = -1
		return
	}
	all := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		all = node.Content
	}
	var seasons []time.Duration
	for _, n := range all {
		d, err := model.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || time.Duration(d) < time.Minute {
			r.problem(f.key.Line, allowedSeason, "anomaly: season %s is none", shown(n))
			return
		}
		seasons = append(seasons, time.Duration(d))
	}
	slices.Sort(seasons)
	switch n := len(seasons); {
	case n == 1:
		c.Season = seasons[0]
	case n == 2 && seasons[0] < seasons[1] && seasons[1]%seasons[0] == 0:
		c.Within, c.Season = seasons[0], seasons[1]
	default:
		r.problem(f.key.Line, allowedSeason, "anomaly: this season cannot be followed")
	}
}

// onlyAlert refuses the key anomaly where it does not belong.
func (r *reader) onlyAlert(f field, rule *Rule) {
	if f.key == nil {
		return
	}
	if rule.Recording {
		r.problem(f.key.Line, "alert", "only an alert can be an anomaly rule")
	}
}

// knownToRulefmt returns a rule in which no template names $anomaly, which only
// Belay knows: for judging everything else.
func knownToRulefmt(y rulefmt.Rule, rule *Rule) *rulefmt.Rule {
	if rule.Anomaly == nil {
		return &y
	}
	known := map[string]string{}
	for name, text := range y.Annotations {
		known[name] = strings.ReplaceAll(text, "$anomaly", "$.Anomaly")
	}
	y.Annotations = known
	return &y
}

// valued reports whether a label set that the rule gives says something by its
// value, whether it breaks the rule or not.
func (r *Rule) valued() bool { return len(r.comparisons) > 0 || r.Anomaly != nil }
