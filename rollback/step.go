package rollback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belaydev/belay"
)

var errNoPlatform = errors.New("this service names no platform")

// undeliveredAfter is how long a plan waits for a channel to confirm that
// people were told, at least.
const undeliveredAfter = 30 * time.Second

// step looks at the present state of the service and does the next thing.
func (w *worker) step(ctx context.Context, now time.Time) error {
	w.observe()
	st, seen := w.watched()
	if seen {
		if err := w.stepDeployments(ctx, w.look(), st, now); err != nil {
			return err
		}
		if err := w.stepLedger(ctx, w.look(), st, now); err != nil {
			return err
		}
	}
	v := w.look()
	rb := v.current()
	if rb == nil {
		return w.consider(ctx, v, now)
	}
	switch rb.State {
	case belay.RollbackPlanned:
		return w.awaitTelling(ctx, v, *rb, now)
	case belay.RollbackAwaiting:
		return w.awaitApproval(ctx, v, *rb, now)
	case belay.RollbackCountdown:
		return w.awaitVeto(ctx, v, *rb, now)
	case belay.RollbackIntended:
		return w.act(ctx, *rb, now)
	case belay.RollbackConverging:
		return w.awaitConvergence(ctx, *rb, now)
	case belay.RollbackProving:
		return w.prove(ctx, v, *rb, now)
	}
	return nil
}

// consider decides whether an open incident calls for a rollback.
func (w *worker) consider(ctx context.Context, v serviceView, now time.Time) error {
	if w.svc.Policy.Mode == belay.ModeOff || v.incident == nil && w.accuser(v) == nil {
		return nil
	}
	p := w.plan(ctx, v, now, decider{})
	if p.Incident == nil || w.c.answered(p.Incident.ID) {
		return nil
	}
	answers, veto, asks := Answer(p, now, false)
	rb := w.draft(p, v, answers)
	switch {
	case veto != nil:
		return w.refuse(ctx, v, rb, *veto, now)
	case len(asks) > 0 || w.svc.Policy.Mode == belay.ModeApprove:
		return w.propose(ctx, rb, asks, now)
	}
	rb.State, rb.DecidedAt = belay.RollbackPlanned, now
	rb.Reason = fmt.Sprintf("%s; Belay will go back to %s in %s unless someone stops it", p.Suspects[0].Why, rb.To, readable(time.Duration(w.svc.Policy.Veto)))
	return w.tell(ctx, belay.KindPlanned, rb, now)
}

// answered says that a rollback of an incident, of whichever service, is under
// way or has ended: one an incident; what it left is for people. One that the
// incident's end forestalled does not count, should it be open again.
func (c *Controller) answered(incident string) bool {
	for _, s := range c.services {
		v := c.snapshot(s.ID)
		if rb := v.of(incident); rb != nil && rb.State != belay.RollbackRefused && !rb.Moot {
			return true
		}
	}
	return false
}

// draft makes the rollback that a plan amounts to.
func (w *worker) draft(p *Plan, v serviceView, answers []belay.Answer) belay.Rollback {
	rb := belay.Rollback{
		ID:     w.operation(p.State.Revision.Content, v),
		Target: w.target, From: p.State.Revision, To: p.To, Token: p.State.Token,
		Mode: w.svc.Policy.Mode, State: belay.RollbackRefused,
		Suspects: p.Suspects, Answers: answers, OrderedBy: p.Person,
		RecoveryHold: time.Duration(w.svc.Policy.RecoveryHold),
	}
	if p.Incident != nil {
		rb.Incident = p.Incident.ID
	}
	if p.State.Revision.Version == "" && p.Latest != nil && p.Latest.To.Content == p.State.Revision.Content {
		rb.From.Version = p.Latest.To.Version
	}
	return rb
}

// refuse journals a no. The same guard's no is told once a minute at most:
// levels are judged again and again, people are not to be told again and again.
func (w *worker) refuse(ctx context.Context, v serviceView, rb belay.Rollback, veto belay.Answer, now time.Time) error {
	last := v.of(rb.Incident)
	if last != nil && last.State == belay.RollbackRefused && last.Reason == veto.Veto {
		return nil
	}
	key := rb.Incident + "/" + veto.Guard
	if w.refused == nil {
		w.refused = map[string]time.Time{}
	}
	if t, told := w.refused[key]; told && now.Sub(t) < time.Minute && last != nil && last.State == belay.RollbackRefused {
		return nil
	}
	rb.State, rb.Reason = belay.RollbackRefused, veto.Veto
	if err := w.tell(ctx, belay.KindRefused, rb, now); err != nil {
		return err
	}
	w.refused[key] = now
	return nil
}

