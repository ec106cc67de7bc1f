package review

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
)

// errNoComparison is returned for an expression that compares nothing, so that
// no value of it can be followed.
var errNoComparison = errors.New("the expression compares nothing, so it has no value to follow")

// condition is a rule's expression taken apart at its comparison.
type condition struct {
	query    string // the side that varies
	full     string // the whole comparison
	operator parser.ItemType
	learned  bool    // an anomaly rule's: the limit is a band that moves
	limit    float64 // NaN when the other side is no number
	window   time.Duration
	unit     chart.Unit
}

// takeApart finds the comparison that an expression turns on: its outermost
// one, or that of its first part when parts are joined by and, or unless.
func takeApart(expr string) (condition, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return condition{}, fmt.Errorf("read the expression: %w", err)
	}
	for {
		switch v := e.(type) {
		case *parser.ParenExpr:
			e = v.Expr
			continue
		case *parser.BinaryExpr:
			if v.Op == parser.LAND || v.Op == parser.LUNLESS {
				e = v.LHS
				continue
			}
			if v.Op.IsComparisonOperator() {
				return compare(v), nil
			}
		}
		return condition{}, errNoComparison
	}
}

// conditionOf is what set off an alert. That of an anomaly rule, which compares
// nothing itself, is read from what the rule recorded: its values, its band, and
// when it found something.
func conditionOf(a *belay.Alert) (condition, error) {
	c, err := takeApart(a.Expr)
	if !errors.Is(err, errNoComparison) || a.Annotations[anomalyAnnotation] == "" {
		return c, err
	}
	e, err := parser.NewParser(parser.Options{}).ParseExpr(a.Expr)
	if err != nil {
		return c, fmt.Errorf("read the expression: %w", err)
	}
	rule := fmt.Sprintf("{alertname=%q}", a.Rule)
	return condition{
		query: anomalySeries + "value" + rule, full: "max without (alertstate) (ALERTS" + rule + ")",
		operator: parser.NEQ, limit: math.NaN(), window: longestRange(e), unit: guessUnit(e, math.NaN()), learned: true,
	}, nil
}

// What an anomaly rule leaves behind; see docs/anomaly-rules.md.
const (
	anomalyAnnotation = "anomaly"
	anomalySeries     = "belay_anomaly_"
)

// longestRange is how far an expression looks back.
func longestRange(e parser.Expr) (longest time.Duration) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch s := n.(type) {
		case *parser.MatrixSelector:
			longest = max(longest, s.Range)
		case *parser.SubqueryExpr:
			longest = max(longest, s.Range)
		}
		return nil
	})
	return longest
}

func compare(v *parser.BinaryExpr) condition {
	c := condition{operator: v.Op, limit: math.NaN(), full: v.String()}
	side, other := v.LHS, v.RHS
	if _, ok := number(side); ok {
		side, other = other, side
		c.operator = mirrored(v.Op)
	}
	if n, ok := number(other); ok {
		c.limit = n
	}
	c.query, c.window = side.String(), longestRange(side)
	c.unit = guessUnit(side, c.limit)
	return c
}

// number is the value of a literal, with its sign.
func number(e parser.Expr) (float64, bool) {
	switch v := e.(type) {
	case *parser.NumberLiteral:
		return v.Val, true
	case *parser.ParenExpr:
		return number(v.Expr)
	case *parser.UnaryExpr:
		n, ok := number(v.Expr)
		if v.Op == parser.SUB {
			n = -n
		}
		return n, ok
	}
	return 0, false
}

func mirrored(op parser.ItemType) parser.ItemType {
	switch op {
	case parser.GTR:
		return parser.LSS
	case parser.LSS:
		return parser.GTR
	case parser.GTE:
		return parser.LTE
	case parser.LTE:
		return parser.GTE
	}
	return op
}

// breaks says that a value is on the bad side of a fixed limit.
func (c condition) breaks(v float64) bool {
	switch c.operator {
	case parser.GTR:
		return v > c.limit
	case parser.LSS:
		return v < c.limit
	case parser.GTE:
		return v >= c.limit
	case parser.LTE:
		return v <= c.limit
	case parser.EQLC:
		return v == c.limit
	case parser.NEQ:
		return v != c.limit
	}
	return false
}

// worse says that a is further out of bounds than b.
func (c condition) worse(a, b float64) bool {
	switch c.operator {
	case parser.GTR, parser.GTE:
		return a > b
	case parser.LSS, parser.LTE:
		return a < b
	}
	return false
}

// guessUnit reads the unit from the names in a query, as far as conventions
// go: a quotient with a limit of at most 1 is a share.
func guessUnit(e parser.Expr, limit float64) chart.Unit {
	if p, ok := e.(*parser.ParenExpr); ok {
		return guessUnit(p.Expr, limit)
	}
	if v, ok := e.(*parser.BinaryExpr); ok && v.Op == parser.DIV {
		switch over, under := names(v.LHS), names(v.RHS); {
		case strings.Contains(over, "_seconds_sum ") && strings.Contains(under, "_seconds_count "):
			return chart.Seconds
		case strings.Contains(over, "_bytes_sum ") && strings.Contains(under, "_bytes_count "):
			return chart.Bytes
		case limit > 0 && limit <= 1:
			return chart.Ratio
		}
		return chart.Number
	}
	all := names(e)
	switch call := strings.HasPrefix(e.String(), "histogram_quantile"); {
	case strings.Contains(all, "_seconds_bucket ") && !call, strings.Contains(all, "_total "), strings.Contains(all, "_count "):
		return chart.Number
	case strings.Contains(all, "_ratio "):
		return chart.Ratio
	case strings.Contains(all, "_seconds"):
		return chart.Seconds
	case strings.Contains(all, "_bytes"):
		return chart.Bytes
	}
	return chart.Number
}

// names lists the metrics of an expression, each with a space after it.
func names(e parser.Expr) string {
	var b strings.Builder
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			b.WriteString(s.Name + " ")
		}
		return nil
	})
	return b.String()
}
