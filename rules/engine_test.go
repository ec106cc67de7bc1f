package rules

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
)

func parseNumber(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const errorsRule = `
groups:
  - name: g
    rules:
      - alert: Errors
        expr: errors > 1
        for: 10s
        labels: {severity: critical}
`

func TestAnAlertLivesFromPendingToResolvedWithinLimits(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(errorsRule)
	for i, v := range []string{"0", "5", "6", "7", "0.5"} {
		at := after(float64(5 * i))
		w.samples(at, `errors{job="shop",instance="a"} `+v)
		w.evaluate(at)
		if i == 3 {
			same(t, "while it fires", []string{"Errors a firing"}, w.states())
			a := w.engine.Alerts()[0]
			if a.Failed != 3 || a.Value != 7 || a.Condition != "> 1" || !a.ActiveAt.Equal(after(5)) || !a.FiredAt.Equal(after(15)) || !a.DataAt.Equal(after(15)) {
				t.Errorf("alert = %+v", a)
			}
		}
	}
	same(t, "story", []string{
		"pending: 5 breaks the limit: it is > 1; fires if it lasts for 10s",
		"firing: 7 breaks the limit: it is > 1, and has been for 10s",
		"inactive: back within limits: 0.5, limit > 1",
	}, w.mem.story())
	same(t, "verdicts", []string{"a pass: within limits: 0.5, limit > 1"}, w.verdicts())
}

func TestATargetThatStopsAnsweringHoldsEverything(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(errorsRule)
	w.samples(after(0), `errors{job="shop",instance="a"} 5`)
	w.evaluate(after(0))
	w.targets = []Target{target("a", false, "errors")}
	w.samples(after(5), `errors{job="shop",instance="a"} stale`)
	for s := 5.; s < 60; s += 5 {
		w.evaluate(after(s))
	}
	same(t, "states", []string{"Errors a pending"}, w.states())
	same(t, "verdicts", []string{"a unknown: the target that it reads does not answer: shop a: connection refused"}, w.verdicts())
	if got := w.engine.Alerts()[0]; got.Verdict != belay.Unknown || !got.DataAt.Equal(after(0)) || got.Failed != 1 {
		t.Errorf("alert = %+v", got)
	}
	w.targets = []Target{target("a", true, "errors")}
	w.samples(after(60), `errors{job="shop",instance="a"} 5`)
	w.evaluate(after(60))
	same(t, "when it answers again", []string{"Errors a firing"}, w.states())
}

func TestASeriesThatIsGoneWhileItsTargetAnswersResolves(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(strings.Replace(errorsRule, "for: 10s", "for: 0s", 1))
	w.samples(after(0), `errors{job="shop",instance="a"} 5`)
	w.evaluate(after(0))
	w.samples(after(5), `errors{job="shop",instance="a"} stale`)
	w.evaluate(after(5))
	same(t, "story", []string{
		"firing: 5 breaks the limit: it is > 1",
		"inactive: its series is gone while its targets answer",
	}, w.mem.story())
	same(t, "verdicts", []string{"a absent: its series is gone while its targets answer"}, w.verdicts())
	w.evaluate(after(5).Add(absentFor + time.Second))
	same(t, "long after", []string{"absent: there is no series to judge"}, w.verdicts())
}

func TestATargetThatDiscoveryDroppedDoesNotHold(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors"), target("b", true, "errors")}
	w.load(strings.Replace(errorsRule, "for: 10s", "for: 0s", 1))
	w.samples(after(0), `errors{job="shop",instance="a"} 5`, `errors{job="shop",instance="b"} 0`)
	w.evaluate(after(0))
	w.targets = w.targets[1:]
	w.samples(after(5), `errors{job="shop",instance="a"} stale`, `errors{job="shop",instance="b"} 0`)
	w.evaluate(after(5))
	same(t, "states", []string(nil), w.states())
}

func TestSomeSilentTargetsLetFireButNotResolve(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors"), target("b", true, "errors")}
	w.load(`
groups:
  - name: g
    rules:
      - {alert: Each, expr: errors > 1}
      - {alert: All, expr: sum by (job) (errors) > 1}
`)
	sample := func(at float64, a, b string) {
		w.samples(after(at), `errors{job="shop",instance="a"} `+a, `errors{job="shop",instance="b"} `+b)
		w.evaluate(after(at))
	}
	sample(0, "5", "0")
	same(t, "while all answer", []string{"Each a firing", "All firing"}, w.states())
	w.targets[0] = target("a", false, "errors")
	sample(5, "stale", "9")
	same(t, "one is silent, the other breaks", []string{"Each a firing", "Each b firing", "All firing"}, w.states())
	sample(10, "stale", "0.5")
	same(t, "one is silent, the other is well", []string{"Each a firing", "All firing"}, w.states())
	same(t, "verdicts", []string{
		"a unknown: 1 of the 2 targets that it reads do not answer: shop a: connection refused",
		"b pass: within limits: 0.5, limit > 1",
		"pass: within limits: 0.5, limit > 1",
	}, w.verdicts())
	for _, j := range w.engine.Judgements() {
		if j.Partial != (j.Labels.Get("instance") != "b") {
			t.Errorf("%s: partial %v", j.Labels, j.Partial)
		}
	}
	w.samples(after(15), `errors{job="shop",instance="b"} 9`)
	w.evaluate(after(15))
	w.samples(after(20), `errors{job="shop",instance="b"} stale`)
	w.evaluate(after(20))
	same(t, "the series of the one that answers is gone", []string{"Each a firing", "All firing"}, w.states())
}

func TestLabelsThatARuleMakesSayNothingOfTheOrigin(t *testing.T) {
	for text, want := range map[string]bool{
		`alert: A, expr: x > 1`:                                             false,
		`alert: A, expr: x > 1, labels: {instance: b}`:                      true,
		`alert: A, 'expr': 'label_replace(x, "instance", "b", "", "") > 1'`: true,
		`alert: A, 'expr': 'label_join(x, "instance", "-", "pod") > 1'`:     true,
		`alert: A, 'expr': 'count_values("instance", x) > 1'`:               true,
		`alert: A, 'expr': 'x * on (job) group_left (instance) y > 1'`:      true,
	} {
		r := ruleOf(t, text)
		doubt := trust{quality: Partial, silent: []labels.Labels{labels.FromStrings("job", "shop", "instance", "a")}}
		if got := doubt.doubts(r, labels.FromStrings("alertname", "A", "job", "shop", "instance", "b")); got != want {
			t.Errorf("%s: doubts %v, want %v", text, got, want)
		}
	}
}

func TestATargetOfAnotherJobOrMetricDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	w.load(`groups: [{name: g, rules: [{alert: Errors, expr: 'errors{job="shop"} > 1'}, {alert: Down, expr: 'up == 0'}]}]`)
	other := target("x", false, "errors")
	other.Labels = labels.FromStrings("job", "payments", "instance", "x")
	w.targets = []Target{target("a", true, "errors"), target("b", false, "requests"), other}
	w.samples(after(0), `errors{job="shop",instance="a"} 0`, `up{job="shop",instance="b"} 0`)
	w.evaluate(after(0))
	for _, g := range w.engine.Groups() {
		for _, r := range g.Rules {
			if r.Quality != Good {
				t.Errorf("%s is %s: %s", r.Name, r.Quality, r.Why)
			}
		}
	}
	same(t, "states", []string{"Down b firing"}, w.states())
}

