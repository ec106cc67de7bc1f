package alerting

import (
	"strings"

	"github.com/belaydev/belay"
)

// A story is what is known of one incident, for telling it.
type story struct {
	incident belay.Incident
	opened   belay.Incident // as it was first
	rollback *belay.Rollback
	review   *belay.Review
	last     belay.Event // the newest event of the incident
	guard    string      // the guard that refused last, "" after anything else
	pictured bool        // one of its replies shows a picture
}

// A turn is one event that is told. The parent message always follows; a reply
// is for the turns that people should be woken for.
type turn struct {
	event    belay.Event
	incident string
	reply    bool
	picture  bool // the reply shows the incident: the first, and those that end or reopen it
}

// key names the reply to a turn.
func (t turn) key() string { return replyKey(t.incident, t.event.Seq) }

// stories is the fold of the journal that the outbox tells from.
type stories struct {
	byID   map[string]*story
	newest map[belay.ServiceID]string // each service's newest incident
}

func newStories() stories {
	return stories{byID: map[string]*story{}, newest: map[belay.ServiceID]string{}}
}

// apply takes one event in and says whether, and how, it is told.
func (s *stories) apply(ev belay.Event) (turn, bool) {
	id := s.about(ev)
	if id == "" {
		return turn{}, false
	}
	st := s.byID[id]
	if st == nil {
		if ev.Incident == nil {
			return turn{}, false // the story of an incident begins with the incident
		}
		st = &story{incident: *ev.Incident, opened: *ev.Incident}
		s.byID[id] = st
		s.newest[ev.Incident.Service] = id
	}
	reply := st.apply(ev)
	st.last = ev
	picture := reply && (!st.pictured || ev.Kind == belay.KindResolved || ev.Kind == belay.KindReopened)
	st.pictured = st.pictured || reply
	return turn{event: ev, incident: id, reply: reply, picture: picture}, true
}

// about returns the incident that an event is told under, "" if none.
func (s *stories) about(ev belay.Event) string {
	switch {
	case ev.Kind == belay.KindPreexisting && ev.Deployment != nil:
		return s.newest[ev.Deployment.Service]
	case ev.Kind == belay.KindReview && ev.Review != nil:
		return ev.Review.Incident
	case strings.HasPrefix(string(ev.Kind), "incident.") && ev.Incident != nil:
		return ev.Incident.ID
	case strings.HasPrefix(string(ev.Kind), "rollback.") && ev.Rollback != nil:
		return ev.Rollback.Incident
	}
	return ""
}

// apply brings the story up to date and says whether the event gets a reply.
func (st *story) apply(ev belay.Event) (reply bool) {
	switch {
	case ev.Incident != nil:
		worse := ev.Incident.Severity != st.incident.Severity
		st.incident = *ev.Incident
		switch ev.Kind {
		case belay.KindAcked, belay.KindNoted, belay.KindResolved, belay.KindReopened, belay.KindAssigned, belay.KindRated:
			return true
		}
		return worse || ev.Actor != ""
	case ev.Rollback != nil:
		st.rollback = ev.Rollback
		guard := ""
		if ev.Kind == belay.KindRefused {
			guard = refusingGuard(*ev.Rollback)
		}
		was := st.guard
		st.guard = guard
		return ev.Kind != belay.KindRefused || guard != was
	case ev.Review != nil:
		st.review = ev.Review
	}
	return true
}

// refusingGuard names the guard that said no; a refusal without one goes by
// its reason.
func refusingGuard(r belay.Rollback) string {
	for _, a := range r.Answers {
		if a.Veto != "" {
			return a.Guard
		}
	}
	return "reason: " + r.Reason
}
