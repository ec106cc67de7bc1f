package rollback

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/belaydev/belay"
)

// conclusiveShare is the part of a soak during which at least one rule of the
// service must have judged on fresh data.
const conclusiveShare = 0.9

// soakClock measures one soak. It lives in memory only: a restart of Belay
// begins the soak anew, which errs on the safe side.
type soakClock struct {
	content    belay.Content
	start      time.Time
	last       time.Time
	conclusive time.Duration
}

// advance moves the clock to now. A gap of more than five seconds between two
// looks counts as seen by nobody.
func (s *soakClock) advance(now time.Time, conclusive bool) {
	if dt := now.Sub(s.last); conclusive && dt > 0 && dt <= 5*time.Second {
		s.conclusive += dt
	}
	s.last = now
}

// health is what the rules say of one service at one moment.
type health struct {
	red        string // why it is not green: a rule that is pending, firing or failing
	unknown    string // a rule that cannot be judged
	conclusive bool   // at least one rule passed on fresh data
	newest     time.Time
}

// health reads the rules' present alerts and judgements of the service.
func (w *worker) health(now time.Time) health {
	var h health
	for _, a := range w.c.opts.Alerts() {
		if a.State != belay.AlertInactive && !a.Observe && w.svc.Match(a.Labels) {
			h.red = fmt.Sprintf("%s is %s", a.Rule, a.State)
		}
	}
	for _, j := range w.c.opts.Judgements() {
		if j.Observe || !w.svc.Match(j.Labels) {
			continue
		}
		switch j.Verdict {
		case belay.Fail:
			if h.red == "" {
				h.red = j.Rule + " fails"
			}
		case belay.Unknown:
			h.unknown = j.Rule + " cannot be judged"
		case belay.Pass:
			if now.Sub(j.DataAt) <= w.c.opts.StaleAfter && !j.Partial {
				h.conclusive = true
				if j.DataAt.After(h.newest) {
					h.newest = j.DataAt
				}
			}
		}
	}
	return h
}

// proof is the health that a rollback is measured by: that of the service, and
// of the one whose incident it answers.
func (w *worker) proof(rb belay.Rollback, v serviceView, now time.Time) health {
	h := w.health(now)
	in, open := v.open[rb.Incident]
	other := w.c.workers[in.Service]
	if !open || other == nil || other == w {
		return h
	}
	o := other.health(now)
	h.red, h.unknown = firstOf(h.red, o.red), firstOf(h.unknown, o.unknown)
	h.conclusive = o.conclusive // it is there that it failed
	h.newest = o.newest
	return h
}

// stepLedger keeps the standing of what runs now.
func (w *worker) stepLedger(ctx context.Context, v serviceView, st belay.State, now time.Time) error {
	if err := w.closeBooks(ctx, v, now); err != nil {
		return err
	}
	entry, known := v.ledger[st.Revision.Content]
	if !known || entry.Standing == belay.Good || entry.Standing == belay.Bad {
		return nil
	}
	h := w.health(now)
	why := ""
	switch {
	case st.Progress != belay.Converged:
		why = "it has not converged"
	case h.red != "":
		why = h.red
	case v.incident != nil:
		why = "an incident is open"
	case v.current() != nil && v.current().State.Acting():
		why = "a rollback is under way"
	}
	if why != "" {
		w.soak = soakClock{}
		if entry.Standing == belay.Soaking {
			return w.record(ctx, entry, belay.Candidate, now, fmt.Sprintf("%s is not soaking any more: %s", entry.Revision, why))
		}
		return nil
	}
	return w.soakOn(ctx, entry, h, now)
}

func (w *worker) soakOn(ctx context.Context, entry belay.LedgerEntry, h health, now time.Time) error {
	soak := time.Duration(w.svc.Policy.Soak)
	if w.soak.content != entry.Revision.Content {
		w.soak = soakClock{content: entry.Revision.Content, start: now, last: now}
		if entry.Standing != belay.Candidate {
			return nil // Belay was restarted, or it is assumed already: soak in silence
		}
		return w.record(ctx, entry, belay.Soaking, now, fmt.Sprintf("%s has converged and is green; it is known good after %s of that", entry.Revision, readable(soak)))
	}
	conclusive := h.conclusive && h.unknown == ""
	if conclusive && w.soak.conclusive == 0 && now.Sub(w.soak.start) < soak {
		w.soak.start, w.soak.last = now, now.Add(-time.Nanosecond) // the first data: what went before need not be waited for twice
	}
	w.soak.advance(now, conclusive)
	watched := now.Sub(w.soak.start)
	if watched < soak {
		return nil
	}
	clock := w.soak
	w.soak = soakClock{content: entry.Revision.Content, start: now, last: now}
	share := clock.conclusive.Seconds() / watched.Seconds()
	if share >= conclusiveShare {
		return w.record(ctx, entry, belay.Good, now, fmt.Sprintf("%s is known good: converged and green for %s, with data for %.0f %% of it", entry.Revision, readable(watched), 100*share))
	}
	if entry.Standing == belay.Assumed {
		return nil
	}
	return w.record(ctx, entry, belay.Assumed, now, fmt.Sprintf("%s is only assumed to be good: no rule spoke against it for %s, but there was data for %.0f %% of it", entry.Revision, readable(watched), 100*share))
}

