package rules

import (
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A selector is one way in which an expression reads series.
type selector struct {
	text     string // a query for the times of its newest samples
	name     string // "" when the metric name is not fixed
	matchers []*labels.Matcher
	lookback time.Duration // how far back it reads; 0 when no further than usual
	place    string        // its offset and @
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
	plain.Name, plain.LabelMatchers = "x", nil
	s.place = plain.String()
	for _, m := range vs.LabelMatchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			s.name = m.Value
		}
	}
	return s
}

// uncovered leaves out what another selector reads as well, since that one
// asks for less: its newest samples are the newest of both.
func uncovered(all []selector) []selector {
	var out []selector
	for i, s := range all {
		covered := false
		for j, wider := range all {
			if i != j && len(wider.matchers) < len(s.matchers) && wider.covers(s) {
				covered = true
			}
			if i != j && len(s.matchers) < len(wider.matchers) && s.covers(wider) {
				s.lookback = max(s.lookback, wider.lookback)
			}
		}
		if !covered {
			out = append(out, s)
		}
	}
	return out
}

func (s selector) covers(narrow selector) bool {
	if s.place != narrow.place {
		return false
	}
	for _, m := range s.matchers {
		if !slices.ContainsFunc(narrow.matchers, func(n *labels.Matcher) bool { return n.String() == m.String() }) {
			return false
		}
	}
	return true
}

// addMade adds the labels that an expression makes or moves from one series to
// another.
func addMade(made map[string]bool, expr parser.Expr) {
	text := func(e parser.Expr) {
		if s, ok := e.(*parser.StringLiteral); ok {
			made[s.Val] = true
		}
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.Call:
			if (n.Func.Name == "label_replace" || n.Func.Name == "label_join") && len(n.Args) > 1 {
				text(n.Args[1])
			}
		case *parser.AggregateExpr:
			if n.Op == parser.COUNT_VALUES {
				text(n.Param)
			}
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				for _, name := range n.VectorMatching.Include {
					made[name] = true
				}
			}
		}
		return nil
	})
}

// A comparison is what an expression holds against a limit.
type comparison struct {
	value     string // a query for what is compared, with the labels that the comparison would give
	condition string // operator and limit, such as "> 0.02"

	breaks  func(value float64) bool // where the limit is a number; nil otherwise
	guarded bool                     // `and` or `unless` has a say as well
	whole   bool                     // the expression is this comparison and nothing else
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
			found := comparisonsOf(e.LHS)
			for i := range found {
				found[i].guarded = true
			}
			return found
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
		return comparison{value: e.LHS.String(), condition: e.Op.String() + " " + e.RHS.String(), breaks: breaker(e.Op, e.RHS)}
	case e.LHS.Type() == parser.ValueTypeScalar:
		return comparison{value: e.RHS.String(), condition: mirrored(e.Op) + " " + e.LHS.String()}
	}
	// Adding nothing of the other side leaves the value and makes PromQL give
	// the labels, and only those elements, that the comparison would give.
	nothing := &parser.BinaryExpr{Op: parser.MUL, LHS: &parser.NumberLiteral{}, RHS: &parser.ParenExpr{Expr: e.RHS}}
	sum := &parser.BinaryExpr{
		Op: parser.ADD, LHS: &parser.ParenExpr{Expr: e.LHS}, RHS: &parser.ParenExpr{Expr: nothing},
		VectorMatching: e.VectorMatching,
	}
	return comparison{value: sum.String(), condition: e.Op.String() + " " + e.RHS.String()}
}

// isWhole reports whether the expression is one comparison and nothing else.
func isWhole(expr parser.Expr) bool {
	for {
		p, ok := expr.(*parser.ParenExpr)
		if !ok {
			break
		}
		expr = p.Expr
	}
	e, ok := expr.(*parser.BinaryExpr)
	return ok && e.Op.IsComparisonOperator() && !e.ReturnBool
}

// breaker decides as PromQL does for a comparison with a number.
func breaker(op parser.ItemType, limit parser.Expr) func(float64) bool {
	n, ok := limit.(*parser.NumberLiteral)
	if !ok {
		return nil
	}
	return func(v float64) bool { return holds(op, v, n.Val) }
}

func holds(op parser.ItemType, v, limit float64) bool {
	switch op {
	case parser.EQLC:
		return v == limit
	case parser.NEQ:
		return v != limit
	case parser.GTR:
		return v > limit
	case parser.GTE:
		return v >= limit
	case parser.LSS:
		return v < limit
	case parser.LTE:
		return v <= limit
	}
	return false
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
