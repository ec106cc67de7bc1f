package rollback_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

func TestABadReleaseIsTakenBackOnceAndProved(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(20 * time.Second)
		s.breaks()
		time.Sleep(5 * time.Second)
		s.expectState(belay.RollbackCountdown)
		s.expectWrites(0)
		time.Sleep(10 * time.Second)
		s.expectState(belay.RollbackProving)
		s.expectWrites(1)
		s.mends()
		time.Sleep(20 * time.Second)
		if rb := s.expectState(belay.RollbackProving); rb.HealthyAt.IsZero() {
			s.t.Error("fresh data did not count as proof")
		}
		time.Sleep(15 * time.Second)
		s.expectState(belay.RollbackRecovered)
		s.expectStanding(v2, belay.Bad)
		s.expectStanding(v1, belay.Good)
		s.expectWrites(1)
		s.expectIntentFirst()
	})
}

func TestWhatStopsARollbackBeforeThePlatformIsAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		before func(s *scene) // v2 has just begun
		during func(s *scene) // the incident has just opened
		state  belay.RollbackState
		reason string
	}{
		"mode notify only tells": {
			policy: strings.Replace(autoPolicy, "auto", "notify", 1),
			state:  belay.RollbackRefused, reason: "mode is notify",
		},
		"a person says stop": {
			during: func(s *scene) {
				time.Sleep(5 * time.Second)
				c := s.restart()
				if err := c.Stop(s.t.Context(), s.newest().ID, "ann", "we look first"); err != nil {
					s.t.Error(err)
				}
			},
			state: belay.RollbackStopped, reason: "ann stopped it: we look first",
		},
		"the kill switch is set while the countdown runs": {
			during: func(s *scene) {
				time.Sleep(5 * time.Second)
				if err := os.WriteFile(s.killFile, nil, 0o600); err != nil {
					s.t.Error(err)
				}
			},
			state: belay.RollbackStopped, reason: "kill switch",
		},
		"a third version is deployed while the countdown runs": {
			during: func(s *scene) { time.Sleep(5 * time.Second); s.platform.Deploy(v3) },
			state:  belay.RollbackRefused, reason: "1.43.0 runs by now",
		},
		"the incident ends by itself": {
			during: func(s *scene) { time.Sleep(5 * time.Second); s.mends(); s.resolveIncident() },
			state:  belay.RollbackStopped, reason: "ended before Belay acted",
		},
		"the rule becomes unknown": {
			during: func(s *scene) { time.Sleep(5 * time.Second); s.setVerdict("CheckoutErrors", belay.Unknown) },
			state:  belay.RollbackRefused, reason: "unknown",
		},
		"nobody could be told": {
			before: func(s *scene) { s.mu.Lock(); s.deaf = true; s.mu.Unlock() },
			state:  belay.RollbackAwaiting, reason: "no channel confirmed",
		},
		"the samples were sent in by others": {
			before: func(s *scene) {
				s.mu.Lock()
				s.foreign = "reads sent, of which others sent in samples"
				s.mu.Unlock()
			},
			state: belay.RollbackAwaiting, reason: "CheckoutErrors reads sent, of which others sent in samples; only what Belay itself scraped",
		},
		"samples are sent in while the countdown runs": {
			during: func(s *scene) {
				time.Sleep(5 * time.Second)
				s.mu.Lock()
				s.foreign = "reads sent, of which others sent in samples"
				s.mu.Unlock()
			},
			state: belay.RollbackAwaiting, reason: "others sent in samples",
		},
		"the alert is silenced": {
			before: func(s *scene) { s.mu.Lock(); s.silenced = "is silenced by ann (migration)"; s.mu.Unlock() },
			state:  belay.RollbackAwaiting, reason: "is silenced by ann (migration), so people know",
		},
		"the platform cannot compare and set": {
			before: func(s *scene) {
				s.stop()
				s.platform = rollbacktest.NewFake(target, rollback.Checked)
				s.platform.Deploy(v1)
				s.platform.Deploy(v2)
				s.start()
			},
			state: belay.RollbackAwaiting, reason: "allow_checked",
		},
		"somebody else owns the target": {
			before: func(s *scene) { s.platform.SetOwner("Argo CD") },
			state:  belay.RollbackRefused, reason: "Argo CD owns this target",
		},
		"the good revision has vanished": {
			before: func(s *scene) { s.platform.Vanish(v1.Content) },
			state:  belay.RollbackRefused, reason: "no longer restore 1.41.3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy := tc.policy
			if policy == "" {
				policy = autoPolicy
			}
			play(t, policy, func(s *scene) {
				s.platform.Deploy(v2)
				time.Sleep(5 * time.Second)
				if tc.before != nil {
					tc.before(s)
				}
				time.Sleep(5 * time.Second)
				s.breaks()
				if tc.during != nil {
					tc.during(s)
				}
				time.Sleep(2 * time.Minute)
				if rb := s.expectState(tc.state); !strings.Contains(rb.Reason, tc.reason) {
					s.t.Errorf("the reason is %q, want something with %q", rb.Reason, tc.reason)
				}
				s.expectWrites(0)
			})
		})
	}
}

