package rules

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/belaydev/belay"
)

func oneRule(rest string) string {
	return "groups:\n  - name: g\n    rules:\n      - alert: Errors\n        expr: errors > 10\n        " + strings.ReplaceAll(rest, "\n", "\n        ") + "\n"
}

func TestResolveWhenHoldsAnAlertUntilItIsReallyWell(t *testing.T) {
	w := newWorld(t)
	w.load(oneRule("resolve_when: errors < 5\nlabels: {severity: critical}"), func(o *Options) { o.Targets = nil })
	var states []string
	for i, v := range []string{"11", "8", "9", "12", "6", "4"} {
		at := after(float64(15 * i))
		w.samples(at, `errors{instance="a"} `+v, `errors{instance="b"} 4`)
		w.evaluate(at)
		states = append(states, strings.Join(w.states(), ",")+" "+string(w.engine.Judgements()[0].Verdict))
	}
	firing := "Errors a firing fail"
	same(t, "states", []string{firing, firing, firing, firing, firing, " pass"}, states)
	same(t, "story", []string{"firing: 11 breaks the limit: it is > 10", "inactive: back within limits: 4, limit > 10"}, w.mem.story())
}

func TestResolveWhenThatCannotBeAskedHolds(t *testing.T) {
	w := newWorld(t)
	fail := false
	w.load(oneRule("resolve_when: healthy == 1"), func(o *Options) {
		o.Targets = nil
		o.Query = func(_ context.Context, q string, ts time.Time) (promql.Vector, error) {
			switch {
			case strings.HasPrefix(q, "errors") && !fail:
				return promql.Vector{{Metric: labels.FromStrings("__name__", "errors", "instance", "a"), T: ts.UnixMilli(), F: 11}}, nil
			case strings.HasPrefix(q, "errors"):
				return promql.Vector{{Metric: labels.FromStrings("__name__", "errors", "instance", "a"), T: ts.UnixMilli(), F: 1}}, nil
			case strings.HasPrefix(q, "healthy"):
				return nil, errors.New("503 from the other side")
			}
			return nil, nil
		}
	})
	w.evaluate(after(0))
	fail = true
	w.evaluate(after(15))
	same(t, "states", []string{"Errors a firing"}, w.states())
	same(t, "verdicts", []string{"a unknown: the query failed: resolve_when: 503 from the other side"}, w.verdicts())
	r := w.engine.Groups()[0].Rules[0]
	if r.Health != "err" || r.Quality != Unknown || len(r.Evaluations) != 2 || r.Evaluations[1].Error == "" {
		t.Errorf("status = %+v", r)
	}
}

func TestNoDataAlertTellsOfSilenceAndEndsWithIt(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{{Labels: labels.FromStrings("job", "shop", "instance", "a")}}
	w.load(oneRule(`no_data: alert
annotations: {summary: "on {{ $labels.instance }}: {{ $value }}"}`))
	w.evaluate(after(0))
	same(t, "before the first scrape", []string(nil), w.states())
	w.targets = []Target{target("a", true, "errors")}
	w.samples(after(15), `errors{job="shop",instance="a"} 1`)
	w.evaluate(after(15))
	same(t, "well", []string(nil), w.states())
	w.targets = []Target{target("a", false, "errors")}
	w.evaluate(after(30))
	same(t, "silent", []string{"Errors a firing"}, w.states())
	a := w.engine.Alerts()[0]
	if a.Verdict != belay.Unknown || a.Failed != 0 || a.Annotations["summary"] != "on a: NaN" {
		t.Errorf("alert = %+v", a)
	}
	w.targets = []Target{target("a", true, "errors")}
	w.samples(after(45), `errors{job="shop",instance="a"} 2`)
	w.evaluate(after(45))
	same(t, "story", []string{
		"firing: there is no data, and the rule asks for an alert then: the target that it reads does not answer: shop a: connection refused",
		"inactive: back within limits: 2, limit > 10",
	}, w.mem.story())
}

