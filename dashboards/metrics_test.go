package dashboards_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// TestEveryNameExists holds each metric and each label that a dashboard, a
// marker, a variable or a rule names against the page of a real Belay.
func TestEveryNameExists(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	for _, b := range boards(t) {
		for _, q := range b.questions() {
			r.wantNames(t, q.where, parse(t, q.where, filled(q.expr, "1m")))
		}
		for _, v := range b.Templating.List {
			if v.Type == "query" {
				expr, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", "+v.Name)
				r.wantNames(t, b.UID+" variable "+v.Name, parse(t, v.Name, filled(expr, "1m")))
				if label != "" || len(r.ask(t, v.Name, "count by ("+v.Name+") ("+filled(expr, "1m")+")")) == 0 {
					t.Errorf("%s: %s has no values", b.UID, v.Name)
				}
			}
		}
	}
	for _, rule := range ownRules(t) {
		r.wantNames(t, rule.name(), parse(t, rule.name(), rule.flat))
	}
}

// wantNames wants every selector's metric, its labels, and the labels by which
// it is grouped.
func (r *recording) wantNames(t *testing.T, where string, expr parser.Expr) {
	t.Helper()
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		known := r.labels[v.Name]
		if known == nil {
			t.Errorf("%s: Belay has no metric %s", where, v.Name)
			return nil
		}
		asked := groupedBy(path)
		for _, m := range v.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				asked = append(asked, m.Name)
			}
		}
		for _, name := range asked {
			if !known[name] {
				t.Errorf("%s: %s has no label %s", where, v.Name, name)
			}
		}
		return nil
	})
}

// groupedBy are the labels that the nearest aggregation above a node keeps.
func groupedBy(path []parser.Node) []string {
	for _, n := range slices.Backward(path) {
		if a, ok := n.(*parser.AggregateExpr); ok {
			if a.Without {
				return nil
			}
			return slices.Clone(a.Grouping)
		}
	}
	return nil
}