func TestWhatThePlatformMayDoToARollback(t *testing.T) {
	for name, tc := range map[string]struct {
		faults []rollbacktest.Fault
		after  func(s *scene)
		state  belay.RollbackState
		reason string
		writes int
	}{
		"it applies and the answer is lost": {
			faults: []rollbacktest.Fault{rollbacktest.TimeoutButApplied()},
			after:  (*scene).mends, state: belay.RollbackRecovered, writes: 1,
		},
		"the request is lost twice": {
			faults: rollbacktest.Times(2, rollbacktest.TimeoutNotApplied()),
			after:  (*scene).mends, state: belay.RollbackRecovered, writes: 1,
		},
		"it asks to try later": {
			faults: rollbacktest.Times(3, rollbacktest.Fault{Refuse: rollback.ErrTryLater}),
			after:  (*scene).mends, state: belay.RollbackRecovered, writes: 1,
		},
		"another version slips in right before": {
			faults: []rollbacktest.Fault{rollbacktest.ConcurrentDeploy(v3)},
			state:  belay.RollbackSuperseded, reason: "nothing was changed", writes: 0,
		},
		"a controller puts the bad version back": {
			faults: []rollbacktest.Fault{rollbacktest.Reapply(v2)},
			state:  belay.RollbackFought, reason: "does not fight", writes: 1,
		},
		"a person puts the bad version back during the proof": {
			after: func(s *scene) { s.platform.Deploy(v2) },
			state: belay.RollbackFought, reason: "does not fight", writes: 1,
		},
		"it never converges": {
			faults: []rollbacktest.Fault{rollbacktest.PartialApply("image is gone")},
			state:  belay.RollbackFailed, reason: "image is gone", writes: 1,
		},
		"it helps nothing": {
			state: belay.RollbackNotRecovered, reason: "did not help", writes: 1,
		},
		"the bad version's series are gone, and nothing fresh comes": {
			after: func(s *scene) { s.mends(); s.setVerdict("CheckoutErrors", belay.Absent) },
			state: belay.RollbackNotRecovered, reason: "no fresh data", writes: 1,
		},
		"its targets stop answering": {
			after: func(s *scene) { s.mends(); s.setVerdict("CheckoutErrors", belay.Unknown) },
			state: belay.RollbackNotRecovered, reason: "cannot be judged", writes: 1,
		},
		"it never answers": {
			faults: rollbacktest.Times(100, rollbacktest.TimeoutNotApplied()),
			state:  belay.RollbackFailed, reason: "could not be brought to act", writes: 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, autoPolicy, func(s *scene) {
				s.platform.Deploy(v2)
				time.Sleep(10 * time.Second)
				s.platform.Inject(tc.faults...)
				s.breaks()
				time.Sleep(20 * time.Second)
				if tc.after != nil {
					tc.after(s)
				}
				time.Sleep(10 * time.Minute)
				if rb := s.expectState(tc.state); !strings.Contains(rb.Reason, tc.reason) {
					s.t.Errorf("the reason is %q, want something with %q", rb.Reason, tc.reason)
				}
				s.expectWrites(tc.writes)
				s.expectIntentFirst()
			})
		})
	}
}

