package rollback

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/strict"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// agreed is a plan to which every guard says yes.
func agreed(t *testing.T) *Plan {
	t.Helper()
	doc, _ := strict.Parse("p.yml", []byte("rollback: {mode: auto, freeze: [{name: black-friday, time_intervals: [{months: [november], days_of_month: ['28']}]}]}\n"))
	policy, ps := LoadPolicy(doc, DefaultPolicy(), "rollback")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	old := belay.Revision{Content: "sha256:01", Version: "1"}
	bad := belay.Revision{Content: "sha256:02", Version: "2"}
	d := belay.Deployment{ID: "d", From: old, To: bad, StartedAt: noon.Add(-time.Minute)}
	return &Plan{
		Policy: policy, Caps: Capabilities{CAS: Atomic}, Incident: &belay.Incident{ID: "i"},
		Trigger:  &belay.Alert{Rule: "Errors", Verdict: belay.Fail, DataAt: noon.Add(-time.Second), ActiveAt: noon.Add(-30 * time.Second)},
		Failures: 3, Judgings: 3, Suspects: []belay.Suspect{{Deployment: d, Score: 0.9}}, Latest: &d,
		State:      belay.State{Revision: bad},
		Ledger:     map[belay.Content]belay.LedgerEntry{old.Content: {Revision: old, Standing: belay.Good}},
		Restorable: []belay.Revision{bad, old}, To: old,
		MaxLag: 15 * time.Second, StaleAfter: time.Minute, Red: 1, Services: 20,
	}
}

// objection makes one guard say no to a plan that all agree to.
type objection struct {
	guard string
	with  func(p *Plan)
	at    time.Time
}

func objections() []objection {
	return []objection{
		{guard: "evidence", with: func(p *Plan) { p.Failures = 2 }},
		{guard: "evidence", with: func(p *Plan) { p.Trigger = nil }},
		{guard: "evidence", with: func(p *Plan) { p.Trigger.Verdict = belay.Unknown }},
		{guard: "fresh_data", with: func(p *Plan) { p.Trigger.DataAt = noon.Add(-2 * time.Minute) }},
		{guard: "provenance", with: func(p *Plan) { p.Foreign = "reads sent, of which others sent in samples" }},
		{guard: "own_evidence", with: func(p *Plan) { p.Elsewhere = "checkout" }},
		{guard: "one_at_a_time", with: func(p *Plan) { p.First = "payments, which this service depends on, is seen to first" }},
		{guard: "silenced", with: func(p *Plan) { p.Silenced = "is silenced by ann until noon" }},
		{guard: "own_lag", with: func(p *Plan) { p.Lag = time.Minute }},
		{guard: "mass_alarm", with: func(p *Plan) { p.Red = 11 }},
		{guard: "suspect", with: func(p *Plan) { p.Suspects = nil }},
		{guard: "suspect", with: func(p *Plan) { p.Suspects[0].Deployment.Service.Name = "payments" }},
		{guard: "green_before", with: func(p *Plan) { p.Ledger["sha256:01"] = belay.LedgerEntry{Standing: belay.Candidate} }},
		{guard: "margin", with: func(p *Plan) { p.Suspects = append(p.Suspects, belay.Suspect{Score: 0.85}) }},
		{guard: "still_running", with: func(p *Plan) { p.State.Revision.Content = "sha256:03" }},
		{guard: "still_running", with: func(p *Plan) { p.StateErr = errors.New("no answer") }},
		{guard: "not_our_doing", with: func(p *Plan) { p.Latest.Operation = "op-1" }},
		{guard: "once", with: func(p *Plan) { p.Acted = &belay.Rollback{ID: "op-1"} }},
		{guard: "known_good", with: func(p *Plan) { p.To = belay.Revision{} }},
		{guard: "restorable", with: func(p *Plan) { p.Restorable = p.Restorable[:1] }},
		{guard: "restorable", with: func(p *Plan) { p.Restorable[1].Missing = true }},
		{guard: "restorable", with: func(p *Plan) { p.ListErr = errors.New("no answer") }},
		{guard: "reversible", with: func(p *Plan) { p.Suspects[0].Deployment.Irreversible = true }},
		{guard: "owner", with: func(p *Plan) { p.State.Owner = "Flux" }},
		{guard: "mode", with: func(p *Plan) { p.Policy.Mode = belay.ModeNotify }},
		{guard: "mode", with: func(p *Plan) { p.Policy.Mode = belay.ModeOff }},
		{guard: "kill_switch", with: func(p *Plan) { p.KillSwitch = true }},
		{guard: "freeze", with: func(*Plan) {}, at: noon.Add(24 * time.Hour)},
		{guard: "budget", with: func(p *Plan) { p.InFlight = 1 }},
		{guard: "budget", with: func(p *Plan) { p.LastHour = 3 }},
		{guard: "budget", with: func(p *Plan) { p.RolledBack = 2 }},
		{guard: "cooldown", with: func(p *Plan) { p.LastOwn = noon.Add(-time.Minute) }},
		{guard: "compare_and_set", with: func(p *Plan) { p.Caps.CAS = Checked }},
		{guard: "compare_and_set", with: func(p *Plan) { p.Caps.CAS = None }},
	}
}

