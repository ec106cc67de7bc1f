package rules

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/belaydev/belay"
)

func TestComparisonsAreFoundAtTheTopOfAnExpression(t *testing.T) {
	for name, tc := range map[string]struct {
		expr string
		want []comparison
	}{
		"against a number":       {`a / b > 0.02`, []comparison{{value: "a / b", condition: "> 0.02"}}},
		"the number first":       {`0.02 <= a`, []comparison{{value: "a", condition: ">= 0.02"}}},
		"in parentheses":         {`((a != 1))`, []comparison{{value: "a", condition: "!= 1"}}},
		"against a scalar":       {`a < scalar(b) * 2`, []comparison{{value: "a", condition: "< scalar(b) * 2"}}},
		"against another vector": {`a > on (job) b`, []comparison{{value: "(a) + on (job) (0 * (b))", condition: "> b"}}},
		"many against one":       {`a > on (job) group_left () b`, []comparison{{value: "(a) + on (job) group_left () (0 * (b))", condition: "> b"}}},
		"and":                    {`a > 1 and b > 2`, []comparison{{value: "a", condition: "> 1"}}},
		"unless":                 {`a > 1 unless on (job) b`, []comparison{{value: "a", condition: "> 1"}}},
		"or":                     {`a > 1 or b < 2`, []comparison{{value: "a", condition: "> 1"}, {value: "b", condition: "< 2"}}},
		"bool is a value":        {`a > bool 1`, nil},
		"a selector":             {`a`, nil},
		"absent":                 {`absent(a)`, nil},
		"deeper down":            {`sum(a > 1)`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(tc.expr)
			if err != nil {
				t.Fatal(err)
			}
			got := comparisonsOf(expr)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(comparison{}), cmpopts.IgnoreFields(comparison{}, "breaks", "whole", "guarded")); diff != "" {
				t.Error(diff)
			}
			for _, c := range got {
				if _, err := parser.NewParser(parser.Options{}).ParseExpr(c.value); err != nil {
					t.Errorf("the value %q cannot be read: %v", c.value, err)
				}
			}
		})
	}
}

func TestEachLabelSetIsJudgedEvenWhereNothingIsWrong(t *testing.T) {
	loaded := []string{
		`load{instance="a"} 0.5`, `load{instance="b"} 0.9`, `load{instance="c"} NaN`, `load{instance="d"} +Inf`,
		`quota{instance="a",pool="x"} 0.4`, `quota{instance="b",pool="x"} 2`, `ratio 0.7`,
	}
	for name, tc := range map[string]struct {
		rule string
		want []string
	}{
		"a threshold": {`expr: load > 0.8`, []string{
			"b fail: 0.9 breaks the limit: it is > 0.8",
			"d fail: +Inf breaks the limit: it is > 0.8",
			"a pass: within limits: 0.5, limit > 0.8",
			"c absent: nothing to judge: its value is NaN, as without traffic",
		}},
		"a threshold from below leaves infinity unjudged": {`expr: load < 0.3`, []string{
			"a pass: within limits: 0.5, limit < 0.3",
			"b pass: within limits: 0.9, limit < 0.3",
			"c absent: nothing to judge: its value is NaN, as without traffic",
			"d absent: nothing to judge: its value is +Inf, as without traffic",
		}},
		"one vector against another": {`expr: load > on (instance) quota`, []string{
			"a fail: 0.5 breaks the limit: it is > quota",
			"b pass: within limits: 0.9, limit > quota",
		}},
		"the other side has more labels": {`expr: load > on (instance) group_right () quota`, []string{
			"a fail: 0.5 breaks the limit: it is > quota",
			"b pass: within limits: 0.9, limit > quota",
		}},
		"and, broken but for the rest": {`'expr': 'load > 0.8 and on (instance) quota > 100'`, []string{
			"a pass: within limits: 0.5, limit > 0.8",
			"b pass: the expression as a whole does not hold, at 0.9 with limit > 0.8",
			"c absent: nothing to judge: its value is NaN, as without traffic",
			"d absent: nothing to judge: its value is +Inf, as without traffic",
		}},
		"unless": {`'expr': 'load > 0.8 unless on (instance) quota > 1'`, []string{
			"d fail: +Inf breaks the limit: it is > 0.8",
			"a pass: within limits: 0.5, limit > 0.8",
			"b pass: the expression as a whole does not hold, at 0.9 with limit > 0.8",
			"c absent: nothing to judge: its value is NaN, as without traffic",
		}},
		"or, with the condition that is broken": {`'expr': 'load{instance="a"} > 0.8 or quota < 1'`, []string{
			"a fail: 0.4 breaks the limit: it is < 1",
			"a pass: within limits: 0.5, limit > 0.8",
			"b pass: within limits: 2, limit < 1",
		}},
		"a plain selector":                    {`'expr': 'load{instance="a"}'`, []string{"a fail: the expression holds, value 0.5"}},
		"absent, and it is there":             {`'expr': 'absent(load{instance="a"})'`, []string{"a pass: the expression does not hold, and what it reads is there"}},
		"absent, and it is gone":              {`'expr': 'absent(load{instance="z"})'`, []string{"z fail: the expression holds, value 1"}},
		"no series at all":                    {`'expr': 'load{instance="z"} > 1'`, []string{"z absent: there is no series to judge"}},
		"a scalar without labels, and a rule": {`expr: ratio > 0.8, labels: {instance: mine}`, []string{"mine pass: within limits: 0.7, limit > 0.8"}},
		"a constant":                          {`expr: vector(1) > 2`, []string{"pass: within limits: 1, limit > 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.load("groups: [{name: g, rules: [{alert: A, "+tc.rule+"}]}]", func(o *Options) { o.Targets = nil })
			w.samples(after(0), loaded...)
			w.evaluate(after(1))
			same(t, "verdicts", tc.want, w.verdicts())
			for _, j := range w.engine.Judgements() {
				if j.Verdict == belay.Pass && name != "a constant" && !j.DataAt.Equal(after(0)) {
					t.Errorf("%s rests on data of %s", j.Labels, j.DataAt)
				}
			}
		})
	}
}

