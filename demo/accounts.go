package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settleAccounts tells the delays that were measured, compares the review with
// what the demo saw by itself, and says where the review lies.
func (p *play) settleAccounts(ctx context.Context) error {
	if err := p.watch.until(ctx, "every message is delivered", 20*time.Second, func() bool { return p.scene.api.Delivered(ctx) }); err != nil {
		return err
	}
	w := p.watch
	p.story.heading("Since customers met it")
	p.story.table(w.delays())
	bad := p.scene.load.stint(1)
	p.story.note("%s", p.Fault.harm(bad))
	p.story.heading("The review")
	review := filepath.Join(p.scene.dir.Path, reviewsDir, reviewFile(w.Review.Files, ".md"))
	p.story.note("%s", review)
	claims, err := readMilestones(filepath.Join(p.scene.dir.Path, reviewsDir, reviewFile(w.Review.Files, ".json")))
	if err != nil {
		return err
	}
	found := compare(claims, p.facts(), p.scene.Tempo)
	p.story.table(found.table())
	p.scene.diary.Info("compared", "facts", found)
	if bad := found.disagreements(); len(bad) > 0 {
		return fmt.Errorf("the review and the demo's own log disagree on: %s", strings.Join(bad, ", "))
	}
	p.story.note("It agrees with what the demo saw by itself, within one scrape (%s), and the time that a row names.", seconds(p.scene.Tempo.Scrape))
	return nil
}

// delays are the moments of the loop, as time since the fault.
func (w *witness) delays() [][]string {
	r := w.Rollback
	rows := [][]string{{"fault", w.Fault.Local().Format("15:04:05.0"), "", nextVersion + " " + w.fault.began()}}
	for _, m := range []struct {
		name, what string
		at         time.Time
	}{
		{"alert", w.Alert.Rule + " fires", w.AlertAt},
		{"message", "the incident is in #" + channelName, w.Message},
		{"decision", "every guard agrees; " + seconds(r.VetoUntil.Sub(r.DecidedAt)) + " for people to say no", r.DecidedAt},
		{"converged", r.To.String() + " runs again", r.ConvergedAt},
		{"healthy", "fresh data shows it, and went on to for " + seconds(r.RecoveryHold), r.HealthyAt},
		{"review", "the incident is over, and its review is drafted", w.ReviewAt},
	} {
		delay := "+" + fmt.Sprintf("%.1fs", m.at.Sub(w.Fault).Seconds())
		rows = append(rows, []string{m.name, m.at.Local().Format("15:04:05.0"), delay, m.what})
	}
	return rows
}

// reviewFile returns the file of that kind, as the review names it.
func reviewFile(files []string, ext string) string {
	for _, f := range files {
		if filepath.Ext(f) == ext {
			return f
		}
	}
	return "?" + ext
}

// A milestone is what a review says of one moment.
type milestone struct {
	Name        string    `json:"name"`
	At          time.Time `json:"at"`
	Uncertainty float64   `json:"uncertainty_seconds"`
}

// readMilestones reads what a review claims from its JSON form.
func readMilestones(path string) ([]milestone, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the review: %w", err)
	}
	var review struct {
		Milestones []milestone `json:"milestones"`
	}
	if err := json.Unmarshal(text, &review); err != nil {
		return nil, fmt.Errorf("the review %s: %w", path, err)
	}
	if len(review.Milestones) == 0 {
		return nil, errors.New("the review " + path + " names no milestones")
	}
	return review.Milestones, nil
}

// A fact is what the demo saw by itself of one moment that the review speaks of.
type fact struct {
	Milestone string    `json:"milestone"`
	What      string    `json:"what"`
	At        time.Time `json:"at"`
	// Lag is how much later than the thing itself the review may honestly see
	// it, beside the scrape: the window over which a rule looks back.
	Lag time.Duration `json:"lag,omitempty"`
}

// facts are the moments that the demo knows without asking Belay: from the load,
// from the platform's own log, from Slack.
func (p *play) facts() []fact {
	w, t := p.watch, p.scene.Tempo
	back := t.short()
	if p.Fault == FaultCrash {
		back = t.Window
	}
	converged := fact{Milestone: "converged", What: goodVersion + " answered again; the platform is asked every " + seconds(t.Poll), At: w.WellAt, Lag: t.Poll}
	if p.scene.wiring.Rolling {
		converged.What, converged.At = "the last answer of "+nextVersion, p.scene.load.stint(1).Last
	}
	begin := fact{Milestone: "impact_start", What: "the first bad answer", At: w.Fault}
	end := fact{Milestone: "impact_end", What: "the last bad answer; the rule looks back over " + seconds(back), At: p.scene.load.stint(1).LastBad, Lag: back}
	switch p.Fault {
	case FaultLatency:
		begin.Lag = back // until the average of the window is over the limit
		begin.What, end.What, end.At = "the first slow answer; the rule takes the average of "+seconds(back), "the last slow answer; the rule looks back over "+seconds(back), p.scene.load.stint(1).LastSlow
	case FaultLeak:
		begin.What, begin.Lag = "the first order; until the alert it could be told from chance", w.AlertAt.Sub(w.Fault)
		end.What, end.At = "the last answer of "+nextVersion+"; until it was proved, the value came back", p.scene.load.stint(1).Last
		end.Lag = w.Rollback.ClosedAt.Sub(end.At)
	}
	return []fact{
		{Milestone: "change_applied", What: nextVersion + " was released", At: p.scene.released},
		begin,
		{Milestone: "notified", What: "Slack had the message", At: w.Message},
		{Milestone: "accepted", What: "the platform changed the content", At: w.Change.At},
		converged,
		end,
	}
}

// A finding compares one milestone of the review with one fact.
type finding struct {
	fact
	Claimed time.Time     `json:"claimed,omitzero"`
	Apart   time.Duration `json:"apart"` // how much later the review has it
	Agrees  bool          `json:"agrees"`
}

type findings []finding

// compare puts each fact beside what the review claims. They agree when they
// are at most one scrape apart, and the rule's window where it looks back.
func compare(claims []milestone, facts []fact, t tempo) findings {
	var out findings
	for _, f := range facts {
		found := finding{fact: f}
		for _, c := range claims {
			if c.Name == f.Milestone && !c.At.IsZero() && !f.At.IsZero() {
				found.Claimed, found.Apart = c.At, c.At.Sub(f.At)
				found.Agrees = found.Apart >= -t.Scrape && found.Apart <= t.Scrape+f.Lag
			}
		}
		out = append(out, found)
	}
	return out
}

func (fs findings) table() [][]string {
	var rows [][]string
	for _, f := range fs {
		says := "—"
		if !f.Claimed.IsZero() {
			says = fmt.Sprintf("%+.2fs", f.Apart.Seconds())
		}
		rows = append(rows, []string{strings.ReplaceAll(f.Milestone, "_", " "), f.At.Local().Format("15:04:05.00"), says, f.What})
	}
	return rows
}

func (fs findings) disagreements() []string {
	var out []string
	for _, f := range fs {
		if !f.Agrees {
			out = append(out, f.Milestone)
		}
	}
	return out
}