func TestEachGuardSaysNoOnItsOwn(t *testing.T) {
	answers, veto, asks := Answer(agreed(t), noon, true)
	if veto != nil || len(asks) > 0 {
		t.Fatalf("not everybody agrees: %+v %+v", veto, asks)
	}
	covered := map[string]bool{}
	for _, tc := range objections() {
		covered[tc.guard] = true
		t.Run(tc.guard, func(t *testing.T) {
			p, now := agreed(t), noon
			tc.with(p)
			if !tc.at.IsZero() {
				now = tc.at
				p.Trigger.DataAt = now
			}
			_, veto, asks := Answer(p, now, true)
			if len(asks) > 0 && veto == nil {
				veto = &asks[0]
			}
			if veto == nil || veto.Guard != tc.guard {
				t.Fatalf("the first no is %+v", veto)
			}
			if s := veto.Veto; len(s) < 15 || strings.Contains(s, "%!") || strings.ContainsAny(s, "{}") {
				t.Errorf("not a sentence for people: %q", s)
			}
		})
	}
	for _, a := range answers {
		if !covered[a.Guard] {
			t.Errorf("nothing shows that %s ever says no", a.Guard)
		}
	}
}

// Whatever else is true of a plan: while one guard objects, Belay does not act
// alone. In particular, what rests on samples of others is a person's decision
// at most.
func TestNoPlanWithAnObjectionIsActedOnAlone(t *testing.T) {
	all := objections()
	dice := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		p, now, made := agreed(t), noon, map[string]bool{}
		for range 1 + dice.IntN(4) {
			o := all[dice.IntN(len(all))]
			if p.Trigger == nil || len(p.Suspects) == 0 || len(p.Restorable) < 2 {
				break // an earlier objection took away what this one is about
			}
			o.with(p)
			made[o.guard] = true
			if !o.at.IsZero() {
				now = o.at
			}
		}
		if p.Trigger != nil && !made["fresh_data"] {
			p.Trigger.DataAt = now
		}
		answers, veto, asks := Answer(p, now, true)
		if veto == nil && len(asks) == 0 {
			t.Fatalf("Belay would act alone although %v object: %+v", made, answers)
		}
		if made["provenance"] && veto == nil {
			p.Approver = "ann"
			if _, veto, asks := Answer(p, now, true); veto != nil || len(asks) > 0 {
				t.Fatalf("a person approved, and it is still refused: %+v %+v", veto, asks)
			}
		}
	}
}

func TestAPersonAnswersForTheMachineButNotForTheChange(t *testing.T) {
	p := agreed(t)
	p.Person, p.Policy.Mode, p.Trigger, p.Suspects = "ann", belay.ModeNotify, nil, nil
	if _, veto, _ := Answer(p, noon, false); veto != nil {
		t.Errorf("a person is refused by %+v", veto)
	}
	p.State.Owner = "Flux"
	if _, veto, _ := Answer(p, noon, false); veto == nil || veto.Guard != "owner" {
		t.Errorf("a person overrules the owner: %+v", veto)
	}
}

// obedient is a platform that does as it is told, whatever runs.
type obedient struct {
	Platform
	runs     belay.Content
	restored int
}

func (o *obedient) State(context.Context, belay.Target) (belay.State, error) {
	return belay.State{Revision: belay.Revision{Content: o.runs}}, nil
}

func (o *obedient) Restore(context.Context, belay.Operation) error { o.restored++; return nil }

// Belay does not lean on the platform for I2: it reads what runs before it
// asks, and asks for nothing when that is not what was judged.
func TestNothingIsAskedWhenSomethingElseRuns(t *testing.T) {
	o := &obedient{runs: "sha256:03"}
	w := &worker{c: &Controller{opts: Options{Journal: refusingJournal{}, Emergency: func(string, string) {}}, log: slog.New(slog.DiscardHandler), view: newView()}, svc: Service{Platform: o}}
	_ = w.act(t.Context(), belay.Rollback{From: belay.Revision{Content: "sha256:02"}, To: belay.Revision{Content: "sha256:01"}}, noon)
	if o.restored != 0 {
		t.Error("it asked the platform to change what nobody had judged")
	}
}

type refusingJournal struct{ belay.Journal }

func (refusingJournal) Append(context.Context, string, belay.Seq, ...belay.Event) (belay.Seq, error) {
	return 0, errors.New("full")
}