// awaitTelling starts the countdown once a channel has confirmed that people
// were told.
func (w *worker) awaitTelling(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	if stop, err := w.overtaken(ctx, v, rb, now); stop || err != nil {
		return err
	}
	if rb.OrderedBy != "" || rb.ApprovedBy != "" {
		return w.intend(ctx, v, rb, now)
	}
	veto := time.Duration(w.svc.Policy.Veto)
	told := v.told[rb.Incident] >= v.planned[rb.ID] && v.planned[rb.ID] > 0
	late := now.Sub(rb.DecidedAt) > max(veto, undeliveredAfter)
	switch {
	case told:
		rb.Reason = fmt.Sprintf("people were told; going back to %s at %s unless someone stops it", rb.To, now.Add(veto).UTC().Format("15:04:05 UTC"))
	case late && w.svc.Policy.VetoUndelivered == "proceed":
		rb.Reason = fmt.Sprintf("nobody could be told, and the policy says proceed; going back to %s at %s", rb.To, now.Add(veto).UTC().Format("15:04:05 UTC"))
	case late:
		return w.propose(ctx, rb, []belay.Answer{{Step: 7, Guard: "people_told", Veto: "no channel confirmed that people were told, so nobody could have said stop"}}, now)
	default:
		return nil
	}
	rb.State, rb.VetoUntil = belay.RollbackCountdown, now.Add(veto)
	return w.tell(ctx, belay.KindCountdown, rb, now)
}

// awaitVeto asks every guard again when the countdown has ended. A plan that
// has changed in substance is a new plan, with a countdown of its own.
func (w *worker) awaitVeto(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	if stop, err := w.overtaken(ctx, v, rb, now); stop || err != nil {
		return err
	}
	if now.Before(rb.VetoUntil) {
		return nil
	}
	return w.intend(ctx, v, rb, now)
}

// overtaken ends a plan whose incident is over, or that the kill switch forbids.
func (w *worker) overtaken(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) (bool, error) {
	switch {
	case !v.isOpen(rb.Incident) && rb.OrderedBy == "":
		rb.Reason, rb.Moot = "the incident ended before Belay acted; nothing was changed", true
	case Killed(w.svc.Policy):
		rb.Reason = "the kill switch was set; nothing was changed"
	default:
		return false, nil
	}
	rb.State, rb.ClosedAt = belay.RollbackStopped, now
	return true, w.tell(ctx, belay.KindStop, rb, now)
}

// intend answers all guards again and, if they still agree on the same plan,
// makes the intent durable and acts.
func (w *worker) intend(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	p := w.plan(ctx, v, now, decider{ordered: rb.OrderedBy, approved: rb.ApprovedBy})
	answers, veto, asks := Answer(p, now, false)
	fresh := w.draft(p, v, answers)
	switch {
	case veto != nil && rb.OrderedBy != "":
		rb.State, rb.ClosedAt, rb.Answers = belay.RollbackStopped, now, answers
		rb.Reason = "not done: " + veto.Veto
		return w.tell(ctx, belay.KindStop, rb, now)
	case veto != nil:
		delete(w.refused, rb.Incident+"/"+veto.Guard) // a plan is withdrawn: that is news
		rb.Answers = answers
		return w.refuse(ctx, v, rb, *veto, now)
	case fresh.From.Content != rb.From.Content || fresh.To.Content != rb.To.Content:
		return w.replan(ctx, rb, fresh, now)
	case len(asks) > 0: // auto became approve while people could say stop
		rb.Answers = answers
		return w.propose(ctx, rb, asks, now)
	}
	rb.State, rb.IntentAt, rb.Token, rb.Answers = belay.RollbackIntended, now, fresh.Token, answers
	rb.Reason = fmt.Sprintf("asking the platform to run %s, provided it still runs %s", rb.To, rb.From)
	w.retry = backoff{}
	if err := w.tell(ctx, belay.KindIntent, rb, now); err != nil {
		return err
	}
	return w.act(ctx, rb, now)
}

