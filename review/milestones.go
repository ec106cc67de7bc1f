package review

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/belaydev/belay"
)

// defaultInterval is assumed between samples where nobody says better.
const defaultInterval = 15 * time.Second

// journalMilestones are the moments that the journal knows by itself.
func (b *builder) journalMilestones() {
	d := &b.d
	d.changeMilestone()
	if a := d.Trigger; a != nil {
		d.mark(ImpactStart, a.ActiveAt, FromJournal, "the first evaluation that found it; samples have not been asked")
		d.mark(FirstBreach, a.ActiveAt, FromJournal, "first evaluation of "+a.Rule+" that found it")
		d.mark(Detected, a.FiredAt, FromJournal, a.Rule+" fired")
	}
	if b.notified != nil {
		d.mark(Notified, b.notified.At, FromJournal, "first message confirmed by "+b.notified.Delivery.Destination)
	}
	d.mark(Acknowledged, b.inc.AcknowledgedAt, FromJournal, "by a person")
	if main := d.Main(); main != nil {
		rb := main.Rollback
		d.mark(Decided, rb.DecidedAt, FromJournal, "every guard agreed")
		d.mark(MitigationStarted, rb.IntentAt, FromJournal, "the intent to roll back was durable")
		d.mark(Accepted, rb.ActedAt, FromPlatform, rb.Target.Platform+" accepted the request")
		d.mark(Converged, rb.ConvergedAt, FromPlatform, rb.Target.Platform+" runs "+rb.To.String())
		d.mark(Recovered, rb.HealthyAt, FromJournal, "first proof by fresh data")
	}
	if _, ok := d.Milestone(Recovered); !ok {
		if at := lastEnd(b.inc.Alerts); !at.IsZero() {
			d.mark(Recovered, at, FromJournal, "the last alert ended")
		}
	}
	d.mark(Resolved, b.inc.ResolvedAt, FromJournal, "all alerts had ended")
}

// changeMilestone takes the best suspect, otherwise the last deployment before
// the alert that was not Belay's own.
func (d *Dossier) changeMilestone() {
	if len(d.Suspects) > 0 {
		dep := d.Suspects[0].Deployment
		d.mark(ChangeApplied, dep.StartedAt, FromPlatform, "first suspect: "+dep.From.String()+" → "+dep.To.String())
		return
	}
	if dep := d.lastChange(); dep != nil {
		d.mark(ChangeApplied, dep.StartedAt, FromPlatform, "last deployment before the alert: "+dep.From.String()+" → "+dep.To.String())
	}
}

// Change is the deployment that the milestone change_applied speaks of.
func (d *Dossier) Change() *belay.Deployment {
	if len(d.Suspects) > 0 {
		return &d.Suspects[0].Deployment
	}
	return d.lastChange()
}

func (d *Dossier) lastChange() *belay.Deployment {
	detected := d.Incident.OpenedAt
	if d.Trigger != nil && !d.Trigger.FiredAt.IsZero() {
		detected = d.Trigger.FiredAt
	}
	var last *belay.Deployment
	for i := range d.Deployments {
		dep := &d.Deployments[i]
		if dep.Operation != "" || dep.StartedAt.After(detected) || detected.Sub(dep.StartedAt) > time.Hour {
			continue
		}
		if last == nil || dep.StartedAt.After(last.StartedAt) {
			last = dep
		}
	}
	return last
}

// Main is the rollback that was carried furthest: the last one that acted,
// otherwise the last one that was thought of. It may be nil.
func (d *Dossier) Main() *Attempt {
	var main *Attempt
	for i := range d.Rollbacks {
		a := &d.Rollbacks[i]
		if main == nil || !a.Rollback.IntentAt.IsZero() || main.Rollback.IntentAt.IsZero() {
			main = a
		}
	}
	return main
}

// lastEnd is when the last of the alerts ended, zero when one still lasts.
func lastEnd(alerts []belay.Alert) time.Time {
	var last time.Time
	for _, a := range alerts {
		if a.Observe {
			continue
		}
		if a.ResolvedAt.IsZero() {
			return time.Time{}
		}
		if a.ResolvedAt.After(last) {
			last = a.ResolvedAt
		}
	}
	return last
}

// mark sets a milestone, replacing one of the same name. A zero time is none.
func (d *Dossier) mark(name string, at time.Time, src Source, evidence string) {
	if at.IsZero() {
		return
	}
	m := Milestone{Name: name, At: at.UTC(), Source: src, Evidence: evidence}
	for i := range d.Milestones {
		if d.Milestones[i].Name == name {
			d.Milestones[i] = m
			return
		}
	}
	d.Milestones = append(d.Milestones, m)
}

