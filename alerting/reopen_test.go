package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/alertingtest"
)

func reopening(o *alerting.Options) { o.Reopen = 10 * time.Minute }

// fires and ends are an alert's turns, some time ago.
func fires(ago time.Duration) func(*belay.Alert) {
	return func(a *belay.Alert) { a.FiredAt = time.Now().Add(-ago) }
}

func ends(ago time.Duration) func(*belay.Alert) {
	return func(a *belay.Alert) {
		a.State, a.ResolvedAt = belay.AlertInactive, time.Now().Add(-ago)
	}
}

// flap opens an incident of checkout, lets it end by itself, and returns it as
// it was then.
func flap(t *testing.T, j belay.Journal) belay.Incident {
	t.Helper()
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute)))
	await(t, j, isKind(belay.KindOpened))
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute), ends(time.Second)))
	return *await(t, j, isKind(belay.KindResolved)).Incident
}

func TestWhatFiresAgainSoonContinuesItsIncident(t *testing.T) {
	j := openJournal(t)
	stop := start(t, newIncidents(t, j, reopening).Run)
	first := flap(t, j)
	stop() // a restart forgets nothing of it
	start(t, newIncidents(t, j, reopening).Run)

	appendAlert(t, j, anAlert("Errors", "critical", fires(0)))
	ev := await(t, j, isKind(belay.KindReopened))
	i := ev.Incident
	if i.ID != first.ID || i.State != belay.Triggered || i.Reopened != 1 || i.ReopenedAt.IsZero() || !i.ResolvedAt.IsZero() {
		t.Errorf("it goes on as %+v", i)
	}
	if !strings.HasPrefix(ev.Reason, "open again ") || !strings.Contains(ev.Reason, "limit") {
		t.Errorf("people are told %q", ev.Reason)
	}
	appendAlert(t, j, anAlert("Errors", "critical", fires(0), ends(0)))
	await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindResolved && ev.Incident.Reopened == 1 })
	appendAlert(t, j, anAlert("Queue", "warning", fires(0))) // another alert of the same service
	await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindReopened && ev.Incident.Reopened == 2 })
	want := []string{"opened", "updated", "resolved", "reopened", "updated", "resolved", "reopened"}
	if diff := cmp.Diff(want, kinds(events(t, j, "incident."))); diff != "" {
		t.Error(diff)
	}
}

func TestWhatHasToBeANewIncident(t *testing.T) {
	released := func(t *testing.T, j belay.Journal, operation string) {
		mustAppend(t, j, belay.TargetStream(checkout), belay.Event{
			Kind: belay.KindDeployment, Reason: "1.43.0 goes out", Service: checkout,
			Deployment: &belay.Deployment{ID: "d", Service: checkout, StartedAt: time.Now(), Operation: operation},
		})
	}
	for name, tc := range map[string]struct {
		between func(t *testing.T, j belay.Journal, c *alerting.Incidents)
		window  time.Duration
		want    belay.Kind
	}{
		"another release went out": {func(t *testing.T, j belay.Journal, _ *alerting.Incidents) { released(t, j, "") }, time.Hour, belay.KindOpened},
		"Belay's own rollback did": {func(t *testing.T, j belay.Journal, _ *alerting.Incidents) { released(t, j, "op") }, time.Hour, belay.KindReopened},
		"the window has passed":    {nil, time.Nanosecond, belay.KindOpened},
		"there is no window":       {nil, 0, belay.KindOpened},
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t)
			c := newIncidents(t, j, func(o *alerting.Options) { o.Reopen = tc.window })
			start(t, c.Run)
			first := flap(t, j)
			if tc.between != nil {
				tc.between(t, j, c)
			}
			appendAlert(t, j, anAlert("Errors", "critical", fires(-time.Millisecond)))
			ev := await(t, j, func(ev belay.Event) bool { return ev.Incident != nil && ev.Incident.BeganAt().After(first.ResolvedAt) })
			if ev.Kind != tc.want {
				t.Errorf("%s: %s", ev.Kind, ev.Reason)
			}
		})
	}
}

func TestWhatAPersonHasClosedStaysClosed(t *testing.T) {
	j := openJournal(t)
	c := newIncidents(t, j, reopening)
	start(t, c.Run)
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute)))
	first := await(t, j, isKind(belay.KindOpened)).Incident
	if err := c.Resolve(t.Context(), first.ID, "alice", "a false alarm"); err != nil {
		t.Fatal(err)
	}
	appendAlert(t, j, anAlert("Errors", "critical", fires(time.Minute), ends(0)))
	appendAlert(t, j, anAlert("Errors", "critical", fires(0)))
	await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindOpened && ev.Incident.ID != first.ID })
}

// A reopened incident is told in its own message, and aloud.
func TestAnIncidentThatGoesOnIsToldInItsOwnMessage(t *testing.T) {
	j, ch := knownTo(t, "slack:#ops"), &alertingtest.Channel{}
	s := tell(t, j, "checkout-1")
	s.says(belay.KindOpened, "it fails")
	s.says(belay.KindResolved, "it is over", resolve)
	s.says(belay.KindReopened, "open again 2 min after its end: it fails", func(i *belay.Incident) {
		i.State, i.ResolvedAt, i.Reopened, i.ReopenedAt = belay.Triggered, time.Time{}, 1, at("14:09:40")
	})
	o := newOutbox(t, j, to("slack:#ops", ch))
	start(t, o.Run)
	awaitQuiet(t, o, j, "slack:#ops")
	parents, replies := 0, 0
	for _, p := range ch.Posts() {
		if p.Thread == "" {
			parents++
			if text := alerting.Text(p.Message); !strings.Contains(text, "\nopened again at ") {
				t.Errorf("the message says\n%s", text)
			}
			continue
		}
		replies++
	}
	if parents != 1 || replies != 2 {
		t.Errorf("%d messages and %d replies, want 1 and 2", parents, replies)
	}
}
