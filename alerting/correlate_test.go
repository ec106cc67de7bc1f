package alerting

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

var (
	noon     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	checkout = belay.ServiceID{Environment: "production", Name: "checkout"}
)

func alert(rule, severity string, s belay.AlertState) belay.Alert {
	a := belay.Alert{
		ID: rule, Rule: rule, State: s, Value: 5, Condition: "> 2", ActiveAt: noon.Add(-time.Minute),
		Labels: labels.FromStrings("alertname", rule, "severity", severity),
	}
	if s != belay.AlertPending {
		a.FiredAt = noon.Add(-time.Second)
	}
	if s == belay.AlertInactive {
		a.ResolvedAt = noon
	}
	return a
}

func incident(s belay.IncidentState, alerts ...belay.Alert) *belay.Incident {
	i := &belay.Incident{ID: "i", Service: checkout, Severity: severity(alerts), State: s, OpenedAt: noon.Add(-time.Minute), Alerts: alerts}
	if s == belay.Acknowledged {
		i.AcknowledgedBy = "alice"
	}
	return i
}

func rollback(s belay.RollbackState) *belay.Rollback {
	return &belay.Rollback{Incident: "i", State: s, To: belay.Revision{Version: "1.41.3"}, ClosedAt: noon}
}

// told writes events as lines: kind, state, severity, alerts, reason.
func told(events []belay.Event) string {
	var b strings.Builder
	for _, ev := range events {
		i := ev.Incident
		fmt.Fprintf(&b, "%s %s %s", strings.TrimPrefix(string(ev.Kind), "incident."), i.State, i.Severity)
		for _, a := range i.Alerts {
			fmt.Fprintf(&b, " %s=%s", a.Rule, a.State)
		}
		fmt.Fprintf(&b, " | %s\n", ev.Reason)
	}
	return b.String()
}

