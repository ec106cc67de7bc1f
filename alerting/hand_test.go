package alerting_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// lonely is an alert that no service claims.
func lonely(change ...func(*belay.Alert)) belay.Alert {
	a := anAlert("Disk", "warning", func(a *belay.Alert) { a.Labels = labels.FromStrings("alertname", "Disk", "severity", "warning") })
	for _, c := range change {
		c(&a)
	}
	return a
}

func opened(rule string) func(belay.Event) bool {
	return func(ev belay.Event) bool { return ev.Kind == belay.KindOpened && ev.Incident.Alerts[0].Rule == rule }
}

func TestPeopleAssignAndRate(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j)
	start(t, c.Run)
	appendAlert(t, j, anAlert("Queue", "warning"))
	id := await(t, j, isKind(belay.KindOpened)).Incident.ID
	for _, act := range []error{
		c.Assign(t.Context(), id, "alice", "bob"), c.Assign(t.Context(), id, "alice", "bob"), c.Assign(t.Context(), id, "carol", "carol"),
		c.Rate(t.Context(), id, "alice", "info"), c.Rate(t.Context(), id, "bob", "info"),
	} {
		if act != nil {
			t.Fatal(act)
		}
	}
	appendAlert(t, j, anAlert("Errors", "critical")) // a person's word outlasts what joins
	last := await(t, j, isKind(belay.KindJoined)).Incident
	if last.AssignedTo != "carol" || last.Severity != "info" || last.SeverityBy != "alice" || last.State != belay.Triggered {
		t.Errorf("the incident is %+v", last)
	}
	var said []string
	for _, ev := range events(t, j, "incident.") {
		if ev.Actor != "" {
			said = append(said, ev.Actor+": "+ev.Reason)
		}
	}
	want := []string{"alice: alice asks bob to look after it", "carol: carol takes it", "alice: alice calls it info, not warning"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	if err := c.Rate(t.Context(), id, "alice", "dreadful"); !errors.Is(err, alerting.ErrSeverity) || !strings.Contains(err.Error(), "critical, warning, info") {
		t.Errorf("an unknown severity: %v", err)
	}
	if err := c.Assign(t.Context(), id, "alice", " "); err == nil {
		t.Error("nobody was asked to look after it")
	}
}

func TestMergedIncidentsAreOneUntilAllHasEnded(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j, reopening)
	stop := start(t, c.Run)
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute)))
	into := await(t, j, opened("Errors")).Incident.ID
	appendAlert(t, j, lonely(fires(time.Minute)))
	from := await(t, j, opened("Disk")).Incident.ID
	if err := c.Merge(t.Context(), from, into, "alice"); err != nil {
		t.Fatal(err)
	}
	part := await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindResolved && ev.Incident.ID == from }).Incident
	if part.MergedInto != into {
		t.Errorf("it is a part of %q", part.MergedInto)
	}

	// One of them ends: the incident stays open for the other, also after a restart.
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute), ends(0)))
	stop()
	start(t, newIncidents(t, j, reopening).Run)
	appendAlert(t, j, lonely(fires(time.Minute), ends(0)))
	whole := await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindResolved && ev.Incident.ID == into }).Incident
	var rules []string
	for _, a := range whole.Alerts {
		rules = append(rules, a.Rule+" "+string(a.State)+" "+a.Incident)
	}
	if diff := cmp.Diff([]string{"Errors inactive " + into, "Disk inactive " + into}, rules); diff != "" {
		t.Error(diff)
	}
	for _, ev := range events(t, j, "incident.") {
		if ev.Incident.ID != into && ev.Incident.ID != from {
			t.Errorf("another incident: %s", ev.Reason)
		}
	}
	if text := alerting.Text(alerting.Message{Kind: alerting.Parent, Incident: *part, At: time.Now()}); !strings.Contains(text, "a part of "+into) {
		t.Errorf("the message of the part says\n%s", text)
	}
}

// What finds no room would be lost: it belongs to no incident any more.
func TestAnIncidentWithoutRoomTakesNoOther(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j)
	start(t, c.Run)
	for n := range 100 {
		appendAlert(t, j, anAlert(fmt.Sprintf("Errors%d", n), "critical"))
	}
	full := await(t, j, func(ev belay.Event) bool { return ev.Incident != nil && len(ev.Incident.Alerts) == 100 }).Incident.ID
	appendAlert(t, j, lonely())
	part := await(t, j, opened("Disk")).Incident.ID
	if err := c.Merge(t.Context(), part, full, "alice"); !errors.Is(err, alerting.ErrNotMerged) || !strings.Contains(err.Error(), "has no room for 1 alert") {
		t.Errorf("merging into a full incident: %v", err)
	}
	if n := len(events(t, j, "incident.resolved")); n > 0 {
		t.Error("the incident has ended all the same")
	}
}

func TestWhatCannotBeMergedStaysAsItIs(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j)
	start(t, c.Run)
	appendAlert(t, j, anAlert("Errors", "critical"))
	a := await(t, j, opened("Errors")).Incident.ID
	appendAlert(t, j, lonely())
	b := await(t, j, opened("Disk")).Incident.ID
	r := aRollback(belay.RollbackIntended)
	r.Incident = a
	mustAppend(t, j, belay.RollbackStream(checkout), belay.Event{Kind: belay.KindIntent, Reason: "now", Service: checkout, Rollback: r})
	for _, tc := range []struct {
		from, into string
		want       error
	}{
		{a, a, alerting.ErrNotMerged},
		{a, "nowhere", alerting.ErrUnknownIncident},
		{"nothing", b, alerting.ErrUnknownIncident},
		{a, b, alerting.ErrRollbackPending},
	} {
		if err := c.Merge(t.Context(), tc.from, tc.into, "alice"); !errors.Is(err, tc.want) {
			t.Errorf("%s into %s: %v, want %v", tc.from, tc.into, err, tc.want)
		}
	}
	if n := len(events(t, j, "incident.joined")) + len(events(t, j, "incident.resolved")); n > 0 {
		t.Errorf("%d events changed something", n)
	}
}
