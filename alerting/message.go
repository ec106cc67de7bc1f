package alerting

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/belaydev/belay"
)

// The words of this file are shared by all channels. They are plain text
// without markup, written for somebody who was asleep a minute ago. Their
// parts may hold what rules and deployments say of themselves, so a channel
// escapes them as it must.

// Summary says in one sentence what is wrong, how far beyond its limit, and
// since when: "checkout production: error ratio 0.081, limit > 0.02, since
// 14:03:10 UTC". It is never empty.
func Summary(m Message) string {
	who := ServiceName(m.Incident.Service)
	worst, ok := Worst(m.Incident)
	switch {
	case isEmergency(m):
		return "Belay itself: " + m.Event.Reason
	case !ok:
		return m.Incident.Title
	case m.Incident.State == belay.Resolved:
		return who + ": " + worst.Rule + ", " + stretch(m)
	case worst.State != belay.AlertFiring:
		return who + ": " + worst.Rule + ended(worst, m.At) + othersEnded(m.Incident)
	}
	return who + ": " + finding(worst) + since(worst, m.At) + alsoFiring(m.Incident, worst)
}

// Suspect says which release may have caused the incident: "suspect: 1.42.0,
// in place of 1.41.3 at 14:02:00 UTC, 1 min 10 s before, by ci". It is empty
// when there is none.
func Suspect(m Message) string {
	if m.Rollback == nil || len(m.Rollback.Suspects) == 0 {
		return ""
	}
	d := m.Rollback.Suspects[0].Deployment
	var b strings.Builder
	b.WriteString("suspect: " + d.To.String())
	if from := d.From.String(); from != "" {
		b.WriteString(", in place of " + from)
	}
	if !d.StartedAt.IsZero() {
		b.WriteString(" at " + Clock(d.StartedAt, m.At))
		if began := beganAt(m.Incident); began.After(d.StartedAt) {
			b.WriteString(", " + Span(began.Sub(d.StartedAt)) + " before")
		}
	}
	if d.Actor != "" {
		b.WriteString(", by " + d.Actor)
	}
	if d.Commit != "" {
		b.WriteString(", commit " + d.Commit[:min(len(d.Commit), 8)])
	}
	return b.String()
}

// Next says what Belay will do next and when: "rolling back to 1.41.3 at
// 14:04:20 UTC — say stop to prevent it", or why it does nothing. It is empty
// when the incident is resolved.
func Next(m Message) string {
	r := m.Rollback
	switch {
	case m.Incident.State == belay.Resolved || isEmergency(m):
		return ""
	case r == nil:
		return "Belay has not planned a rollback"
	}
	to := r.To.String()
	if to == "" {
		to = "the last good revision"
	}
	switch r.State {
	case belay.RollbackRefused:
		return "Belay does nothing: " + refusal(*r)
	case belay.RollbackPlanned:
		return "Belay wants to roll back to " + to + " and is telling people first"
	case belay.RollbackAwaiting:
		return "Belay waits until " + Clock(r.ApproveUntil, m.At) + " for a person to approve rolling back to " + to
	case belay.RollbackCountdown:
		return "rolling back to " + to + " at " + Clock(r.VetoUntil, m.At) + " — say stop to prevent it"
	case belay.RollbackIntended:
		return "rolling back to " + to + " now"
	case belay.RollbackConverging:
		return "rolling back to " + to + ": the platform accepted at " + Clock(r.ActedAt, m.At) + ", not all of it runs yet"
	case belay.RollbackProving:
		return proving(*r, to, m.At)
	case belay.RollbackRecovered:
		if !r.ClosedAt.IsZero() && anyFiredAfter(m.Incident.Alerts, r.ClosedAt) {
			return "rolled back to " + to + ", which helped at first; what fires now came later: a person must look, Belay does nothing more"
		}
	}
	return closed(*r, to)
}

// Outcome says how a resolved incident ended: "resolved after 4 min 20 s:
// rolled back 1.42.0 → 1.41.3 at 14:04:21 UTC". It is empty while the incident
// is open.
func Outcome(m Message) string {
	i := m.Incident
	if i.State != belay.Resolved {
		return ""
	}
	s := "resolved after " + Span(i.ResolvedAt.Sub(i.OpenedAt)) + ": "
	r := m.Rollback
	switch {
	case i.MergedInto != "":
		return "a part of " + i.MergedInto + " since " + Clock(i.ResolvedAt, m.At) + "; what happens is told there"
	case r == nil || r.ActedAt.IsZero():
		return s + "Belay changed nothing"
	case r.State == belay.RollbackRecovered:
		return s + "rolled back " + change(*r) + " at " + Clock(r.ActedAt, m.At)
	}
	return s + "rolled back " + change(*r) + " at " + Clock(r.ActedAt, m.At) + ", " + plainState(r.State)
}

