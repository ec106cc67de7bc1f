package rules

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// Quality says how far an evaluation can be believed.
type Quality int

// The values of Quality.
const (
	Good    Quality = iota // the query succeeded and every target that the rule reads answers
	Partial                // some of the targets that the rule reads do not answer
	Unknown                // the query failed, or none of the targets answers
)

// String returns the word for people and pages.
func (q Quality) String() string {
	switch q {
	case Good:
		return "good"
	case Partial:
		return "partial"
	}
	return "unknown"
}

// Found is what one evaluation says of one label set.
type Found struct {
	ID          string
	Labels      labels.Labels // of the element and of the rule, without the metric name
	Annotations map[string]string
	Verdict     belay.Verdict // Fail: an element of the expression's vector; Pass, Absent: seen, but not in it; Unknown: hold
	Value       float64
	Condition   string
	DataAt      time.Time
	Failed      int
	Sure        bool   // no silent target can have to do with it: judged as with Good, also under Partial
	Why         string // a sentence's tail for people, such as "its value is NaN: no traffic"
	// Held keeps an alert as it is: with Fail because resolve_when does not
	// hold, otherwise because there is too little to judge.
	Held bool
	// NoData makes a finding of what is unknown or absent, for no_data: alert.
	NoData bool
}

// A Transition is a change in the life of one alert, with the reason in words.
type Transition struct {
	Alert  belay.Alert
	Reason string
}

// Step leads a rule's alerts through one evaluation at now, with the meaning
// that Prometheus gives to `for` and `keep_firing_for`. It returns the alerts
// that are pending or firing afterwards, and every change that must be
// durable before they count. Alerts of found must have distinct IDs.
//
// With quality Unknown everything is held: nothing becomes pending, fires,
// resolves or drops. With Partial what is found may become pending and fire,
// but nothing resolves or drops, unless its Found is Sure.
func Step(state []belay.Alert, found []Found, quality Quality, now time.Time, rule *Rule) (next []belay.Alert, changed []Transition) {
	s := stepper{quality: quality, now: now, rule: rule, byID: make(map[string]*Found, len(found))}
	for i := range found {
		s.byID[found[i].ID] = &found[i]
	}
	known := make(map[string]bool, len(state))
	for _, a := range state {
		known[a.ID] = true
		after, reason := s.lead(a)
		if reason != "" {
			changed = append(changed, Transition{after, reason})
		}
		if after.State != belay.AlertInactive {
			next = append(next, after)
		}
	}
	for i := range found {
		f := &found[i]
		if quality == Unknown || !f.isFinding() || known[f.ID] {
			continue
		}
		a := s.begin(f)
		next = append(next, a)
		changed = append(changed, Transition{a, s.sentence(a, f)})
	}
	return next, changed
}

// isFinding reports whether there is an alert where there was none.
func (f *Found) isFinding() bool { return !f.Held && (f.NoData || f.Verdict == belay.Fail) }

type stepper struct {
	quality Quality
	now     time.Time
	rule    *Rule
	byID    map[string]*Found
}

func (s *stepper) begin(f *Found) belay.Alert {
	r := s.rule
	a := belay.Alert{
		ID: f.ID, Rule: r.Name, Group: r.Group, Labels: f.Labels, State: belay.AlertPending,
		ActiveAt: s.now, Observe: r.Observe,
	}
	s.refresh(&a, f)
	s.mature(&a)
	return a
}

// lead takes one known alert a step further. The reason is empty when nothing
// changed that must be durable.
func (s *stepper) lead(a belay.Alert) (belay.Alert, string) {
	before := a
	f := s.byID[a.ID]
	a.EvaluatedAt = s.now
	switch {
	case s.quality == Unknown, f != nil && f.Verdict == belay.Unknown && !f.NoData:
		a.Verdict = belay.Unknown
		return a, ""
	case f != nil && f.Held:
		seen(&a, f)
		if f.Verdict != belay.Fail {
			return a, ""
		}
		a.KeepSince = time.Time{}
	case f != nil && f.isFinding():
		s.refresh(&a, f)
		a.KeepSince = time.Time{}
		s.mature(&a)
	case s.quality == Partial && (f == nil || !f.Sure):
		a.Verdict = belay.Unknown
		seen(&a, f)
		return a, ""
	default:
		a.Verdict = belay.Absent
		seen(&a, f)
		if !s.keep(&a) {
			a.State, a.ResolvedAt = belay.AlertInactive, s.now
		} else {
			a.Value = before.Value // of the last finding, as its annotations are
			s.mature(&a)
		}
	}
	if a.State == before.State && a.KeepSince.Equal(before.KeepSince) {
		return a, ""
	}
	return a, s.sentenceAfter(before, a, f)
}

// keep reports whether an alert that was not found stays for keep_firing_for.
func (s *stepper) keep(a *belay.Alert) bool {
	if a.State != belay.AlertFiring || s.rule.KeepFiringFor <= 0 {
		return false
	}
	if a.KeepSince.IsZero() {
		a.KeepSince = s.now
	}
	return s.now.Sub(a.KeepSince) < s.rule.KeepFiringFor
}

