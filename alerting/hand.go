package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// ErrNotMerged marks two incidents that cannot become one.
var ErrNotMerged = errors.New("these two cannot become one")

// ErrSeverity marks a severity that is none.
var ErrSeverity = errors.New("a severity is one of critical, warning, info")

// Assign says who is to look after an open incident. It takes nothing from
// whoever has acknowledged it, and does not count as acknowledging it.
func (c *Incidents) Assign(ctx context.Context, id, actor, to string) error {
	to, err := words("assignee", to, maxActor)
	if err == nil && to == "" {
		err = errors.New("assignee: nobody is named")
	}
	if err != nil {
		return err
	}
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		if i.AssignedTo == to {
			return belay.Event{}, nil
		}
		reason := actor + " asks " + to + " to look after it"
		if to == actor {
			reason = actor + " takes it"
		}
		i.AssignedTo = to
		return event(belay.KindAssigned, reason, i, now), nil
	})
}

// Rate sets the severity of an open incident: "critical", "warning" or "info".
// From then on its alerts do not change it any more.
func (c *Incidents) Rate(ctx context.Context, id, actor, severity string) error {
	if severityRank(severity) == 0 {
		return fmt.Errorf("severity %q: %w", cut(severity, maxActor), ErrSeverity)
	}
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		if i.Severity == severity && i.SeverityBy != "" {
			return belay.Event{}, nil
		}
		reason := actor + " calls it " + severity
		if was := i.Severity; was != "" && was != severity {
			reason += ", not " + was
		}
		i.Severity, i.SeverityBy = severity, actor
		return event(belay.KindRated, reason, i, now), nil
	})
}

// Merge makes an incident a part of another open one, of another service: its
// alerts join that, and are told there from then on. Until they have ended they
// open no incident of their own. It returns an error that Is ErrNotMerged when
// the two are one, or when the other has no room for the alerts, and
// ErrRollbackPending while a rollback of the first is under way.
func (c *Incidents) Merge(ctx context.Context, id, into, actor string) error {
	actor, err := named(actor)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for range maxTries {
		if err := c.catchUp(ctx); err != nil {
			return fmt.Errorf("incident %s: %w", id, err)
		}
		err = c.merge(ctx, id, into, actor)
		if !errors.Is(err, belay.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("incident %s: %w", id, err)
}

// merge appends to two streams, each of them only if it still ends where this
// has read it. First the alerts join the one, then the other ends: where the
// second fails both stay open, and merging them again does the rest.
func (c *Incidents) merge(ctx context.Context, id, into, actor string) error {
	part, err := c.opened(id)
	if err != nil {
		return err
	}
	whole, err := c.opened(into)
	if err != nil {
		return err
	}
	switch {
	case id == into:
		return fmt.Errorf("incident %s: %w: they are the same", id, ErrNotMerged)
	case busy(c.rollbacks[id]):
		return ErrRollbackPending
	}
	now := c.opts.Now().UTC()
	joins, err := joinedBy(*part, *whole, actor, now)
	if err != nil {
		return err
	}
	if len(joins) > 0 {
		if err := c.append(ctx, whole.Service, joins...); err != nil {
			return fmt.Errorf("incident %s: %w", into, err)
		}
	}
	ended := *part
	ended.State, ended.ResolvedAt, ended.MergedInto = belay.Resolved, now, into
	ends := event(belay.KindResolved, actor+" made it a part of "+into+"; what happens is told there", ended, now)
	ends.Actor = actor
	if err := c.append(ctx, part.Service, ends); err != nil {
		return fmt.Errorf("incident %s: %w", id, err)
	}
	return nil
}

// joinedBy returns the event by which the alerts of one incident join another,
// none when that carries them already.
func joinedBy(part, whole belay.Incident, actor string, now time.Time) ([]belay.Event, error) {
	missing := slices.DeleteFunc(slices.Clone(part.Alerts), func(a belay.Alert) bool {
		return slices.ContainsFunc(whole.Alerts, func(m belay.Alert) bool { return m.ID == a.ID })
	})
	for n := range missing {
		missing[n].Incident = whole.ID
	}
	var joined []belay.Alert
	whole.Alerts, joined = admit(whole.Alerts, missing)
	switch {
	case len(joined) < len(missing):
		return nil, fmt.Errorf("incident %s: %w: %s has no room for %s", part.ID, ErrNotMerged, whole.ID, plural(len(missing), "alert"))
	case len(joined) == 0:
		return nil, nil
	}
	whole.Severity = rated(whole)
	reason := fmt.Sprintf("%s makes %s of %s a part of it: %s", actor, part.ID, ServiceName(part.Service), plural(len(joined), "alert"))
	ev := event(belay.KindJoined, reason, whole, now)
	ev.Actor = actor
	return []belay.Event{ev}, nil
}
