package rollback

import (
	"fmt"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// order says whether another service has to be seen to first: several services
// that are related by depends_on are taken back one after the other, what the
// others rest on first, and no further once one of them did not recover.
func (w *worker) order(p *Plan, now time.Time) {
	below := w.c.below(w.svc.ID)
	for _, s := range w.c.services {
		if s.ID == w.svc.ID {
			continue
		}
		above := slices.Contains(w.c.below(s.ID), w.svc.ID)
		rests := slices.Contains(below, s.ID)
		if !above && !rests {
			continue
		}
		v := w.c.snapshot(s.ID)
		if why := leftBehind(v, s.ID, time.Duration(p.Policy.AttributionWindow), now); why != "" {
			p.First = why
			return
		}
		first := rests && (!above || s.ID.String() < w.svc.ID.String()) // in a ring, somebody has to begin
		if first && p.First == "" {
			p.First = goesFirst(v, s, now)
		}
	}
}

// below returns every service that one depends on, directly or not.
func (c *Controller) below(id belay.ServiceID) []belay.ServiceID {
	var out []belay.ServiceID
	todo := []belay.ServiceID{id}
	for len(todo) > 0 {
		w := c.workers[todo[0]]
		todo = todo[1:]
		if w == nil {
			continue
		}
		for _, d := range w.svc.DependsOn {
			if d != id && !slices.Contains(out, d) {
				out, todo = append(out, d), append(todo, d)
			}
		}
	}
	return out
}

// leftBehind says that a related service was taken back lately and did not
// recover: then this one is for people.
func leftBehind(v serviceView, id belay.ServiceID, window time.Duration, now time.Time) string {
	for _, rb := range v.rollbacks {
		switch rb.State {
		case belay.RollbackNotRecovered, belay.RollbackFailed, belay.RollbackFought:
			if now.Sub(rb.ClosedAt) < window {
				return fmt.Sprintf("the rollback of %s, which is related to this service, did not help (%s); nothing more is rolled back until people have looked", id.Name, rb.State)
			}
		}
	}
	return ""
}

// goesFirst says that a service which this one rests on is red, was deployed
// lately, and is not done with yet.
func goesFirst(v serviceView, s Service, now time.Time) string {
	if rb := v.current(); rb != nil {
		return fmt.Sprintf("%s, which this service depends on, is seen to first: its rollback is %s", s.ID.Name, rb.State)
	}
	d := v.running()
	if v.incident == nil || d == nil || d.Operation != "" || now.Sub(d.StartedAt) > time.Duration(s.Policy.AttributionWindow) || s.Policy.Mode == belay.ModeOff {
		return ""
	}
	if v.of(v.incident.ID) == nil {
		return fmt.Sprintf("%s, which this service depends on, is red as well and was deployed lately; it is judged first", s.ID.Name)
	}
	return ""
}
