package rules

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	upstream "github.com/prometheus/prometheus/rules"

	"github.com/belaydev/belay"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ruleOf(t testing.TB, text string) *Rule {
	t.Helper()
	set, problems := Parse("test.yml", []byte("groups: [{name: g, rules: [{"+text+"}]}]"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set.link()
	return set.Groups[0].Rules[0]
}

// moment is what the life-cycle says of one label set after one evaluation.
type moment struct {
	Labels, State              string
	ActiveAt, FiredAt, KeptFor time.Time
	ResolvedAt                 time.Time
}

func TestStepAgreesWithPrometheusOverRandomHistories(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		hold := time.Duration(rnd.IntN(4)) * 7 * time.Second
		keep := time.Duration(rnd.IntN(4)) * 9 * time.Second
		rule := ruleOf(t, fmt.Sprintf("alert: A, expr: x > 1, for: %s, keep_firing_for: %s, labels: {severity: critical}", hold, keep))
		theirs := upstream.NewAlertingRule("A", rule.Expr, hold, keep, rule.Labels, labels.EmptyLabels(), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
		var ours []belay.Alert
		now := epoch
		for step := range 60 {
			now = now.Add(time.Duration(1+rnd.IntN(12_000)) * time.Millisecond)
			vector, found := randomVector(rnd, rule)
			var changed []Transition
			ours, changed = Step(ours, found, Good, now, rule)
			query := func(context.Context, string, time.Time) (promql.Vector, error) { return vector, nil }
			if _, err := theirs.Eval(t.Context(), 0, now, query, &url.URL{}, 0); err != nil {
				t.Fatal(err)
			}
			want, got := theirMoments(theirs, now), ourMoments(ours, changed)
			if !slices.Equal(want, got) {
				t.Fatalf("seed %d, step %d, for %s, keep %s (-theirs +ours):\n%s", seed, step, hold, keep, cmp.Diff(want, got))
			}
		}
	}
}

func randomVector(rnd *rand.Rand, rule *Rule) (vector promql.Vector, found []Found) {
	for i := range 4 {
		if rnd.IntN(10) < 3+i {
			continue
		}
		element := labels.FromStrings("instance", string(rune('a'+i)))
		value := float64(2 + rnd.IntN(5))
		vector = append(vector, promql.Sample{Metric: element, F: value})
		lset := labels.FromStrings("alertname", "A", "instance", string(rune('a'+i)), "severity", "critical")
		found = append(found, Found{ID: rule.alertID(lset), Labels: lset, Verdict: belay.Fail, Value: value})
	}
	return vector, found
}

func theirMoments(r *upstream.AlertingRule, now time.Time) []moment {
	var out []moment
	r.ForEachActiveAlert(func(a *upstream.Alert) {
		m := moment{Labels: a.Labels.String(), State: a.State.String(), ActiveAt: a.ActiveAt, FiredAt: a.FiredAt, KeptFor: a.KeepFiringSince}
		switch {
		case a.State != upstream.StateInactive:
			out = append(out, m)
		case a.ResolvedAt.Equal(now):
			m.ResolvedAt = a.ResolvedAt
			out = append(out, m)
		}
	})
	return sorted(out)
}

func ourMoments(alerts []belay.Alert, changed []Transition) []moment {
	var out []moment
	add := func(a belay.Alert) {
		out = append(out, moment{a.Labels.String(), string(a.State), a.ActiveAt, a.FiredAt, a.KeepSince, a.ResolvedAt})
	}
	for _, a := range alerts {
		add(a)
	}
	for _, c := range changed {
		if c.Alert.State == belay.AlertInactive && !c.Alert.FiredAt.IsZero() {
			add(c.Alert) // Prometheus drops what was only pending without a trace
		}
	}
	return sorted(out)
}

func sorted(ms []moment) []moment {
	slices.SortFunc(ms, func(a, b moment) int { return strings.Compare(a.Labels, b.Labels) })
	return ms
}

func TestStepHoldsWhatItCannotKnow(t *testing.T) {
	rule := ruleOf(t, "alert: A, expr: x > 1, for: 10s, keep_firing_for: 20s")
	fail := Found{ID: "a", Verdict: belay.Fail, Value: 2, Condition: "> 1"}
	fresh := Found{ID: "b", Verdict: belay.Fail, Value: 3, Condition: "> 1"}
	pending := belay.Alert{ID: "a", State: belay.AlertPending, ActiveAt: epoch, Condition: "> 1"}
	firing := belay.Alert{ID: "a", State: belay.AlertFiring, ActiveAt: epoch.Add(-time.Minute), FiredAt: epoch, Condition: "> 1"}
	kept := firing
	kept.KeepSince = epoch
	late := epoch.Add(time.Minute)
	for name, tc := range map[string]struct {
		state   []belay.Alert
		found   []Found
		quality Quality
		want    []string // state of each alert afterwards
		reasons []string
	}{
		"unknown: nothing becomes pending":                         {nil, []Found{fail}, Unknown, nil, nil},
		"unknown: pending does not fire, though its time has come": {[]belay.Alert{pending}, []Found{fail}, Unknown, []string{"a pending"}, nil},
		"unknown: pending does not drop":                           {[]belay.Alert{pending}, nil, Unknown, []string{"a pending"}, nil},
		"unknown: firing does not resolve":                         {[]belay.Alert{firing}, nil, Unknown, []string{"a firing"}, nil},
		"unknown: what is kept firing stays beyond its time":       {[]belay.Alert{kept}, nil, Unknown, []string{"a firing"}, nil},
		"partial: what is found becomes pending":                   {nil, []Found{fresh}, Partial, []string{"b pending"}, []string{"3 breaks the limit: it is > 1; fires if it lasts for 10s"}},
		"partial: what is found fires":                             {[]belay.Alert{pending}, []Found{fail}, Partial, []string{"a firing"}, []string{"2 breaks the limit: it is > 1, and has been for 1m0s"}},
		"partial: what is not found does not resolve":              {[]belay.Alert{firing}, nil, Partial, []string{"a firing"}, nil},
		"partial: what is not found does not drop, nor fire":       {[]belay.Alert{pending}, nil, Partial, []string{"a pending"}, nil},
		"partial: not even when its value is fine":                 {[]belay.Alert{firing}, []Found{{ID: "a", Verdict: belay.Pass}}, Partial, []string{"a firing"}, nil},
		"good: too few samples hold that label set alone":          {[]belay.Alert{pending}, []Found{{ID: "a", Verdict: belay.Unknown}, fresh}, Good, []string{"a pending", "b pending"}, []string{"3 breaks the limit: it is > 1; fires if it lasts for 10s"}},
		"good: kept firing says so":                                {[]belay.Alert{firing}, []Found{{ID: "a", Verdict: belay.Pass, Value: 0.5}}, Good, []string{"a firing"}, []string{"kept firing for 20s: back within limits: 0.5, limit > 1"}},
		"good: resolves after it was kept":                         {[]belay.Alert{kept}, nil, Good, nil, []string{"resolved after 20s of keep_firing_for: its series is gone while its targets answer"}},
		"good: comes back while kept":                              {[]belay.Alert{kept}, []Found{fail}, Good, []string{"a firing"}, []string{"firing again before keep_firing_for had passed: 2 breaks the limit: it is > 1, and has been for 2m0s"}},
		"good: pending ends within limits":                         {[]belay.Alert{pending}, []Found{{ID: "a", Verdict: belay.Pass, Value: 1}}, Good, nil, []string{"no longer pending: back within limits: 1, limit > 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			next, changed := Step(tc.state, tc.found, tc.quality, late, rule)
			var got, reasons []string
			for _, a := range next {
				got = append(got, a.ID+" "+string(a.State))
				if !a.EvaluatedAt.Equal(late) {
					t.Errorf("%s was evaluated at %s", a.ID, a.EvaluatedAt)
				}
			}
			for _, c := range changed {
				reasons = append(reasons, c.Reason)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.reasons, reasons); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestALongerForTakesFiringBackToPending(t *testing.T) {
	rule := ruleOf(t, "alert: A, expr: x > 1, for: 10m")
	state := []belay.Alert{{ID: "a", State: belay.AlertFiring, ActiveAt: epoch, FiredAt: epoch.Add(time.Second)}}
	next, changed := Step(state, []Found{{ID: "a", Verdict: belay.Fail}}, Good, epoch.Add(time.Minute), rule)
	if len(next) != 1 || next[0].State != belay.AlertPending || !next[0].FiredAt.IsZero() || len(changed) != 1 {
		t.Errorf("next %+v, changed %+v", next, changed)
	}
}
