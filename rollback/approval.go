package rollback

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// planHash is the identity of what is shown for approval: the incident, the
// content that would be taken away and the content that would come back.
func planHash(rb belay.Rollback) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", rb.ID, rb.Incident, rb.From.Content, rb.To.Content))
	return fmt.Sprintf("%x", sum[:6])
}

// propose asks for a person's approval of exactly this plan. asks say why
// Belay does not decide alone, beyond the mode.
func (w *worker) propose(ctx context.Context, rb belay.Rollback, asks []belay.Answer, now time.Time) error {
	why := "the mode is approve"
	if len(asks) > 0 {
		reasons := make([]string, len(asks))
		for i, a := range asks {
			reasons[i] = a.Veto
		}
		why = strings.Join(reasons, "; ")
	}
	rb.State, rb.DecidedAt, rb.VetoUntil, rb.ApprovedBy = belay.RollbackAwaiting, now, time.Time{}, ""
	rb.ApproveUntil = now.Add(time.Duration(w.svc.Policy.AttributionWindow))
	rb.Plan = planHash(rb)
	rb.Reason = fmt.Sprintf("going back from %s to %s waits for a person's approval until %s (%s): belay rollback approve %s",
		rb.From, rb.To, rb.ApproveUntil.UTC().Format("15:04:05 UTC"), why, rb.ID)
	return w.tell(ctx, belay.KindProposed, rb, now)
}

// awaitApproval ends a proposal that is overtaken: by its time, by the end of
// the incident, by other content.
func (w *worker) awaitApproval(ctx context.Context, v serviceView, rb belay.Rollback, now time.Time) error {
	if stop, err := w.overtaken(ctx, v, rb, now); stop || err != nil {
		return err
	}
	if st, seen := w.watched(); seen && st.Revision.Content != rb.From.Content {
		return w.end(ctx, rb, belay.RollbackSuperseded, now, fmt.Sprintf("%s runs by now; nothing was changed", st.Revision))
	}
	if now.Before(rb.ApproveUntil) {
		return nil
	}
	rb.State, rb.ClosedAt, rb.Reason = belay.RollbackStopped, now, "nobody approved it in time; nothing was changed"
	return w.tell(ctx, belay.KindStop, rb, now)
}

// Approve uses a person's approval of a proposal, once. plan is the identity
// of what the person was shown; "" trusts the operation's id alone. The guards
// are asked again before anything is done.
func (c *Controller) Approve(ctx context.Context, operation, plan, actor string) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	for _, w := range c.workers {
		var done bool
		err := w.obey(ctx, func() (err error) { done, err = w.approve(ctx, operation, plan, actor); return err })
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: no rollback %s waits for approval; it was approved, stopped or overtaken", ErrRefused, operation)
}

func (w *worker) approve(ctx context.Context, operation, plan, actor string) (bool, error) {
	now, v := time.Now(), w.look()
	rb := v.current()
	switch {
	case rb == nil || rb.ID != operation || rb.State != belay.RollbackAwaiting:
		return false, nil
	case strings.TrimSpace(actor) == "":
		return true, fmt.Errorf("%w: an approval needs a name", ErrRefused)
	case plan != "" && plan != rb.Plan:
		return true, fmt.Errorf("%w: the plan has changed since it was shown: %s", ErrRefused, rb.Reason)
	case !now.Before(rb.ApproveUntil):
		return true, fmt.Errorf("%w: the proposal expired at %s", ErrRefused, rb.ApproveUntil.UTC().Format("15:04:05 UTC"))
	}
	rb.State, rb.ApprovedBy = belay.RollbackPlanned, actor
	rb.Reason = fmt.Sprintf("%s approved going back from %s to %s", actor, rb.From, rb.To)
	err := w.append(ctx, belay.RollbackStream(w.svc.ID), belay.Event{At: now, Kind: belay.KindApproved, Service: w.svc.ID, Actor: actor, Rollback: rb, Reason: rb.Reason})
	w.nudge()
	return true, err
}
