package rules

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A selector is one way in which an expression reads series.
type selector struct {
	text     string // a query for the times of its newest samples
	name     string // "" when the metric name is not fixed
	matchers []*labels.Matcher
	lookback time.Duration // how far back it reads; 0 when no further than usual
	window   time.Duration // its smallest range; 0 when it reads single samples
	counts   string        // a query for how many samples are in that range
}

// selectorsOf returns what an expression reads, without doubles.
func selectorsOf(expr parser.Expr) []selector {
	var out []selector
	seen := map[string]int{}
	add := func(s selector) {
		i, ok := seen[s.text]
		if !ok {
			seen[s.text] = len(out)
			out = append(out, s)
			return
		}
		out[i].lookback = max(out[i].lookback, s.lookback)
		if s.window > 0 && (out[i].window == 0 || s.window < out[i].window) {
			out[i].window, out[i].counts = s.window, s.counts
		}
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		vs, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		s := newSelector(vs)
		if len(path) > 0 {
			if m, ok := path[len(path)-1].(*parser.MatrixSelector); ok {
				s.lookback, s.window, s.counts = m.Range, m.Range, "count_over_time("+m.String()+")"
			}
		}
		add(s)
		return nil
	})
	return out
}

func newSelector(vs *parser.VectorSelector) selector {
	plain := *vs
	plain.Anchored, plain.Smoothed = false, false
	s := selector{text: "timestamp(" + plain.String() + ")", name: vs.Name, matchers: vs.LabelMatchers}
	for _, m := range vs.LabelMatchers {
		if m.Name == labels.MetricName && m.Type == labels.MatchEqual {
			s.name = m.Value
		}
	}
	return s
}

// A comparison is what an expression holds against a limit.
type comparison struct {
	value     string // a query for what is compared, with the labels that the comparison would give
	condition string // operator and limit, such as "> 0.02"
}

// comparisonsOf finds the comparisons that decide whether the expression has
// elements: at its top, below parentheses, on the left of `and` and `unless`,
// on both sides of `or`. An expression without any returns none.
func comparisonsOf(expr parser.Expr) []comparison {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return comparisonsOf(e.Expr)
	case *parser.BinaryExpr:
		switch {
		case e.Op == parser.LAND || e.Op == parser.LUNLESS:
			return comparisonsOf(e.LHS)
		case e.Op == parser.LOR:
			return append(comparisonsOf(e.LHS), comparisonsOf(e.RHS)...)
		case e.Op.IsComparisonOperator() && !e.ReturnBool:
			return []comparison{newComparison(e)}
		}
	}
	return nil
}

func newComparison(e *parser.BinaryExpr) comparison {
	switch {
	case e.RHS.Type() == parser.ValueTypeScalar:
		return comparison{e.LHS.String(), e.Op.String() + " " + e.RHS.String()}
	case e.LHS.Type() == parser.ValueTypeScalar:
		return comparison{e.RHS.String(), mirrored(e.Op) + " " + e.LHS.String()}
	}
	// Adding nothing of the other side leaves the value and makes PromQL give
	// the labels, and only those elements, that the comparison would give.
	nothing := &parser.BinaryExpr{Op: parser.MUL, LHS: &parser.NumberLiteral{}, RHS: &parser.ParenExpr{Expr: e.RHS}}
	sum := &parser.BinaryExpr{
		Op: parser.ADD, LHS: &parser.ParenExpr{Expr: e.LHS}, RHS: &parser.ParenExpr{Expr: nothing},
		VectorMatching: e.VectorMatching,
	}
	return comparison{sum.String(), e.Op.String() + " " + e.RHS.String()}
}

// mirrored returns the operator as seen from its right side.
func mirrored(op parser.ItemType) string {
	switch op {
	case parser.GTR:
		return "<"
	case parser.GTE:
		return "<="
	case parser.LSS:
		return ">"
	case parser.LTE:
		return ">="
	}
	return op.String()
}
