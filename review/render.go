package review

import (
	"fmt"
	"math"
	"path"
	"strings"
	"time"
)

// maxRows bounds the timeline on the page; the JSON form holds more.
const maxRows = 80

// Render writes the three forms of a review: a page in Markdown, its figure,
// and the dossier itself. Equal dossiers give equal bytes.
func Render(d Dossier) (markdown, svg, json []byte) {
	p := &page{}
	for _, section := range []func(*Dossier, *page){
		(*Dossier).writeHeader, (*Dossier).writeSummary, (*Dossier).writeImpact, (*Dossier).writeMilestones,
		(*Dossier).writeDetection, (*Dossier).writeSuspects, (*Dossier).writeResponse, (*Dossier).writeRecovery,
		(*Dossier).writeTimeline, (*Dossier).writeFactors, (*Dossier).writeJudgement, (*Dossier).writeActions,
		(*Dossier).writeQuality, (*Dossier).writeAppendix,
	} {
		section(&d, p)
	}
	return append([]byte(strings.TrimRight(p.String(), "\n")), '\n'), d.figure().SVG(), d.encode()
}

// title is the review's title as plain text.
func (d *Dossier) title() string {
	s := tidy(d.Incident.Title)
	if s == "" && d.Trigger != nil {
		s = d.Trigger.Rule
	}
	if strings.Contains(s, d.Incident.Service.Name) {
		return s
	}
	return fmt.Sprintf("%s (%s): %s", d.Incident.Service.Name, d.Incident.Service.Environment, s)
}

// when writes a time of day, with the date where it is not that of T+0.
func (d *Dossier) when(t time.Time) string {
	if t.IsZero() {
		return "—"
	}
	if t.UTC().YearDay() != d.zero().UTC().YearDay() {
		return t.UTC().Format("Jan 2 15:04:05")
	}
	return clock(t)
}

func (d *Dossier) writeHeader(p *page) {
	inc := d.Incident
	p.para("# %s", esc(d.title()))
	id := code(inc.ID)
	if d.URL != "" {
		id = link(id, d.URL)
	}
	ended := "not yet"
	if !inc.ResolvedAt.IsZero() {
		ended = stamp(inc.ResolvedAt) + " UTC"
	}
	p.table([]string{"Incident", id}, [][]string{
		{"Service", esc(inc.Service.Name) + " in " + esc(inc.Service.Environment)},
		{"Severity", orDash(esc(inc.Severity))},
		{"Opened", stamp(inc.OpenedAt) + " UTC"},
		{"Resolved", ended},
		{"Review", "draft: the facts are filled in, the words are yours"},
	})
	p.para("All times are UTC. `T+0` is the start of the impact. Places for your words are marked `belay:write`.")
	if d.Impact.BeforeChange != "" {
		d.writeExoneration(p)
	}
}

func orDash(s string) string {
	if s == "" {
		return "—"
	}
	return s
}

// writeExoneration says at once what would otherwise be read past.
func (d *Dossier) writeExoneration(p *page) {
	start, _ := d.Milestone(ImpactStart)
	change, _ := d.Milestone(ChangeApplied)
	name := "the change"
	if dep := d.Change(); dep != nil {
		name = esc(dep.To.String())
	}
	gap := length(change.At.Sub(start.At).Abs().Seconds(), start.Uncertainty)
	if d.Impact.BeforeChange == BeganBefore {
		p.para("> **The impact began before the change.** The signal was out of bounds at %s, %s before %s was applied. This speaks against %s as the cause.", clock(start.At), gap, name, name)
		return
	}
	p.para("> **Too close to call.** The impact and the change lie %s apart, which is within what the samples can tell. Which came first is not known.", gap)
}

