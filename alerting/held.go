package alerting

import (
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// heldEvery is how often it is asked whether a muted incident may be told. The
// end of a silence or of a mute time is no event.
const heldEvery = time.Second

// muted says whether nobody is to be told of a turn now. What Belay itself does
// to a deployment, or asks leave to do, is told always: a change of production
// is never silent.
func (c *courier) muted(t turn) bool {
	if t.event.Rollback != nil && t.event.Kind != belay.KindRefused {
		return false
	}
	c.box.mu.Lock()
	i := c.box.byID[t.incident].incident
	c.box.mu.Unlock()
	return c.box.opts.Muted(i, c.Receivers, c.box.opts.Now()) != ""
}

// release returns a held turn that may be told by now, nil when there is none.
// An incident that has ended meanwhile is not told at all.
func (c *courier) release() *turn {
	for id, t := range c.held {
		c.box.mu.Lock()
		over := c.box.byID[id].incident.State == belay.Resolved
		c.box.mu.Unlock()
		switch {
		case over:
			delete(c.held, id)
		case !c.muted(t):
			return &t
		}
	}
	return nil
}

// holdUntold takes up, after a restart, the open incidents that were never told
// here because they were muted.
func (c *courier) holdUntold() {
	for id, st := range c.box.byID {
		p := c.posts[id]
		waits := slices.ContainsFunc(c.queue, func(t turn) bool { return t.incident == id })
		if st.incident.State == belay.Resolved || waits || p != nil && (p.sent || p.begun || p.dead) || !c.wants(st.opened, c.box.opts.Routing) {
			continue
		}
		c.held[id] = turn{event: st.last, incident: id}
	}
}

// IncidentMuted says why an incident is not told at receivers now: every alert
// of it that fires is silenced, inhibited, or within the mute times of all
// routes that lead it there. It returns "" when it is told.
func (t Telling) IncidentMuted(i belay.Incident, receivers []string, now time.Time) string {
	alerts := slices.DeleteFunc(slices.Clone(i.Alerts), func(a belay.Alert) bool { return a.State != belay.AlertFiring })
	if len(alerts) == 0 {
		alerts = i.Alerts
	}
	x, why := t.explainer(now), ""
	for _, a := range alerts {
		if why = x.explain(a.Labels).Muted(receivers); why == "" {
			return ""
		}
	}
	return why
}