func TestASelectorThatAnotherCoversIsNotAskedAgain(t *testing.T) {
	for expr, want := range map[string][]string{
		`rate(x{code=~"5.."}[1m]) / rate(x[5m]) > 1`:     {`timestamp(x)`},
		`x{a="1"} / ignoring (b) x{b="2"} > 1`:           {`timestamp(x{a="1"})`, `timestamp(x{b="2"})`},
		`x{a="1"} / ignoring (a) x offset 1h > 1`:        {`timestamp(x offset 1h)`, `timestamp(x{a="1"})`},
		`x{a="1"} / x{a!="1"} > 1`:                       {`timestamp(x{a!="1"})`, `timestamp(x{a="1"})`},
		`x{a="1",b="2"} / ignoring (b) x{a="1"} / y > 1`: {`timestamp(x{a="1"})`, `timestamp(y)`},
	} {
		var got []string
		r := ruleOf(t, "alert: A, 'expr': '"+expr+"'")
		for _, s := range r.newest {
			got = append(got, s.text)
		}
		slices.Sort(got)
		same(t, expr, want, got)
	}
	r := ruleOf(t, `alert: A, 'expr': 'increase(x{a="1"}[2h]) / ignoring (a) increase(x[1h]) > 1'`)
	if len(r.newest) != 1 || r.newest[0].lookback != 2*time.Hour {
		t.Errorf("%+v", r.newest)
	}
}

func TestTheVectorFromComparedValuesIsTheOneOfPromQL(t *testing.T) {
	w := newWorld(t)
	w.samples(after(0), `x{n="0"} 0`, `x{n="1"} 1`, `x{n="2"} -1`, `x{n="3"} NaN`, `x{n="4"} +Inf`, `x{n="5"} -Inf`, `x{n="6"} 1.0000001`)
	for _, op := range []string{">", ">=", "<", "<=", "==", "!="} {
		for _, limit := range []string{"1", "0", "-1", "NaN", "+Inf", "1e0"} {
			e := w.load("groups: [{name: g, rules: [{alert: A, expr: (x "+op+" "+limit+")}]}]", func(o *Options) { o.Targets = nil })
			g := e.plan.Load().groups[0]
			r := g.rules[0].rule
			quick, _, err := g.query(t.Context(), r, after(1))
			if err != nil {
				t.Fatal(err)
			}
			if r.comparisons[0].breaks == nil {
				t.Errorf("%s is asked twice", r.query)
			}
			full, err := e.vector(t.Context(), r.query, after(1), 0)
			if err != nil {
				t.Fatal(err)
			}
			same(t, r.query, names(full), names(quick))
		}
	}
}

