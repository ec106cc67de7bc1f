package alerting

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// noEnvironment is the environment of what belongs to no service.
const noEnvironment = "-"

// Unassigned is the service of alerts that no service claims.
var Unassigned = belay.ServiceID{Environment: noEnvironment, Name: "unassigned"}

// maxAlerts bounds how many alerts an incident carries. In a storm those
// beyond it wait until others have ended; the incident stays open for them.
const maxAlerts = 100

// A situation is everything that decides what becomes of one service's
// incident.
type situation struct {
	service  belay.ServiceID
	open     *belay.Incident      // nil when none is open
	alerts   []belay.Alert        // of this service and of the open incident, as they are now, none of them Observe
	rollback *belay.Rollback      // the newest of the open incident, nil if there is none
	spent    map[string]time.Time // firings that a person has closed: alert ID to when it fired
	missed   map[string]time.Time // firings that ended before they were seen here: alert ID to the end
	last     *belay.Incident      // while none is open: the one that a new firing continues, nil if none
	reopen   time.Duration        // how long after its end one does
}

// missedFor is how long a firing that nobody was told of is still worth a
// message after its end.
const missedFor = 15 * time.Minute

// counts says that an alert belongs into an incident: it fires, or it did while
// nobody looked, as when Belay was about to start again.
func (s situation) counts(a belay.Alert, now time.Time) bool {
	if a.State == belay.AlertFiring {
		return true
	}
	ended, missed := s.missed[a.ID]
	return missed && a.State == belay.AlertInactive && now.Sub(ended) <= missedFor
}

// decide returns the events that bring the incident of a service up to what is
// the case now. It returns none when nothing is to be said. It is pure.
func decide(s situation, now time.Time) []belay.Event {
	if s.open == nil {
		return open(s, now)
	}
	next := *s.open
	var changes []string
	next.Alerts, changes = refresh(*s.open, s.alerts, now)

	var events []belay.Event
	waiting := newcomers(next, s, now)
	if members, joined := admit(next.Alerts, waiting); len(joined) > 0 {
		next.Alerts = members
		next.Severity = rated(next)
		next.State = stateOf(next, s.rollback)
		events = append(events, event(belay.KindJoined, joinedReason(*s.open, next, joined, now), next, now))
	}
	if state := stateOf(next, s.rollback); state != s.open.State && len(events) == 0 {
		next.State = state
		changes = append(changes, stateReason(state, s.rollback))
	}
	if len(changes) > 0 {
		events = append(events, event(belay.KindUpdated, atMost(changes, 3), next, now))
	}
	if allEnded(waiting) && allEnded(next.Alerts) && !busy(s.rollback) {
		next.State, next.ResolvedAt = belay.Resolved, now
		reason := "every alert has ended; resolved after " + Span(now.Sub(next.OpenedAt))
		events = append(events, event(belay.KindResolved, reason, next, now))
	}
	return events
}

// open opens an incident when an alert fires that no person has closed. It
// then takes in all that fire.
func open(s situation, now time.Time) []belay.Event {
	firing := newcomers(belay.Incident{}, s, now)
	fresh := slices.ContainsFunc(firing, func(a belay.Alert) bool {
		at, ok := s.spent[a.ID]
		return !ok || !at.Equal(firedAt(a))
	})
	if !fresh {
		return nil
	}
	if s.last != nil && s.reopen > 0 && firedAt(firing[0]).Sub(s.last.ResolvedAt) <= s.reopen {
		return []belay.Event{reopen(s, firing[0], now)}
	}
	i := belay.Incident{Service: s.service, State: belay.Triggered, OpenedAt: now}
	i.ID = incidentID(s.service, firing[0].ID, now)
	i.Alerts, _ = admit(nil, firing)
	for n := range i.Alerts {
		i.Alerts[n].Incident = i.ID
	}
	worst, _ := Worst(i)
	i.Title = ServiceName(s.service) + ": " + worst.Rule
	i.Severity = severity(i.Alerts)
	return []belay.Event{event(belay.KindOpened, Summary(Message{Incident: i, At: now}), i, now)}
}