func (d *Dossier) writeImpact(p *page) {
	p.heading("Impact")
	from, to, lasted, peak := "unknown", "unknown", "unknown", "unknown"
	if d.Impact.Known {
		from = d.when(d.Impact.Start) + " ± " + plainLength(d.startUncertainty(), d.startUncertainty())
		if !d.Impact.End.IsZero() {
			m, _ := d.Milestone(ImpactEnd)
			to = d.when(m.At) + " ± " + plainLength(m.Uncertainty, m.Uncertainty)
		}
		if x, ok := d.duration("Customer impact"); ok {
			lasted = length(x.Seconds, x.Uncertainty)
		}
		if v := float64(d.Impact.Peak); !math.IsNaN(v) {
			peak = d.value(v) + " at " + d.when(d.Impact.PeakAt)
		}
	}
	name := "Furthest value"
	if d.Measured != nil && !d.directed() && d.Impact.Known {
		name = "Value"
	}
	rows := [][]string{{"Began", from}, {"Ended", to}, {"Lasted", lasted}, {name, peak}}
	if limit := d.limit(); limit != "" {
		rows = append(rows, []string{"Limit", limit})
	}
	p.table([]string{"Impact", "as the alert's own expression shows it"}, rows)
	if d.Impact.Note != "" {
		p.para("Unknown means unknown, not zero: %s", sentence(d.Impact.Note))
	}
	p.place("what this meant for the people who use the service; tickets, revenue, promises")
	p.para("![%s](%s)", esc(d.alt()), FileBase(d.Incident.ID)+".svg")
}

func (d *Dossier) writeMilestones(p *page) {
	p.heading("Milestones")
	var rows [][]string
	for _, m := range d.Milestones {
		unsure := "—"
		if m.Uncertainty > 0 {
			unsure = "± " + plainLength(m.Uncertainty, m.Uncertainty)
		}
		rows = append(rows, []string{marker(m.Marker), labelOf(m.Name), d.when(m.At), since(m.At, d.zero()), unsure, string(m.Source), esc(m.Evidence)})
	}
	p.table([]string{"No.", "Milestone", "UTC", "T+", "Known to", "Source", "Evidence"}, rows)
	rows = nil
	for _, x := range d.Durations {
		rows = append(rows, []string{x.Name, length(x.Seconds, x.Uncertainty), lower(x.From) + " → " + lower(x.To)})
	}
	if _, ok := d.duration("Customer impact"); !ok {
		rows = append(rows, []string{"Customer impact", "unknown", esc(orElse(d.Impact.Note, "no samples were asked"))})
	}
	p.table([]string{"Duration", "Took", "Between"}, rows)
}

func lower(name string) string { return strings.ToLower(labelOf(name)) }

func marker(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("**%d**", n)
}

func (d *Dossier) writeTimeline(p *page) {
	p.heading("Timeline")
	p.para("Numbers are those of the figure; ≈ marks moments that were computed from samples.")
	var rows [][]string
	left := len(d.Timeline) - maxRows
	for _, e := range d.Timeline {
		if left > 0 && e.Marker == 0 && (e.Kind == "rollback" || e.Kind == "alert" || e.Kind == "belay") && len(rows) > maxRows/2 {
			left--
			continue
		}
		at := d.when(e.At)
		if e.Measure && (e.Kind == "impact" || strings.Contains(e.What, "sample")) {
			at = "≈ " + at
		}
		rows = append(rows, []string{marker(e.Marker), since(e.At, d.zero()), at, e.Kind, esc(e.What)})
	}
	p.table([]string{"No.", "T+", "UTC", "Of", "What"}, head(rows, 2*maxRows))
	if hidden := len(d.Timeline) - min(len(rows), 2*maxRows); hidden > 0 {
		p.para("%s more in the JSON beside this page.", plural(hidden, "row", "rows"))
	}
}

func (d *Dossier) writeFactors(p *page) {
	p.heading("Contributing factors")
	p.para("There is rarely one cause. What came together: a trigger, something latent, something about detection, response or the way we work?")
	for _, q := range d.questions() {
		p.line("- %s", q)
	}
	p.line("")
	p.place("one line for each factor, with the evidence for it")
}

