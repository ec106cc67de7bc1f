package review

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
)

// This file writes the sentences of the summary.

func (d *Dossier) writeSummary(p *page) {
	p.heading("Summary")
	p.para("%s", strings.Join([]string{d.wrong(), d.changed(), d.restored()}, " "))
	p.para("**What surprised us?**")
	p.place("one or two sentences: what was not as you thought it was")
}

// wrong says what was wrong, in a sentence or two.
func (d *Dossier) wrong() string {
	if d.Trigger == nil {
		return "The journal holds no alert of this incident."
	}
	rule := code(d.Trigger.Rule)
	if !d.Impact.Known {
		return fmt.Sprintf("On %s, %s fired at %s. How far the signal went, and for how long, is **unknown**: %s.",
			d.zero().UTC().Format("January 2, 2006"), rule, clock(d.fired()), esc(orElse(d.Impact.Note, "no samples were asked")))
	}
	s := fmt.Sprintf("On %s the signal behind %s went out of bounds at %s", d.zero().UTC().Format("January 2, 2006"), rule, clock(d.Impact.Start))
	if limit := d.limit(); limit != "" {
		s += " (" + limit + ")"
	}
	if d.directed() {
		s += fmt.Sprintf(" and reached **%s**", d.value(float64(d.Impact.Peak)))
	}
	if x, ok := d.duration("Customer impact"); ok {
		return s + fmt.Sprintf("; it was back after **%s**.", length(x.Seconds, x.Uncertainty))
	}
	return s + "; when it came back is **unknown**."
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (d *Dossier) fired() time.Time {
	if d.Trigger.FiredAt.IsZero() {
		return d.Trigger.ActiveAt
	}
	return d.Trigger.FiredAt
}

// directed says that one side of the limit is worse the further one goes.
func (d *Dossier) directed() bool {
	return d.Measured != nil && strings.ContainsAny(d.Measured.Operator, "<>") && !math.IsNaN(float64(d.Impact.Peak))
}

// value writes a value of the trigger in its unit.
func (d *Dossier) value(v float64) string {
	unit := chart.Number
	if d.Measured != nil {
		unit = d.Measured.Unit
	}
	return unit.Format(v)
}

// limit writes the trigger's condition, such as "bad when > 2 %".
func (d *Dossier) limit() string {
	if m := d.Measured; m != nil && !math.IsNaN(float64(m.Limit)) {
		return "bad when " + esc(m.Operator) + " " + m.Unit.Format(float64(m.Limit))
	}
	if d.Trigger != nil && d.Trigger.Condition != "" {
		return "bad when " + esc(d.Trigger.Condition)
	}
	return ""
}

// changed says what changed before it.
func (d *Dossier) changed() string {
	dep := d.Change()
	if dep == nil {
		return "No deployment of this service is known shortly before it."
	}
	what := fmt.Sprintf("the deployment of **%s**", esc(dep.To.String()))
	if from := dep.From.String(); from != "" {
		what += " (before: " + esc(from) + ")"
	}
	gap := d.zero().Sub(dep.StartedAt).Seconds()
	switch d.Impact.BeforeChange {
	case BeganBefore:
		return fmt.Sprintf("The nearest change is %s, but it came %s **after** the impact had begun.", what, length(-gap, d.startUncertainty()))
	case TooCloseCall:
		return fmt.Sprintf("The nearest change is %s, at about the same time.", what)
	}
	lead := "The last change before it is "
	if len(d.Suspects) > 0 {
		lead = "The first suspect is "
	}
	return fmt.Sprintf("%s%s, %s before; that is correlation, not proof.", lead, what, length(gap, d.startUncertainty()))
}

func (d *Dossier) startUncertainty() float64 {
	m, _ := d.Milestone(ImpactStart)
	return m.Uncertainty
}

// restored says what ended it.
func (d *Dossier) restored() string {
	main := d.Main()
	if main == nil {
		return d.alone("Belay attempted no rollback.")
	}
	rb := main.Rollback
	to := "**" + esc(rb.To.String()) + "**"
	by := "on its own"
	if rb.OrderedBy != "" {
		by = "on a person's order"
	}
	switch {
	case rb.State == belay.RollbackRecovered:
		return fmt.Sprintf("Belay rolled back to %s %s, and fresh data proved recovery at %s.", to, by, d.when(rb.HealthyAt))
	case !rb.IntentAt.IsZero() && !rb.State.Terminal():
		return fmt.Sprintf("Belay rolled back to %s %s; the proof of recovery was not complete when the incident ended.", to, by)
	case !rb.IntentAt.IsZero():
		return fmt.Sprintf("Belay tried to roll back to %s %s, and it ended as **%s**: %s", to, by, words(rb.State), sentence(rb.Reason))
	case rb.State == belay.RollbackStopped:
		return d.alone("A rollback to " + to + " was planned and stopped: " + sentence(rb.Reason))
	case len(main.Refusals) > 0:
		return d.alone("A rollback was considered and **refused**: " + sentence(main.Refusals[len(main.Refusals)-1].Reason))
	}
	return d.alone("A rollback to " + to + " was planned but not begun.")
}

// alone adds how it ended without a rollback.
func (d *Dossier) alone(why string) string {
	if m, ok := d.Milestone(Recovered); ok && d.Incident.State == belay.Resolved {
		return why + " It ended at " + d.when(m.At) + " by other means."
	}
	return why
}

func words(s belay.RollbackState) string { return strings.ReplaceAll(string(s), "_", " ") }

// capital begins a sentence, unless its first word is more than a word.
func capital(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz,'") != "" {
		return s
	}
	return strings.ToUpper(word[:1]) + s[1:]
}

// sentence escapes a reason and ends it with a point.
func sentence(s string) string {
	s = esc(s)
	if s == "" {
		return "no reason was given."
	}
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
