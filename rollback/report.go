package rollback

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// Outcome is what became of one incident, as far as rolling back is concerned.
type Outcome string

// The values of Outcome.
const (
	OutcomeHit      Outcome = "hit"      // Belay would have gone back, or did: people did the same, or it helped
	OutcomeUnneeded Outcome = "unneeded" // Belay would have gone back; nobody did, and it passed
	OutcomeForward  Outcome = "forward"  // Belay would have gone back; people deployed something else
	OutcomeMiss     Outcome = "miss"     // Belay said no, and people went back
	OutcomeHarm     Outcome = "harm"     // Belay went back, and it did not help
	OutcomeQuiet    Outcome = "quiet"    // Belay said no, and people did not go back either
	OutcomeOpen     Outcome = "open"     // the incident is not over yet
)

// A Case is one incident: what Belay said, and what people did.
type Case struct {
	Incident string          `json:"incident"`
	Service  belay.ServiceID `json:"service"`
	Rule     string          `json:"rule"` // of the first alert
	OpenedAt time.Time       `json:"opened_at"`
	Mode     belay.Mode      `json:"mode,omitempty"`
	Would    bool            `json:"would"` // every guard but the mode agreed, or Belay acted
	Said     string          `json:"said"`
	People   string          `json:"people"`
	Ahead    time.Duration   `json:"ahead_ns,omitempty"` // how long before people Belay would have gone back
	Outcome  Outcome         `json:"outcome"`
}

// A ReportRow sums up the cases of one service and one rule.
type ReportRow struct {
	Service   belay.ServiceID `json:"service"`
	Rule      string          `json:"rule"`
	Incidents int             `json:"incidents"`
	Would     int             `json:"would"`
	Hits      int             `json:"hits"`
	Unneeded  int             `json:"unneeded"`
	Forward   int             `json:"forward"`
	Misses    int             `json:"misses"`
	Harm      int             `json:"harm"`
	Ahead     time.Duration   `json:"ahead_ns,omitempty"` // median over the hits that people made
	Advice    string          `json:"advice"`             // the next step of the ladder, and why
}

// A Report is what a service's policy would have done, and did, since a time.
type Report struct {
	Since time.Time   `json:"since"`
	Rows  []ReportRow `json:"rows"`
	Cases []Case      `json:"cases"` // oldest first
}

// Report reads the journal and says, for each incident since a time, what Belay
// would have done, what people did, and whether that was the same. service ""
// is all of them. It serves in every mode, and is most useful in notify.
func (c *Controller) Report(ctx context.Context, service belay.ServiceID, since time.Time) (Report, error) {
	book := newCasebook()
	for ev, err := range c.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return Report{}, fmt.Errorf("report: %w", err)
		}
		book.apply(ev)
	}
	return book.report(service, since), nil
}

// casebook folds the journal into cases.
type casebook struct {
	cases map[string]*record
	order []string
	open  map[belay.ServiceID]string // service → its open incident
	ran   map[belay.ServiceID][]belay.Content
	seen  map[string]bool // deployments whose content was counted
}

type record struct {
	Case
	would   *belay.Rollback // the first time that all but the mode agreed
	wouldAt time.Time
	last    *belay.Rollback // newest word of Belay's
	acted   bool
	back    *belay.Deployment // people put back what had run before
	other   *belay.Deployment // people deployed something new
	closed  bool
}

func newCasebook() *casebook {
	return &casebook{cases: map[string]*record{}, open: map[belay.ServiceID]string{}, ran: map[belay.ServiceID][]belay.Content{}, seen: map[string]bool{}}
}

func (b *casebook) apply(ev belay.Event) {
	switch {
	case ev.Incident != nil:
		b.applyIncident(*ev.Incident)
	case ev.Rollback != nil:
		if r := b.cases[ev.Rollback.Incident]; r != nil {
			r.applyRollback(ev)
		}
	case ev.Deployment != nil && ev.Deployment.To.Content != "":
		b.applyDeployment(*ev.Deployment)
	}
}

func (b *casebook) applyIncident(in belay.Incident) {
	r := b.cases[in.ID]
	if r == nil {
		r = &record{Case: Case{Incident: in.ID, Service: in.Service, OpenedAt: in.OpenedAt}}
		b.cases[in.ID] = r
		b.order = append(b.order, in.ID)
	}
	if r.Rule == "" && len(in.Alerts) > 0 {
		r.Rule = in.Alerts[0].Rule
	}
	r.closed = in.State == belay.Resolved
	if r.closed && b.open[in.Service] == in.ID {
		delete(b.open, in.Service)
	} else if !r.closed {
		b.open[in.Service] = in.ID
	}
}

func (r *record) applyRollback(ev belay.Event) {
	rb := *ev.Rollback
	r.last, r.Mode = &rb, rb.Mode
	r.acted = r.acted || !rb.ActedAt.IsZero()
	agreed := ev.Kind == belay.KindPlanned || ev.Kind == belay.KindProposed || ev.Kind == belay.KindOrdered
	if ev.Kind == belay.KindRefused {
		for _, a := range rb.Answers {
			agreed = agreed || a.Guard == "mode" && a.Veto != ""
		}
	}
	if agreed && rb.OrderedBy == "" && r.would == nil && rb.To.Content != "" {
		r.would, r.wouldAt = &rb, ev.At
	}
}