func (d *Dossier) writeJudgement(p *page) {
	well, poorly, lucky := d.candidates()
	for _, part := range []struct {
		title  string
		offers []string
	}{{"What went well", well}, {"What went poorly", poorly}, {"Where we were lucky", lucky}} {
		p.heading(part.title)
		if len(part.offers) > 0 {
			p.para("From the record, to keep, change or strike out:")
			for _, o := range part.offers {
				p.line("- %s", o)
			}
			p.line("")
		}
		p.place("your own words")
	}
}

// candidates are what the facts suggest, for people to judge.
func (d *Dossier) candidates() (well, poorly, lucky []string) {
	if x, ok := d.duration("Time to detect"); ok && d.Impact.Known {
		s := "It was detected " + length(x.Seconds, x.Uncertainty) + " after the impact began."
		if x.Seconds <= 60 {
			well = append(well, s)
		} else {
			poorly = append(poorly, s)
		}
	}
	if d.rolledBack() {
		well = append(well, "The rollback brought recovery, and fresh data proved it.")
	}
	if d.helpless() {
		poorly = append(poorly, "A rollback was tried and did not bring recovery.")
	}
	if d.refused() {
		poorly = append(poorly, "A rollback was refused; see the response for why.")
	}
	if d.untold() {
		poorly = append(poorly, "No message is known to have reached people.")
	}
	if d.Measured != nil && !d.Impact.Known || len(d.unseen()) > 0 {
		poorly = append(poorly, "The signal was missing for a part of the incident.")
	}
	if d.byItself() {
		lucky = append(lucky, "It ended without Belay doing anything.")
	}
	if start, ok := d.Milestone(ImpactStart); ok && start.At.Weekday() >= time.Monday && start.At.Weekday() <= time.Friday && start.At.Hour() >= 8 && start.At.Hour() < 17 {
		lucky = append(lucky, "It happened on a weekday by day (UTC): would the same have held at night?")
	}
	return well, poorly, lucky
}

func (d *Dossier) writeActions(p *page) {
	p.heading("Action items")
	p.para("Begin each with a verb, and say how one can see that it is done. Kinds: prevent, detect, mitigate, process, repair.")
	p.line("<!-- belay:write one row for each action; \"decided not to do\" belongs here too, with the reason -->\n")
	p.table([]string{"Action", "Kind", "Owner", "Due", "Done when"}, [][]string{{"_…_", "_…_", "_…_", "_…_", "_…_"}})
}

func (d *Dossier) writeQuality(p *page) {
	p.heading("Data quality")
	p.para("Samples are %s apart. Times from samples are not known better than that.", plainLength(d.Interval, 0))
	if len(d.Quality) == 0 {
		p.para("No gap in the data is known.")
		return
	}
	seen := map[string]bool{}
	for _, q := range head(d.Quality, 40) {
		if !seen[q] {
			p.line("- %s", esc(q))
		}
		seen[q] = true
	}
	p.line("")
}

func (d *Dossier) writeAppendix(p *page) {
	p.heading("Appendix")
	if d.Measured != nil {
		p.para("The values were asked for with this query, every %s:", plainLength(d.Measured.Step, 0))
		p.WriteString(block("promql", d.Measured.Query))
		p.line("")
		if d.Measured.Labels != "" {
			p.para("The series followed is %s.", code(d.Measured.Labels))
		}
	}
	p.para("How the numbers were made: the impact begins with the first sample of the unbroken run out of bounds that led to the alert (up to %d missing samples are bridged), and ends with the first sample in bounds after the last one out of bounds. A duration is off by the larger uncertainty of its two ends at most. Unknown stays unknown.", bridge)
	base := path.Base(FileBase(d.Incident.ID))
	p.para("The samples (%s) and all facts are kept in [%s.json](%s.json), from which this page can be made again.", plural(d.frozen(), "point", "points"), base, base)
}

func (d *Dossier) frozen() int {
	if d.Measured == nil {
		return 0
	}
	return len(d.Measured.Points)
}