// Again says that an incident went on soon after its end: "opened again 2 times,
// last at 14:20:11 UTC". It is empty when it never did.
func Again(m Message) string {
	i := m.Incident
	switch i.Reopened {
	case 0:
		return ""
	case 1:
		return "opened again at " + Clock(i.ReopenedAt, m.At)
	}
	return fmt.Sprintf("opened again %d times, last at %s", i.Reopened, Clock(i.ReopenedAt, m.At))
}

// Text returns everything there is to say as lines of plain text, for channels
// without layout and for the fallback of those that have one.
func Text(m Message) string {
	if m.Kind == Reply {
		return ReplyText(m)
	}
	lines := []string{Summary(m)}
	for _, s := range []string{Suspect(m), Next(m), Outcome(m), Again(m), assigned(m), acknowledged(m), m.Links.Incident} {
		if s != "" {
			lines = append(lines, s)
		}
	}
	return strings.Join(lines, "\n")
}

// ReplyText returns the words of a reply: the event's reason, with the name of
// the person whose words they are.
func ReplyText(m Message) string {
	if m.Event.Kind == belay.KindNoted && m.Event.Actor != "" {
		return m.Event.Actor + ": " + m.Event.Reason
	}
	return m.Event.Reason
}

// Worst returns the alert that speaks for an incident: the most severe of
// those that fire, or of all when none does; the first to join among equals.
func Worst(i belay.Incident) (belay.Alert, bool) {
	best := -1
	for n, a := range i.Alerts {
		if best < 0 || standing(a) > standing(i.Alerts[best]) {
			best = n
		}
	}
	if best < 0 {
		return belay.Alert{}, false
	}
	return i.Alerts[best], true
}

func standing(a belay.Alert) int {
	s := severityRank(a.Severity())
	switch a.State {
	case belay.AlertFiring:
		return s + 20
	case belay.AlertPending:
		return s + 10
	}
	return s
}

// ServiceName returns "checkout production", or the bare name of a service
// without an environment.
func ServiceName(s belay.ServiceID) string {
	if s.Environment == "" || s.Environment == noEnvironment {
		return s.Name
	}
	return s.Name + " " + s.Environment
}

// Clock returns a time in UTC, with its date when that is not the date of now.
func Clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		return t.Format("2006-01-02 15:04:05 UTC")
	}
	return t.Format("15:04:05 UTC")
}

// Span returns a length of time in its two largest units: "850 ms", "12 s",
// "4 min 20 s", "2 h 5 min", "3 d 4 h".
func Span(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return units(d, time.Second, "s", 0, "")
	case d < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return units(d, time.Hour, "h", time.Minute, "min")
	}
	return units(d, 24*time.Hour, "d", time.Hour, "h")
}

func units(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	s := strconv.FormatInt(int64(d/big), 10) + " " + bigName
	if small > 0 && d%big >= small {
		s += " " + strconv.FormatInt(int64(d%big/small), 10) + " " + smallName
	}
	return s
}