// mature fires what has been pending long enough, and takes back to pending
// what fires under a `for` that has grown since.
func (s *stepper) mature(a *belay.Alert) {
	old := s.now.Sub(a.ActiveAt)
	if a.State == belay.AlertPending && old >= s.rule.For {
		a.State, a.FiredAt = belay.AlertFiring, s.now
	}
	if a.State == belay.AlertFiring && old < s.rule.For {
		a.State, a.FiredAt, a.KeepSince = belay.AlertPending, time.Time{}, time.Time{}
	}
}

func (s *stepper) refresh(a *belay.Alert, f *Found) {
	a.Annotations, a.Value = f.Annotations, belay.Value(f.Value)
	if f.Condition != "" || !f.NoData {
		a.Condition = f.Condition
	}
	a.Verdict, a.DataAt, a.Failed = f.Verdict, f.DataAt, f.Failed
	a.Expr, a.For, a.EvaluatedAt = s.rule.query, s.rule.For, s.now
}

// seen takes over what is known of a label set that is not in the vector.
func seen(a *belay.Alert, f *Found) {
	if f != nil {
		a.Verdict, a.Value, a.DataAt, a.Failed = f.Verdict, belay.Value(f.Value), f.DataAt, f.Failed
	}
}

// deadline returns when an alert changes by the clock alone, zero if never.
func (r *Rule) deadline(a belay.Alert) time.Time {
	switch {
	case a.State == belay.AlertPending:
		return a.ActiveAt.Add(r.For)
	case a.State == belay.AlertFiring && !a.KeepSince.IsZero():
		return a.KeepSince.Add(r.KeepFiringFor)
	}
	return time.Time{}
}

// The sentences below are the reasons in the journal.

func (s *stepper) sentence(a belay.Alert, f *Found) string {
	what := "the expression holds, value " + number(f.Value)
	switch {
	case !f.NoData && s.rule.Anomaly != nil && f.Why != "":
		what = f.Why
	case f.NoData:
		what = "there is no data, and the rule asks for an alert then: " + f.Why
	case f.Condition != "":
		what = fmt.Sprintf("%s breaks the limit: it is %s", number(f.Value), f.Condition)
	}
	switch {
	case a.State == belay.AlertPending:
		return fmt.Sprintf("%s; fires if it lasts for %s", what, s.rule.For)
	case s.rule.For > 0:
		return fmt.Sprintf("%s, and has been for %s", what, s.now.Sub(a.ActiveAt))
	}
	return what
}

func (s *stepper) sentenceAfter(before, a belay.Alert, f *Found) string {
	switch {
	case a.State == belay.AlertInactive && before.State == belay.AlertPending:
		return "no longer pending: " + s.ended(a, f)
	case a.State == belay.AlertInactive && !before.KeepSince.IsZero():
		return fmt.Sprintf("resolved after %s of keep_firing_for: %s", s.rule.KeepFiringFor, s.ended(a, f))
	case a.State == belay.AlertInactive:
		return s.ended(a, f)
	case a.State == belay.AlertPending && before.State == belay.AlertFiring:
		return fmt.Sprintf("pending again: the rule now asks for %s", s.rule.For)
	case !a.KeepSince.IsZero() && before.KeepSince.IsZero():
		return fmt.Sprintf("kept firing for %s: %s", s.rule.KeepFiringFor, s.ended(a, f))
	case a.KeepSince.IsZero() && !before.KeepSince.IsZero() && f.Held:
		return "firing again before keep_firing_for had passed: " + f.Why
	case a.KeepSince.IsZero() && !before.KeepSince.IsZero():
		return "firing again before keep_firing_for had passed: " + s.sentence(a, f)
	}
	return s.sentence(a, f)
}

// ended says why a finding is no longer there.
func (s *stepper) ended(a belay.Alert, f *Found) string {
	switch {
	case f != nil && f.Why != "":
		return f.Why
	case f != nil && f.Verdict == belay.Pass && a.Condition != "":
		return fmt.Sprintf("back within limits: %s, limit %s", number(f.Value), a.Condition)
	case f != nil && f.Verdict == belay.Pass:
		return "the expression no longer holds"
	case s.renamed(a):
		return "the finding goes on under other labels"
	}
	return s.rule.gone()
}

// gone says why a label set is no longer judged.
func (r *Rule) gone() string {
	if r.NoData == NoDataResolve {
		return "the expression no longer gives it, which counts as well (no_data: resolve)"
	}
	return gone
}

const gone = "its series is gone while its targets answer"

// renamed reports whether the same series is found with other values of the
// rule's templated labels.
func (s *stepper) renamed(a belay.Alert) bool {
	if len(s.rule.templated) == 0 {
		return false
	}
	want := labels.NewBuilder(a.Labels).Del(s.rule.templated...).Labels()
	for _, f := range s.byID {
		if f.Verdict == belay.Fail && labels.Equal(want, labels.NewBuilder(f.Labels).Del(s.rule.templated...).Labels()) {
			return true
		}
	}
	return false
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
