package alerting

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// A fold is what the journal says about alerts and incidents, newest wins.
type fold struct {
	match   func(labels.Labels) (belay.ServiceID, bool)
	grouped bool // alerts that no service claims are none of ours

	at        belay.Seq                                  // everything up to here is in
	pos       map[string]belay.Seq                       // the end of each incident stream
	alerts    map[belay.ServiceID]map[string]belay.Alert // by alert ID; those that judge only are left out
	owner     map[string]belay.ServiceID                 // of each alert in alerts
	carrier   map[string]belay.ServiceID                 // of each alert that an open incident carries
	open      map[belay.ServiceID]*belay.Incident
	last      map[belay.ServiceID]*belay.Incident // the one that ended by itself and that nothing has followed since
	known     map[string]belay.ServiceID          // every incident there ever was
	rollbacks map[string]*belay.Rollback          // the newest of each incident in open and last
	spent     map[belay.ServiceID]map[string]time.Time
	missed    map[string]time.Time         // alerts that fired and ended before an incident took them in, with their end
	dirty     map[belay.ServiceID]struct{} // something has changed since the last decision
}

func newFold(match func(labels.Labels) (belay.ServiceID, bool)) fold {
	return fold{
		match:     match,
		pos:       map[string]belay.Seq{},
		alerts:    map[belay.ServiceID]map[string]belay.Alert{},
		owner:     map[string]belay.ServiceID{},
		carrier:   map[string]belay.ServiceID{},
		open:      map[belay.ServiceID]*belay.Incident{},
		last:      map[belay.ServiceID]*belay.Incident{},
		known:     map[string]belay.ServiceID{},
		rollbacks: map[string]*belay.Rollback{},
		spent:     map[belay.ServiceID]map[string]time.Time{},
		missed:    map[string]time.Time{},
		dirty:     map[belay.ServiceID]struct{}{},
	}
}

// apply takes one event in. Events that are in already change nothing.
func (f *fold) apply(ev belay.Event) {
	if ev.Seq <= f.at {
		return
	}
	f.at = ev.Seq
	switch {
	case ev.Kind == belay.KindAlert && ev.Alert != nil:
		f.applyAlert(*ev.Alert)
	case ev.Incident != nil && strings.HasPrefix(string(ev.Kind), "incident."):
		f.pos[ev.Stream] = ev.Pos
		f.applyIncident(*ev.Incident, ev.Actor)
	case ev.Deployment != nil:
		f.applyDeployment(*ev.Deployment)
	case ev.Rollback != nil && ev.Rollback.Incident != "":
		f.applyRollback(*ev.Rollback)
	}
}

func (f *fold) applyAlert(a belay.Alert) {
	if a.Observe {
		return
	}
	s, ok := f.match(a.Labels)
	if !ok {
		s = Unassigned
		if _, carried := f.carrier[a.ID]; f.grouped && !carried {
			f.disown(a.ID)
			return
		}
	}
	if was, ok := f.owner[a.ID]; ok && was != s { // another configuration claimed it
		delete(f.alerts[was], a.ID)
		f.dirty[was] = struct{}{}
	}
	if f.alerts[s] == nil {
		f.alerts[s] = map[string]belay.Alert{}
	}
	f.alerts[s][a.ID], f.owner[a.ID] = a, s
	f.dirty[s] = struct{}{}
	by, carried := f.carrier[a.ID]
	if carried {
		f.dirty[by] = struct{}{}
	}
	delete(f.missed, a.ID)
	if a.State == belay.AlertInactive && !a.FiredAt.IsZero() && !carried && !f.spent[s][a.ID].Equal(firedAt(a)) {
		f.missed[a.ID] = a.ResolvedAt
	}
}

// disown forgets an alert that another configuration claimed.
func (f *fold) disown(id string) {
	if was, ok := f.owner[id]; ok {
		delete(f.alerts[was], id)
		delete(f.owner, id)
		f.dirty[was] = struct{}{}
	}
}

