package rules

import (
	"fmt"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

// FuzzStep leads alerts through evaluations that the bytes make up. Whatever
// they say, what is journalled must rebuild what is kept, nothing changes while
// quality is unknown, and nothing fires before its time.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x10, 0x21, 0x32, 0x43, 0xff, 0x80, 7, 9, 11})
	f.Add([]byte{5, 5, 5, 5, 0, 0, 0, 0, 0x55, 0x55})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 2 || len(script) > 400 {
			return
		}
		rule := &Rule{Name: "A", Group: "g", For: time.Duration(script[0]%4) * 10 * time.Second, KeepFiringFor: time.Duration(script[1]%3) * 15 * time.Second}
		var state []belay.Alert
		m := &memory{}
		now := epoch
		for i := 2; i+3 < len(script); i += 4 {
			now = now.Add(time.Duration(script[i]%40) * time.Second)
			quality := Quality(script[i] >> 6 % 3)
			var found []Found
			for id, b := range script[i+1 : i+4] {
				verdict := []belay.Verdict{belay.Pass, belay.Fail, belay.Unknown, belay.Absent}[b&3]
				if b&4 == 0 {
					found = append(found, Found{ID: fmt.Sprint(id), Verdict: verdict, Value: float64(b), Sure: b&8 > 0, Held: b&16 > 0, NoData: b&32 > 0, DataAt: now})
				}
			}
			next, changed := Step(state, found, quality, now, rule)
			checkStep(t, rule, state, next, changed, quality, now)
			for _, c := range changed {
				m.fold(belay.Event{At: now, Kind: belay.KindAlert, Reason: c.Reason, Alert: &c.Alert})
			}
			state = next
			if len(m.alerts) != len(state) {
				t.Fatalf("the journal tells of %d alerts, there are %d", len(m.alerts), len(state))
			}
			for k, a := range state {
				if b := m.alerts[k]; a.ID != b.ID || a.State != b.State || !a.KeepSince.Equal(b.KeepSince) || !a.ActiveAt.Equal(b.ActiveAt) || !a.FiredAt.Equal(b.FiredAt) {
					t.Fatalf("the journal tells of %+v, it is %+v", b, a)
				}
			}
		}
	})
}

func checkStep(t *testing.T, rule *Rule, before, next []belay.Alert, changed []Transition, quality Quality, now time.Time) {
	t.Helper()
	if quality == Unknown && (len(changed) > 0 || len(next) != len(before)) {
		t.Fatalf("something changed while nothing is known: %+v", changed)
	}
	for _, c := range changed {
		if c.Reason == "" {
			t.Fatalf("no reason: %+v", c.Alert)
		}
	}
	seen := map[string]bool{}
	for _, a := range next {
		if seen[a.ID] || a.State == belay.AlertInactive || !a.EvaluatedAt.Equal(now) {
			t.Fatalf("alert %+v", a)
		}
		seen[a.ID] = true
		if a.State == belay.AlertFiring && a.FiredAt.Sub(a.ActiveAt) < rule.For {
			t.Fatalf("fired before its time: %+v", a)
		}
	}
}