func TestAQueryThatFailsHoldsAndSaysSo(t *testing.T) {
	w := newWorld(t)
	broken := false
	w.load(strings.Replace(errorsRule, "for: 10s", "for: 0s", 1), func(o *Options) {
		o.Targets = nil
		o.Queryable = storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
			if broken {
				return nil, errors.New("disk on fire")
			}
			return w.db.Querier(mint, maxt)
		})
	})
	w.samples(after(0), `errors{instance="a"} 5`)
	w.evaluate(after(0))
	broken = true
	w.evaluate(after(500))
	same(t, "states", []string{"Errors a firing"}, w.states())
	r := w.engine.Groups()[0].Rules[0]
	if r.Health != "err" || !strings.Contains(r.LastError, "disk on fire") || r.Quality != Unknown {
		t.Errorf("rule = %+v", r)
	}
}

func TestARecordingRuleFeedsTheAlertBehindIt(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(`
groups:
  - name: g
    rules:
      - {record: 'job:errors:sum', expr: sum by (job) (errors), labels: {team: shop}}
      - {alert: Errors, expr: 'job:errors:sum > 1'}
`)
	w.samples(after(0), `errors{job="shop",instance="a"} 5`)
	w.evaluate(after(0))
	same(t, "states", []string{"Errors firing"}, w.states())
	a := w.engine.Alerts()[0]
	if a.Labels.Get("team") != "shop" || !a.DataAt.Equal(after(0)) {
		t.Errorf("alert = %+v", a)
	}
	w.evaluate(after(15))
	if a := w.engine.Alerts()[0]; a.Failed != 1 || !a.DataAt.Equal(after(0)) {
		t.Errorf("a heartbeat without new data counted: failed %d, data at %s", a.Failed, a.DataAt)
	}
	w.targets[0] = target("a", false, "errors")
	w.samples(after(20), `errors{job="shop",instance="a"} stale`)
	w.evaluate(after(20))
	same(t, "its target is silent", []string{"Errors firing"}, w.states())
	if r := w.engine.Groups()[0].Rules[1]; r.Quality != Unknown {
		t.Errorf("quality %s", r.Quality)
	}
}