// applyIncident takes in what an incident is now. One that ended without a
// person's word may be continued.
func (f *fold) applyIncident(i belay.Incident, actor string) {
	for _, a := range i.Alerts {
		delete(f.missed, a.ID)
	}
	f.known[i.ID] = i.Service
	f.dirty[i.Service] = struct{}{}
	if o := f.open[i.Service]; o != nil {
		for _, a := range o.Alerts {
			if f.carrier[a.ID] == i.Service { // another one may have taken it over
				delete(f.carrier, a.ID)
			}
		}
	}
	if i.State != belay.Resolved {
		f.forgetLast(i.Service, i.ID)
		f.open[i.Service] = &i
		for _, a := range i.Alerts {
			f.carrier[a.ID] = i.Service
		}
		return
	}
	delete(f.open, i.Service)
	if actor == "" {
		f.last[i.Service] = &i
	} else {
		f.forgetLast(i.Service, "")
		delete(f.rollbacks, i.ID)
	}
	f.spent[i.Service] = map[string]time.Time{}
	for _, a := range i.Alerts {
		if a.State != belay.AlertInactive {
			f.spent[i.Service][a.ID] = firedAt(a)
		}
	}
}

// forgetLast ends the time in which a service's last incident may be continued,
// since that has happened, or never will.
func (f *fold) forgetLast(s belay.ServiceID, but string) {
	if was := f.last[s]; was != nil {
		delete(f.last, s)
		if was.ID != but {
			delete(f.rollbacks, was.ID)
		}
	}
}

// applyDeployment ends the last incident for good: what fails after another
// release is that one's story. What Belay itself put there continues the old.
func (f *fold) applyDeployment(d belay.Deployment) {
	if was := f.last[d.Service]; was != nil && d.Operation == "" && d.StartedAt.After(was.ResolvedAt) {
		f.forgetLast(d.Service, "")
	}
}

func (f *fold) applyRollback(r belay.Rollback) {
	s, ok := f.known[r.Incident]
	i := f.open[s]
	if i == nil {
		i = f.last[s]
	}
	if ok && i != nil && i.ID == r.Incident {
		f.rollbacks[r.Incident] = &r
		f.dirty[s] = struct{}{}
	}
}

// situation gathers what decides for one service.
func (f *fold) situation(s belay.ServiceID) situation {
	i := f.open[s]
	out := situation{service: s, open: i, spent: f.spent[s], missed: f.missed}
	for _, a := range f.alerts[s] {
		out.alerts = append(out.alerts, a)
	}
	if i == nil {
		if out.last = f.last[s]; out.last != nil {
			out.rollback = f.rollbacks[out.last.ID]
		}
		return out
	}
	out.rollback = f.rollbacks[i.ID]
	for _, m := range i.Alerts {
		if by, ok := f.owner[m.ID]; ok && by != s {
			out.alerts = append(out.alerts, f.alerts[by][m.ID])
		}
	}
	return out
}

// prune forgets the alerts of a service that have ended and that no open
// incident carries.
func (f *fold) prune(s belay.ServiceID) {
	for id, a := range f.alerts[s] {
		if _, carried := f.carrier[id]; !carried && a.State == belay.AlertInactive {
			delete(f.alerts[s], id)
			delete(f.owner, id)
			delete(f.missed, id)
		}
	}
	if len(f.alerts[s]) == 0 {
		delete(f.alerts, s)
	}
}

// Bounds of the pauses between attempts at anything.
const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// follow hands on the events after a position, and waits for more, until ctx
// ends. Where the journal cannot be read it says so and tries again.
func follow(ctx context.Context, j belay.Journal, after belay.Seq, log *slog.Logger, do func(belay.Event)) {
	for wait := minBackoff; ctx.Err() == nil; wait = min(2*wait, maxBackoff) {
		for ev, err := range j.Tail(ctx, after) {
			if err != nil {
				if ctx.Err() == nil {
					log.Error("journal cannot be read", "after", int64(after), "error", err)
				}
				break
			}
			do(ev)
			after, wait = ev.Seq, minBackoff
		}
		pause(ctx, wait)
	}
}

// pause waits, and says whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// poke wakes whoever waits on a channel with room for one.
func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
