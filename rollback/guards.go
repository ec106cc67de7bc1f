package rollback

import (
	"fmt"
	"time"

	"github.com/belaydev/belay"
)

// A Guard answers one question of a plan. An empty veto is a yes; otherwise it
// is a sentence that tells a person why not. says is what the guard saw when it
// agrees.
type Guard func(p *Plan, now time.Time) (veto, says string)

// A NamedGuard is a guard with its name and its step in the decision of the
// safety rules.
type NamedGuard struct {
	Step  int
	Name  string
	Guard Guard
	// Machine marks a guard that binds Belay alone: a person who orders a
	// rollback has answered it.
	Machine bool
	// Ask marks a guard whose veto a person may overrule by approving: it turns
	// auto into approve, and ends nothing.
	Ask bool
}

// Guards are the guards in the order in which they are asked; the first veto
// ends the decision. Steps 8 and 9, acting and proving, are the controller's.
func Guards() []NamedGuard {
	return []NamedGuard{
		{1, "evidence", evidence, true, false},
		{1, "fresh_data", freshData, true, false},
		{1, "provenance", provenance, true, true},
		{2, "own_lag", ownLag, true, false},
		{2, "mass_alarm", massAlarm, true, false},
		{3, "suspect", suspected, true, false},
		{3, "green_before", greenBefore, true, false},
		{3, "margin", margin, true, false},
		{3, "own_evidence", ownEvidence, true, true},
		{4, "still_running", stillRunning, false, false},
		{4, "not_our_doing", notOurDoing, true, false},
		{4, "once", once, false, false},
		{5, "known_good", knownGood, false, false},
		{5, "restorable", restorable, false, false},
		{5, "reversible", reversible, true, true},
		{6, "owner", owner, false, false},
		{7, "mode", mode, true, false},
		{7, "kill_switch", killSwitch, false, false},
		{7, "freeze", freeze, true, false},
		{7, "budget", budget, true, false},
		{7, "cooldown", cooldown, true, false},
		{7, "one_at_a_time", oneAtATime, true, false},
		{7, "silenced", silenced, true, true},
		{7, "compare_and_set", compareAndSet, true, true},
	}
}

// Answer asks the guards in order. With all set it asks every one, otherwise
// it ends with the first veto, as the decision does. asks are the vetoes that
// a person may overrule.
func Answer(p *Plan, now time.Time, all bool) (answers []belay.Answer, veto *belay.Answer, asks []belay.Answer) {
	for _, g := range Guards() {
		a := belay.Answer{Step: g.Step, Guard: g.Name}
		a.Veto, a.Says = g.Guard(p, now)
		switch {
		case a.Veto == "":
		case g.Machine && p.Person != "":
			a.Says, a.Veto = p.Person+" decided, although "+a.Veto, ""
		case g.Ask && p.Approver != "":
			a.Says, a.Veto = p.Approver+" approved, although "+a.Veto, ""
		case g.Ask && (p.Policy.Mode == belay.ModeAuto || p.Policy.Mode == belay.ModeApprove):
			asks = append(asks, a)
			a.Says, a.Veto = "a person has to approve: "+a.Veto, ""
		}
		answers = append(answers, a)
		if a.Veto != "" && veto == nil {
			first := a
			veto = &first
			if !all {
				break
			}
		}
	}
	return answers, veto, asks
}

func evidence(p *Plan, _ time.Time) (string, string) {
	if p.Trigger == nil {
		return "no alert that may lead to a rollback is firing", ""
	}
	if p.Trigger.Verdict == belay.Unknown {
		return fmt.Sprintf("%s is unknown now: its targets do not answer or its query failed", p.Trigger.Rule), ""
	}
	if p.Failures < p.Policy.failures {
		return fmt.Sprintf("not enough judgements of %s have failed yet; the policy asks for %s", p.Trigger.Rule, p.Policy.Failed), ""
	}
	return "", fmt.Sprintf("%s failed %d of its last %d judgements", p.Trigger.Rule, p.Failures, p.Judgings)
}

func freshData(p *Plan, now time.Time) (string, string) {
	if p.Trigger == nil {
		return "no alert, so no data that could be fresh", ""
	}
	age := now.Sub(p.Trigger0().DataAt)
	if age > p.StaleAfter {
		return fmt.Sprintf("the data behind %s is older than %s", p.Trigger0().Rule, readable(p.StaleAfter)), ""
	}
	return "", "its newest sample is " + readable(max(age, 0)) + " old"
}

