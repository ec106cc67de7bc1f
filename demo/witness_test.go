package demo

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/rollback/command/releases"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func after(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }

// incidentSeen is a whole incident, as it can be seen from outside.
func incidentSeen() observation {
	good, bad := belay.Revision{Content: "sha256:aa", Version: goodVersion}, belay.Revision{Content: "sha256:bb", Version: nextVersion}
	inc := belay.Incident{ID: "i-1", Title: "checkout: errors", State: belay.Triggered, OpenedAt: after(24)}
	rb := belay.Rollback{
		ID: "op-1", Incident: "i-1", From: bad, To: good, State: belay.RollbackCountdown,
		DecidedAt: after(25), VetoUntil: after(30), RecoveryHold: 8 * time.Second,
		Suspects: []belay.Suspect{{Deployment: belay.Deployment{To: bad}, Why: "1.42.0 began 1s before the damage"}},
	}
	then := func(e belay.Event, change func(*belay.Rollback)) belay.Event {
		change(&rb)
		r := rb
		e.Rollback = &r
		return e
	}
	over := inc
	over.State, over.ResolvedAt = belay.Resolved, after(40)
	refused := rb
	refused.State = belay.RollbackRefused
	events := []belay.Event{
		{At: after(15), Kind: belay.KindLedger, Reason: "1.41.3 is known good: green for 12s", Ledger: &belay.LedgerEntry{Revision: good, Standing: belay.Good}},
		{At: after(20), Kind: belay.KindAlert, Reason: "pending", Alert: &belay.Alert{ID: "a", State: belay.AlertPending}},
		{At: after(24), Kind: belay.KindAlert, Reason: "fires", Alert: &belay.Alert{
			ID: "a", Rule: "CheckoutErrors", State: belay.AlertFiring, Annotations: map[string]string{"summary": "8% of requests fail"},
		}},
		{At: after(24), Kind: belay.KindOpened, Reason: "opened", Incident: &inc},
		{At: after(24.2), Kind: belay.KindRefused, Reason: "2 of 3 judgements failed", Rollback: &refused},
		{At: after(24.7), Kind: belay.KindRefused, Reason: "2 of 3 judgements failed", Rollback: &refused},
		then(belay.Event{At: after(25), Kind: belay.KindCountdown, Reason: "told"}, func(*belay.Rollback) {}),
		then(belay.Event{At: after(30), Kind: belay.KindIntent, Reason: "intent"}, func(r *belay.Rollback) { r.State, r.IntentAt = belay.RollbackIntended, after(30) }),
		then(belay.Event{At: after(31), Kind: belay.KindConverged, Reason: "runs"}, func(r *belay.Rollback) { r.State, r.ConvergedAt = belay.RollbackProving, after(31) }),
		then(belay.Event{At: after(32), Kind: belay.KindHealthy, Reason: "proof"}, func(r *belay.Rollback) { r.HealthyAt = after(32) }),
		then(belay.Event{At: after(40), Kind: belay.KindRecovered, Reason: "held"}, func(r *belay.Rollback) { r.State = belay.RollbackRecovered }),
		{At: after(40), Kind: belay.KindResolved, Reason: "over", Incident: &over},
		{At: after(41), Kind: belay.KindReview, Reason: "drafted", Review: &belay.Review{Incident: "i-1", Files: []string{"i-1.md", "i-1.json"}}},
	}
	return observation{
		Events: events,
		Stints: []Stint{
			{Version: goodVersion, First: after(1), Good: 900},
			{Version: nextVersion, First: after(19), FirstBad: after(19.5), Errors: 50, Good: 500},
			{Version: goodVersion, First: after(30.5), Good: 10},
		},
		Changes: []releases.Change{
			{At: after(0), By: releases.ByDeploy, From: "-", To: "1.41.3@aa"},
			{At: after(18.9), By: releases.ByDeploy, From: "1.41.3@aa", To: "1.42.0@bb"},
			{At: after(30.2), By: "op-1", From: "1.42.0@bb", To: "1.41.3@aa"},
			{At: after(30.3), By: "op-1", To: "1.41.3@aa", Repeat: true},
		},
		Parents: []slacktest.Message{{TS: "1795435224.500000", Text: "checkout is failing\nmore"}},
	}
}