func (b *casebook) applyDeployment(d belay.Deployment) {
	if b.seen[d.ID] {
		return // another word about the same deployment
	}
	b.seen[d.ID] = true
	before := b.ran[d.Service]
	known := slices.Contains(before, d.To.Content)
	b.ran[d.Service] = append(before, d.To.Content)
	r := b.cases[b.open[d.Service]]
	if r == nil || d.Operation != "" {
		return
	}
	if known && r.back == nil {
		r.back = &d
	} else if !known && r.other == nil {
		r.other = &d
	}
}

func (b *casebook) report(service belay.ServiceID, since time.Time) Report {
	out := Report{Since: since, Rows: []ReportRow{}, Cases: []Case{}}
	type key struct {
		service belay.ServiceID
		rule    string
	}
	rows := map[key]*ReportRow{}
	ahead := map[key][]time.Duration{}
	for _, id := range b.order {
		r := b.cases[id]
		if r.OpenedAt.Before(since) || service != (belay.ServiceID{}) && r.Service != service {
			continue
		}
		c := r.judge()
		out.Cases = append(out.Cases, c)
		k := key{c.Service, c.Rule}
		if rows[k] == nil {
			rows[k] = &ReportRow{Service: c.Service, Rule: c.Rule}
		}
		rows[k].count(c)
		if c.Ahead > 0 {
			ahead[k] = append(ahead[k], c.Ahead)
		}
	}
	for k, row := range rows {
		if a := ahead[k]; len(a) > 0 {
			slices.Sort(a)
			row.Ahead = a[len(a)/2]
		}
		row.Advice = row.advice()
		out.Rows = append(out.Rows, *row)
	}
	slices.SortFunc(out.Rows, func(a, b ReportRow) int {
		return cmp.Or(cmp.Compare(a.Service.String(), b.Service.String()), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// judge says what became of the incident.
func (r *record) judge() Case {
	c := r.Case
	c.Would = r.would != nil || r.acted
	switch {
	case r.acted:
		c.Said = fmt.Sprintf("went back from %s to %s: %s", r.last.From, r.last.To, r.last.State)
	case r.would != nil:
		c.Said = fmt.Sprintf("would have gone back from %s to %s", r.would.From, r.would.To)
	case r.last != nil:
		c.Said = "said no: " + r.last.Reason
	default:
		c.Said = "did not consider it"
	}
	switch {
	case r.back != nil:
		c.People = "went back to " + r.back.To.String()
	case r.other != nil:
		c.People = "deployed " + r.other.To.String()
	default:
		c.People = "deployed nothing"
	}
	c.Outcome = r.outcome()
	if r.would != nil && !r.acted && r.back != nil {
		c.Ahead = max(0, r.back.StartedAt.Sub(r.wouldAt))
	}
	return c
}

func (r *record) outcome() Outcome {
	switch {
	case r.acted && r.last.State == belay.RollbackRecovered:
		return OutcomeHit
	case r.acted && (r.last.State == belay.RollbackNotRecovered || r.last.State == belay.RollbackFailed || r.last.State == belay.RollbackFought):
		return OutcomeHarm
	case !r.closed:
		return OutcomeOpen
	case r.would != nil && r.back != nil && r.back.To.Content == r.would.To.Content:
		return OutcomeHit
	case r.would != nil && (r.other != nil || r.back != nil):
		return OutcomeForward
	case r.would != nil:
		return OutcomeUnneeded
	case r.back != nil:
		return OutcomeMiss
	}
	return OutcomeQuiet
}

func (row *ReportRow) count(c Case) {
	row.Incidents++
	if c.Would {
		row.Would++
	}
	switch c.Outcome {
	case OutcomeHit:
		row.Hits++
	case OutcomeUnneeded:
		row.Unneeded++
	case OutcomeForward:
		row.Forward++
	case OutcomeMiss:
		row.Misses++
	case OutcomeHarm:
		row.Harm++
	}
}

// hitsToClimb is how many times Belay has to have been right, and never wrong,
// before the report speaks of the next step.
const hitsToClimb = 3

// advice is one sentence: the next step of the ladder from notify over approve
// to auto, or why to stay.
func (row *ReportRow) advice() string {
	switch wrong := row.Unneeded + row.Harm; {
	case row.Harm > 0:
		return fmt.Sprintf("stay: %d rollback(s) did not help; read those incidents first", row.Harm)
	case wrong > 0:
		return fmt.Sprintf("stay: %d of %d would have been for nothing; look at the rule's for and at failed", row.Unneeded, row.Would)
	case row.Hits >= hitsToClimb:
		return fmt.Sprintf("right %d times and never wrong: the next step of the ladder is earned", row.Hits)
	case row.Misses > 0 && row.Hits == 0:
		return fmt.Sprintf("people went back %d time(s) where Belay said no: the cases say why", row.Misses)
	}
	return fmt.Sprintf("right %d of the %d times that are needed to climb", row.Hits, hitsToClimb)
}