// provenance lets a person decide over what Belay did not see itself: samples
// that others sent in, answers of another server, alerts of another judge.
func provenance(p *Plan, _ time.Time) (string, string) {
	if p.Foreign != "" {
		return p.Trigger0().Rule + " " + p.Foreign + "; only what Belay itself scraped and judged lets it act alone", ""
	}
	if p.Trigger == nil {
		return "", "no alert rests on what others sent in"
	}
	return "", "Belay scraped and judged it itself"
}

// Trigger0 returns the trigger, or an empty alert.
func (p *Plan) Trigger0() belay.Alert {
	if p.Trigger == nil {
		return belay.Alert{Rule: "the alert"}
	}
	return *p.Trigger
}

func ownLag(p *Plan, _ time.Time) (string, string) {
	if p.Lag > p.MaxLag {
		return fmt.Sprintf("Belay itself is behind with judging by more than %s", readable(p.MaxLag)), ""
	}
	return "", "Belay is " + readable(p.Lag) + " behind"
}

// massAlarm holds back when most services are red at once: then the cause is
// hardly this one release.
func massAlarm(p *Plan, _ time.Time) (string, string) {
	if p.Red >= 3 && 2*p.Red > p.Services {
		return fmt.Sprintf("%d of %d services are red at once: that is hardly this release", p.Red, p.Services), ""
	}
	return "", fmt.Sprintf("%d of %d services red", p.Red, p.Services)
}

func suspected(p *Plan, _ time.Time) (string, string) {
	s := p.Suspect()
	if s == nil {
		return fmt.Sprintf("no deployment began within %s before %s", readable(time.Duration(p.Policy.AttributionWindow)), p.Trigger0().Rule), ""
	}
	if s.Deployment.Service != p.Service {
		return fmt.Sprintf("the likeliest cause is a deployment of %s, which needs failing evidence of its own", s.Deployment.Service.Name), ""
	}
	return "", s.Why
}

func greenBefore(p *Plan, _ time.Time) (string, string) {
	s := p.Suspect()
	if s == nil {
		return "there is no suspect to compare before and after", ""
	}
	before := p.Ledger[s.Deployment.From.Content]
	if before.Standing != belay.Good && before.Standing != belay.Soaking {
		return fmt.Sprintf("%s, which ran before, was not seen green", s.Deployment.From), ""
	}
	return "", fmt.Sprintf("green with %s, red with %s", s.Deployment.From, s.Deployment.To)
}

func margin(p *Plan, _ time.Time) (string, string) {
	if len(p.Suspects) > 1 && p.Suspects[0].Score < p.Suspects[1].Score+0.1 {
		return fmt.Sprintf("two suspects are about as likely: %s and %s", p.Suspects[0].Deployment.To, p.Suspects[1].Deployment.To), ""
	}
	return "", "the best suspect by a margin"
}

// ownEvidence lets a person decide when it is not this service that fails, but
// one that depends on it.
func ownEvidence(p *Plan, _ time.Time) (string, string) {
	if p.Elsewhere != "" {
		return fmt.Sprintf("%s fails, which depends on %s; nothing of %s itself fails", p.Elsewhere, p.Service.Name, p.Service.Name), ""
	}
	return "", "it is this service that fails"
}

func stillRunning(p *Plan, _ time.Time) (string, string) {
	if p.StateErr != nil {
		return "the platform does not say what runs now: " + p.StateErr.Error(), ""
	}
	if s := p.Suspect(); s != nil && p.Person == "" && p.State.Revision.Content != s.Deployment.To.Content {
		return fmt.Sprintf("%s runs by now, not the suspect %s", p.State.Revision, s.Deployment.To), ""
	}
	return "", p.State.Revision.String() + " still runs"
}

func notOurDoing(p *Plan, _ time.Time) (string, string) {
	if p.Latest != nil && p.Latest.Operation != "" && p.Latest.To.Content == p.State.Revision.Content {
		return "Belay itself put " + p.State.Revision.String() + " there: a rollback is never rolled back", ""
	}
	return "", "Belay did not put it there"
}