// unsure sets the uncertainty of a milestone.
func (d *Dossier) unsure(name string, by time.Duration) {
	for i := range d.Milestones {
		if d.Milestones[i].Name == name {
			d.Milestones[i].Uncertainty = by.Seconds()
		}
	}
}

// spans are the durations that are told, in this order.
var spans = []struct{ name, from, to string }{
	{"Time to detect", ImpactStart, Detected},
	{"Time to tell people", Detected, Notified},
	{"Time to acknowledge", Notified, Acknowledged},
	{"Time to decide", Detected, Decided},
	{"Wait for people", Decided, MitigationStarted},
	{"Mitigation", MitigationStarted, Converged},
	{"Recovery tail", Converged, Recovered},
	{"Customer impact", ImpactStart, ImpactEnd},
	{"First breach to recovery", FirstBreach, Recovered},
	{"Change to recovery", ChangeApplied, Recovered},
}

// settle derives all that rests on the milestones. It may be called again after
// they have changed.
func (d *Dossier) settle() {
	order := []string{ChangeApplied, ImpactStart, FirstBreach, Detected, Notified, Acknowledged, Decided, MitigationStarted, Accepted, Converged, ImpactEnd, Recovered, Resolved}
	sort.SliceStable(d.Milestones, func(i, j int) bool {
		a, b := d.Milestones[i], d.Milestones[j]
		if !a.At.Equal(b.At) {
			return a.At.Before(b.At)
		}
		return slices.Index(order, a.Name) < slices.Index(order, b.Name)
	})
	if m, ok := d.Milestone(ImpactStart); ok && m.Source == FromJournal {
		d.unsure(ImpactStart, seconds(d.Interval))
	}
	d.settleDurations()
	d.settleImpact()
	d.settleWindow()
	d.settleTimeline()
	sort.SliceStable(d.Deployments, func(i, j int) bool { return d.Deployments[i].StartedAt.Before(d.Deployments[j].StartedAt) })
}

// settleDurations measures between milestones. Both ends are late by up to their
// uncertainty, so the difference is off by the larger of the two at most.
func (d *Dossier) settleDurations() {
	d.Durations = nil
	for _, s := range spans {
		from, ok1 := d.Milestone(s.from)
		to, ok2 := d.Milestone(s.to)
		if !ok1 || !ok2 {
			continue
		}
		d.Durations = append(d.Durations, Duration{s.name, s.from, s.to, to.At.Sub(from.At).Seconds(), math.Max(from.Uncertainty, to.Uncertainty)})
	}
}

func (d *Dossier) settleImpact() {
	start, ok := d.Milestone(ImpactStart)
	if !ok {
		return
	}
	d.Impact.Start = start.At
	d.Impact.BeforeChange = ""
	change, ok := d.Milestone(ChangeApplied)
	if !ok {
		return
	}
	early := change.At.Sub(start.At).Seconds()
	switch {
	case early > start.Uncertainty:
		d.Impact.BeforeChange = BeganBefore
	case early > -start.Uncertainty && d.Impact.Known:
		d.Impact.BeforeChange = TooCloseCall
	}
}

// settleWindow chooses what the figure shows: the impact with as much before
// and after as lets it be seen, at most 30 and 15 minutes.
func (d *Dossier) settleWindow() {
	start, end := d.Incident.OpenedAt, d.end()
	if m, ok := d.Milestone(ImpactStart); ok {
		start = m.At
	}
	over := end
	if m, ok := d.Milestone(Recovered); ok {
		over = m.At
	}
	length := max(over.Sub(start), 0)
	from := start.Add(-min(max(2*length, 5*time.Minute), lookback))
	if m, ok := d.Milestone(ChangeApplied); ok && start.Sub(m.At) < lookback && m.At.Add(-time.Minute).Before(from) {
		from = m.At.Add(-time.Minute)
	}
	if first, ok := d.firstValue(); ok && first.After(from) && first.Before(start) {
		from = first
		if m, ok := d.Milestone(ChangeApplied); ok && m.At.Before(from) && start.Sub(m.At) < lookback {
			from = m.At
		}
	}
	to := end
	if latest := over.Add(lookahead); to.After(latest) {
		to = latest
	}
	if !to.After(from) {
		to = from.Add(time.Minute)
	}
	d.From, d.To = from.UTC(), to.UTC()
}