func TestAfterItsOwnRollbackBelayActsNoMore(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(10 * time.Second)
		s.breaks()
		time.Sleep(time.Minute)
		s.mends()
		time.Sleep(time.Minute)
		s.expectState(belay.RollbackRecovered)
		s.resolveIncident()

		time.Sleep(4 * time.Minute) // the cool-down is over
		s.breaks()                  // the good one is red as well: I3
		time.Sleep(10 * time.Minute)
		s.expectWrites(1)
		s.mends()
		s.resolveIncident()

		s.platform.Deploy(v2) // held content comes back: I1
		time.Sleep(10 * time.Second)
		s.breaks()
		time.Sleep(10 * time.Minute)
		if rb := s.expectState(belay.RollbackRefused); !strings.Contains(rb.Reason, "already taken back once") {
			s.t.Errorf("the reason is %q", rb.Reason)
		}
		s.expectWrites(1)

		c := s.restart()
		if err := c.Release(s.t.Context(), checkout, v2.Content, "ann"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		s.expectWrites(2) // a new epoch
	})
}

// A proposal that the incident's end forestalled is made again when the
// incident goes on; one that a person refused is not.
func TestAnIncidentThatGoesOnIsProposedAgainUnlessAPersonSaidNo(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(s *scene, c *rollback.Controller)
		want belay.RollbackState
	}{
		"it ended by itself": {func(s *scene, _ *rollback.Controller) {}, belay.RollbackAwaiting},
		"a person said no": {func(s *scene, c *rollback.Controller) {
			if err := c.Stop(s.t.Context(), s.newest().ID, "ann", "we look first"); err != nil {
				s.t.Fatal(err)
			}
		}, belay.RollbackStopped},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, strings.Replace(autoPolicy, "auto", "approve", 1), func(s *scene) {
				c := s.restart()
				s.platform.Deploy(v2)
				time.Sleep(10 * time.Second)
				s.breaks()
				time.Sleep(5 * time.Second)
				s.expectState(belay.RollbackAwaiting)
				tc.end(s, c)
				s.mends()
				s.resolveIncident()
				time.Sleep(5 * time.Second)
				s.expectState(belay.RollbackStopped)
				in := s.incident()
				in.Reopened, in.ReopenedAt = 1, time.Now()
				s.fires("CheckoutErrors")
				s.write(belay.IncidentStream(checkout), belay.Event{At: time.Now(), Kind: belay.KindReopened, Service: checkout, Reason: "open again", Incident: &in})
				time.Sleep(10 * time.Second)
				s.expectState(tc.want)
				s.expectWrites(0)
			})
		})
	}
}

func TestAFullJournalMeansThatNothingActsAndPeopleAreTold(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(10 * time.Second)
		s.breaks()
		time.Sleep(3 * time.Second)
		s.expectState(belay.RollbackCountdown)
		s.mu.Lock()
		s.failing = true
		s.mu.Unlock()
		time.Sleep(5 * time.Minute)
		s.expectWrites(0)
		s.mu.Lock()
		told := len(s.emergency) > 0 && strings.Contains(s.emergency[0], "will not roll anything back")
		s.failing = false
		s.mu.Unlock()
		if !told {
			s.t.Error("nobody was told")
		}
		time.Sleep(time.Minute)
		s.expectWrites(1) // there is room again
	})
}

func TestAnAlertDuringTheSoakKeepsARevisionFromBeingKnownGood(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(40 * time.Second)
		s.expectStanding(v2, belay.Soaking)
		s.fires("CheckoutLatency") // another rule than the usual one
		time.Sleep(40 * time.Second)
		s.expectStanding(v2, belay.Candidate)
		s.mends()
		s.setVerdict("CheckoutLatency", belay.Pass)
		time.Sleep(50 * time.Second)
		s.expectStanding(v2, belay.Soaking) // the soak began anew
		time.Sleep(20 * time.Second)
		s.expectStanding(v2, belay.Good)
	})
}

func TestARevisionThatNoRuleCouldJudgeIsOnlyAssumed(t *testing.T) {
	for _, v := range []belay.Verdict{belay.Absent, belay.Unknown} {
		t.Run(string(v), func(t *testing.T) {
			play(t, autoPolicy, func(s *scene) {
				s.setVerdict("CheckoutErrors", v)
				s.platform.Deploy(v2)
				time.Sleep(5 * time.Minute)
				s.expectStanding(v2, belay.Assumed)
				s.setVerdict("CheckoutErrors", belay.Pass)
				time.Sleep(3 * time.Minute)
				s.expectStanding(v2, belay.Good)
			})
		})
	}
}

