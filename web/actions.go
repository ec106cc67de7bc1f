package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/belaydev/belay"
)

const notImplemented = "this Belay was started without the part that does this"

// maxWords is the longest text that a person may add, in bytes.
const maxWords = 16 << 10

// DeployBody is what the address deployments takes.
type DeployBody struct {
	Event        string `json:"event"`   // start, finish, fail
	Service      string `json:"service"` // environment/name, or a name
	Revision     string `json:"revision"`
	Version      string `json:"version,omitempty"`
	Commit       string `json:"commit,omitempty"`
	Actor        string `json:"actor,omitempty"`
	URL          string `json:"url,omitempty"`
	Irreversible bool   `json:"irreversible,omitempty"`
}

// WordsBody is what a person says with an action.
type WordsBody struct {
	Actor string `json:"actor,omitempty"`
	Text  string `json:"text,omitempty"`
}

// ToBody is what an incident is to be changed to: who looks after it, its
// severity, or the incident that it becomes a part of.
type ToBody struct {
	Actor string `json:"actor,omitempty"`
	To    string `json:"to"`
}

// ApproveBody approves the plan that a person was shown.
type ApproveBody struct {
	Actor string `json:"actor,omitempty"`
	Plan  string `json:"plan,omitempty"` // identity of the plan; "" trusts the id of the rollback
}

// ReleaseBody says which held revision may run again: its content or version;
// none means the one that is held.
type ReleaseBody struct {
	Actor    string        `json:"actor,omitempty"`
	Revision belay.Content `json:"revision,omitempty"`
}

// done answers that something was done.
func (s *Server) done(w http.ResponseWriter, r *http.Request, actor string) {
	s.log.Info("done as a person asked", "path", r.URL.Path, "actor", actor)
	s.json(w, http.StatusOK, map[string]string{"result": "done"})
}

func (s *Server) postDeployment(w http.ResponseWriter, r *http.Request) {
	var b DeployBody
	if !s.read(w, r, &b, false) {
		return
	}
	switch {
	case b.Event != "start" && b.Event != "finish" && b.Event != "fail":
		s.fail(w, r, http.StatusBadRequest, "event must be start, finish or fail")
		return
	case b.Service == "" || b.Revision == "":
		s.fail(w, r, http.StatusBadRequest, "service and revision must be given")
		return
	}
	if s.opts.Actions.Deploy == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	if b.Actor != "" || s.caller(r).person { // a pipeline need not say who
		b.Actor = s.actor(r, b.Actor)
	}
	err := s.opts.Actions.Deploy(r.Context(), DeployNotice{
		Event: b.Event, Service: belay.ParseServiceID(b.Service), Revision: belay.Content(b.Revision),
		Version: b.Version, Commit: b.Commit, Actor: b.Actor, URL: b.URL, Irreversible: b.Irreversible,
	})
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.done(w, r, b.Actor)
}

// words reads what a person says with an action.
func (s *Server) words(w http.ResponseWriter, r *http.Request) (WordsBody, bool) {
	var b WordsBody
	if !s.read(w, r, &b, true) {
		return b, false
	}
	if len(b.Text) > maxWords || len(b.Actor) > 200 {
		s.fail(w, r, http.StatusBadRequest, "the text or the name is too long")
		return b, false
	}
	b.Actor = s.actor(r, b.Actor)
	return b, true
}

// postWords returns the handler of an action on an incident.
func (s *Server) postWords(action func(ctx context.Context, id, actor, text string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, ok := s.words(w, r)
		if !ok {
			return
		}
		id := r.PathValue("id")
		if _, known := s.opts.View.Incident(id); !known {
			s.fail(w, r, http.StatusNotFound, "there is no incident "+id)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/note") && strings.TrimSpace(b.Text) == "" {
			s.fail(w, r, http.StatusBadRequest, "a note needs a text")
			return
		}
		if action == nil {
			s.fail(w, r, http.StatusNotImplemented, notImplemented)
			return
		}
		if err := action(r.Context(), id, b.Actor, b.Text); err != nil {
			s.failAction(w, r, err)
			return
		}
		s.done(w, r, b.Actor)
	}
}

// postTo returns the handler that changes an incident to something.
func (s *Server) postTo(action func(ctx context.Context, id, actor, to string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var b ToBody
		if !s.read(w, r, &b, false) {
			return
		}
		b.Actor = s.actor(r, b.Actor)
		if s.mayChange(w, r, b.To, action != nil) {
			if err := action(r.Context(), r.PathValue("id"), b.Actor, strings.TrimSpace(b.To)); err != nil {
				s.failAction(w, r, err)
				return
			}
			s.done(w, r, b.Actor)
		}
	}
}

// mayChange answers and returns false where an incident cannot be changed to
// what is asked for.
func (s *Server) mayChange(w http.ResponseWriter, r *http.Request, to string, can bool) bool {
	id := r.PathValue("id")
	switch _, known := s.opts.View.Incident(id); {
	case !known:
		s.fail(w, r, http.StatusNotFound, "there is no incident "+id)
	case strings.TrimSpace(to) == "" || len(to) > 200:
		s.fail(w, r, http.StatusBadRequest, "to must be given, in at most 200 bytes")
	case !can:
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
	default:
		return true
	}
	return false
}

func (s *Server) postStart(w http.ResponseWriter, r *http.Request) {
	b, ok := s.words(w, r)
	if !ok {
		return
	}
	if s.opts.Actions.RollbackStart == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	started, err := s.opts.Actions.RollbackStart(r.Context(), serviceOf(r), b.Actor)
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.log.Info("done as a person asked", "path", r.URL.Path, "actor", b.Actor)
	s.json(w, http.StatusOK, started)
}

func (s *Server) postRelease(w http.ResponseWriter, r *http.Request) {
	var b ReleaseBody
	if !s.read(w, r, &b, true) {
		return
	}
	if s.opts.Actions.RollbackRelease == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	b.Actor = s.actor(r, b.Actor)
	if err := s.opts.Actions.RollbackRelease(r.Context(), serviceOf(r), b.Revision, b.Actor); err != nil {
		s.failAction(w, r, err)
		return
	}
	s.done(w, r, b.Actor)
}

func (s *Server) postApprove(w http.ResponseWriter, r *http.Request) {
	var b ApproveBody
	if !s.read(w, r, &b, true) {
		return
	}
	if s.opts.Actions.RollbackApprove == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	b.Actor = s.actor(r, b.Actor)
	if err := s.opts.Actions.RollbackApprove(r.Context(), r.PathValue("id"), b.Plan, b.Actor); err != nil {
		s.failAction(w, r, err)
		return
	}
	s.done(w, r, b.Actor)
}

func (s *Server) postStop(w http.ResponseWriter, r *http.Request) { s.stop(w, r, r.PathValue("id")) }

func (s *Server) postStopAll(w http.ResponseWriter, r *http.Request) { s.stop(w, r, StopAll) }

func (s *Server) stop(w http.ResponseWriter, r *http.Request, id string) {
	b, ok := s.words(w, r)
	if !ok {
		return
	}
	if s.opts.Actions.RollbackStop == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	if err := s.opts.Actions.RollbackStop(r.Context(), id, b.Actor, b.Text); err != nil {
		s.failAction(w, r, err)
		return
	}
	s.done(w, r, b.Actor)
}
