package alerting

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// backWithin is how soon after its end an alert that fires again has flapped.
const backWithin = 10 * time.Minute

// A RuleReport is what one rule did to people since a time.
type RuleReport struct {
	Rule         string        `json:"rule"`
	Fired        int           `json:"fired"`     // times that an alert of it began to fire
	Firing       int           `json:"firing"`    // that do so now
	Median       time.Duration `json:"median_ns"` // of how long one fired, of those that have ended
	Total        time.Duration `json:"total_ns"`  // all together, of those that have ended
	Flapped      int           `json:"flapped"`   // times that it was back within ten minutes of its end
	Incidents    int           `json:"incidents"` // that it was part of
	Acknowledged int           `json:"acknowledged"`
	Acted        int           `json:"acted"` // incidents in which a release was taken back, or a person noted or resolved something
	Last         time.Time     `json:"last_fired"`
	Advice       string        `json:"advice"` // what to keep, to tune or to delete, and why
}

// An AlertsReport tells which rules are worth their noise; the noisiest first.
type AlertsReport struct {
	Since time.Time    `json:"since"`
	Rules []RuleReport `json:"rules"`
}

// ReportAlerts reads the journal and says of each rule that has fired since a
// time how often it did, and what came of it.
func ReportAlerts(ctx context.Context, j belay.Journal, since time.Time) (AlertsReport, error) {
	b := &noisebook{since: since, rules: map[string]*noise{}, ended: map[string]time.Time{}, outcomes: map[string]*outcome{}}
	for ev, err := range j.Read(ctx, 0) {
		if err != nil {
			return AlertsReport{}, fmt.Errorf("alerts report: %w", err)
		}
		b.apply(ev)
	}
	return b.report(), nil
}

// noisebook folds the journal into what each rule did.
type noisebook struct {
	since    time.Time
	rules    map[string]*noise
	ended    map[string]time.Time // by alert: when it last did
	outcomes map[string]*outcome  // by incident
}

type noise struct {
	RuleReport
	lengths   []time.Duration
	now       map[string]bool // alerts that fire
	incidents map[string]bool
}

type outcome struct{ acknowledged, acted bool }

func (b *noisebook) apply(ev belay.Event) {
	switch {
	case ev.Alert != nil && !ev.Alert.Observe:
		b.alert(*ev.Alert)
	case ev.Incident != nil:
		o := b.outcome(ev.Incident.ID)
		o.acknowledged = o.acknowledged || !ev.Incident.AcknowledgedAt.IsZero()
		o.acted = o.acted || ev.Actor != "" && (ev.Kind == belay.KindNoted || ev.Kind == belay.KindResolved)
		for _, a := range ev.Incident.Alerts {
			if n := b.rules[a.Rule]; n != nil && !a.FiredAt.Before(b.since) {
				n.incidents[ev.Incident.ID] = true
			}
		}
	case ev.Rollback != nil:
		o := b.outcome(ev.Rollback.Incident)
		o.acted = o.acted || !ev.Rollback.ActedAt.IsZero()
	}
}

func (b *noisebook) outcome(incident string) *outcome {
	o := b.outcomes[incident]
	if o == nil {
		o = &outcome{}
		b.outcomes[incident] = o
	}
	return o
}

func (b *noisebook) alert(a belay.Alert) {
	n := b.rules[a.Rule]
	if n == nil {
		n = &noise{RuleReport: RuleReport{Rule: a.Rule}, now: map[string]bool{}, incidents: map[string]bool{}}
		b.rules[a.Rule] = n
	}
	switch {
	case a.State == belay.AlertFiring && !n.now[a.ID]:
		n.now[a.ID] = true
		if a.FiredAt.Before(b.since) {
			return
		}
		n.Fired++
		n.Last = a.FiredAt
		if end := b.ended[a.ID]; !end.IsZero() && a.FiredAt.Sub(end) < backWithin {
			n.Flapped++
		}
	case a.State == belay.AlertInactive && n.now[a.ID]:
		delete(n.now, a.ID)
		b.ended[a.ID] = a.ResolvedAt
		if !a.FiredAt.Before(b.since) {
			n.lengths = append(n.lengths, max(0, a.ResolvedAt.Sub(a.FiredAt)))
		}
	}
}

func (b *noisebook) report() AlertsReport {
	out := AlertsReport{Since: b.since, Rules: []RuleReport{}}
	for _, n := range b.rules {
		if n.Fired == 0 {
			continue
		}
		r := n.RuleReport
		r.Firing, r.Incidents = len(n.now), len(n.incidents)
		for id := range n.incidents {
			if b.outcomes[id].acknowledged {
				r.Acknowledged++
			}
			if b.outcomes[id].acted {
				r.Acted++
			}
		}
		slices.Sort(n.lengths)
		for _, l := range n.lengths {
			r.Total += l
		}
		if len(n.lengths) > 0 {
			r.Median = n.lengths[len(n.lengths)/2]
		}
		r.Advice = r.advise()
		out.Rules = append(out.Rules, r)
	}
	slices.SortFunc(out.Rules, func(a, b RuleReport) int {
		return cmp.Or(cmp.Compare(b.Fired, a.Fired), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// fewest is how often a rule must have fired before anything is said of it.
const fewest = 3

// brief is how soon an alert is over that nobody can have done anything about.
const brief = 2 * time.Minute

// advise says what to do about a rule. The first that holds counts.
func (r RuleReport) advise() string {
	switch {
	case r.Incidents > 0 && 2*r.Acted >= r.Incidents:
		return fmt.Sprintf("keep it: something was done in %d of its %s", r.Acted, plural(r.Incidents, "incident"))
	case r.Fired < fewest:
		return "too early to say: it has fired " + plural(r.Fired, "time")
	case 2*r.Flapped >= r.Fired:
		return fmt.Sprintf("calm it: %d of %d times it was back within %s of its end; `resolve_when` or `keep_firing_for` holds it", r.Flapped, r.Fired, Span(backWithin))
	case r.Acted == 0 && r.Acknowledged == 0 && r.Median > 0 && r.Median < brief:
		return fmt.Sprintf("let it wait: nobody did anything, and half the time it is over within %s; a longer `for` leaves that out", Span(r.Median))
	case r.Acted == 0 && r.Acknowledged == 0:
		return fmt.Sprintf("delete it, or `mode: observe`: it fired %s, and nobody did anything", plural(r.Fired, "time"))
	case r.Acted == 0:
		return fmt.Sprintf("ask what it is for: people looked at %d of its %s, and changed nothing", r.Acknowledged, plural(r.Incidents, "incident"))
	}
	return fmt.Sprintf("look at its limit: something was done in %d of its %s", r.Acted, plural(r.Incidents, "incident"))
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
