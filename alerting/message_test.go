package alerting_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// at returns a time on the day of the tests' incident.
func at(clock string) time.Time {
	t, err := time.Parse(time.DateTime, "2026-11-23 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

var checkout = belay.ServiceID{Environment: "production", Name: "checkout"}

// anAlert fires since 14:03:10.
func anAlert(rule, severity string, change ...func(*belay.Alert)) belay.Alert {
	a := belay.Alert{
		ID: "id-" + rule, Rule: rule, Group: "checkout", State: belay.AlertFiring, Value: 0.0812, Condition: "> 0.02",
		Labels:      labels.FromStrings("alertname", rule, "service", "checkout", "severity", severity),
		Annotations: map[string]string{},
		ActiveAt:    at("14:03:10"), FiredAt: at("14:03:20"), Verdict: belay.Fail,
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

func summary(s string) func(*belay.Alert) {
	return func(a *belay.Alert) { a.Annotations["summary"] = s }
}

func endedAt(clock string) func(*belay.Alert) {
	return func(a *belay.Alert) { a.State, a.ResolvedAt = belay.AlertInactive, at(clock) }
}

func anIncident(alerts ...belay.Alert) belay.Incident {
	return belay.Incident{
		ID: "checkout-20261123-140320-3f2a", Service: checkout, Title: "checkout production: CheckoutErrors",
		Severity: "critical", State: belay.Triggered, OpenedAt: at("14:03:20"), Alerts: alerts,
	}
}

func aRollback(s belay.RollbackState) *belay.Rollback {
	from, to := belay.Revision{Content: "sha256:bad", Version: "1.42.0"}, belay.Revision{Content: "sha256:good", Version: "1.41.3"}
	return &belay.Rollback{
		ID: "op", Incident: "checkout-20261123-140320-3f2a", State: s, From: from, To: to, Reason: "the reason",
		VetoUntil: at("14:04:20"), ActedAt: at("14:04:21"), ConvergedAt: at("14:04:25"), RecoveryHold: 5 * time.Minute,
		Suspects: []belay.Suspect{{Deployment: belay.Deployment{
			From: to, To: from, StartedAt: at("14:02:00"), Actor: "ci", Commit: "3f2a91c0ffee",
		}}},
	}
}

func TestSummarySaysWhatIsWrongHowFarAndSinceWhen(t *testing.T) {
	for name, tc := range map[string]struct {
		incident belay.Incident
		want     string
	}{
		"a short summary takes the value": {
			anIncident(anAlert("CheckoutErrors", "critical", summary("error ratio"))),
			"checkout production: error ratio 0.0812, limit > 0.02, since 14:03:10 UTC",
		},
		"a summary that holds its number is left alone": {
			anIncident(anAlert("CheckoutErrors", "critical", summary("8.1 % of requests fail.\nSee the runbook."))),
			"checkout production: 8.1 % of requests fail, limit > 0.02, since 14:03:10 UTC",
		},
		"a sentence takes the value in brackets": {
			anIncident(anAlert("CheckoutErrors", "critical", summary("Too many requests of checkout fail."))),
			"checkout production: Too many requests of checkout fail (0.0812), limit > 0.02, since 14:03:10 UTC",
		},
		"without a summary the rule speaks": {
			anIncident(anAlert("CheckoutErrors", "critical")),
			"checkout production: CheckoutErrors at 0.0812, limit > 0.02, since 14:03:10 UTC",
		},
		"an equality is no limit": {
			anIncident(anAlert("CheckoutDown", "critical", func(a *belay.Alert) { a.Condition, a.Value = "== 0", 0 })),
			"checkout production: CheckoutDown at 0, fires when == 0, since 14:03:10 UTC",
		},
		"the most severe alert speaks, the others are counted": {
			anIncident(anAlert("Queue", "warning"), anAlert("CheckoutErrors", "critical"), anAlert("Latency", "info")),
			"checkout production: CheckoutErrors at 0.0812, limit > 0.02, since 14:03:10 UTC; 2 more alerts fire too",
		},
		"one other is named; one that has ended is not": {
			anIncident(anAlert("CheckoutErrors", "critical", endedAt("14:05:00")), anAlert("Queue", "warning"), anAlert("Latency", "info")),
			"checkout production: Queue at 0.0812, limit > 0.02, since 14:03:10 UTC; Latency fires too",
		},
		"lost sight is said": {
			anIncident(anAlert("CheckoutErrors", "critical", func(a *belay.Alert) { a.Verdict = belay.Unknown })),
			"checkout production: CheckoutErrors at 0.0812, limit > 0.02, no fresh data, since 14:03:10 UTC",
		},
		"yesterday is dated": {
			anIncident(anAlert("CheckoutErrors", "critical", func(a *belay.Alert) { a.ActiveAt = at("14:03:10").AddDate(0, 0, -1) })),
			"checkout production: CheckoutErrors at 0.0812, limit > 0.02, since 2026-11-22 14:03:10 UTC",
		},
		"everything has ended, the incident not yet": {
			anIncident(anAlert("CheckoutErrors", "critical", endedAt("14:05:00")), anAlert("Queue", "warning", endedAt("14:04:00"))),
			"checkout production: CheckoutErrors has ended at 14:05:00 UTC, and nothing else fires",
		},
		"resolved": {
			func() belay.Incident {
				i := anIncident(anAlert("CheckoutErrors", "critical", endedAt("14:05:00")))
				i.State, i.ResolvedAt = belay.Resolved, at("14:07:40")
				return i
			}(),
			"checkout production: CheckoutErrors, 14:03:10 to 14:07:40 UTC",
		},
		"no alert at all": {anIncident(), "checkout production: CheckoutErrors"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, alerting.Summary(alerting.Message{Incident: tc.incident, At: at("14:06:00")})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNextSaysWhatBelayWillDoAndWhen(t *testing.T) {
	for _, tc := range []struct {
		name     string
		rollback *belay.Rollback
		want     string
	}{
		{"no rollback", nil, "Belay has not planned a rollback"},
		{"refused by a guard", func() *belay.Rollback {
			r := aRollback(belay.RollbackRefused)
			r.Answers = []belay.Answer{{Step: 1, Guard: "evidence", Says: "3 of 3"}, {Step: 7, Guard: "permission", Veto: "mode is notify"}}
			return r
		}(), "Belay does nothing: mode is notify"},
		{"refused without a guard", aRollback(belay.RollbackRefused), "Belay does nothing: the reason"},
		{"planned", aRollback(belay.RollbackPlanned), "Belay wants to roll back to 1.41.3 and is telling people first"},
		{"awaiting approval", func() *belay.Rollback {
			r := aRollback(belay.RollbackAwaiting)
			r.ApproveUntil = at("14:34:20")
			return r
		}(), "Belay waits until 14:34:20 UTC for a person to approve rolling back to 1.41.3"},
		{"countdown", aRollback(belay.RollbackCountdown), "rolling back to 1.41.3 at 14:04:20 UTC — say stop to prevent it"},
		{"intended", aRollback(belay.RollbackIntended), "rolling back to 1.41.3 now"},
		{"converging", aRollback(belay.RollbackConverging), "rolling back to 1.41.3: the platform accepted at 14:04:21 UTC, not all of it runs yet"},
		{"proving", aRollback(belay.RollbackProving), "1.41.3 runs again since 14:04:25 UTC; waiting for fresh data to prove that it helped"},
		{"proved once", func() *belay.Rollback {
			r := aRollback(belay.RollbackProving)
			r.HealthyAt = at("14:05:00")
			return r
		}(), "1.41.3 runs again since 14:04:25 UTC and is healthy; watching until 14:10:00 UTC that it stays so"},
		{"recovered", aRollback(belay.RollbackRecovered), "rolled back to 1.41.3 and healthy again; 1.42.0 is held"},
		{"did not help", aRollback(belay.RollbackNotRecovered), "rolled back to 1.41.3, but that did not help: a person must look, Belay does nothing more"},
		{"failed", aRollback(belay.RollbackFailed), "the rollback to 1.41.3 failed: a person must look, Belay does nothing more"},
		{"superseded after it acted", aRollback(belay.RollbackSuperseded), "something else was deployed after the rollback to 1.41.3: Belay does nothing more"},
		{"superseded before it acted", func() *belay.Rollback {
			r := aRollback(belay.RollbackSuperseded)
			r.ActedAt = time.Time{}
			return r
		}(), "Belay changed nothing: something else runs by now"},
		{"fought", aRollback(belay.RollbackFought), "somebody put 1.42.0 back: Belay keeps its hands off"},
		{"stopped", aRollback(belay.RollbackStopped), "the rollback to 1.41.3 was stopped: Belay does nothing more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := alerting.Message{Incident: anIncident(anAlert("CheckoutErrors", "critical")), Rollback: tc.rollback, At: at("14:04:00")}
			if diff := cmp.Diff(tc.want, alerting.Next(m)); diff != "" {
				t.Error(diff)
			}
			m.Incident.State = belay.Resolved
			if got := alerting.Next(m); got != "" {
				t.Errorf("resolved, and yet: %s", got)
			}
		})
	}
}

func TestSuspectNamesTheReleaseAndHowLongBefore(t *testing.T) {
	m := alerting.Message{Incident: anIncident(anAlert("CheckoutErrors", "critical")), Rollback: aRollback(belay.RollbackPlanned), At: at("14:04:00")}
	want := "suspect: 1.42.0, in place of 1.41.3 at 14:02:00 UTC, 1 min 10 s before, by ci, commit 3f2a91c0"
	if diff := cmp.Diff(want, alerting.Suspect(m)); diff != "" {
		t.Error(diff)
	}
	m.Rollback = nil
	if got := alerting.Suspect(m); got != "" {
		t.Errorf("no suspect, and yet: %s", got)
	}
}

func TestOutcomeSaysHowItEnded(t *testing.T) {
	for name, tc := range map[string]struct {
		rollback *belay.Rollback
		want     string
	}{
		"by a rollback":         {aRollback(belay.RollbackRecovered), "resolved after 4 min 20 s: rolled back 1.42.0 → 1.41.3 at 14:04:21 UTC"},
		"after a useless one":   {aRollback(belay.RollbackNotRecovered), "resolved after 4 min 20 s: rolled back 1.42.0 → 1.41.3 at 14:04:21 UTC, which did not help"},
		"without a rollback":    {nil, "resolved after 4 min 20 s: Belay changed nothing"},
		"with one only refused": {&belay.Rollback{State: belay.RollbackRefused}, "resolved after 4 min 20 s: Belay changed nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			i := anIncident(anAlert("CheckoutErrors", "critical", endedAt("14:07:00")))
			m := alerting.Message{Incident: i, Rollback: tc.rollback, At: at("14:08:00")}
			if got := alerting.Outcome(m); got != "" {
				t.Errorf("open, and yet: %s", got)
			}
			m.Incident.State, m.Incident.ResolvedAt = belay.Resolved, at("14:07:40")
			if diff := cmp.Diff(tc.want, alerting.Outcome(m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextIsTheWholeStoryAsLines(t *testing.T) {
	m := alerting.Message{
		Kind: alerting.Parent, Incident: anIncident(anAlert("CheckoutErrors", "critical", summary("error ratio"))),
		Rollback: aRollback(belay.RollbackCountdown), At: at("14:04:00"),
		Links: alerting.Links{Incident: "https://belay.example.org/incidents/checkout-20261123-140320-3f2a"},
	}
	m.Incident.AcknowledgedBy, m.Incident.AcknowledgedAt = "alice", at("14:03:50")
	want := `checkout production: error ratio 0.0812, limit > 0.02, since 14:03:10 UTC
suspect: 1.42.0, in place of 1.41.3 at 14:02:00 UTC, 1 min 10 s before, by ci, commit 3f2a91c0
rolling back to 1.41.3 at 14:04:20 UTC — say stop to prevent it
acknowledged by alice at 14:03:50 UTC
https://belay.example.org/incidents/checkout-20261123-140320-3f2a`
	if diff := cmp.Diff(want, alerting.Text(m)); diff != "" {
		t.Error(diff)
	}
	m.Kind, m.Event = alerting.Reply, belay.Event{Kind: belay.KindNoted, Reason: "database looks fine", Actor: "alice"}
	if diff := cmp.Diff("alice: database looks fine", alerting.Text(m)); diff != "" {
		t.Error(diff)
	}
}

func TestSpansAndNumbersAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 850 * time.Millisecond: "850 ms", 12400 * time.Millisecond: "12 s", time.Minute: "1 min",
		260 * time.Second: "4 min 20 s", 125 * time.Minute: "2 h 5 min", 24 * time.Hour: "1 d", 76 * time.Hour: "3 d 4 h",
		59*time.Second + 800*time.Millisecond: "1 min",
	} {
		if got := alerting.Span(d); got != want {
			t.Errorf("Span(%s) = %q, want %q", d, got, want)
		}
	}
	for v, want := range map[belay.Value]string{
		0: "0", 0.081234: "0.0812", 12.34: "12.3", 999.6: "1000", 1530.2: "1530", 1e-7: "1e-07", 2e6: "2000000", belay.Value(math.Inf(1)): "infinity",
	} {
		if got := alerting.Number(v); got != want {
			t.Errorf("Number(%g) = %q, want %q", float64(v), got, want)
		}
	}
	if got := alerting.Number(belay.Value(math.NaN())); got != "no number" {
		t.Errorf("NaN is %q", got)
	}
}