// replan withdraws a plan whose substance has changed, and makes the new one,
// in one piece: it has another identity if other content runs.
func (w *worker) replan(ctx context.Context, old, plan belay.Rollback, now time.Time) error {
	old.State, old.Reason = belay.RollbackRefused, fmt.Sprintf("the plan has changed: %s runs, %s is the way back", plan.From, plan.To)
	plan.State, plan.DecidedAt = belay.RollbackPlanned, now
	plan.Reason = fmt.Sprintf("the plan has changed: from %s back to %s; people are told anew", plan.From, plan.To)
	events := []belay.Event{{At: now, Kind: belay.KindPlanned, Service: w.svc.ID, Rollback: &plan, Reason: plan.Reason}}
	if plan.Mode == belay.ModeApprove || old.ApprovedBy != "" { // an approval is for the plan that was shown, and for no other
		events[0].Kind, plan.State = belay.KindRefused, belay.RollbackRefused
	}
	if old.ID != plan.ID {
		events = append([]belay.Event{{At: now, Kind: belay.KindRefused, Service: w.svc.ID, Rollback: &old, Reason: old.Reason}}, events...)
	}
	return w.append(ctx, belay.RollbackStream(w.svc.ID), events...)
}

// act asks the platform, once more if need be: the operation's id makes twice
// look like once. The world is read first, each time. Where the good content
// runs already, the platform is asked all the same: it alone knows whether this
// operation put it there, or somebody else.
func (w *worker) act(ctx context.Context, rb belay.Rollback, now time.Time) error {
	if !w.retry.due(now) {
		return nil
	}
	st, err := w.svc.Platform.State(ctx, w.target)
	switch {
	case err != nil:
		return w.later(ctx, rb, now, fmt.Errorf("read what runs: %w", err))
	case st.Revision.Content != rb.From.Content && st.Revision.Content != rb.To.Content:
		return w.end(ctx, rb, belay.RollbackSuperseded, now, fmt.Sprintf("%s runs by now; nothing was changed", st.Revision))
	case st.Revision.Content == rb.From.Content && Killed(w.svc.Policy):
		return w.end(ctx, rb, belay.RollbackStopped, now, "the kill switch was set; nothing was changed")
	}
	op := belay.Operation{ID: rb.ID, Target: w.target, Seen: rb.From.Content, Token: st.Token, To: rb.To}
	switch err := w.svc.Platform.Restore(ctx, op); {
	case err == nil:
		return w.accepted(ctx, rb, time.Now(), fmt.Sprintf("the platform accepted to run %s", rb.To))
	case errors.Is(err, belay.ErrSuperseded) && st.Revision.Content == rb.To.Content:
		return w.end(ctx, rb, belay.RollbackSuperseded, now, fmt.Sprintf("somebody else went back to %s already; Belay changed nothing", rb.To))
	case errors.Is(err, belay.ErrSuperseded):
		return w.end(ctx, rb, belay.RollbackSuperseded, now, "something else runs by now; nothing was changed")
	default:
		return w.later(ctx, rb, now, err)
	}
}

func (w *worker) accepted(ctx context.Context, rb belay.Rollback, now time.Time, reason string) error {
	rb.State, rb.ActedAt, rb.Reason = belay.RollbackConverging, now, reason
	return w.tell(ctx, belay.KindActed, rb, now)
}

// later waits before the platform is asked again, and gives up when the time
// for recovery has passed.
func (w *worker) later(ctx context.Context, rb belay.Rollback, now time.Time, err error) error {
	if now.Sub(rb.IntentAt) > time.Duration(w.svc.Policy.RecoveryTimeout) {
		return w.end(ctx, rb, belay.RollbackFailed, now, fmt.Sprintf("the platform could not be brought to act: %v; a person is needed", err))
	}
	w.retry.wait(now)
	w.c.log.Warn("the platform did not act, asking again", "service", w.svc.ID.String(), "operation", rb.ID, "tries", w.retry.tries, "err", err)
	return nil
}