func names(v promql.Vector) map[string]bool {
	out := map[string]bool{}
	for _, s := range v {
		out[s.Metric.String()] = true
	}
	return out
}

func TestFailuresInARowCountOnlyNewDataOfTheirOwnSeries(t *testing.T) {
	w := newWorld(t)
	w.load(`groups: [{name: g, rules: [{alert: A, expr: 'sum by (service) (rate(errors_total[1m])) > 1'}]}]`, func(o *Options) { o.Targets = nil })
	failed := func() map[string]int {
		out := map[string]int{}
		for _, a := range w.engine.Alerts() {
			out[a.Labels.Get("service")] = a.Failed
		}
		return out
	}
	w.samples(after(0), `errors_total{service="fast",pod="1"} 0`, `errors_total{service="slow",pod="1"} 0`)
	w.samples(after(5), `errors_total{service="fast",pod="1"} 100`, `errors_total{service="slow",pod="1"} 100`)
	w.evaluate(after(5))
	same(t, "first", map[string]int{"fast": 1, "slow": 1}, failed())
	w.samples(after(10), `errors_total{service="fast",pod="1"} 200`)
	w.evaluate(after(10))
	same(t, "only one of them has new data", map[string]int{"fast": 2, "slow": 1}, failed())
	w.evaluate(after(12))
	same(t, "a heartbeat counts nothing", map[string]int{"fast": 2, "slow": 1}, failed())
	for s := 15.; s < 700; s += 5 {
		w.samples(after(s), `errors_total{service="fast",pod="1"} `+number(s*20+1000))
		w.evaluate(after(s))
	}
	same(t, "counting stops", map[string]int{"fast": maxFailed}, failed())
	for s := 700.; s < 800; s += 5 {
		w.samples(after(s), `errors_total{service="fast",pod="1"} 15000`)
		w.evaluate(after(s))
	}
	for _, k := range w.engine.plan.Load().groups[0].rules[0].judged {
		if k.j.Verdict == belay.Pass && k.failed != 0 {
			t.Errorf("a pass leaves %d failures in a row", k.failed)
		}
	}
}

func TestNoTrafficIsNeitherGoodNorBad(t *testing.T) {
	w := newWorld(t)
	w.load(`groups: [{name: g, rules: [{alert: A, expr: 'sum(rate(errors_total[1m])) / sum(rate(requests_total[1m])) > 0.02'}]}]`, func(o *Options) { o.Targets = nil })
	for s := 0.; s < 30; s += 5 {
		w.samples(after(s), `errors_total 3`, `requests_total 100`)
	}
	w.evaluate(after(25))
	j := w.engine.Judgements()
	if len(j) != 1 || j[0].Verdict != belay.Absent || !math.IsNaN(float64(j[0].Value)) || !j[0].DataAt.Equal(after(25)) {
		t.Errorf("judgements = %+v", j)
	}
}

func TestALongWindowOverSlowSeriesStillKnowsItsNewestSample(t *testing.T) {
	w := newWorld(t)
	w.load(`groups: [{name: g, rules: [{alert: A, expr: 'increase(jobs_total[1h]) < 1'}]}]`, func(o *Options) { o.Targets = nil })
	for m := range 5 {
		w.samples(epoch.Add(time.Duration(m)*10*time.Minute), `jobs_total `+number(float64(m)))
	}
	w.evaluate(epoch.Add(49 * time.Minute))
	j := w.engine.Judgements()
	if len(j) != 1 || !j[0].DataAt.Equal(epoch.Add(40*time.Minute)) {
		t.Errorf("judgements = %+v", j)
	}
}
