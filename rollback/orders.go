package rollback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// ErrRefused marks an order that a guard, or the present state, forbids. Its
// text is the reason, for people.
var ErrRefused = errors.New("refused")

// ErrUnknown marks an order about a service that the configuration does not
// name.
var ErrUnknown = errors.New("unknown service")

// A Notice tells Belay of a deployment, from a pipeline.
type Notice struct {
	Phase        string // start, finish, fail
	Service      belay.ServiceID
	Revision     string // a content hash, or a version
	Version      string
	Commit       string
	Actor        string
	URL          string
	Irreversible bool
}

// worker finds a service's worker, once the controller knows the past.
func (c *Controller) worker(ctx context.Context, id belay.ServiceID) (*worker, error) {
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	if w := c.workers[id]; w != nil {
		return w, nil
	}
	known := make([]string, len(c.services))
	for i, s := range c.services {
		known[i] = s.ID.String()
	}
	return nil, fmt.Errorf("%w %s; known are %s", ErrUnknown, id, strings.Join(known, ", "))
}

func (c *Controller) ready(ctx context.Context) error {
	select {
	case <-c.replayed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the journal is still being read: %w", ctx.Err())
	}
}

// Plan returns what would be done for a service now, with every guard's
// answer. It changes nothing.
func (c *Controller) Plan(ctx context.Context, id belay.ServiceID) (belay.Rollback, error) {
	w, err := c.worker(ctx, id)
	if err != nil {
		return belay.Rollback{}, err
	}
	w.orders.Lock()
	defer w.orders.Unlock()
	now, v := time.Now(), c.snapshot(id)
	p := w.plan(ctx, v, now, decider{})
	answers, veto, asks := Answer(p, now, true)
	rb := w.draft(p, v, answers)
	rb.State, rb.Reason = belay.RollbackPlanned, fmt.Sprintf("every guard agrees: Belay would go back from %s to %s", rb.From, rb.To)
	switch {
	case veto != nil:
		rb.State, rb.Reason = belay.RollbackRefused, veto.Veto
	case len(asks) > 0 || w.svc.Policy.Mode == belay.ModeApprove:
		rb.State, rb.Reason = belay.RollbackAwaiting, fmt.Sprintf("Belay would ask a person to approve going back from %s to %s", rb.From, rb.To)
	}
	return rb, nil
}

// Start begins a rollback that a person orders. The guards that bind Belay
// alone do not bind the person; those that keep the change itself safe do.
func (c *Controller) Start(ctx context.Context, id belay.ServiceID, actor string) (belay.Rollback, error) {
	w, err := c.worker(ctx, id)
	if err != nil {
		return belay.Rollback{}, err
	}
	var rb belay.Rollback
	err = w.obey(ctx, func() (err error) { rb, err = w.begin(ctx, actor); return err })
	return rb, err
}

func (w *worker) begin(ctx context.Context, actor string) (belay.Rollback, error) {
	now, v := time.Now(), w.look()
	if rb := v.current(); rb != nil && rb.State.Acting() {
		return *rb, fmt.Errorf("%w: a rollback to %s is under way", ErrRefused, rb.To)
	}
	p := w.plan(ctx, v, now, decider{ordered: actor})
	answers, veto, _ := Answer(p, now, false)
	rb := w.draft(p, v, answers)
	if veto != nil {
		return rb, fmt.Errorf("%w: %s", ErrRefused, veto.Veto)
	}
	rb.State, rb.DecidedAt, rb.Reason = belay.RollbackPlanned, now, fmt.Sprintf("%s ordered to go back from %s to %s", actor, rb.From, rb.To)
	if err := w.tell(ctx, belay.KindOrdered, rb, now); err != nil {
		return rb, err
	}
	w.nudge()
	return rb, nil
}

// Stop ends a rollback that has not reached the platform yet.
func (c *Controller) Stop(ctx context.Context, operation, actor, reason string) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	for _, w := range c.workers {
		var done bool
		err := w.obey(ctx, func() (err error) { done, err = w.stop(ctx, operation, actor, reason); return err })
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: no rollback %s is waiting", ErrRefused, operation)
}

func (w *worker) stop(ctx context.Context, operation, actor, reason string) (bool, error) {
	v := w.look()
	rb := v.current()
	if rb == nil || rb.ID != operation {
		return false, nil
	}
	if rb.State.Acting() {
		return true, fmt.Errorf("%w: too late, the platform was asked at %s", ErrRefused, rb.IntentAt.UTC().Format("15:04:05 UTC"))
	}
	rb.State, rb.ClosedAt, rb.Reason = belay.RollbackStopped, time.Now(), actor+" stopped it"
	if reason != "" {
		rb.Reason += ": " + reason
	}
	err := w.append(ctx, belay.RollbackStream(w.svc.ID), belay.Event{At: rb.ClosedAt, Kind: belay.KindStop, Service: w.svc.ID, Actor: actor, Rollback: rb, Reason: rb.Reason})
	return true, err
}