func TestLabelsAndAnnotationsAreTemplates(t *testing.T) {
	w := newWorld(t)
	w.load(`
groups:
  - name: g
    rules:
      - alert: Errors
        expr: errors > 1
        labels: {severity: '{{ if gt $value 10.0 }}critical{{ else }}warning{{ end }}'}
        annotations:
          summary: '{{ $labels.instance }} in {{ $externalLabels.region }} has {{ $value }} errors, {{ query "requests" | first | value }} requests'
          broken: '{{ query "requests{" }}'
`, func(o *Options) { o.Targets = nil })
	w.samples(after(0), `errors{instance="a"} 5`, `requests 40`)
	w.evaluate(after(0))
	a := w.engine.Alerts()[0]
	same(t, "severity", "warning", a.Severity())
	same(t, "summary", "a in eu-1 has 5 errors, 40 requests", a.Annotations["summary"])
	if !strings.HasPrefix(a.Annotations["broken"], "<error expanding template: ") {
		t.Errorf("broken = %q", a.Annotations["broken"])
	}
	w.samples(after(5), `errors{instance="a"} 50`)
	w.evaluate(after(5))
	same(t, "story", []string{
		"firing: 5 breaks the limit: it is > 1",
		"inactive: the finding goes on under other labels",
		"firing: 50 breaks the limit: it is > 1",
	}, w.mem.story())
}

func TestARateThatHasJustComeBackIsNotRecovery(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors_total")}
	w.load(`groups: [{name: g, rules: [{alert: Errors, expr: 'sum by (job) (rate(errors_total[20s])) > 1'}]}]`)
	series := `errors_total{job="shop",instance="a"} `
	w.samples(after(0), series+"0")
	w.samples(after(5), series+"100")
	w.evaluate(after(5))
	same(t, "states", []string{"Errors firing"}, w.states())
	w.samples(after(100), series+"0") // back after a long silence
	w.evaluate(after(100))
	same(t, "with one sample", []string{"Errors firing"}, w.states())
	same(t, "verdict", []string{"unknown: its series have just come back and have too few samples to judge"}, w.verdicts())
	w.samples(after(105), series+"0")
	w.evaluate(after(105))
	same(t, "with two samples", []string(nil), w.states())
}

// A queryable that lets something happen after its first querier was closed.
type interrupted struct {
	storage.Queryable
	then func()
}

func (q *interrupted) Querier(mint, maxt int64) (storage.Querier, error) {
	in, err := q.Queryable.Querier(mint, maxt)
	return &interruptedQuerier{in, q}, err
}

type interruptedQuerier struct {
	storage.Querier
	of *interrupted
}

func (q *interruptedQuerier) Close() error {
	err := q.Querier.Close()
	if then := q.of.then; then != nil {
		q.of.then = nil
		then()
	}
	return err
}

