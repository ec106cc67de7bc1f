package rollback_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// goes opens an incident whose alert is known, as alerting does.
func (s *scene) goes() {
	s.t.Helper()
	s.fires("CheckoutErrors")
	s.incidents++
	in := s.incident()
	in.Alerts = []belay.Alert{{Rule: "CheckoutErrors", Labels: labels.FromStrings("service", "checkout")}}
	s.write(belay.IncidentStream(checkout), belay.Event{At: time.Now(), Kind: belay.KindOpened, Service: checkout, Reason: "it broke", Incident: &in})
}

func (s *scene) report(c *rollback.Controller) rollback.Report {
	s.t.Helper()
	r, err := c.Report(s.t.Context(), checkout, time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func TestWhatBelayWouldHaveDoneIsComparedWithWhatPeopleDid(t *testing.T) {
	notify := strings.Replace(autoPolicy, "auto", "notify", 1)
	for name, tc := range map[string]struct {
		policy  string
		play    func(s *scene)
		outcome rollback.Outcome
		would   bool
		ahead   time.Duration
		people  string
	}{
		"people did what Belay would have done": {
			play: func(s *scene) {
				time.Sleep(4 * time.Minute)
				s.platform.Deploy(v1)
			},
			outcome: rollback.OutcomeHit, would: true, ahead: 4 * time.Minute, people: "went back to 1.41.3",
		},
		"people fixed it forward": {
			play:    func(s *scene) { time.Sleep(time.Minute); s.platform.Deploy(v3) },
			outcome: rollback.OutcomeForward, would: true, people: "deployed 1.43.0",
		},
		"it passed by itself": {
			play:    func(*scene) { time.Sleep(time.Minute) },
			outcome: rollback.OutcomeUnneeded, would: true, people: "deployed nothing",
		},
		"Belay said no, and people went back": {
			policy: notify,
			play: func(s *scene) {
				s.platform.SetOwner("Argo CD")
				time.Sleep(time.Minute)
				s.platform.Deploy(v1)
			},
			outcome: rollback.OutcomeMiss, people: "went back to 1.41.3",
		},
		"Belay went back, and it helped": {
			policy:  autoPolicy,
			play:    func(s *scene) { time.Sleep(time.Minute); s.mends(); time.Sleep(time.Minute) },
			outcome: rollback.OutcomeHit, would: true, people: "deployed nothing",
		},
		"Belay went back, and it did not help": {
			policy:  autoPolicy,
			play:    func(*scene) { time.Sleep(8 * time.Minute) },
			outcome: rollback.OutcomeHarm, would: true, people: "deployed nothing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy := tc.policy
			if policy == "" {
				policy = notify
			}
			play(t, policy, func(s *scene) {
				c := s.restart()
				s.platform.Deploy(v2)
				time.Sleep(10 * time.Second)
				if tc.outcome == rollback.OutcomeMiss {
					tc.play(s) // the owner is there before the incident
					s.platform.Deploy(v2)
					time.Sleep(10 * time.Second)
				}
				s.goes()
				time.Sleep(time.Second)
				if open := s.report(c); open.Cases[0].Outcome != rollback.OutcomeOpen && policy == notify {
					s.t.Errorf("while it is open it counts as %s", open.Cases[0].Outcome)
				}
				tc.play(s)
				time.Sleep(5 * time.Second)
				s.mends()
				s.resolveIncident()
				time.Sleep(5 * time.Second)
				r := s.report(c)
				if len(r.Cases) != 1 || len(r.Rows) != 1 {
					s.t.Fatalf("%d cases in %d rows, want one: %+v", len(r.Cases), len(r.Rows), r)
				}
				got := r.Cases[0]
				if got.Outcome != tc.outcome || got.Would != tc.would || got.People != tc.people || got.Rule != "CheckoutErrors" {
					s.t.Errorf("the case is %+v, want %s", got, tc.outcome)
				}
				if d := got.Ahead - tc.ahead; d < -5*time.Second || d > 5*time.Second {
					s.t.Errorf("Belay was %s ahead of people, want about %s", got.Ahead, tc.ahead)
				}
				if r.Rows[0].Advice == "" || r.Rows[0].Incidents != 1 {
					s.t.Errorf("the row is %+v", r.Rows[0])
				}
			})
		})
	}
}

func TestTheReportKeepsToItsServiceAndTime(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		c := s.restart()
		s.goes()
		time.Sleep(time.Second)
		for name, r := range map[string]func() (rollback.Report, error){
			"another service": func() (rollback.Report, error) {
				return c.Report(s.t.Context(), belay.ServiceID{Environment: "staging", Name: "checkout"}, time.Time{})
			},
			"later": func() (rollback.Report, error) { return c.Report(s.t.Context(), belay.ServiceID{}, time.Now()) },
		} {
			if got, err := r(); err != nil || len(got.Cases) != 0 || got.Rows == nil {
				s.t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}
