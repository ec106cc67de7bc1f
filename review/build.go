package review

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

const (
	lookback    = 30 * time.Minute // of figure and samples before the impact
	lookahead   = 15 * time.Minute // and after it
	changeReach = 2 * time.Hour    // deployments older than this are not told
	maxEntries  = 400              // of the timeline in the JSON form
)

// ErrNoIncident is returned for an incident that the events do not tell of.
type ErrNoIncident struct{ ID string }

// Error says which incident it was.
func (e ErrNoIncident) Error() string {
	return fmt.Sprintf("no incident %q in the journal", e.ID)
}

// Build gathers the facts of one incident from the journal's events, in journal
// order. What came after its resolution is left out, so that the same journal
// gives the same dossier however late it is asked; an incident that lasts is
// told up to the last event. Nothing is measured yet: see Measure.
func Build(events []belay.Event, incidentID string) (Dossier, error) {
	b := builder{id: incidentID, alerts: map[string]*AlertLife{}, rollbacks: map[string]*Attempt{}, deployments: map[string]int{}}
	events = b.cut(events)
	if !b.found {
		return Dossier{}, ErrNoIncident{incidentID}
	}
	b.names(events)
	for i := range events {
		b.take(&events[i])
	}
	return b.finish(), nil
}

// builder folds events into a dossier.
type builder struct {
	id          string
	found       bool
	inc         belay.Incident
	until       time.Time
	people      []*regexp.Regexp
	d           Dossier
	alerts      map[string]*AlertLife
	order       []string
	fired       []belay.Alert // each alert as it was when it fired
	rollbacks   map[string]*Attempt
	rolled      []string
	deployments map[string]int // to index in d.Deployments
	notified    *belay.Event
}

// cut finds the incident's last word and drops what came after its resolution.
func (b *builder) cut(events []belay.Event) []belay.Event {
	end := len(events)
	for i := range events {
		inc := events[i].Incident
		if inc == nil || inc.ID != b.id || b.found && b.inc.State == belay.Resolved && inc.State == belay.Resolved {
			continue // a note after the resolution does not change what is told
		}
		b.inc, b.found, end = *inc, true, len(events)
		if inc.State == belay.Resolved {
			end = i + 1
		}
	}
	events = events[:end]
	b.until = b.inc.ResolvedAt
	if b.inc.State != belay.Resolved && len(events) > 0 {
		b.until = events[len(events)-1].At
	}
	return events
}

// names learns who the people are, so that none of them is named.
func (b *builder) names(events []belay.Event) {
	seen := map[string]bool{"": true, "belay": true, b.inc.Service.Name: true, b.inc.Service.Environment: true}
	learn := func(names ...string) {
		for _, n := range names {
			if n = strings.TrimSpace(n); seen[n] || len(n) < 2 {
				continue
			}
			seen[n] = true
			b.people = append(b.people, regexp.MustCompile(`(^|[^\pL\pN_])@?`+regexp.QuoteMeta(n)+`($|[^\pL\pN_])`))
		}
	}
	for i := range events {
		ev := &events[i]
		learn(ev.Actor)
		if ev.Incident != nil {
			learn(ev.Incident.AcknowledgedBy, ev.Incident.AssignedTo, ev.Incident.SeverityBy)
		}
		if ev.Rollback != nil {
			learn(ev.Rollback.OrderedBy)
			learn(ev.Rollback.ApprovedBy)
		}
		if ev.Deployment != nil {
			learn(ev.Deployment.Actor)
		}
	}
	sort.Slice(b.people, func(i, j int) bool { // longest first: "anna maria" before "anna"
		x, y := b.people[i].String(), b.people[j].String()
		return len(x) > len(y) || len(x) == len(y) && x < y
	})
}

// impersonal replaces every known name by "a person".
func (b *builder) impersonal(s string) string {
	for _, re := range b.people {
		for range 2 { // neighbours share the character between them
			s = re.ReplaceAllString(s, "${1}a person${2}")
		}
	}
	return s
}

func (b *builder) mine(s belay.ServiceID) bool { return s == b.inc.Service }

// recent says that something happened close enough to the incident to be told.
func (b *builder) recent(at time.Time) bool {
	return !at.Before(b.inc.OpenedAt.Add(-changeReach)) && !at.After(b.until)
}

func (b *builder) take(ev *belay.Event) {
	switch {
	case ev.Alert != nil:
		b.alert(ev)
	case ev.Incident != nil:
		b.incident(ev)
	case ev.Rollback != nil:
		b.rollback(ev)
	case ev.Deployment != nil:
		b.deployment(ev)
	case ev.Ledger != nil:
		b.ledger(ev)
	case ev.Delivery != nil:
		b.delivery(ev)
	default:
		b.house(ev)
	}
}