// reopen goes on with the incident that has just ended. Whoever acknowledged it
// is still on it.
func reopen(s situation, first belay.Alert, now time.Time) belay.Event {
	next := *s.last
	reason := fmt.Sprintf("open again %s after its end: %s%s", Span(now.Sub(s.last.ResolvedAt)), finding(first), since(first, now))
	next.ResolvedAt, next.ReopenedAt, next.Reopened = time.Time{}, now, next.Reopened+1
	next.Alerts, _ = refresh(next, s.alerts, now)
	next.Alerts, _ = admit(next.Alerts, newcomers(next, s, now))
	next.Severity = rated(next)
	next.State = stateOf(next, s.rollback)
	return event(belay.KindReopened, reason, next, now)
}

func event(k belay.Kind, reason string, i belay.Incident, now time.Time) belay.Event {
	return belay.Event{At: now, Kind: k, Reason: reason, Service: i.Service, Incident: &i}
}

// refresh returns the incident's alerts as they are now, and a phrase for each
// that has changed in a way that matters to people.
func refresh(i belay.Incident, present []belay.Alert, now time.Time) ([]belay.Alert, []string) {
	alerts := slices.Clone(i.Alerts)
	var changes []string
	for n, was := range alerts {
		k := slices.IndexFunc(present, func(a belay.Alert) bool { return a.ID == was.ID })
		if k < 0 || same(was, present[k]) {
			continue
		}
		is := present[k]
		is.Incident = i.ID
		alerts[n] = is
		changes = append(changes, alertReason(was, is, now))
	}
	return alerts, changes
}

// same says that nothing a person would see differs.
func same(a, b belay.Alert) bool {
	equal := float64(a.Value) == float64(b.Value) || math.IsNaN(float64(a.Value)) && math.IsNaN(float64(b.Value))
	return equal && a.State == b.State && a.Verdict == b.Verdict && a.Condition == b.Condition &&
		a.FiredAt.Equal(b.FiredAt) && a.ResolvedAt.Equal(b.ResolvedAt) && a.KeepSince.Equal(b.KeepSince) &&
		maps.Equal(a.Annotations, b.Annotations)
}

