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
	match func(labels.Labels) (belay.ServiceID, bool)

	at        belay.Seq                      // everything up to here is in
	pos       map[string]belay.Seq           // the end of each incident stream
	alerts    map[string]claimed             // by alert ID, those that judge only left out
	open      map[belay.ServiceID]*belay.Incident
	known     map[string]belay.ServiceID     // every incident there ever was
	rollbacks map[string]*belay.Rollback     // the newest of each open incident
	spent     map[belay.ServiceID]map[string]time.Time
	dirty     map[belay.ServiceID]struct{}   // something has changed since the last decision
}

// A claimed alert belongs to a service.
type claimed struct {
	alert   belay.Alert
	service belay.ServiceID
}

func newFold(match func(labels.Labels) (belay.ServiceID, bool)) fold {
	return fold{
		match:     match,
		pos:       map[string]belay.Seq{},
		alerts:    map[string]claimed{},
		open:      map[belay.ServiceID]*belay.Incident{},
		known:     map[string]belay.ServiceID{},
		rollbacks: map[string]*belay.Rollback{},
		spent:     map[belay.ServiceID]map[string]time.Time{},
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
		f.applyIncident(*ev.Incident)
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
	}
	f.alerts[a.ID] = claimed{a, s}
	f.dirty[s] = struct{}{}
	for service, i := range f.open { // it may have joined under another configuration
		if service != s && carries(i, a.ID) {
			f.dirty[service] = struct{}{}
		}
	}
}

func (f *fold) applyIncident(i belay.Incident) {
	f.known[i.ID] = i.Service
	f.dirty[i.Service] = struct{}{}
	if i.State != belay.Resolved {
		f.open[i.Service] = &i
		return
	}
	if o := f.open[i.Service]; o == nil || o.ID == i.ID {
		delete(f.open, i.Service)
	}
	delete(f.rollbacks, i.ID)
	f.spent[i.Service] = map[string]time.Time{}
	for _, a := range i.Alerts {
		if a.State != belay.AlertInactive {
			f.spent[i.Service][a.ID] = firedAt(a)
		}
	}
}

func (f *fold) applyRollback(r belay.Rollback) {
	s, ok := f.known[r.Incident]
	if i := f.open[s]; ok && i != nil && i.ID == r.Incident {
		f.rollbacks[r.Incident] = &r
		f.dirty[s] = struct{}{}
	}
}

// situation gathers what decides for one service.
func (f *fold) situation(s belay.ServiceID) situation {
	i := f.open[s]
	out := situation{service: s, open: i, spent: f.spent[s]}
	if i != nil {
		out.rollback = f.rollbacks[i.ID]
	}
	for _, c := range f.alerts {
		if c.service == s || carries(i, c.alert.ID) {
			out.alerts = append(out.alerts, c.alert)
		}
	}
	return out
}

// prune forgets the alerts of a service that have ended and that no open
// incident carries.
func (f *fold) prune(s belay.ServiceID) {
	i := f.open[s]
	for id, c := range f.alerts {
		if c.service == s && c.alert.State == belay.AlertInactive && !carries(i, id) {
			delete(f.alerts, id)
		}
	}
}

func carries(i *belay.Incident, alert string) bool {
	if i == nil {
		return false
	}
	for _, a := range i.Alerts {
		if a.ID == alert {
			return true
		}
	}
	return false
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
