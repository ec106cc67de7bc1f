package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// ErrNotMerged marks two incidents that cannot become one.
var ErrNotMerged = errors.New("these two cannot become one")

// severities are what a person may call an incident.
var severities = []string{"critical", "warning", "info"}

// ErrSeverity marks a severity that is none.
var ErrSeverity = fmt.Errorf("a severity is one of %s", strings.Join(severities, ", "))

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
	if !slices.Contains(severities, severity) {
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
// open no incident of their own. A rollback that is under way keeps its
// incident; it is refused with ErrRollbackPending.
func (c *Incidents) Merge(ctx context.Context, id, into, actor string) error {
	from, err := c.mergeable(ctx, id, into)
	if err != nil {
		return err
	}
	// First the alerts join the one, then the other ends. A crash in between
	// leaves both open, and merging them again does the rest.
	err = c.change(ctx, into, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		missing := slices.DeleteFunc(slices.Clone(from.Alerts), func(a belay.Alert) bool {
			return slices.ContainsFunc(i.Alerts, func(m belay.Alert) bool { return m.ID == a.ID })
		})
		for n := range missing {
			missing[n].Incident = i.ID
		}
		members, joined := admit(i.Alerts, missing)
		if len(joined) == 0 {
			return belay.Event{}, nil
		}
		i.Alerts = members
		i.Severity = rated(i)
		reason := fmt.Sprintf("%s makes %s of %s a part of it: %s", actor, from.ID, ServiceName(from.Service), plural(len(joined), "alert"))
		return event(belay.KindJoined, reason, i, now), nil
	})
	if err != nil {
		return err
	}
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		if busy(c.rollbacks[i.ID]) {
			return belay.Event{}, ErrRollbackPending
		}
		i.State, i.ResolvedAt, i.MergedInto = belay.Resolved, now, into
		return event(belay.KindResolved, actor+" made it a part of "+into+"; what happens is told there", i, now), nil
	})
}

// mergeable returns the incident that is to become a part of another.
func (c *Incidents) mergeable(ctx context.Context, id, into string) (belay.Incident, error) {
	if id == into {
		return belay.Incident{}, fmt.Errorf("incident %s: %w: they are the same", id, ErrNotMerged)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.catchUp(ctx); err != nil {
		return belay.Incident{}, fmt.Errorf("incident %s: %w", id, err)
	}
	i, err := c.opened(id)
	if err != nil {
		return belay.Incident{}, err
	}
	if _, err := c.opened(into); err != nil {
		return belay.Incident{}, err
	}
	if busy(c.rollbacks[id]) {
		return belay.Incident{}, ErrRollbackPending
	}
	return *i, nil
}