func TestNoDataAlertStandsForTheRuleWhereThereIsNoSeries(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "other")}
	w.load(oneRule("no_data: alert\nlabels: {severity: page}\nfor: 10s"))
	w.evaluate(after(0))
	w.evaluate(after(15))
	same(t, "none", []string{"Errors firing"}, w.states())
	// A restart remembers it, and the data that comes ends it.
	w.load(oneRule("no_data: alert\nlabels: {severity: page}\nfor: 10s"))
	w.remember()
	w.evaluate(after(30))
	same(t, "after a restart", []string{"Errors firing"}, w.states())
	w.samples(after(45), `errors{job="shop",instance="a"} 1`)
	w.evaluate(after(45))
	same(t, "with data", []string(nil), w.states())
}

func TestNoDataResolveEndsWhatASilentTargetHadFound(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(oneRule("no_data: resolve"))
	w.samples(after(0), `errors{job="shop",instance="a"} 11`)
	w.evaluate(after(0))
	w.targets = []Target{target("a", false, "errors")}
	w.samples(after(5), `errors{job="shop",instance="a"} stale`)
	w.evaluate(after(5))
	same(t, "states", []string(nil), w.states())
}

func TestTooFewSamplesNeitherFireNorResolve(t *testing.T) {
	w := newWorld(t)
	text := `groups: [{name: g, rules: [{alert: Errors, expr: "sum by (service) (rate(errors[1m])) > 1", min_samples: 5}]}]`
	w.load(text, func(o *Options) { o.Targets = nil })
	var states []string
	write := func(at float64, v string) {
		w.samples(after(at), `errors{service="s",pod="a"} `+v, `errors{service="s",pod="b"} `+v)
		w.evaluate(after(at))
		states = append(states, strings.Join(w.states(), ","))
	}
	write(0, "0")
	write(15, "100") // four samples
	same(t, "too few", []string{"", ""}, states)
	same(t, "verdict", []string{"absent: too little to judge: 4 samples, and min_samples is 5"}, w.verdicts())
	write(30, "200") // six
	same(t, "enough", "Errors firing", states[2])
	write(90, "200")
	write(105, "200")
	same(t, "held, with four in the last minute", "Errors firing", states[4])
	write(120, "200")
	same(t, "well, with six", "", states[5])
}

func TestTheLastTwentyEvaluationsAreKept(t *testing.T) {
	w := newWorld(t)
	w.load(oneRule("for: 10m"), func(o *Options) { o.Targets = nil })
	for i := range 25 {
		at := after(float64(15 * i))
		w.samples(at, `errors{instance="a"} 3`, `errors{instance="b"} 30`)
		w.evaluate(at)
	}
	evs := w.engine.Groups()[0].Rules[0].Evaluations
	if len(evs) != 20 || !evs[0].At.Equal(after(75)) || !evs[19].At.Equal(after(360)) {
		t.Fatalf("%d evaluations: %+v", len(evs), evs)
	}
	ev := evs[19]
	if ev.Values[0].Value != 30 || ev.Values[1].Value != 3 || ev.Series != 2 || ev.Found != 2 || ev.Quality != "good" ||
		ev.Verdicts[belay.Fail] != 1 || ev.Verdicts[belay.Pass] != 1 || ev.Query != "/api/v1/query?query=errors+%3E+10&time=1772366760" {
		t.Errorf("evaluation = %+v", ev)
	}
}

func TestAnAlertThatChangesTooOftenFlaps(t *testing.T) {
	w := newWorld(t)
	w.load(oneRule("labels: {severity: page}"), func(o *Options) { o.Targets = nil })
	step := func(i int, v string) {
		at := after(float64(30 * i))
		w.samples(at, `errors{instance="a"} `+v)
		w.evaluate(at)
	}
	for i, v := range []string{"11", "1", "11", "1", "11"} {
		step(i, v)
	}
	flapping := func() int { return len(w.engine.Groups()[0].Rules[0].Flapping) }
	same(t, "after five changes", 0, flapping())
	step(5, "1")
	same(t, "after six", 1, flapping())
	story := w.mem.story()
	if got := story[len(story)-1]; !strings.HasSuffix(got, "; flaps: 6 changes in 10m") {
		t.Errorf("the reason is %q", got)
	}
	w.load(oneRule("labels: {severity: page}"), func(o *Options) { o.Targets = nil })
	w.remember()
	w.evaluate(after(165))
	same(t, "after a restart", 1, flapping())
	w.evaluate(after(165 + 600))
	same(t, "after ten quiet minutes", 0, flapping())
}
