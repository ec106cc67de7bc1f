package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// A firing is one time that an alert fired, in an incident of its own.
type firing struct {
	at, lasts time.Duration
	acked     bool
	kind      belay.Kind // what a person did, or Belay
}

// played writes what a rule did to people.
func played(t *testing.T, j belay.Journal, rule string, firings ...firing) {
	t.Helper()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, f := range firings {
		at := begin.Add(f.at)
		a := belay.Alert{ID: rule, Rule: rule, State: belay.AlertFiring, FiredAt: at}
		in := belay.Incident{ID: rule + at.Format("150405"), State: belay.Triggered, OpenedAt: at, Alerts: []belay.Alert{a}}
		events := []belay.Event{
			{At: at, Kind: belay.KindAlert, Reason: "fires", Alert: &a},
			{At: at, Kind: belay.KindOpened, Reason: "opened", Incident: &in},
		}
		add := func(kind belay.Kind, actor string, change func(*belay.Incident)) {
			next := in
			change(&next)
			in = next
			events = append(events, belay.Event{At: at, Kind: kind, Reason: "x", Actor: actor, Incident: &next})
		}
		if f.acked {
			add(belay.KindAcked, "ada", func(i *belay.Incident) { i.AcknowledgedAt = at })
		}
		switch f.kind {
		case belay.KindNoted:
			add(belay.KindNoted, "ada", func(*belay.Incident) {})
		case belay.KindActed:
			events = append(events, belay.Event{At: at, Kind: belay.KindActed, Reason: "x", Rollback: &belay.Rollback{ID: "r", Incident: in.ID, ActedAt: at}})
		}
		if f.lasts > 0 {
			ended := a
			ended.State, ended.ResolvedAt = belay.AlertInactive, at.Add(f.lasts)
			events = append(events, belay.Event{At: ended.ResolvedAt, Kind: belay.KindAlert, Reason: "ended", Alert: &ended})
			add(belay.KindResolved, "", func(i *belay.Incident) { i.State = belay.Resolved })
		}
		if _, err := j.Append(t.Context(), "s", belay.AnySeq, events...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReportSaysWhichRulesAreWorthTheirNoise(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		firings []firing
		want    alerting.RuleReport
		advice  string
	}{
		"it led to action": {
			[]firing{{at: 0, lasts: hour, kind: belay.KindActed}, {at: 2 * hour, lasts: hour, kind: belay.KindNoted}, {at: 4 * hour, lasts: hour}},
			alerting.RuleReport{Fired: 3, Median: hour, Total: 3 * hour, Incidents: 3, Acted: 2},
			"keep it: something was done in 2 of its 3 incidents",
		},
		"it has hardly fired": {
			[]firing{{at: 0, lasts: hour}}, alerting.RuleReport{Fired: 1, Median: hour, Total: hour, Incidents: 1}, "too early to say: it has fired 1 time",
		},
		"it flaps": {
			[]firing{{at: 0, lasts: time.Minute}, {at: 5 * time.Minute, lasts: time.Minute}, {at: 10 * time.Minute, lasts: time.Minute}},
			alerting.RuleReport{Fired: 3, Median: time.Minute, Total: 3 * time.Minute, Flapped: 2, Incidents: 3},
			"calm it: 2 of 3 times",
		},
		"it is over before anybody comes": {
			[]firing{{at: 0, lasts: time.Minute}, {at: hour, lasts: time.Minute}, {at: 2 * hour, lasts: time.Minute}},
			alerting.RuleReport{Fired: 3, Median: time.Minute, Total: 3 * time.Minute, Incidents: 3},
			"let it wait",
		},
		"nobody cares": {
			[]firing{{at: 0, lasts: hour}, {at: 2 * hour, lasts: hour}, {at: 4 * hour}},
			alerting.RuleReport{Fired: 3, Firing: 1, Median: hour, Total: 2 * hour, Incidents: 3},
			"delete it, or `mode: observe`: it fired 3 times",
		},
		"people look and do nothing": {
			[]firing{{at: 0, lasts: hour, acked: true}, {at: 2 * hour, lasts: hour}, {at: 4 * hour, lasts: hour}},
			alerting.RuleReport{Fired: 3, Median: hour, Total: 3 * hour, Incidents: 3, Acknowledged: 1},
			"ask what it is for: people looked at 1 of its 3 incidents",
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := newMemory()
			played(t, j, "Noise", c.firings...)
			r, err := alerting.ReportAlerts(t.Context(), j, time.Time{})
			if err != nil || len(r.Rules) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			got := r.Rules[0]
			if !strings.HasPrefix(got.Advice, c.advice) {
				t.Errorf("it advises: %s; want: %s", got.Advice, c.advice)
			}
			c.want.Rule, c.want.Advice, c.want.Last = "Noise", got.Advice, got.Last
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestAReportKnowsNothingFromBeforeItsTime(t *testing.T) {
	j := newMemory()
	played(t, j, "Old", firing{at: 0, lasts: time.Hour})
	played(t, j, "New", firing{at: 48 * time.Hour, lasts: time.Hour})
	r, err := alerting.ReportAlerts(t.Context(), j, time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC))
	if err != nil || len(r.Rules) != 1 || r.Rules[0].Rule != "New" {
		t.Errorf("%+v, %v", r, err)
	}
}