// StopAll sets the kill switch of every policy, journals that, and ends what
// waits. The files come first: they work without the journal.
func (c *Controller) StopAll(ctx context.Context, actor, reason string) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	var errs []error
	text := fmt.Sprintf("%s set the kill switch: %s", actor, firstOf(reason, "no reason given"))
	for _, s := range c.services {
		if s.Policy.KillSwitchFile == "" {
			continue
		}
		errs = append(errs, os.MkdirAll(filepath.Dir(s.Policy.KillSwitchFile), 0o700))
		errs = append(errs, os.WriteFile(s.Policy.KillSwitchFile, []byte(text+"\n"), 0o600))
	}
	_, err := c.opts.Journal.Append(ctx, "belay", belay.AnySeq, belay.Event{At: time.Now(), Kind: belay.KindKillSwitch, Actor: actor, Reason: text})
	errs = append(errs, err)
	for _, w := range c.workers {
		v := c.snapshot(w.svc.ID)
		if rb := v.current(); rb != nil && !rb.State.Acting() {
			errs = append(errs, w.obey(ctx, func() error { _, err := w.stop(ctx, rb.ID, actor, reason); return err }))
		}
	}
	return errors.Join(errs...)
}

// Release ends the hold on a content, so that it counts as a new candidate and
// may be rolled back once more.
func (c *Controller) Release(ctx context.Context, id belay.ServiceID, content belay.Content, actor string) error {
	w, err := c.worker(ctx, id)
	if err != nil {
		return err
	}
	return w.obey(ctx, func() error { return w.release(ctx, content, actor) })
}

func (w *worker) release(ctx context.Context, content belay.Content, actor string) error {
	for _, e := range w.look().ledger {
		if !e.Held || content != "" && e.Revision.Content != content && e.Revision.Version != string(content) {
			continue
		}
		e.Held, e.Standing, e.Since, e.Epoch = false, belay.Candidate, time.Now(), e.Epoch+1
		return w.append(ctx, belay.TargetStream(w.svc.ID), belay.Event{At: e.Since, Kind: belay.KindLedger, Service: w.svc.ID, Actor: actor, Ledger: &e, Reason: fmt.Sprintf("%s released the hold on %s", actor, e.Revision)})
	}
	return fmt.Errorf("%w: nothing of %s is held", ErrRefused, w.svc.ID)
}

// Announce records what a pipeline says of a deployment. What really runs is
// still read from the platform; the notice adds who, which commit, and when it
// began.
func (c *Controller) Announce(ctx context.Context, n Notice) error {
	w, err := c.worker(ctx, n.Service)
	if err != nil {
		return err
	}
	return w.obey(ctx, func() error { return w.announce(ctx, n) })
}

func (w *worker) announce(ctx context.Context, n Notice) error {
	now, v := time.Now(), w.look()
	d := v.latest()
	if n.Phase == "start" {
		d = &belay.Deployment{Service: n.Service, StartedAt: now}
		if running := v.running(); running != nil {
			d.From = running.To
		}
		d.To = belay.Revision{Version: firstOf(n.Version, n.Revision)} // its content is what the platform will show
		d.ID = deploymentID(*d)
	}
	if d == nil {
		return fmt.Errorf("%w: no deployment of %s was announced or seen", ErrRefused, n.Service)
	}
	d.Actor, d.Commit, d.URL = firstOf(n.Actor, d.Actor), firstOf(n.Commit, d.Commit), firstOf(n.URL, d.URL)
	d.Irreversible = d.Irreversible || n.Irreversible
	reason := fmt.Sprintf("the deployment of %s was announced", d.To)
	switch n.Phase {
	case "finish":
		d.FinishedAt, d.Result, reason = now, "succeeded", fmt.Sprintf("the deployment of %s has finished, says its pipeline", d.To)
	case "fail":
		d.FinishedAt, d.Result, reason = now, "failed", fmt.Sprintf("the deployment of %s has failed, says its pipeline", d.To)
	}
	return w.append(ctx, belay.TargetStream(n.Service), belay.Event{At: now, Kind: belay.KindDeployment, Service: n.Service, Actor: n.Actor, Deployment: d, Reason: reason})
}