func once(p *Plan, _ time.Time) (string, string) {
	if p.Acted != nil {
		return fmt.Sprintf("%s was already taken back once (%s); only a person can release it: belay rollback release", p.Acted.From, p.Acted.ID), ""
	}
	return "", "this content was never taken back before"
}

func knownGood(p *Plan, _ time.Time) (string, string) {
	if p.To.Content == "" {
		return "no other revision is known to be good", ""
	}
	return "", fmt.Sprintf("%s is known to be good since %s", p.To, p.Ledger[p.To.Content].Since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func restorable(p *Plan, _ time.Time) (string, string) {
	if p.ListErr != nil {
		return "the platform does not say what can be restored: " + p.ListErr.Error(), ""
	}
	for _, r := range p.Restorable {
		if r.Content == p.To.Content && !r.Missing {
			return "", "the platform can restore it"
		}
	}
	return fmt.Sprintf("the platform can no longer restore %s", p.To), ""
}

func reversible(p *Plan, _ time.Time) (string, string) {
	if s := p.Suspect(); s != nil && s.Deployment.Irreversible {
		return s.Deployment.To.String() + " was announced as irreversible", ""
	}
	return "", "nothing says it cannot be undone"
}

func owner(p *Plan, _ time.Time) (string, string) {
	if p.State.Owner != "" {
		return p.State.Owner + " owns this target and would undo the rollback", ""
	}
	return "", "nobody else would undo it"
}

func mode(p *Plan, _ time.Time) (string, string) {
	switch p.Policy.Mode {
	case belay.ModeAuto:
		return "", "mode is auto"
	case belay.ModeApprove:
		return "", "mode is approve: a person decides"
	default:
		return fmt.Sprintf("mode is %s: a person has to start it with belay rollback start --service %s", p.Policy.Mode, p.Service), ""
	}
}

func killSwitch(p *Plan, _ time.Time) (string, string) {
	if p.KillSwitch {
		return "the kill switch is set: " + p.Policy.KillSwitchFile, ""
	}
	return "", "not set"
}

func freeze(p *Plan, now time.Time) (string, string) {
	if name, frozen := p.Policy.frozen(now); frozen {
		return "the freeze " + name + " is in force", ""
	}
	return "", "no freeze"
}

func budget(p *Plan, _ time.Time) (string, string) {
	b := p.Policy.Budget
	share := max(1, int(p.Policy.maxShare*float64(p.Services)))
	switch {
	case p.InFlight >= b.InFlight:
		return fmt.Sprintf("%d rollback(s) of other services are under way; the budget allows %d at once", p.InFlight, b.InFlight), ""
	case p.LastHour >= b.PerHour:
		return fmt.Sprintf("%d rollbacks began within the last hour; the budget allows %d", p.LastHour, b.PerHour), ""
	case p.RolledBack+1 > share:
		return fmt.Sprintf("%d of %d services were rolled back within the last hour; the budget allows %s", p.RolledBack, p.Services, b.ShareOfServices), ""
	}
	return "", fmt.Sprintf("%d of %d in the last hour", p.LastHour, b.PerHour)
}

func cooldown(p *Plan, now time.Time) (string, string) {
	if c := time.Duration(p.Policy.Cooldown); !p.LastOwn.IsZero() && now.Sub(p.LastOwn) < c {
		return fmt.Sprintf("the last rollback of this service was less than %s ago", readable(c)), ""
	}
	return "", "no rollback lately"
}

// oneAtATime takes services that are related by depends_on back one after the
// other, what the others rest on first, and stops at the first that does not
// recover.
func oneAtATime(p *Plan, _ time.Time) (string, string) {
	if p.First != "" {
		return p.First, ""
	}
	return "", "no service that it is related to has to be seen to first"
}

func silenced(p *Plan, _ time.Time) (string, string) {
	if p.Silenced != "" {
		return p.Trigger0().Rule + " " + p.Silenced + ", so people know of it already", ""
	}
	return "", "it is not silenced"
}

func compareAndSet(p *Plan, _ time.Time) (string, string) {
	switch {
	case p.Caps.CAS == Atomic:
	case p.Caps.CAS == Checked && p.Policy.AllowChecked:
	case p.Caps.CAS == Checked:
		return "this platform checks before it writes, but not in one step; rollback.allow_checked: true accepts that", ""
	default:
		return "this platform cannot promise to change only what was judged", ""
	}
	return "", string(p.Caps.CAS)
}