// closeBooks marks what a proven rollback has shown: its content is bad, held,
// and its deployment was rolled back. It is a level: a crash between the two
// streams is made good at the next step.
func (w *worker) closeBooks(ctx context.Context, v serviceView, now time.Time) error {
	for _, rb := range v.rollbacks {
		if rb.State != belay.RollbackRecovered && rb.State != belay.RollbackFought {
			continue
		}
		e := v.ledger[rb.From.Content]
		if e.Standing == belay.Bad || OperationID(rb.Target, rb.From.Content, e.Epoch) != rb.ID { // released since
			continue
		}
		e.Service, e.Revision, e.Held = w.svc.ID, rb.From, true
		if err := w.record(ctx, e, belay.Bad, now, fmt.Sprintf("%s is held as bad: %s; a person can release it", rb.From, rb.Reason)); err != nil {
			return err
		}
		if err := w.markRolledBack(ctx, v, rb, now); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) markRolledBack(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	for _, d := range v.deployments {
		if d.To.Content != rb.From.Content || d.Result == "rolled_back" || d.StartedAt.After(rb.IntentAt) {
			continue
		}
		d.Result = "rolled_back"
		if d.FinishedAt.IsZero() {
			d.FinishedAt = now
		}
		if err := w.append(ctx, belay.TargetStream(w.svc.ID), belay.Event{At: now, Kind: belay.KindDeployment, Service: w.svc.ID, Deployment: &d, Reason: fmt.Sprintf("the deployment of %s was rolled back", d.To)}); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) record(ctx context.Context, e belay.LedgerEntry, to belay.Standing, now time.Time, reason string) error {
	e.Standing, e.Since = to, now
	return w.append(ctx, belay.TargetStream(w.svc.ID), belay.Event{At: now, Kind: belay.KindLedger, Service: w.svc.ID, Ledger: &e, Reason: reason})
}

// stepDeployments notices when other content runs than the journal knows.
func (w *worker) stepDeployments(ctx context.Context, v serviceView, st belay.State, now time.Time) error {
	running := v.running()
	switch {
	case running == nil:
		d := belay.Deployment{Service: w.svc.ID, To: st.Revision, StartedAt: changed(st), FinishedAt: changed(st)}
		return w.deployed(ctx, v, d, now, fmt.Sprintf("%s runs; Belay sees it for the first time", st.Revision))
	case running.To.Content == st.Revision.Content && running.FinishedAt.IsZero() && st.Progress == belay.Converged:
		running.FinishedAt, running.Result = st.At, "succeeded"
		return w.append(ctx, belay.TargetStream(w.svc.ID), belay.Event{At: now, Kind: belay.KindDeployment, Service: w.svc.ID, Deployment: running, Reason: fmt.Sprintf("%s has converged", running.To)})
	case running.To.Content == st.Revision.Content:
		return nil
	}
	d := belay.Deployment{Service: w.svc.ID, From: running.To, To: st.Revision, StartedAt: changed(st)}
	reason := fmt.Sprintf("%s replaces %s", st.Revision, running.To)
	rb := v.current()
	switch announced := v.announced(); {
	case rb != nil && rb.State.Acting() && rb.To.Content == st.Revision.Content:
		d.Operation = rb.ID
		reason += " (Belay's own rollback)"
	case announced != nil:
		started := announced.StartedAt
		if d.StartedAt.Before(started) {
			started = d.StartedAt
		}
		d = *announced
		d.StartedAt, d.From = started, running.To
		d.To.Content, d.To.Created, d.To.Version = st.Revision.Content, st.Revision.Created, firstOf(st.Revision.Version, d.To.Version)
		reason = fmt.Sprintf("%s replaces %s, as announced", d.To, d.From)
	}
	return w.deployed(ctx, v, d, now, reason)
}

func changed(st belay.State) time.Time {
	if st.ChangedAt.IsZero() || st.ChangedAt.After(st.At) {
		return st.At
	}
	return st.ChangedAt
}

func (w *worker) deployed(ctx context.Context, v serviceView, d belay.Deployment, now time.Time, reason string) error {
	if d.ID == "" {
		d.ID = deploymentID(d)
	}
	events := []belay.Event{{At: now, Kind: belay.KindDeployment, Service: w.svc.ID, Deployment: &d, Reason: reason}}
	e, known := v.ledger[d.To.Content]
	switch {
	case known && e.Held:
		events = append(events, belay.Event{At: now, Kind: belay.KindPreexisting, Service: w.svc.ID, Deployment: &d, Reason: fmt.Sprintf("%s was put back although it is held as bad; Belay does not fight over it", d.To)})
	case !known || e.Standing == belay.Soaking || e.Standing == belay.Assumed:
		e.Service, e.Revision, e.Standing, e.Since = w.svc.ID, d.To, belay.Candidate, now
		events = append(events, belay.Event{At: now, Kind: belay.KindLedger, Service: w.svc.ID, Ledger: &e, Reason: fmt.Sprintf("%s is a candidate until it has soaked", d.To)})
	}
	return w.append(ctx, belay.TargetStream(w.svc.ID), events...)
}

func deploymentID(d belay.Deployment) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", d.Service, d.To.Content, d.StartedAt.UnixNano()))
	return fmt.Sprintf("d-%x", sum[:6])
}