func TestASampleThatComesBetweenTwoQueriesOfOneEvaluationEndsNothing(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors_total")}
	q := &interrupted{Queryable: w.db}
	w.load(`groups: [{name: g, rules: [{alert: Errors, expr: 'sum by (job) (rate(errors_total[20s])) > 1'}]}]`, func(o *Options) { o.Queryable = q })
	series := `errors_total{job="shop",instance="a"} `
	w.samples(after(0), series+"0")
	w.samples(after(5), series+"100")
	w.evaluate(after(5))
	w.samples(after(100), series+"0") // back after a long silence: a rate has no value yet
	q.then = func() { w.samples(after(105), series+"100") }
	w.evaluate(after(105))
	same(t, "states", []string{"Errors firing"}, w.states())
	if story := w.mem.story(); len(story) != 1 {
		t.Errorf("story = %q", story)
	}
}

func TestAlertsAreWrittenAsSeriesAndEndWhenTheyEnd(t *testing.T) {
	w := newWorld(t)
	w.load(errorsRule, func(o *Options) { o.Targets = nil })
	count := func(at time.Time, query string) int {
		v, err := w.engine.vector(t.Context(), query, at, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(v)
	}
	w.samples(after(0), `errors{instance="a"} 5`)
	w.evaluate(after(0))
	same(t, "pending", 1, count(after(0), `ALERTS{alertname="Errors",alertstate="pending",severity="critical"}`))
	same(t, "since", 1, count(after(0), `ALERTS_FOR_STATE == `+strconv.FormatInt(epoch.Unix(), 10)))
	w.evaluate(after(10))
	same(t, "firing, and only that", 1, count(after(10), `ALERTS`))
	w.samples(after(15), `errors{instance="a"} 0`)
	w.evaluate(after(15))
	same(t, "over", 0, count(after(15), `{__name__=~"ALERTS.*"}`))
}

func TestALimitHoldsInsteadOfForgetting(t *testing.T) {
	w := newWorld(t)
	w.load(strings.Replace(strings.Replace(errorsRule, "name: g", "name: g\n    limit: 1", 1), "for: 10s", "for: 0s", 1), func(o *Options) { o.Targets = nil })
	w.samples(after(0), `errors{instance="a"} 5`)
	w.evaluate(after(0))
	w.samples(after(5), `errors{instance="a"} 5`, `errors{instance="b"} 5`)
	w.evaluate(after(5))
	same(t, "states", []string{"Errors a firing"}, w.states())
	same(t, "why", "the rule finds 2 alerts, the limit is 1", w.engine.Groups()[0].Rules[0].LastError)
}

func TestAnObservingRuleIsMarkedEverywhere(t *testing.T) {
	w := newWorld(t)
	var told []belay.Judgement
	w.load(`groups: [{name: g, rules: [{alert: Errors, expr: errors > 1, mode: observe}]}]`, func(o *Options) {
		o.Targets = nil
		o.OnJudged = func(_ string, js []belay.Judgement) { told = js }
	})
	w.samples(after(0), `errors 5`)
	w.evaluate(after(0))
	if a := w.engine.Alerts(); len(a) != 1 || !a[0].Observe || len(told) != 1 || !told[0].Observe {
		t.Errorf("alerts %+v, judgements %+v", a, told)
	}
}

func TestANewTargetHoldsOnlyRulesThatReadItsJob(t *testing.T) {
	young := Target{Labels: labels.FromStrings("job", "shop", "instance", "new")}
	stranger := Target{Labels: labels.FromStrings("job", "night", "instance", "new")}
	for name, tc := range map[string]struct {
		targets []Target
		want    Quality
	}{
		"its peers expose what the rule reads": {[]Target{target("a", true, "errors"), young}, Partial},
		"its peers expose other things":        {[]Target{target("a", true, "requests"), young}, Good},
		"it has no peers yet":                  {[]Target{target("a", true, "errors"), stranger}, Partial},
		"it is alone":                          {[]Target{young}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			got := ruleOf(t, "alert: A, expr: errors > 1").judgeTargets(tc.targets)
			if got.quality != tc.want {
				t.Errorf("%s (%s), want %s", got.quality, got.why, tc.want)
			}
		})
	}
}