func TestTheDecisionOverOneService(t *testing.T) {
	errors := alert("Errors", "critical", belay.AlertFiring)
	errorsEnded := alert("Errors", "critical", belay.AlertInactive)
	errorsBack := alert("Errors", "critical", belay.AlertPending)
	queue := alert("Queue", "warning", belay.AlertFiring)
	queuePending := alert("Queue", "warning", belay.AlertPending)
	observed := alert("Watched", "critical", belay.AlertFiring)
	observed.Observe = true
	later := errors
	later.FiredAt = noon.Add(time.Second)
	looked := errors
	looked.EvaluatedAt, looked.DataAt, looked.Failed = noon, noon, 7

	for _, tc := range []struct {
		name string
		s    situation
		want string
	}{
		{"nothing fires, nothing is open", situation{}, ""},
		{"a pending alert opens nothing", situation{alerts: []belay.Alert{queuePending}}, ""},
		{"an alert that only observes opens nothing", situation{alerts: []belay.Alert{observed}}, ""},
		{
			"a firing alert opens",
			situation{alerts: []belay.Alert{errors}},
			"opened triggered critical Errors=firing | checkout production: Errors at 5, limit > 2, since 11:59:00 UTC\n",
		},
		{
			"all that fire open one incident, the most severe first",
			situation{alerts: []belay.Alert{queue, queuePending, errors}},
			"opened triggered critical Errors=firing Queue=firing | checkout production: Errors at 5, limit > 2, since 11:59:00 UTC; Queue fires too\n",
		},
		{
			"another alert joins",
			situation{open: incident(belay.Triggered, errors), alerts: []belay.Alert{errors, queue}},
			"joined triggered critical Errors=firing Queue=firing | fires too: Queue at 5, limit > 2, since 11:59:00 UTC\n",
		},
		{
			"a worse alert raises the severity",
			situation{open: incident(belay.Triggered, queue), alerts: []belay.Alert{queue, errors}},
			"joined triggered critical Queue=firing Errors=firing | fires too: Errors at 5, limit > 2, since 11:59:00 UTC; the incident is now critical\n",
		},
		{"a pending alert does not join", situation{open: incident(belay.Triggered, errors), alerts: []belay.Alert{errors, queuePending}}, ""},
		{"an evaluation that finds the same says nothing", situation{open: incident(belay.Triggered, errors), alerts: []belay.Alert{looked}}, ""},
		{
			"one of two ends",
			situation{open: incident(belay.Triggered, errors, queue), alerts: []belay.Alert{errorsEnded, queue}},
			"updated triggered critical Errors=inactive Queue=firing | Errors has ended at 12:00:00 UTC\n",
		},
		{
			"all end",
			situation{open: incident(belay.Acknowledged, errors), alerts: []belay.Alert{errorsEnded}},
			"updated acknowledged critical Errors=inactive | Errors has ended at 12:00:00 UTC\n" +
				"resolved resolved critical Errors=inactive | every alert has ended; resolved after 1 min\n",
		},
		{
			"one ends as another begins: the same incident goes on",
			situation{open: incident(belay.Triggered, errors), alerts: []belay.Alert{errorsEnded, queue}},
			"joined triggered critical Errors=inactive Queue=firing | fires too: Queue at 5, limit > 2, since 11:59:00 UTC\n" +
				"updated triggered critical Errors=inactive Queue=firing | Errors has ended at 12:00:00 UTC\n",
		},
		{
			"an alert on its way back holds the incident open",
			situation{open: incident(belay.Triggered, errorsEnded), alerts: []belay.Alert{errorsBack}},
			"updated triggered critical Errors=pending | Errors is coming back\n",
		},
		{"an alert of which nothing is known any more does not end", situation{open: incident(belay.Triggered, errors)}, ""},
		{
			"a rollback acts",
			situation{open: incident(belay.Acknowledged, errors), alerts: []belay.Alert{errors}, rollback: rollback(belay.RollbackIntended)},
			"updated mitigating critical Errors=firing | a rollback to 1.41.3 is under way\n",
		},
		{"a refused rollback changes nothing", situation{open: incident(belay.Triggered, errors), alerts: []belay.Alert{errors}, rollback: rollback(belay.RollbackRefused)}, ""},
		{
			"alerts end while a rollback proves itself: not resolved yet",
			situation{open: incident(belay.Mitigating, errors), alerts: []belay.Alert{errorsEnded}, rollback: rollback(belay.RollbackProving)},
			"updated mitigating critical Errors=inactive | Errors has ended at 12:00:00 UTC\n",
		},
		{"a planned rollback holds the incident open", situation{open: incident(belay.Triggered, errorsEnded), rollback: rollback(belay.RollbackPlanned)}, ""},
		{"so does a countdown", situation{open: incident(belay.Triggered, errorsEnded), rollback: rollback(belay.RollbackCountdown)}, ""},
		{
			"the rollback recovered, something still fires",
			situation{open: incident(belay.Mitigating, errors, queue), alerts: []belay.Alert{errorsEnded, queue}, rollback: rollback(belay.RollbackRecovered)},
			"updated mitigated critical Errors=inactive Queue=firing | Errors has ended at 12:00:00 UTC; rolled back to 1.41.3 and healthy again\n",
		},
		{
			"the rollback recovered and everything has ended",
			situation{open: incident(belay.Mitigating, errorsEnded), rollback: rollback(belay.RollbackRecovered)},
			"updated mitigated critical Errors=inactive | rolled back to 1.41.3 and healthy again\n" +
				"resolved resolved critical Errors=inactive | every alert has ended; resolved after 1 min\n",
		},
		{
			"what fires after the recovery is not mitigated",
			situation{open: incident(belay.Mitigated, errorsEnded), alerts: []belay.Alert{later}, rollback: rollback(belay.RollbackRecovered)},
			"updated triggered critical Errors=firing | Errors fires again: Errors at 5, limit > 2; no rollback helps any more; nobody has acknowledged it\n",
		},
		{
			"a rollback that did not help gives the incident back to who acknowledged it",
			situation{open: func() *belay.Incident {
				i := incident(belay.Acknowledged, errors)
				i.State = belay.Mitigating
				return i
			}(), alerts: []belay.Alert{errors}, rollback: rollback(belay.RollbackNotRecovered)},
			"updated acknowledged critical Errors=firing | no rollback helps any more; acknowledged, a person is on it\n",
		},
		{"a firing that a person closed opens nothing", situation{alerts: []belay.Alert{errors}, spent: map[string]time.Time{"Errors": errors.FiredAt}}, ""},
		{
			"when it fires anew, it does",
			situation{alerts: []belay.Alert{later}, spent: map[string]time.Time{"Errors": errors.FiredAt}},
			"opened triggered critical Errors=firing | checkout production: Errors at 5, limit > 2, since 11:59:00 UTC\n",
		},
		{
			"another alert opens, and takes the closed one in",
			situation{alerts: []belay.Alert{errors, queue}, spent: map[string]time.Time{"Errors": errors.FiredAt}},
			"opened triggered critical Errors=firing Queue=firing | checkout production: Errors at 5, limit > 2, since 11:59:00 UTC; Queue fires too\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.s.service = checkout
			events := decide(tc.s, noon)
			if diff := cmp.Diff(tc.want, told(events)); diff != "" {
				t.Error(diff)
			}
			if len(events) == 0 {
				return
			}
			// Level: once its own events are in, nothing is left to decide.
			if last := events[len(events)-1].Incident; last.State != belay.Resolved {
				tc.s.open = last
				if again := decide(tc.s, noon); len(again) > 0 {
					t.Errorf("decided again:\n%s", told(again))
				}
			}
		})
	}
}

