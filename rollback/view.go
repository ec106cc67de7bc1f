package rollback

import (
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// keep is how many deployments and rollbacks of a service are remembered.
const keep = 50

// view is the fold of the journal that the controller works from. It is
// guarded by Controller.mu.
type view struct {
	services map[belay.ServiceID]*serviceView
	open     map[string]belay.Incident // by id, of any service
	told     map[string]belay.Seq      // open incident → newest event that a channel confirmed
	pos      map[string]belay.Seq      // ends of the streams that the controller appends to
}

// serviceView is what the journal says of one service.
type serviceView struct {
	deployments []belay.Deployment // oldest first
	ledger      map[belay.Content]belay.LedgerEntry
	incident    *belay.Incident // the open one
	rollbacks   []belay.Rollback
	planned     map[string]belay.Seq      // rollback id → event that says what is planned
	told        map[string]belay.Seq      // the view's
	open        map[string]belay.Incident // the view's
	ends        map[string]belay.Seq      // of the streams that are about the service, when this was so
}

func newView() *view {
	return &view{services: map[belay.ServiceID]*serviceView{}, open: map[string]belay.Incident{}, told: map[string]belay.Seq{}, pos: map[string]belay.Seq{}}
}

func (v *view) service(id belay.ServiceID) *serviceView {
	s := v.services[id]
	if s == nil {
		s = &serviceView{
			ledger:  map[belay.Content]belay.LedgerEntry{},
			planned: map[string]belay.Seq{},
		}
		v.services[id] = s
	}
	return s
}

// apply folds one event. Nouns are carried whole, so applying twice is once.
func (v *view) apply(ev belay.Event) {
	v.pos[ev.Stream] = max(v.pos[ev.Stream], ev.Pos)
	switch {
	case ev.Deployment != nil:
		s := v.service(ev.Deployment.Service)
		s.deployments = replace(s.deployments, *ev.Deployment, func(d belay.Deployment) string { return d.ID })
	case ev.Ledger != nil:
		v.service(ev.Ledger.Service).ledger[ev.Ledger.Revision.Content] = *ev.Ledger
	case ev.Rollback != nil:
		v.service(ev.Rollback.Target.Service).applyRollback(ev)
	case ev.Delivery != nil:
		v.applyDelivery(ev)
	case ev.Incident != nil:
		v.applyIncident(*ev.Incident)
	}
}

func (s *serviceView) applyRollback(ev belay.Event) {
	rb := *ev.Rollback
	s.rollbacks = replace(s.rollbacks, rb, func(r belay.Rollback) string { return r.ID + r.Incident })
	if ev.Kind == belay.KindPlanned {
		s.planned[rb.ID] = ev.Seq
	}
}

func (v *view) applyIncident(in belay.Incident) {
	s := v.service(in.Service)
	switch {
	case in.State != belay.Resolved:
		s.incident, v.open[in.ID] = &in, in
		return
	case s.incident != nil && s.incident.ID == in.ID:
		s.incident = nil
	}
	delete(v.open, in.ID)
	delete(v.told, in.ID)
}

func (v *view) applyDelivery(ev belay.Event) {
	d := ev.Delivery
	if d.Result != "sent" && d.Result != "adopted" {
		return
	}
	if _, open := v.open[d.Incident]; open {
		v.told[d.Incident] = max(v.told[d.Incident], d.Tells)
	}
}

func replace[T any](list []T, item T, id func(T) string) []T {
	if i := slices.IndexFunc(list, func(t T) bool { return id(t) == id(item) }); i >= 0 {
		list = slices.Clone(list)
		list[i] = item
		return list
	}
	list = append(slices.Clip(list), item)
	return list[max(0, len(list)-keep):]
}

// isOpen says whether an incident, of whichever service, is open.
func (s *serviceView) isOpen(incident string) bool {
	_, open := s.open[incident]
	return open
}

// latest returns the newest deployment, nil when none is known.
func (s *serviceView) latest() *belay.Deployment {
	if len(s.deployments) == 0 {
		return nil
	}
	d := s.deployments[len(s.deployments)-1]
	return &d
}

// running returns the newest deployment whose content was seen, nil when none
// was.
func (s *serviceView) running() *belay.Deployment {
	for i := len(s.deployments) - 1; i >= 0; i-- {
		if d := s.deployments[i]; d.To.Content != "" {
			return &d
		}
	}
	return nil
}

// announced returns the newest deployment if a pipeline has told of it and its
// content was not seen yet.
func (s *serviceView) announced() *belay.Deployment {
	if d := s.latest(); d != nil && d.To.Content == "" && d.Result == "" {
		return d
	}
	return nil
}

// current returns the rollback that is under way, or waits for its time.
func (s *serviceView) current() *belay.Rollback {
	for i := len(s.rollbacks) - 1; i >= 0; i-- {
		if rb := s.rollbacks[i]; !rb.State.Terminal() && rb.State != belay.RollbackRefused {
			return &rb
		}
	}
	return nil
}

// of returns the rollback of an incident, nil when none was thought of.
func (s *serviceView) of(incident string) *belay.Rollback {
	for i := len(s.rollbacks) - 1; i >= 0; i-- {
		if rb := s.rollbacks[i]; rb.Incident == incident {
			return &rb
		}
	}
	return nil
}

// acted returns an earlier rollback with this operation id that has ended
// after its intent was made durable. One that was superseded before the
// platform accepted it has changed nothing and does not count.
func (s *serviceView) acted(id string) *belay.Rollback {
	for _, rb := range s.rollbacks {
		if rb.ID != id || rb.IntentAt.IsZero() || !rb.State.Terminal() {
			continue
		}
		if !rb.ActedAt.IsZero() || rb.State != belay.RollbackSuperseded {
			return &rb
		}
	}
	return nil
}

// lastIntent returns when the newest rollback of the service was begun.
func (s *serviceView) lastIntent() time.Time {
	var last time.Time
	for _, rb := range s.rollbacks {
		if rb.IntentAt.After(last) {
			last = rb.IntentAt
		}
	}
	return last
}