// Number returns a value with three digits that matter: "0.081", "12.3",
// "1530", "no number" for NaN.
func Number(v belay.Value) string {
	f := float64(v)
	switch {
	case math.IsNaN(f):
		return "no number"
	case math.IsInf(f, 1):
		return "infinity"
	case math.IsInf(f, -1):
		return "minus infinity"
	case math.Abs(f) >= 999.5 && math.Abs(f) < 1e15:
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// finding says what an alert found: "error ratio 0.081, limit > 0.02".
func finding(a belay.Alert) string {
	s := what(a)
	switch {
	case a.Condition == "":
	case strings.HasPrefix(a.Condition, "==") || strings.HasPrefix(a.Condition, "!="):
		s += ", fires when " + a.Condition
	default:
		s += ", limit " + a.Condition
	}
	if a.Verdict == belay.Unknown {
		s += ", no fresh data"
	}
	return s
}

// what joins the rule's own summary, or its name, with the value. A summary
// that holds a number has been templated and says the value itself.
func what(a belay.Alert) string {
	summary := firstLine(a.Annotations["summary"])
	switch {
	case summary == "":
		return a.Rule + " at " + Number(a.Value)
	case strings.IndexFunc(summary, unicode.IsDigit) >= 0:
		return summary
	case len(strings.Fields(summary)) <= 4:
		return summary + " " + Number(a.Value)
	}
	return summary + " (" + Number(a.Value) + ")"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return cut(strings.TrimSuffix(strings.TrimSpace(s), "."), 200)
}

// cut shortens a text to at most n runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

func since(a belay.Alert, now time.Time) string {
	if a.ActiveAt.IsZero() {
		return ""
	}
	return ", since " + Clock(a.ActiveAt, now)
}

func ended(a belay.Alert, now time.Time) string {
	switch {
	case a.State == belay.AlertPending:
		return " is coming back"
	case a.ResolvedAt.IsZero():
		return " has ended"
	}
	return " has ended at " + Clock(a.ResolvedAt, now)
}

func othersEnded(i belay.Incident) string {
	if len(i.Alerts) > 1 {
		return ", and nothing else fires"
	}
	return ""
}

func alsoFiring(i belay.Incident, worst belay.Alert) string {
	var others []string
	for _, a := range i.Alerts {
		if a.State == belay.AlertFiring && a.ID != worst.ID {
			others = append(others, a.Rule)
		}
	}
	switch len(others) {
	case 0:
		return ""
	case 1:
		return "; " + others[0] + " fires too"
	}
	return "; " + strconv.Itoa(len(others)) + " more alerts fire too"
}

// stretch says from when to when an incident lasted, by its alerts where they
// say so.
func stretch(m Message) string {
	from, to := beganAt(m.Incident), m.Incident.ResolvedAt
	if from.UTC().Format(time.DateOnly) == to.UTC().Format(time.DateOnly) {
		return strings.TrimSuffix(Clock(from, m.At), " UTC") + " to " + to.UTC().Format("15:04:05 UTC")
	}
	return Clock(from, m.At) + " to " + Clock(to, m.At)
}

func beganAt(i belay.Incident) time.Time {
	began := i.OpenedAt
	for _, a := range i.Alerts {
		if !a.ActiveAt.IsZero() && a.ActiveAt.Before(began) {
			began = a.ActiveAt
		}
	}
	return began
}

// refusal returns the words of the guard that said no.
func refusal(r belay.Rollback) string {
	for _, a := range r.Answers {
		if a.Veto != "" {
			return a.Veto
		}
	}
	return r.Reason
}

func proving(r belay.Rollback, to string, now time.Time) string {
	s := to + " runs again since " + Clock(r.ConvergedAt, now)
	if r.HealthyAt.IsZero() {
		return s + "; waiting for fresh data to prove that it helped"
	}
	return s + " and is healthy; watching until " + Clock(r.HealthyAt.Add(r.RecoveryHold), now) + " that it stays so"
}

// closed says how a rollback ended while its incident goes on.
func closed(r belay.Rollback, to string) string {
	switch r.State {
	case belay.RollbackRecovered:
		return "rolled back to " + to + " and healthy again; " + r.From.String() + " is held"
	case belay.RollbackNotRecovered:
		return "rolled back to " + to + ", but that did not help: a person must look, Belay does nothing more"
	case belay.RollbackFailed:
		return "the rollback to " + to + " failed: a person must look, Belay does nothing more"
	case belay.RollbackSuperseded:
		if !r.ActedAt.IsZero() {
			return "something else was deployed after the rollback to " + to + ": Belay does nothing more"
		}
		return "Belay changed nothing: something else runs by now"
	case belay.RollbackFought:
		return "somebody put " + r.From.String() + " back: Belay keeps its hands off"
	case belay.RollbackStopped:
		return "the rollback to " + to + " was stopped: Belay does nothing more"
	}
	return r.Reason
}

func plainState(s belay.RollbackState) string {
	switch s {
	case belay.RollbackNotRecovered:
		return "which did not help"
	case belay.RollbackFailed:
		return "which failed"
	case belay.RollbackFought:
		return "then somebody put it back"
	case belay.RollbackStopped:
		return "then it was stopped"
	}
	return strings.ReplaceAll(string(s), "_", " ")
}

func change(r belay.Rollback) string { return r.From.String() + " → " + r.To.String() }

func assigned(m Message) string {
	if m.Incident.AssignedTo == "" {
		return ""
	}
	return "assigned to " + m.Incident.AssignedTo
}

func acknowledged(m Message) string {
	if m.Incident.AcknowledgedBy == "" {
		return ""
	}
	return fmt.Sprintf("acknowledged by %s at %s", m.Incident.AcknowledgedBy, Clock(m.Incident.AcknowledgedAt, m.At))
}

func isEmergency(m Message) bool { return strings.HasPrefix(m.Key, emergencyPrefix) }
