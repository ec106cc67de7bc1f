package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
)

func TestWhatTheRuleBehindAnAlertReads(t *testing.T) {
	e := newWorld(t).load(`
groups:
- name: g
  rules:
  - {record: ratio, expr: errors / requests}
  - {alert: Direct, expr: errors > 1}
  - {alert: Recorded, expr: ratio > 0.1 and on () up == 1}
  - {alert: Anything, expr: '{job="shop"} > 1'}
  - {alert: Meta, expr: 'ALERTS{alertname="Direct"} == 1'}
  - {alert: Twice, expr: a > 1, labels: {severity: critical}}
  - {alert: Twice, expr: b > 1, labels: {severity: warning}}
`)
	for alert, want := range map[string][]string{
		"Direct":   {"errors"},
		"Recorded": {"errors", "ratio", "requests", "up"},
		"Anything": {""},
		"Meta":     {""},
		"Twice":    {"a", "b"},
	} {
		got, known := e.Reads(belay.Alert{Rule: alert, Group: "g"})
		if diff := cmp.Diff(want, got); diff != "" || !known {
			t.Errorf("%s (known: %v): %s", alert, known, diff)
		}
	}
	for _, a := range []belay.Alert{{Rule: "Direct", Group: "other"}, {Rule: "ratio", Group: "g"}, {Rule: "Sent", Group: "g"}} {
		if got, known := e.Reads(a); known || len(got) > 0 {
			t.Errorf("%s/%s is no alerting rule of the set, and reads %v", a.Group, a.Rule, got)
		}
	}
}