func TestAnIncidentIsNamedByServiceTimeAndHash(t *testing.T) {
	ev := decide(situation{service: checkout, alerts: []belay.Alert{alert("Errors", "critical", belay.AlertFiring)}}, noon)[0]
	if ok := regexp.MustCompile(`^checkout-20261123-120000-[0-9a-f]{4}$`).MatchString(ev.Incident.ID); !ok {
		t.Errorf("id %q", ev.Incident.ID)
	}
	if ev.Incident.Title != "checkout production: Errors" || ev.Service != checkout {
		t.Errorf("title %q, service %v", ev.Incident.Title, ev.Service)
	}
	if got := ev.Incident.Alerts[0].Incident; got != ev.Incident.ID {
		t.Errorf("its alert names the incident %q", got)
	}
	staging := belay.ServiceID{Environment: "staging", Name: "checkout"}
	if a, b := incidentID(checkout, "x", noon), incidentID(staging, "x", noon); a == b {
		t.Errorf("two environments share %s", a)
	}
	if got := incidentID(belay.ServiceID{Name: "../a b"}, "x", noon); !strings.HasPrefix(got, "a-b-2026") {
		t.Errorf("unsafe id %q", got)
	}
}

func TestAStormIsBoundedAndEndsOnlyWithItsLastAlert(t *testing.T) {
	var all []belay.Alert
	for n := range maxAlerts + 30 {
		all = append(all, alert(fmt.Sprintf("A%03d", n), "warning", belay.AlertFiring))
	}
	s := situation{service: checkout, alerts: all}
	s.open = decide(s, noon)[0].Incident
	if n := len(s.open.Alerts); n != maxAlerts {
		t.Fatalf("%d alerts carried, want %d", n, maxAlerts)
	}
	if more := decide(s, noon); len(more) > 0 {
		t.Fatalf("a full incident changes: %s", told(more))
	}
	for n := range maxAlerts { // those that it carries end
		all[n].State, all[n].ResolvedAt = belay.AlertInactive, noon
	}
	events := decide(s, noon)
	last := events[len(events)-1].Incident
	if last.State == belay.Resolved {
		t.Fatal("resolved while alerts fire that had no room")
	}
	firing := 0
	for _, a := range last.Alerts {
		if a.State == belay.AlertFiring {
			firing++
		}
	}
	if firing != 30 || len(last.Alerts) > maxAlerts {
		t.Errorf("%d of %d fire, want the 30 that waited", firing, len(last.Alerts))
	}
}

func TestDecidingChangesNothingThatItWasGiven(t *testing.T) {
	was := incident(belay.Triggered, alert("Errors", "critical", belay.AlertFiring))
	s := situation{service: checkout, open: was, alerts: []belay.Alert{alert("Errors", "critical", belay.AlertInactive)}}
	decide(s, noon)
	if was.State != belay.Triggered || was.Alerts[0].State != belay.AlertFiring {
		t.Errorf("the open incident was changed: %+v", was)
	}
}
