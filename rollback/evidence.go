package rollback

import (
	"context"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// judgings remembers, for each alert, how its newest judgements on new data
// went: true is failed.
type judgings struct {
	seen map[string]time.Time
	last map[string][]bool
}

// observe adds the present verdict of each alert whose data has advanced.
// Unknown is never a failure, and never a pass.
func (j *judgings) observe(alerts []belay.Alert, n int) {
	if j.seen == nil {
		j.seen, j.last = map[string]time.Time{}, map[string][]bool{}
	}
	present := map[string]bool{}
	for _, a := range alerts {
		present[a.ID] = true
		if !a.DataAt.After(j.seen[a.ID]) || a.Verdict != belay.Fail && a.Verdict != belay.Pass {
			continue
		}
		j.seen[a.ID] = a.DataAt
		j.last[a.ID] = append(j.last[a.ID], a.Verdict == belay.Fail)
		j.last[a.ID] = j.last[a.ID][max(0, len(j.last[a.ID])-n):]
	}
	for id := range j.seen {
		if !present[id] {
			delete(j.seen, id)
			delete(j.last, id)
		}
	}
}

// failures counts the failures among the last n judgements of an alert. What
// the rules themselves counted in a row covers the time before the controller
// looked.
func (j *judgings) failures(a belay.Alert, n int) int {
	k := 0
	for _, failed := range j.last[a.ID] {
		if failed {
			k++
		}
	}
	return max(k, min(a.Failed, n))
}

// A decider is the person behind a plan, if there is one.
type decider struct{ ordered, approved string }

// plan reads everything a decision rests on.
func (w *worker) plan(ctx context.Context, v serviceView, now time.Time, by decider) *Plan {
	pol := w.svc.Policy
	p := &Plan{
		Service: w.svc.ID, Policy: pol, Person: by.ordered, Approver: by.approved, Incident: v.incident,
		Latest: v.running(), Ledger: v.ledger,
		Lag: w.c.opts.Lag(), MaxLag: w.c.opts.MaxLag, StaleAfter: w.c.opts.StaleAfter,
		KillSwitch: Killed(pol), LastOwn: v.lastIntent(), Judgings: pol.judgings,
	}
	if w.svc.Platform == nil {
		p.StateErr = errNoPlatform
		p.ListErr = errNoPlatform
	} else {
		p.Caps = CapabilitiesOf(w.svc.Platform)
		p.State, p.StateErr = w.svc.Platform.State(ctx, w.target)
		p.Restorable, p.ListErr = w.svc.Platform.Revisions(ctx, w.target)
	}
	w.accuse(p, v)
	w.c.neighbours(p, now)
	w.order(p, now)
	p.To, _ = wayBack(p.State.Revision.Content, v.ledger, p.Restorable)
	p.Acted = v.acted(w.operation(p.State.Revision.Content, v))
	return p
}

func (w *worker) operation(bad belay.Content, v serviceView) string {
	return OperationID(w.target, bad, v.ledger[bad].Epoch)
}

// accuse picks the alert that may lead to a rollback, and who is suspected. The
// service's own failing evidence comes first. Without an incident of its own, it
// may be accused by one of a service that depends on it.
func (w *worker) accuse(p *Plan, v serviceView) {
	w.weigh(p, w, v)
	if p.Incident == nil && p.Trigger == nil {
		if d := w.accuser(v); d != nil {
			in := w.c.snapshot(d.svc.ID).incident
			p.Incident, p.Elsewhere = in, d.svc.ID.Name
			w.weigh(p, d, d.c.snapshot(d.svc.ID))
		}
	}
	if p.Trigger != nil {
		p.Foreign, p.Silenced = w.c.opts.Foreign(*p.Trigger), w.c.opts.Silenced(*p.Trigger)
	}
}

// weigh looks among the firing alerts of a service, which this one's policy
// names, for one that a deployment explains; what Belay saw itself is preferred.
func (w *worker) weigh(p *Plan, red *worker, v serviceView) {
	window := time.Duration(p.Policy.AttributionWindow)
	var around []neighbour
	for _, id := range red.svc.DependsOn {
		other := w.c.snapshot(id)
		if d := other.running(); d != nil {
			around = append(around, neighbour{*d, other.ledger, other.incident != nil})
		}
	}
	best := -1
	for _, a := range w.c.opts.Alerts() {
		if a.State != belay.AlertFiring || a.Observe || !red.svc.Match(a.Labels) || !p.Policy.Matches(a.Labels) {
			continue
		}
		found := suspects(v.deployments, v.ledger, around, a.ActiveAt, window)
		n := red.failures(a, p.Policy.judgings)
		rank := min(n, p.Policy.judgings)
		if w.c.opts.Foreign(a) == "" {
			rank += 100
		}
		if n >= p.Policy.failures {
			rank += 1000
		}
		if len(found) > 0 {
			rank += 10_000
		}
		if rank > best {
			best, p.Trigger, p.Suspects, p.Failures = rank, &a, found, n
		}
	}
}

// observe notes how the rules' present alerts were judged.
func (w *worker) observe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.observe(w.c.opts.Alerts(), w.svc.Policy.judgings)
}

func (w *worker) failures(a belay.Alert, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.history.failures(a, n)
}

// accuser returns the worker of a service that depends on this one, has an open
// incident, and was not taken back itself because a deployment of this service
// is the likelier cause; nil when there is none.
func (w *worker) accuser(v serviceView) *worker {
	for _, s := range w.c.services {
		if !slices.Contains(s.DependsOn, w.svc.ID) {
			continue
		}
		d := w.c.snapshot(s.ID)
		if d.incident == nil || d.current() != nil {
			continue
		}
		rb := d.of(d.incident.ID)
		own := v.of(d.incident.ID)
		if own != nil || rb != nil && rb.State == belay.RollbackRefused && len(rb.Suspects) > 0 && rb.Suspects[0].Deployment.Service == w.svc.ID {
			return w.c.workers[s.ID]
		}
	}
	return nil
}

// neighbours fills in what the guards of budget and mass alarm ask for.
func (c *Controller) neighbours(p *Plan, now time.Time) {
	p.Services = len(c.services)
	for _, s := range c.services {
		v := c.snapshot(s.ID)
		if v.incident != nil {
			p.Red++
		}
		recent := false
		for _, rb := range v.rollbacks {
			if rb.State.Acting() && s.ID != p.Service {
				p.InFlight++
			}
			if !rb.IntentAt.IsZero() && now.Sub(rb.IntentAt) < time.Hour {
				p.LastHour++
				recent = true
			}
		}
		if recent && s.ID != p.Service {
			p.RolledBack++
		}
	}
}