func TestAPersonMayOrderWhatTheModeForbids(t *testing.T) {
	play(t, strings.Replace(autoPolicy, "auto", "notify", 1), func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(10 * time.Second)
		s.breaks()
		c := s.restart()
		time.Sleep(5 * time.Second)
		plan, err := c.Plan(s.t.Context(), checkout)
		if err != nil || plan.State != belay.RollbackRefused || len(plan.Answers) != len(rollback.Guards()) {
			s.t.Errorf("plan: %+v, %v; want every guard's answer and the mode's veto", plan, err)
		}
		if _, err := c.Start(s.t.Context(), checkout, "ann"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.expectWrites(1)
		if rb := s.newest(); rb.OrderedBy != "ann" {
			s.t.Errorf("ordered by %q", rb.OrderedBy)
		}
	})
}

// Kill -9 after each event in turn: the loop closes every time, with one
// change of content (I1, I4, I5).
func TestARestartAfterAnyEventClosesTheLoopWithOneChange(t *testing.T) {
	for n := range 14 {
		t.Run(fmt.Sprintf("after %d events of the incident", n), func(t *testing.T) {
			play(t, autoPolicy, func(s *scene) {
				s.platform.Deploy(v2)
				time.Sleep(10 * time.Second)
				if n%2 == 1 {
					s.platform.Inject(rollbacktest.TimeoutButApplied())
				}
				begin := len(s.events())
				s.breaks()
				for range 600 {
					if len(s.events()) >= begin+n {
						break
					}
					time.Sleep(100 * time.Millisecond)
					if s.writes() > 0 {
						s.mends()
					}
				}
				s.restart()
				for range 600 { // ten minutes are enough, whatever it was in the middle of
					if s.writes() > 0 {
						break
					}
					time.Sleep(time.Second)
				}
				s.mends()
				time.Sleep(2 * time.Minute)
				s.expectState(belay.RollbackRecovered)
				s.expectWrites(1)
				s.expectIntentFirst()
			})
		})
	}
}

// Two controllers on one journal and one target make one change (I8).
func TestTwoBelaysMakeOneChange(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		first := s.stop
		s.start()
		second := s.stop
		s.stop = func() { first(); second() }
		s.platform.Deploy(v2)
		time.Sleep(10 * time.Second)
		s.breaks()
		time.Sleep(time.Minute)
		s.mends()
		time.Sleep(2 * time.Minute)
		s.expectState(belay.RollbackRecovered)
		s.expectWrites(1)
		s.expectIntentFirst()
		told := map[belay.Kind]int{}
		for _, ev := range s.events() {
			told[ev.Kind]++
		}
		for _, kind := range []belay.Kind{belay.KindPlanned, belay.KindCountdown, belay.KindIntent, belay.KindRecovered} {
			if told[kind] != 1 {
				s.t.Errorf("%s stands %d times in the journal: the two did not agree on who is first", kind, told[kind])
			}
		}
	})
}

// Another Belay on the same journal takes a stop while this one asks the guards
// for the last time. By the time this one writes its intent it has read the
// stop; what it decided before counts no more all the same.
func TestWhatAnotherBelayWroteWhileThisOneDecidedIsSeenToFirst(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		s.platform.Deploy(v2)
		time.Sleep(10 * time.Second)
		s.breaks()
		time.Sleep(5 * time.Second)
		rb := s.expectState(belay.RollbackCountdown)
		stopped := false
		s.mu.Lock()
		s.listing = func() {
			if time.Now().Before(rb.VetoUntil) || stopped {
				return
			}
			stopped = true
			rb.State, rb.ClosedAt, rb.Reason = belay.RollbackStopped, time.Now(), "ann stopped it"
			ev := belay.Event{At: time.Now(), Kind: belay.KindStop, Service: checkout, Actor: "ann", Rollback: &rb, Reason: rb.Reason}
			if _, err := s.store.Append(context.Background(), belay.RollbackStream(checkout), belay.AnySeq, ev); err != nil {
				s.t.Error(err)
			}
			time.Sleep(time.Second)
		}
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.expectState(belay.RollbackStopped)
		s.expectWrites(0)
		if !stopped {
			s.t.Error("the guards were not asked again")
		}
	})
}