func (b *builder) tell(at time.Time, kind, what string) {
	b.d.Timeline = append(b.d.Timeline, Entry{At: at.UTC(), Kind: kind, What: b.impersonal(what)})
}

// belongs says that an alert is one of the incident's. The pending stretch
// before the incident opened belongs to it as well.
func (b *builder) belongs(a *belay.Alert, at time.Time) bool {
	if a.Incident == b.id {
		return true
	}
	if a.Incident != "" || at.Before(b.inc.OpenedAt.Add(-changeReach)) {
		return false
	}
	return slices.ContainsFunc(b.inc.Alerts, func(x belay.Alert) bool { return x.ID == a.ID })
}

func (b *builder) alert(ev *belay.Event) {
	a := ev.Alert
	if a.Observe || !b.belongs(a, ev.At) {
		return
	}
	life := b.alerts[a.ID]
	if life == nil {
		life = &AlertLife{ID: a.ID, Rule: a.Rule, Labels: a.Labels}
		b.alerts[a.ID] = life
		b.order = append(b.order, a.ID)
	}
	life.Last = a.Verdict
	if a.Verdict == belay.Unknown || a.Verdict == belay.Absent {
		life.Blind = append(life.Blind, BlindStretch{ev.At.UTC(), a.Verdict, b.impersonal(ev.Reason)})
	}
	at := moment(*a, ev.At)
	last := len(life.Spans) - 1
	if last >= 0 && life.Spans[last].State == a.State {
		return
	}
	if last >= 0 && life.Spans[last].To.IsZero() {
		life.Spans[last].To = at
	}
	switch a.State {
	case belay.AlertPending:
		life.Spans = append(life.Spans, AlertSpan{State: a.State, From: at})
		b.tell(at, "alert", fmt.Sprintf("%s is pending: %s", a.Rule, ev.Reason))
	case belay.AlertFiring:
		life.Spans = append(life.Spans, AlertSpan{State: a.State, From: at})
		b.fired = append(b.fired, *a)
		b.tell(at, "alert", fmt.Sprintf("%s fires: %s", a.Rule, ev.Reason))
	default:
		if last >= 0 {
			b.tell(at, "alert", fmt.Sprintf("%s ends: %s", a.Rule, ev.Reason))
			life.Spans = append(life.Spans, AlertSpan{State: a.State, From: at, To: at})
		}
	}
}

// moment is when an alert came into its present state.
func moment(a belay.Alert, otherwise time.Time) time.Time {
	at := otherwise
	switch a.State {
	case belay.AlertPending:
		at = a.ActiveAt
	case belay.AlertFiring:
		at = a.FiredAt
	case belay.AlertInactive:
		at = a.ResolvedAt
	}
	if at.IsZero() {
		at = otherwise
	}
	return at.UTC()
}

// finish turns what was gathered into a dossier.
func (b *builder) finish() Dossier {
	d := &b.d
	d.Schema, d.Incident = Schema, b.inc
	d.Incident.Alerts = slices.Clone(b.inc.Alerts)
	for _, who := range []*string{&d.Incident.AcknowledgedBy, &d.Incident.AssignedTo, &d.Incident.SeverityBy} {
		if *who != "" {
			*who = "a person"
		}
	}
	for _, id := range b.order {
		d.Alerts = append(d.Alerts, *b.alerts[id])
	}
	for _, id := range b.rolled {
		d.Rollbacks = append(d.Rollbacks, *b.rollbacks[id])
	}
	d.Trigger = b.trigger()
	d.Suspects = b.suspects()
	for _, life := range d.Alerts {
		for _, s := range head(life.Blind, 10) {
			b.quality("%s could not be judged at %s (%s): %s", life.Rule, clock(s.At), s.Verdict, s.Reason)
		}
	}
	b.journalMilestones()
	d.Interval, d.Impact.Peak = defaultInterval.Seconds(), belay.Value(math.NaN())
	d.settle()
	return *d
}

// trigger is the alert that fired first, as it was then. Where the journal does
// not hold that moment, the incident's own copy serves.
func (b *builder) trigger() *belay.Alert {
	all := b.fired
	if len(all) == 0 {
		all = b.inc.Alerts
	}
	var first *belay.Alert
	for i := range all {
		a := &all[i]
		if a.Observe {
			continue
		}
		if first == nil || a.FiredAt.Before(first.FiredAt) {
			first = a
		}
	}
	if first == nil {
		return nil
	}
	out := *first
	return &out
}

// suspects are those of the newest rollback event that names any.
func (b *builder) suspects() []belay.Suspect {
	for i := len(b.rolled) - 1; i >= 0; i-- {
		if s := b.rollbacks[b.rolled[i]].Rollback.Suspects; len(s) > 0 {
			return s
		}
	}
	return nil
}

func head[T any](s []T, n int) []T { return s[:min(len(s), n)] }
