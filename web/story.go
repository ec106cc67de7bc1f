package web

import (
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// An incident's story keeps its beginning and its newest part.
const (
	storyHead = 50
	storyMax  = 200
)

// storyPrelude is how old the newest deployment may be to open the story of an
// incident.
const storyPrelude = time.Hour

// story is an incident and what happened in it.
type story struct {
	incident belay.Incident
	timeline []Entry
	skipped  int
}

func (s *story) tell(e Entry) {
	s.timeline = append(s.timeline, e)
	if len(s.timeline) > storyMax {
		s.timeline = slices.Delete(s.timeline, storyHead, storyHead+1)
		s.skipped++
	}
}

func (v *View) applyIncident(i belay.Incident, entry Entry) {
	s, ok := v.incidents.get(i.ID)
	if !ok {
		s = &story{}
		if d := v.service(i.Service).deployed; d.Seq > 0 && i.OpenedAt.Sub(d.At) < storyPrelude {
			s.tell(d)
		}
		v.counts.incidents[incidentCount{i.Service, i.Severity}]++
	}
	if i.State == belay.Resolved && s.incident.State != belay.Resolved && i.MergedInto == "" {
		v.counts.recovered(i.Service, v.wellAt(i).Sub(i.BeganAt()))
	}
	s.incident = i
	s.tell(entry)
	if !ok {
		v.incidents.put(i.ID, s)
	}
}

// wellAt is when the service was well again: when fresh data first proved its
// rollback right, otherwise when the incident was resolved.
func (v *View) wellAt(i belay.Incident) time.Time {
	healed := v.rollbacks.newest(1, func(r belay.Rollback) bool {
		return r.Incident == i.ID && r.State == belay.RollbackRecovered && r.HealthyAt.After(i.BeganAt())
	})
	if len(healed) > 0 {
		return healed[0].HealthyAt
	}
	return i.ResolvedAt
}

// An IncidentStory is an incident with everything that belongs to it.
type IncidentStory struct {
	belay.Incident
	Timeline   []Entry          `json:"timeline"`          // oldest first
	Skipped    int              `json:"skipped,omitempty"` // entries left out of the middle of a long timeline
	Rollbacks  []belay.Rollback `json:"rollbacks"`         // newest first
	Deliveries []belay.Delivery `json:"deliveries"`        // newest first
	Review     *belay.Review    `json:"review,omitempty"`
}

// Incident returns the story of an incident.
func (v *View) Incident(id string) (IncidentStory, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s, ok := v.incidents.get(id)
	if !ok {
		return IncidentStory{}, false
	}
	out := IncidentStory{
		Incident:   s.incident,
		Timeline:   slices.Clone(s.timeline),
		Skipped:    s.skipped,
		Rollbacks:  v.rollbacks.newest(0, func(r belay.Rollback) bool { return r.Incident == id }),
		Deliveries: v.deliveries.newest(0, func(d belay.Delivery) bool { return d.Incident == id }),
	}
	if r, ok := v.reviews.get(id); ok {
		out.Review = &r
	}
	return out, true
}

// Incidents returns up to limit incidents that match, the newest first. A nil
// match takes all; a limit of 0 means no limit.
func (v *View) Incidents(limit int, match func(belay.Incident) bool) []belay.Incident {
	v.mu.RLock()
	defer v.mu.RUnlock()
	stories := v.incidents.newest(limit, func(s *story) bool { return match == nil || match(s.incident) })
	out := make([]belay.Incident, len(stories))
	for i, s := range stories {
		out[i] = s.incident
	}
	return out
}

// Rollbacks is like Incidents.
func (v *View) Rollbacks(limit int, match func(belay.Rollback) bool) []belay.Rollback {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.rollbacks.newest(limit, match)
}

// Rollback returns the rollback with that id.
func (v *View) Rollback(id string) (belay.Rollback, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.rollbacks.get(id)
}

// Deployments is like Incidents.
func (v *View) Deployments(limit int, match func(belay.Deployment) bool) []belay.Deployment {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.deployments.newest(limit, match)
}

// Deployment returns the deployment with that id.
func (v *View) Deployment(id string) (belay.Deployment, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.deployments.get(id)
}

// Ledger returns what the ledger says of a service's revisions, the newest
// first.
func (v *View) Ledger(service belay.ServiceID) []belay.LedgerEntry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.ledger.newest(0, func(l belay.LedgerEntry) bool { return l.Service == service })
}

// Alerts returns the alerts that are pending or firing, by the journal.
func (v *View) Alerts() []belay.Alert {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.alerts.newest(0, func(a belay.Alert) bool { return a.State != belay.AlertInactive })
}

// Deliveries is like Incidents.
func (v *View) Deliveries(limit int, match func(belay.Delivery) bool) []belay.Delivery {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.deliveries.newest(limit, match)
}

// Reviews is like Incidents.
func (v *View) Reviews(limit int, match func(belay.Review) bool) []belay.Review {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.reviews.newest(limit, match)
}

// Review returns the review of an incident.
func (v *View) Review(incident string) (belay.Review, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.reviews.get(incident)
}

// Entries returns what happened last, the newest first, deliveries left out.
func (v *View) Entries(limit int, match func(Entry) bool) []Entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.entries.newest(limit, match)
}

// OwnEntries is like Entries, of Belay itself alone.
func (v *View) OwnEntries(limit int) []Entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.own.newest(limit, nil)
}

// Running returns the revision that a service runs, since when, and whether
// Belay's own rollback put it there.
func (v *View) Running(service belay.ServiceID) (r belay.Revision, since time.Time, rolledBack bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if s := v.services[service]; s != nil {
		return s.revision, s.since, s.rolledBack
	}
	return belay.Revision{}, time.Time{}, false
}

// Knows reports whether the journal ever told of a service.
func (v *View) Knows(service belay.ServiceID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.services[service]
	return ok
}
