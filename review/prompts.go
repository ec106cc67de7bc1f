package review

import (
	"time"

	"github.com/belaydev/belay"
)

// A prompt is a question for the people of a review, asked when the facts call
// for it. Questions ask how and what, never who and why.
type prompt struct {
	when func(*Dossier) bool
	ask  string
}

// prompts is the bank of questions, in the order in which they are asked.
var prompts = []prompt{
	{(*Dossier).exonerated, "The signal was bad before the change. What else changed at that time: a dependency, the traffic, the data, the clock?"},
	{(*Dossier).noChange, "No deployment explains this. What changed outside Belay's view: a dependency, a flag, the traffic, the data, time itself?"},
	{(*Dossier).slowToSee, "Users were hurt well before the alert fired. What would have shown this at T+0, and which signal moved first without a rule?"},
	{(*Dossier).blind, "For a while nobody could see. What would have kept the signal alive when the service was not?"},
	{(*Dossier).flapped, "The alert cleared and came back. What about the rule let it clear while the trouble lasted?"},
	{(*Dossier).untold, "No message reached people during the incident. How would they have learnt of it?"},
	{(*Dossier).refused, "A guard refused the rollback. Was it right to? What would make the rollback safe next time?"},
	{(*Dossier).stopped, "A person stopped the rollback. What did they know that Belay did not, and could Belay know it?"},
	{(*Dossier).slowToDecide, "Deciding took longer than detecting. What did the decision wait for?"},
	{(*Dossier).helpless, "The rollback did not bring recovery. What was believed about the change that turned out otherwise?"},
	{(*Dossier).fought, "The bad content was put back. Which other system believes that it owns this service?"},
	{(*Dossier).rolledBack, "What did the new version meet in production that it had not met before, and where could it have met it earlier?"},
	{(*Dossier).byItself, "It ended without Belay doing anything. What ended it, and would it end by itself again?"},
	{(*Dossier).many, "Several alerts fired for one trouble. Which of them told people something that the others did not?"},
	{func(*Dossier) bool { return true }, "What differed from what was expected?"},
	{func(*Dossier) bool { return true }, "Will trouble of this kind grow as the service grows?"},
}

func (d *Dossier) exonerated() bool { return d.Impact.BeforeChange == BeganBefore }

func (d *Dossier) noChange() bool { return d.Change() == nil }

func (d *Dossier) slowToSee() bool {
	x, ok := d.duration("Time to detect")
	return ok && x.Seconds > max(60, 2*x.Uncertainty)
}

func (d *Dossier) blind() bool {
	for _, a := range d.Alerts {
		if len(a.Blind) > 0 {
			return true
		}
	}
	return d.Measured != nil && !d.Impact.Known || len(d.unseen()) > 0
}

// unseen are the stretches of the frozen values without a value.
func (d *Dossier) unseen() []time.Time {
	var out []time.Time
	if d.Measured != nil {
		for _, w := range d.gapWindows() {
			out = append(out, w.From)
		}
	}
	return out
}

func (d *Dossier) flapped() bool {
	for _, a := range d.Alerts {
		fired := 0
		for _, s := range a.Spans {
			if s.State == belay.AlertFiring {
				fired++
			}
		}
		if fired > 1 {
			return true
		}
	}
	return false
}

func (d *Dossier) untold() bool { _, ok := d.Milestone(Notified); return !ok }

func (d *Dossier) refused() bool {
	for _, a := range d.Rollbacks {
		if len(a.Refusals) > 0 {
			return true
		}
	}
	return false
}

func (d *Dossier) ended(states ...belay.RollbackState) bool {
	for _, a := range d.Rollbacks {
		for _, s := range states {
			if a.Rollback.State == s {
				return true
			}
		}
	}
	return false
}

func (d *Dossier) stopped() bool { return d.ended(belay.RollbackStopped) }

func (d *Dossier) helpless() bool {
	return d.ended(belay.RollbackNotRecovered, belay.RollbackFailed)
}

func (d *Dossier) fought() bool { return d.ended(belay.RollbackFought, belay.RollbackSuperseded) }

func (d *Dossier) rolledBack() bool { return d.ended(belay.RollbackRecovered) }

func (d *Dossier) slowToDecide() bool {
	decide, ok1 := d.duration("Time to decide")
	detect, ok2 := d.duration("Time to detect")
	return ok1 && ok2 && decide.Seconds > 30 && decide.Seconds > detect.Seconds
}

// acted says that some rollback asked a platform.
func (d *Dossier) acted() bool {
	for _, a := range d.Rollbacks {
		if !a.Rollback.IntentAt.IsZero() {
			return true
		}
	}
	return false
}

func (d *Dossier) byItself() bool { return !d.acted() && d.Incident.State == belay.Resolved }

func (d *Dossier) many() bool { return len(d.Alerts) > 2 }

// questions are the prompts that the facts call for.
func (d *Dossier) questions() []string {
	var out []string
	for _, p := range prompts {
		if p.when(d) {
			out = append(out, p.ask)
		}
	}
	return out
}
