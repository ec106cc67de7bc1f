package web

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// A ServiceInfo is what the configuration says of a service.
type ServiceInfo struct {
	ID       belay.ServiceID
	Platform string            // such as "command"
	Mode     belay.Mode        // what Belay may do on its own
	Match    map[string]string // labels that tie alerts and judgements to the service
}

// A ServiceStatus is how a service is doing.
type ServiceStatus struct {
	Service    belay.ServiceID     `json:"service"`
	Platform   string              `json:"platform,omitempty"`
	Mode       belay.Mode          `json:"mode,omitempty"`
	Match      map[string]string   `json:"match,omitempty"`
	State      string              `json:"state"` // healthy, pending, unknown, incident, rolling_back
	Why        string              `json:"why"`   // one sentence
	Running    belay.Revision      `json:"running"`
	Since      time.Time           `json:"since,omitzero"`
	RolledBack bool                `json:"rolled_back"` // runs what a rollback of Belay put there
	Standing   belay.Standing      `json:"standing,omitempty"`
	Ledger     []belay.LedgerEntry `json:"ledger"`             // newest first
	Incident   *belay.Incident     `json:"incident,omitempty"` // the newest
	Alerts     []belay.Alert       `json:"alerts"`             // pending and firing
	Judgements []belay.Judgement   `json:"judgements"`
}

// statuses returns how each configured service is doing, in the order of the
// configuration.
func (s *Server) statuses() []ServiceStatus {
	alerts, judgements := s.alerts(), s.judgements()
	out := make([]ServiceStatus, len(s.opts.Services))
	for i, info := range s.opts.Services {
		out[i] = s.status(info, alerts, judgements)
	}
	return out
}

// statusOf returns how one service is doing. It need not be configured any
// more, as long as the journal knows it.
func (s *Server) statusOf(id belay.ServiceID) (ServiceStatus, bool) {
	i := slices.IndexFunc(s.opts.Services, func(info ServiceInfo) bool { return info.ID == id })
	info := ServiceInfo{ID: id}
	if i >= 0 {
		info = s.opts.Services[i]
	} else if !s.opts.View.Knows(id) {
		return ServiceStatus{}, false
	}
	return s.status(info, s.alerts(), s.judgements()), true
}

func (s *Server) status(info ServiceInfo, alerts []belay.Alert, judgements []belay.Judgement) ServiceStatus {
	out := ServiceStatus{
		Service: info.ID, Platform: info.Platform, Mode: info.Mode, Match: info.Match,
		Ledger: s.opts.View.Ledger(info.ID), Alerts: []belay.Alert{}, Judgements: []belay.Judgement{},
	}
	out.Running, out.Since, out.RolledBack = s.opts.View.Running(info.ID)
	for _, l := range out.Ledger {
		if l.Revision.Content == out.Running.Content {
			out.Standing = l.Standing
		}
	}
	for _, a := range alerts {
		if matches(info.Match, a.Labels) {
			out.Alerts = append(out.Alerts, a)
		}
	}
	for _, j := range judgements {
		if matches(info.Match, j.Labels) {
			out.Judgements = append(out.Judgements, j)
		}
	}
	if newest := s.opts.View.Incidents(1, func(i belay.Incident) bool { return i.Service == info.ID }); len(newest) > 0 {
		out.Incident = &newest[0]
	}
	acting := s.opts.View.Rollbacks(1, func(r belay.Rollback) bool {
		return r.Target.Service == info.ID && r.State.Acting()
	})
	out.State, out.Why = stateOf(out, acting)
	return out
}

// stateOf says in one word and one sentence how a service is. What is worst is
// said; unknown is worse than pending, since nobody would see what comes.
func stateOf(s ServiceStatus, acting []belay.Rollback) (state, why string) {
	if len(acting) > 0 {
		return stateRollingBack, acting[0].Reason
	}
	if s.Incident != nil && isOpen(*s.Incident) {
		return stateIncident, s.Incident.Title
	}
	if len(s.Judgements) == 0 {
		return stateUnknown, "No rule has judged this service yet."
	}
	for _, j := range s.Judgements {
		if j.Verdict == belay.Unknown {
			return stateUnknown, "Rule " + j.Rule + " cannot see: " + j.Reason
		}
	}
	for _, a := range s.Alerts {
		if !a.Observe {
			return statePending, "Alert " + a.Rule + " is " + string(a.State) + "."
		}
	}
	return stateHealthy, "No rule of this service finds anything wrong."
}

func isOpen(i belay.Incident) bool { return i.State != belay.Resolved }

// matches reports whether the labels carry every label that match names. An
// empty match ties nothing.
func matches(match map[string]string, ls labels.Labels) bool {
	for k, v := range match {
		if ls.Get(k) != v {
			return false
		}
	}
	return len(match) > 0
}

func (s *Server) alerts() []belay.Alert {
	if s.opts.Alerts == nil {
		return s.opts.View.Alerts()
	}
	var out []belay.Alert
	for _, a := range s.opts.Alerts() {
		if a.State != belay.AlertInactive {
			out = append(out, a)
		}
	}
	return out
}

func (s *Server) judgements() []belay.Judgement {
	if s.opts.Judgements == nil {
		return nil
	}
	return s.opts.Judgements()
}

func (s *Server) outbox() (depth int, oldest time.Duration) {
	if s.opts.Outbox == nil {
		return 0, 0
	}
	return s.opts.Outbox()
}