// newcomers returns the alerts that count and that the incident does not carry:
// those that fire before those that did, then the most severe first, then by the
// time at which they fired.
func newcomers(i belay.Incident, s situation, now time.Time) []belay.Alert {
	var out []belay.Alert
	for _, a := range s.alerts {
		carried := slices.ContainsFunc(i.Alerts, func(m belay.Alert) bool { return m.ID == a.ID })
		if s.counts(a, now) && !a.Observe && !carried {
			a.Incident = i.ID
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b belay.Alert) int {
		if a.State != b.State {
			return strings.Compare(string(a.State), string(b.State)) // "firing" is before "inactive"
		}
		if c := severityRank(b.Severity()) - severityRank(a.Severity()); c != 0 {
			return c
		}
		if c := firedAt(a).Compare(firedAt(b)); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// admit adds as many as there is room for. Where there is none, alerts that
// have ended give theirs up.
func admit(members, waiting []belay.Alert) (all, joined []belay.Alert) {
	over := len(members) + len(waiting) - maxAlerts
	all = slices.DeleteFunc(slices.Clone(members), func(a belay.Alert) bool {
		if over <= 0 || a.State != belay.AlertInactive {
			return false
		}
		over--
		return true
	})
	joined = waiting[:max(0, min(len(waiting), maxAlerts-len(all)))]
	return append(all, joined...), joined
}

// stateOf follows the rollback where there is one that counts, and otherwise
// what people did.
func stateOf(i belay.Incident, r *belay.Rollback) belay.IncidentState {
	switch {
	case r != nil && r.State.Acting():
		return belay.Mitigating
	case r != nil && r.State == belay.RollbackRecovered && !anyFiredAfter(i.Alerts, r.ClosedAt):
		return belay.Mitigated
	case i.AcknowledgedBy != "":
		return belay.Acknowledged
	}
	return belay.Triggered
}

func anyFiredAfter(alerts []belay.Alert, t time.Time) bool {
	return slices.ContainsFunc(alerts, func(a belay.Alert) bool {
		return a.State == belay.AlertFiring && firedAt(a).After(t)
	})
}

func allEnded(alerts []belay.Alert) bool {
	return !slices.ContainsFunc(alerts, func(a belay.Alert) bool { return a.State != belay.AlertInactive })
}

// busy says that the rollback holds its incident open.
func busy(r *belay.Rollback) bool {
	return r != nil && (r.State.Acting() || r.State == belay.RollbackPlanned || r.State == belay.RollbackCountdown)
}

func firedAt(a belay.Alert) time.Time {
	if a.FiredAt.IsZero() {
		return a.ActiveAt
	}
	return a.FiredAt
}

// severityRank orders critical above warning above info above all else.
func severityRank(s string) int {
	switch s {
	case "critical":
		return 3
	case "warning":
		return 2
	case "info":
		return 1
	}
	return 0
}

// rated is an incident's severity: what a person called it, otherwise that of
// its worst alert.
func rated(i belay.Incident) string {
	if i.SeverityBy != "" {
		return i.Severity
	}
	return severity(i.Alerts)
}

func severity(alerts []belay.Alert) string {
	var s string
	for n, a := range alerts {
		if n == 0 || severityRank(a.Severity()) > severityRank(s) || s == "" {
			s = a.Severity()
		}
	}
	return s
}

// incidentID returns a name that people can read out: service, UTC time of
// opening, and four digits that keep two of one second apart.
func incidentID(s belay.ServiceID, alert string, now time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d", s, alert, now.UnixNano()))
	return slug(s.Name) + "-" + now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(sum[:2])
}

// slug keeps what is safe in a file name, a URL and a shell.
func slug(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
	if s = strings.Trim(s, "-"); s == "" {
		return "incident"
	}
	return s[:min(len(s), 60)]
}

func joinedReason(was, is belay.Incident, joined []belay.Alert, now time.Time) string {
	s := finding(joined[0]) + since(joined[0], now)
	if !strings.HasPrefix(s, joined[0].Rule) {
		s = joined[0].Rule + ": " + s
	}
	switch more := len(joined) - 1; {
	case joined[0].State != belay.AlertFiring:
		s = "fired too: " + joined[0].Rule + ended(joined[0], now)
	case more == 0:
		s = "fires too: " + s
	case more == 1:
		s = "fire too: " + s + "; and " + joined[1].Rule
	default:
		s = "fire too: " + s + "; and " + strconv.Itoa(more) + " more alerts"
	}
	if is.Severity != was.Severity {
		s += "; the incident is now " + is.Severity
	}
	return s
}

func alertReason(was, is belay.Alert, now time.Time) string {
	switch {
	case is.State == belay.AlertFiring && was.State != belay.AlertFiring:
		return is.Rule + " fires again: " + finding(is)
	case is.State != was.State:
		return is.Rule + ended(is, now)
	case is.Verdict == belay.Unknown && was.Verdict != belay.Unknown:
		return is.Rule + " has no fresh data; it stays as it was"
	case is.Value != was.Value:
		return is.Rule + " at " + Number(is.Value)
	}
	return is.Rule + " has changed"
}

func stateReason(s belay.IncidentState, r *belay.Rollback) string {
	switch s {
	case belay.Mitigating:
		return "a rollback to " + r.To.String() + " is under way"
	case belay.Mitigated:
		return "rolled back to " + r.To.String() + " and healthy again"
	case belay.Acknowledged:
		return "no rollback helps any more; acknowledged, a person is on it"
	}
	return "no rollback helps any more; nobody has acknowledged it"
}

// atMost joins phrases and counts those that are too many.
func atMost(phrases []string, n int) string {
	if len(phrases) > n {
		rest := len(phrases) - n
		phrases = append(slices.Clone(phrases[:n]), strconv.Itoa(rest)+" more changes")
	}
	return strings.Join(phrases, "; ")
}