// end is the incident's end, or the last moment known of one that lasts.
func (d *Dossier) end() time.Time {
	if !d.Incident.ResolvedAt.IsZero() {
		return d.Incident.ResolvedAt
	}
	last := d.Incident.OpenedAt
	for _, e := range d.Timeline {
		if e.At.After(last) {
			last = e.At
		}
	}
	return last
}

func (d *Dossier) firstValue() (time.Time, bool) {
	if d.Measured != nil {
		for _, p := range d.Measured.Points {
			if !math.IsNaN(float64(p.Value)) {
				return p.At, true
			}
		}
	}
	return time.Time{}, false
}

// zero is where T+0 lies: the start of the impact, otherwise of the incident.
func (d *Dossier) zero() time.Time {
	if m, ok := d.Milestone(ImpactStart); ok {
		return m.At
	}
	return d.Incident.OpenedAt
}

// marked are the milestones that get a number in figure and timeline.
var marked = map[string]string{
	ChangeApplied: "change", ImpactStart: "impact", FirstBreach: "alert", Detected: "alert", Notified: "message",
	Acknowledged: "incident", MitigationStarted: "rollback", Accepted: "rollback", Converged: "rollback",
	ImpactEnd: "impact", Recovered: "rollback", Resolved: "incident",
}

// settleTimeline numbers the milestones and puts each number on the row that
// tells of it. A milestone that no event told of gets a row of its own.
func (d *Dossier) settleTimeline() {
	d.Timeline = slices.DeleteFunc(d.Timeline, func(e Entry) bool { return e.Measure })
	for i := range d.Timeline {
		d.Timeline[i].Marker = 0
	}
	sort.SliceStable(d.Timeline, func(i, j int) bool { return d.Timeline[i].At.Before(d.Timeline[j].At) })
	number := 0
	for i := range d.Milestones {
		m := &d.Milestones[i]
		m.Marker = 0
		kind, ok := marked[m.Name]
		if !ok || d.doubled(*m) {
			continue
		}
		if m.Name == Recovered && !d.acted() {
			kind = "alert"
		}
		number++
		m.Marker = number
		d.number(*m, kind)
	}
	d.Timeline = slices.CompactFunc(d.Timeline, func(a, b Entry) bool { return a.What == b.What && a.Kind == b.Kind && a.Marker == 0 && b.Marker == 0 })
	if n := len(d.Timeline); n > maxEntries {
		d.Timeline = append(d.Timeline[:maxEntries/2:maxEntries/2], d.Timeline[n-maxEntries/2:]...)
	}
}

// doubled says that a milestone is the same moment as the one that the samples
// give, as far as they can tell, so that two numbers would stand for one thing.
func (d *Dossier) doubled(m Milestone) bool {
	var twin string
	var slack time.Duration
	switch m.Name {
	case FirstBreach:
		twin, slack = ImpactStart, time.Second
	case Recovered:
		twin = ImpactEnd
	default:
		return false
	}
	other, ok := d.Milestone(twin)
	return ok && m.At.Sub(other.At).Abs() <= slack
}

// number puts a milestone's number on its row.
func (d *Dossier) number(m Milestone, kind string) {
	for i := range d.Timeline {
		e := &d.Timeline[i]
		if e.Kind == kind && e.Marker == 0 && !e.Measure && e.At.Sub(m.At).Abs() < 50*time.Millisecond {
			e.Marker = m.Marker
			return
		}
	}
	row := Entry{At: m.At, Kind: kind, What: labelOf(m.Name) + ": " + m.Evidence, Marker: m.Marker, Measure: true}
	at := sort.Search(len(d.Timeline), func(i int) bool { return d.Timeline[i].At.After(m.At) })
	d.Timeline = slices.Insert(d.Timeline, at, row)
}

// labelOf is a milestone's name for people.
func labelOf(name string) string {
	switch name {
	case ChangeApplied:
		return "Change applied"
	case ImpactStart:
		return "Impact starts"
	case FirstBreach:
		return "First breach found"
	case Detected:
		return "Detected"
	case Notified:
		return "People told"
	case Acknowledged:
		return "Acknowledged"
	case Decided:
		return "Decided"
	case MitigationStarted:
		return "Mitigation starts"
	case Accepted:
		return "Platform accepts"
	case Converged:
		return "Converged"
	case ImpactEnd:
		return "Impact ends"
	case Recovered:
		return "Recovered"
	case Resolved:
		return "Resolved"
	}
	return name
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