func (w *worker) awaitConvergence(ctx context.Context, rb belay.Rollback, now time.Time) error {
	st, err := w.svc.Platform.State(ctx, w.target)
	if end := displaced(rb, st, err); end != "" {
		return w.displace(ctx, rb, st, end, now)
	}
	if st.Progress == belay.Converged { // the zero state of an error is not
		rb.State, rb.ConvergedAt = belay.RollbackProving, now
		rb.Reason = fmt.Sprintf("%s runs; waiting for fresh data to prove that it helped", rb.To)
		return w.tell(ctx, belay.KindConverged, rb, now)
	}
	if now.Sub(rb.IntentAt) > time.Duration(w.svc.Policy.RecoveryTimeout) {
		why := firstOf(st.Reason, "it is still "+string(st.Progress))
		if err != nil {
			why = err.Error()
		}
		return w.end(ctx, rb, belay.RollbackFailed, now, fmt.Sprintf("the platform did not bring %s up (%s); a person is needed", rb.To, why))
	}
	return nil
}

// displaced says how a rollback ends whose content does not run any more:
// either someone put the bad content back, or a newer deployment took over. It
// is "" while the content runs, or nobody knows.
func displaced(rb belay.Rollback, st belay.State, err error) belay.RollbackState {
	switch {
	case err != nil || st.Revision.Content == rb.To.Content:
		return ""
	case st.Revision.Content == rb.From.Content:
		return belay.RollbackFought
	}
	return belay.RollbackSuperseded
}

func (w *worker) displace(ctx context.Context, rb belay.Rollback, st belay.State, end belay.RollbackState, now time.Time) error {
	if end == belay.RollbackFought {
		return w.end(ctx, rb, end, now, fmt.Sprintf("someone put %s back; Belay does not fight over it, a person is needed", rb.From))
	}
	return w.end(ctx, rb, end, now, fmt.Sprintf("%s was deployed after the rollback", st.Revision))
}

// prove waits until fresh data shows that the service is well, and that it
// stays well. That series have gone proves nothing.
func (w *worker) prove(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	st, err := w.svc.Platform.State(ctx, w.target)
	if end := displaced(rb, st, err); end != "" {
		return w.displace(ctx, rb, st, end, now)
	}
	h := w.proof(rb, v, now)
	well := h.red == "" && h.unknown == "" && h.conclusive && h.newest.After(rb.ConvergedAt)
	hold := time.Duration(w.svc.Policy.RecoveryHold)
	switch {
	case well && rb.HealthyAt.IsZero():
		rb.HealthyAt = now
		rb.Reason = fmt.Sprintf("fresh data shows %s well with %s; it must stay so for %s", w.svc.ID.Name, rb.To, readable(hold))
		return w.tell(ctx, belay.KindHealthy, rb, now)
	case !well && h.red != "" && !rb.HealthyAt.IsZero():
		rb.HealthyAt = time.Time{}
		rb.Reason = "not well after all: " + h.red
		return w.tell(ctx, belay.KindUnhealthy, rb, now)
	case well && now.Sub(rb.HealthyAt) >= hold:
		rb.State, rb.ClosedAt = belay.RollbackRecovered, now
		rb.Reason = fmt.Sprintf("going back from %s to %s helped: well for %s", rb.From, rb.To, readable(hold))
		return w.tell(ctx, belay.KindRecovered, rb, now)
	case now.Sub(rb.ConvergedAt) > time.Duration(w.svc.Policy.RecoveryTimeout)+hold:
		return w.end(ctx, rb, belay.RollbackNotRecovered, now, fmt.Sprintf("%s runs again, but that did not help (%s); a person is needed", rb.To, firstOf(h.red, h.unknown, "no fresh data")))
	}
	return nil
}

func firstOf(words ...string) string {
	for _, s := range words {
		if s != "" {
			return s
		}
	}
	return ""
}

func (w *worker) end(ctx context.Context, rb belay.Rollback, state belay.RollbackState, now time.Time, reason string) error {
	rb.State, rb.ClosedAt, rb.Reason = state, now, reason
	return w.tell(ctx, belay.KindEnded, rb, now)
}

func (w *worker) tell(ctx context.Context, kind belay.Kind, rb belay.Rollback, now time.Time) error {
	return w.append(ctx, belay.RollbackStream(w.svc.ID), belay.Event{At: now, Kind: kind, Service: w.svc.ID, Actor: rb.OrderedBy, Rollback: &rb, Reason: rb.Reason})
}

// backoff spaces repeated tries: at once, then 1 s, doubled up to 30 s.
type backoff struct {
	tries int
	next  time.Time
}

func (b *backoff) due(now time.Time) bool { return !now.Before(b.next) }

func (b *backoff) wait(now time.Time) {
	b.next = now.Add(min(time.Second<<min(b.tries, 5), 30*time.Second))
	b.tries++
}