func TestAnAnnouncementAddsWhoAndWhenToWhatThePlatformShows(t *testing.T) {
	play(t, autoPolicy, func(s *scene) {
		c := s.restart()
		time.Sleep(time.Second)
		began := time.Now()
		if err := c.Announce(context.Background(), rollback.Notice{Phase: "start", Service: checkout, Revision: "1.42.0", Commit: "abc", Actor: "ci", Irreversible: true}); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.platform.Deploy(v2)
		time.Sleep(5 * time.Second)
		var d belay.Deployment
		n := map[string]bool{}
		for _, ev := range s.events() {
			if ev.Deployment != nil {
				d = *ev.Deployment
				n[d.ID] = true
			}
		}
		if len(n) != 2 || d.To.Content != v2.Content || d.Commit != "abc" || d.Actor != "ci" || !d.StartedAt.Equal(began) || d.From.Content != v1.Content {
			s.t.Errorf("%d deployments, the newest %+v", len(n), d)
		}
		s.breaks()
		time.Sleep(time.Minute)
		if rb := s.expectState(belay.RollbackAwaiting); !strings.Contains(rb.Reason, "irreversible") {
			s.t.Errorf("the reason is %q", rb.Reason)
		}
	})
}

// An approval is used once, for exactly the plan that was shown, before it
// expires (I10).
func TestAnApproval(t *testing.T) {
	approvePolicy := strings.Replace(autoPolicy, "auto", "approve", 1)
	for name, tc := range map[string]struct {
		approve func(s *scene, c *rollback.Controller) error
		refused string
		writes  int
	}{
		"lets Belay act": {
			approve: func(s *scene, c *rollback.Controller) error {
				return c.Approve(s.t.Context(), s.newest().ID, s.newest().Plan, "ann")
			},
			writes: 1,
		},
		"is used once": {
			approve: func(s *scene, c *rollback.Controller) error {
				rb := s.newest()
				if err := c.Approve(s.t.Context(), rb.ID, rb.Plan, "ann"); err != nil {
					return err
				}
				return c.Approve(s.t.Context(), rb.ID, rb.Plan, "bob")
			},
			refused: "no rollback", writes: 1,
		},
		"of another plan is refused": {
			approve: func(s *scene, c *rollback.Controller) error {
				return c.Approve(s.t.Context(), s.newest().ID, "0badc0de", "ann")
			},
			refused: "the plan has changed",
		},
		"without a name is refused": {
			approve: func(s *scene, c *rollback.Controller) error {
				return c.Approve(s.t.Context(), s.newest().ID, s.newest().Plan, " ")
			},
			refused: "needs a name",
		},
		"comes too late": {
			approve: func(s *scene, c *rollback.Controller) error {
				time.Sleep(time.Hour)
				return c.Approve(s.t.Context(), s.newest().ID, s.newest().Plan, "ann")
			},
			refused: "no rollback",
		},
		"of what runs no more is refused": {
			approve: func(s *scene, c *rollback.Controller) error {
				rb := s.newest()
				s.platform.Deploy(v3)
				time.Sleep(5 * time.Second)
				return c.Approve(s.t.Context(), rb.ID, rb.Plan, "ann")
			},
			refused: "no rollback",
		},
		"does not overrule the guards that answer again": {
			approve: func(s *scene, c *rollback.Controller) error {
				s.setVerdict("CheckoutErrors", belay.Unknown)
				return c.Approve(s.t.Context(), s.newest().ID, s.newest().Plan, "ann")
			},
		},
		"survives a restart": {
			approve: func(s *scene, _ *rollback.Controller) error {
				rb := s.newest()
				return s.restart().Approve(s.t.Context(), rb.ID, rb.Plan, "ann")
			},
			writes: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, approvePolicy, func(s *scene) {
				s.platform.Deploy(v2)
				time.Sleep(10 * time.Second)
				c := s.restart()
				s.breaks()
				time.Sleep(2 * time.Minute)
				if rb := s.expectState(belay.RollbackAwaiting); rb.Plan == "" || !strings.Contains(rb.Reason, "belay rollback approve "+rb.ID) {
					s.t.Errorf("the proposal does not say how to approve it: %s", rb.Reason)
				}
				s.expectWrites(0)
				err := tc.approve(s, c)
				if tc.refused == "" && err != nil || tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)) {
					s.t.Errorf("approve: %v, want something with %q", err, tc.refused)
				}
				time.Sleep(time.Minute)
				s.expectWrites(tc.writes)
				s.expectIntentFirst()
			})
		})
	}
}
