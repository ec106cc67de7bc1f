package review

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// This file writes what was detected and what was done about it.

func (d *Dossier) writeDetection(p *page) {
	p.heading("Detection")
	a := d.Trigger
	if a == nil {
		p.para("The journal holds no alert of this incident.")
		return
	}
	p.para("%s fired first:", code(a.Rule))
	if a.Expr != "" {
		p.WriteString(block("promql", a.Expr))
		p.line("")
	}
	rows := [][]string{
		{"Condition", orDash(esc(a.Condition))},
		{"Held for", plainLength(a.For.Seconds(), 0) + " before firing"},
		{"Value at fire", d.value(float64(a.Value))},
		{"Labels", labelList(a.Labels)},
	}
	for _, name := range []string{"summary", "description"} {
		if s := a.Annotations[name]; s != "" {
			rows = append(rows, []string{"The rule's " + name, esc(s)})
		}
	}
	if s := a.Annotations["runbook_url"]; s != "" {
		rows = append(rows, []string{"Runbook", link(esc(strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")), s)})
	}
	p.table([]string{"Rule", code(a.Rule)}, rows)
	d.writeDelay(p)
	if len(d.Alerts) > 1 {
		d.writeOtherAlerts(p)
	}
}

func labelList(ls labels.Labels) string {
	var out []string
	ls.Range(func(l labels.Label) {
		if l.Name != labels.AlertName {
			out = append(out, code(l.Name+"="+l.Value))
		}
	})
	return orDash(strings.Join(head(out, 20), " "))
}

// writeDelay takes the time to detect and to tell apart.
func (d *Dossier) writeDelay(p *page) {
	var rows [][]string
	for _, part := range []struct{ name, from, to, what string }{
		{"Signal", ImpactStart, FirstBreach, "until a scrape carried it in and the rule was judged on it"},
		{"Hold", FirstBreach, Detected, "the rule's own `for`"},
		{"Delivery", Detected, Notified, "until a channel confirmed the message"},
	} {
		from, ok1 := d.Milestone(part.from)
		to, ok2 := d.Milestone(part.to)
		took := "unknown"
		if part.to == Notified && !ok2 {
			took = "never"
		}
		if ok1 && ok2 && (part.from != ImpactStart || d.Impact.Known) {
			took = length(to.At.Sub(from.At).Seconds(), max(from.Uncertainty, to.Uncertainty))
		}
		rows = append(rows, []string{part.name, took, part.what})
	}
	p.para("Where the time went:")
	p.table([]string{"Part", "Took", "Which is"}, rows)
}

func (d *Dossier) writeOtherAlerts(p *page) {
	p.para("All alerts of the incident:")
	var rows [][]string
	for _, a := range head(d.Alerts, 20) {
		var lives []string
		for _, s := range a.Spans {
			if s.State != belay.AlertInactive {
				lives = append(lives, fmt.Sprintf("%s from %s", s.State, d.when(s.From)))
			}
		}
		rows = append(rows, []string{code(a.Rule), labelList(a.Labels), strings.Join(head(lives, 6), ", ")})
	}
	p.table([]string{"Alert", "Labels", "Life"}, rows)
}

func (d *Dossier) writeSuspects(p *page) {
	p.heading("Suspects")
	if len(d.Suspects) == 0 {
		if dep := d.Change(); dep != nil {
			p.para("Nothing was scored. The last deployment before the alert was %s → %s at %s. That it came before is correlation, not cause.", esc(dep.From.String()), esc(dep.To.String()), d.when(dep.StartedAt))
			return
		}
		p.para("No deployment of this service is known near the impact. Changes that Belay cannot see are not listed here.")
		return
	}
	p.para("Correlation, not cause: a score says how well a deployment fits in time and place, nothing more.")
	suspects := append([]belay.Suspect(nil), d.Suspects...)
	sort.SliceStable(suspects, func(i, j int) bool { return suspects[i].Score > suspects[j].Score })
	var rows [][]string
	for i, s := range head(suspects, 10) {
		dep := s.Deployment
		change := esc(dep.From.String()) + " → " + esc(dep.To.String())
		if dep.URL != "" {
			change = link(change, dep.URL)
		}
		if dep.Commit != "" {
			change += " " + code(dep.Commit[:min(len(dep.Commit), 12)])
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), esc(dep.Service.String()), change, d.when(dep.StartedAt), since(dep.StartedAt, d.zero()), strconv.FormatFloat(s.Score, 'f', 2, 64), esc(s.Why)})
	}
	p.table([]string{"No.", "Service", "Deployment", "Began", "T+", "Score", "Why"}, rows)
}

func (d *Dossier) writeResponse(p *page) {
	p.heading("Response")
	if m, ok := d.Milestone(Acknowledged); ok {
		p.para("A person acknowledged at %s (T%s).", d.when(m.At), since(m.At, d.zero()))
	} else {
		p.para("Nobody acknowledged the incident.")
	}
	if len(d.Rollbacks) == 0 {
		p.para("No rollback was considered: none was allowed for this service, or nothing called for one.")
		return
	}
	for i := range d.Rollbacks {
		d.writeAttempt(p, &d.Rollbacks[i])
	}
}

func (d *Dossier) writeAttempt(p *page, a *Attempt) {
	rb := a.Rollback
	if rb.From.String() == "" && rb.To.String() == "" {
		p.sub("A rollback that was only thought of")
	} else {
		p.sub(fmt.Sprintf("Rollback %s → %s", orElse(esc(rb.From.String()), "unknown"), orElse(esc(rb.To.String()), "unknown")))
	}
	p.para("Mode %s, platform %s, operation %s. Result: **%s**. %s", code(string(rb.Mode)), code(rb.Target.Platform), code(rb.ID), words(rb.State), capital(sentence(rb.Reason)))
	if len(a.Refusals) > 0 {
		d.writeRefusals(p, a)
	}
	if len(rb.Answers) > 0 {
		p.para("What the guards answered last:")
		var rows [][]string
		for _, x := range head(rb.Answers, 60) {
			says, verdict := x.Says, "yes"
			if x.Veto != "" {
				says, verdict = x.Veto, "**no**"
			}
			rows = append(rows, []string{strconv.Itoa(x.Step), code(x.Guard), verdict, orDash(esc(says))})
		}
		p.table([]string{"Step", "Guard", "Agrees", "Because"}, rows)
	}
	if len(a.Phases) > 0 {
		p.para("What was done:")
		var rows [][]string
		for _, ph := range head(a.Phases, 60) {
			by := "Belay"
			if ph.Person {
				by = "a person"
			}
			rows = append(rows, []string{d.when(ph.At), since(ph.At, d.zero()), words(ph.State), by, esc(ph.Reason)})
		}
		p.table([]string{"UTC", "T+", "State", "By", "Reason"}, rows)
	}
}

func (d *Dossier) writeRefusals(p *page, a *Attempt) {
	p.para("Refused, and why:")
	var rows [][]string
	for _, r := range head(a.Refusals, 30) {
		var guards []string
		for _, v := range r.Vetoes {
			guards = append(guards, code(v.Guard))
		}
		span := d.when(r.First)
		if r.Times > 1 {
			span += " – " + d.when(r.Last)
		}
		rows = append(rows, []string{span, strconv.Itoa(r.Times), orDash(strings.Join(guards, " ")), esc(r.Reason)})
	}
	p.table([]string{"UTC", "Times", "Guard", "Why"}, rows)
}

func (d *Dossier) writeRecovery(p *page) {
	p.heading("Recovery")
	var lines []string
	if m, ok := d.Milestone(ImpactEnd); ok {
		lines = append(lines, fmt.Sprintf("The signal was back in bounds at %s ± %s, and no later sample was out of bounds.", d.when(m.At), plainLength(m.Uncertainty, m.Uncertainty)))
	} else {
		lines = append(lines, "The samples do not show the signal come back: "+sentence(orElse(d.Impact.Note, "none were asked")))
	}
	if main := d.Main(); main != nil && !main.Rollback.IntentAt.IsZero() {
		lines = append(lines, d.proof(main.Rollback)...)
	}
	if at := lastEnd(d.Incident.Alerts); !at.IsZero() {
		lines = append(lines, fmt.Sprintf("The last alert ended at %s.", d.when(at)))
	}
	for _, n := range head(d.Ledger, 10) {
		held := ""
		if n.Entry.Held {
			held = ", and holds it"
		}
		lines = append(lines, fmt.Sprintf("Since %s the ledger knows %s as **%s**%s: %s", d.when(n.At), esc(n.Entry.Revision.String()), n.Entry.Standing, held, sentence(n.Reason)))
	}
	for _, l := range lines {
		p.line("- %s", l)
	}
	p.line("")
}

// proof is what shows that a rollback helped, or that it did not.
func (d *Dossier) proof(rb belay.Rollback) []string {
	var lines []string
	if !rb.ConvergedAt.IsZero() {
		lines = append(lines, fmt.Sprintf("The platform ran %s at %s.", esc(rb.To.String()), d.when(rb.ConvergedAt)))
	}
	switch {
	case rb.HealthyAt.IsZero():
		lines = append(lines, "Fresh data never proved recovery.")
	case rb.State == belay.RollbackRecovered:
		lines = append(lines, fmt.Sprintf("Fresh data proved it first at %s, and it stayed proved for the hold of %s.", d.when(rb.HealthyAt), plainLength(rb.RecoveryHold.Seconds(), 0)))
	default:
		lines = append(lines, fmt.Sprintf("Fresh data proved it first at %s; the hold was not completed.", d.when(rb.HealthyAt)))
	}
	return lines
}