func TestAWitnessTellsAnIncidentInOrderAndOnce(t *testing.T) {
	var w witness
	var lines []string
	for _, turn := range w.see(incidentSeen()) {
		lines = append(lines, turn.Who+": "+turn.Text)
	}
	want := []string{
		"shop: checkout 1.41.3 answers",
		"belay: 1.41.3 is known good: green for 12s",
		"shop: 1.42.0 takes over",
		"fault: 1.42.0 gives its first bad answer",
		"alert: CheckoutErrors fires: 8% of requests fail",
		"incident: opens: checkout: errors",
		"refused: not yet: 2 of 3 judgements failed",
		"slack: one message in #checkout-oncall, edited in place from now on",
		"decision: go back to 1.41.3 in 5s, unless somebody stops it; 1.42.0 began 1s before the damage",
		"intent: is on disk, before anything is touched",
		"platform: 1.42.0 → 1.41.3",
		"platform: was asked again, and had done it already",
		"shop: 1.41.3 answers again",
		"converged: the platform says that 1.41.3 runs",
		"healthy: fresh data shows it well; that must hold for 8s",
		"resolved: the incident is over after 16s",
		"review: is written: i-1.md",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	again := incidentSeen()
	again.Events = nil // the API gives each event once
	if turns := w.see(again); len(turns) > 0 {
		t.Errorf("told twice: %v", turns)
	}
	if !w.done() || w.hopeless() != "" {
		t.Errorf("done %v, hopeless %q", w.done(), w.hopeless())
	}
	if !w.Message.Equal(after(24.5)) || !w.WellAt.Equal(after(30.5)) || w.Change.By != "op-1" {
		t.Errorf("message %v, well %v, change %v", w.Message, w.WellAt, w.Change)
	}
}

func TestARollbackThatFailedIsHopeless(t *testing.T) {
	var w witness
	w.see(observation{Events: []belay.Event{{
		At: noon, Kind: belay.KindEnded, Reason: "no", Rollback: &belay.Rollback{ID: "op-1", State: belay.RollbackFought, Reason: "somebody put it back"},
	}}})
	if got := w.hopeless(); got != "the rollback ended as fought: somebody put it back" {
		t.Errorf("hopeless = %q", got)
	}
}

func TestReviewAndDiaryAgreeWithinAScrape(t *testing.T) {
	facts := []fact{
		{Milestone: "change_applied", At: noon},
		{Milestone: "impact_start", At: after(1)},
		{Milestone: "impact_end", At: after(10), Lag: 3 * time.Second},
		{Milestone: "accepted", At: after(9)},
		{Milestone: "notified", At: time.Time{}},
	}
	claims := []milestone{
		{Name: "change_applied", At: after(-1)},
		{Name: "impact_start", At: after(2.1)},
		{Name: "impact_end", At: after(14)},
		{Name: "notified", At: after(3)},
	}
	got := compare(claims, facts, stage).disagreements()
	if d := cmp.Diff([]string{"impact_start", "accepted", "notified"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestKillsAreSpreadOverAllMomentsAndRepeatable(t *testing.T) {
	draw := func(seed uint64, n int) []kill { return plan(n, drill, rand.New(rand.NewPCG(seed, 0))) }
	kills := draw(7, 2*len(moments))
	times, twice := map[string]int{}, 0
	for _, k := range kills {
		times[k.moment.name]++
		if k.delay < 0 || k.delay >= k.moment.spread(drill) {
			t.Errorf("%s: outside its moment", k)
		}
		if k.again > 0 {
			twice++
		}
	}
	for _, m := range moments {
		if times[m.name] != 2 {
			t.Errorf("%s: killed %d times in %d rounds, want 2", m.name, times[m.name], len(kills))
		}
	}
	if twice == 0 || twice == len(kills) {
		t.Errorf("%d of %d rounds kill twice", twice, len(kills))
	}
	names := func(kills []kill) (out []string) {
		for _, k := range kills {
			out = append(out, k.String())
		}
		return out
	}
	if d := cmp.Diff(names(kills), names(draw(7, 2*len(moments)))); d != "" {
		t.Errorf("the same seed gives another plan:\n%s", d)
	}
	if cmp.Equal(names(kills), names(draw(8, 2*len(moments)))) {
		t.Error("another seed gives the same plan")
	}
}

func TestViolationsAreCounted(t *testing.T) {
	binary, dir := "/bin/true", t.TempDir()
	s, err := newScene(t.Context(), sceneOptions{Dir: dir, Listen: "127.0.0.1:0", Binary: binary, Fault: FaultErrors, Tempo: drill, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	if s.wiring, err = s.platform.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.running.Wait()
	defer func() { _ = s.platform.Stop(context.Background()) }()
	w := &witness{Incidents: map[string]bool{"i-1": true}}
	want := "0 content changes by operations, want 1; 1 deployments, want 2; 1 incidents, 0 told in Slack, want 1 each"
	if got := strings.Join(s.violations(w), "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := s.Release(t.Context(), nextVersion); err != nil {
		t.Fatal(err)
	}
	takeBack(t, s)
	w.Incidents = map[string]bool{"i-1": true, "i-2": true}
	if got := strings.Join(s.violations(w), "; "); got != "2 incidents, 0 told in Slack, want 1 each" {
		t.Errorf("got %s", got)
	}
	sum := tally{}
	sum.add(round{kills: 2, changes: 1})
	sum.add(round{kills: 1, changes: 2, bad: []string{"x"}})
	if got := sum.String(); got != "3 kills, 2 restores expected, 3 seen, 1 violations" {
		t.Errorf("tally: %s", got)
	}
}
