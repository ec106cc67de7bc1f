package web

import (
	"context"
	"crypto/sha256"
	"mime"
	"net/http"
	"strings"

	"github.com/belaydev/belay"
)

func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// form reads the form of a page. It answers and returns false when there is
// none.
func (s *Server) form(w http.ResponseWriter, r *http.Request) bool {
	if !isForm(r) {
		s.fail(w, r, http.StatusUnsupportedMediaType, "this address takes the form of a page; programs use "+apiPrefix)
		return false
	}
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, "the form cannot be read: "+err.Error())
		return false
	}
	return true
}

// formText returns a text field of a form. It answers and returns false when it
// is too long.
func (s *Server) formText(w http.ResponseWriter, r *http.Request) (string, bool) {
	text := strings.TrimSpace(r.PostFormValue("text"))
	if len(text) > maxWords {
		s.fail(w, r, http.StatusBadRequest, "the text is too long")
		return "", false
	}
	return text, true
}

// formWords returns the handler of a form about an incident.
func (s *Server) formWords(action func(ctx context.Context, id, actor, text string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.form(w, r) {
			return
		}
		text, ok := s.formText(w, r)
		if !ok {
			return
		}
		id := r.PathValue("id")
		switch _, known := s.opts.View.Incident(id); {
		case !known:
			s.fail(w, r, http.StatusNotFound, "there is no incident "+id)
		case strings.HasSuffix(r.URL.Path, "/note") && text == "":
			s.fail(w, r, http.StatusBadRequest, "a note needs a text")
		case action == nil:
			s.fail(w, r, http.StatusNotImplemented, notImplemented)
		default:
			s.doneForm(w, r, action(r.Context(), id, s.actor(r, ""), text), "/incidents/"+seg(id))
		}
	}
}

// formTo returns the handler of a form that changes an incident to something.
func (s *Server) formTo(action func(ctx context.Context, id, actor, to string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.form(w, r) {
			return
		}
		to := strings.TrimSpace(r.PostFormValue("to"))
		if s.mayChange(w, r, to, action != nil) {
			id := r.PathValue("id")
			s.doneForm(w, r, action(r.Context(), id, s.actor(r, ""), to), "/incidents/"+seg(id))
		}
	}
}

// doneForm sends the browser back to the page, or tells why not.
func (s *Server) doneForm(w http.ResponseWriter, r *http.Request, err error, back string) {
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.log.Info("done as a person asked", "path", r.URL.Path, "actor", s.actor(r, ""))
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) formStop(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	text, ok := s.formText(w, r)
	if !ok {
		return
	}
	id := r.PathValue("id")
	if s.opts.Actions.RollbackStop == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	back := "/rollbacks"
	if b, known := s.opts.View.Rollback(id); known && b.Incident != "" {
		back = "/incidents/" + seg(b.Incident)
	}
	s.doneForm(w, r, s.opts.Actions.RollbackStop(r.Context(), id, s.actor(r, ""), text), back)
}

func (s *Server) formApprove(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	id := r.PathValue("id")
	if s.opts.Actions.RollbackApprove == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	back := "/rollbacks"
	if b, known := s.opts.View.Rollback(id); known && b.Incident != "" {
		back = "/incidents/" + seg(b.Incident)
	}
	s.doneForm(w, r, s.opts.Actions.RollbackApprove(r.Context(), id, r.PostFormValue("plan"), s.actor(r, "")), back)
}

func (s *Server) formStart(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	if s.opts.Actions.RollbackStart == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	id := serviceOf(r)
	started, err := s.opts.Actions.RollbackStart(r.Context(), id, s.actor(r, ""))
	if err == nil && started.State == belay.RollbackRefused {
		s.fail(w, r, http.StatusConflict, started.Reason)
		return
	}
	s.doneForm(w, r, err, servicePage(id))
}

func (s *Server) formRelease(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	if s.opts.Actions.RollbackRelease == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	id := serviceOf(r)
	err := s.opts.Actions.RollbackRelease(r.Context(), id, belay.Content(r.PostFormValue("revision")), s.actor(r, ""))
	s.doneForm(w, r, err, servicePage(id))
}

func servicePage(id belay.ServiceID) string {
	return "/services/" + seg(id.Environment) + "/" + seg(id.Name)
}

// signInPage is what the page of that name shows.
type signInPage struct {
	Back  string // where to go on
	Wrong bool   // the token was
	Need  bool   // nothing can be read before
}

func (s *Server) pageSignIn(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "signin", "Sign in", signInPage{Back: backTo(r.URL.Query().Get("back"))})
}

// askToSignIn answers a browser that wants a page it may not see.
func (s *Server) askToSignIn(w http.ResponseWriter, r *http.Request, code int) {
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		// A link on another site, such as in a chat: the browser kept the
		// cookie to itself. Asked by this page it shows it.
		w.Header().Set("Refresh", "0")
	}
	s.render(w, r, code, "signin", "Sign in", signInPage{Back: backTo(r.URL.RequestURI()), Need: true})
}

// backTo keeps a way back only when it stays on this server.
func backTo(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") || len(path) > 2000 {
		return "/"
	}
	return path
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(r.PostFormValue("token"))))
	back := backTo(r.PostFormValue("back"))
	who, ok := s.access.whose(sum)
	if !ok {
		s.log.Warn("somebody tried to sign in with a wrong token", "address", r.RemoteAddr)
		s.render(w, r, http.StatusUnauthorized, "signin", "Sign in", signInPage{Back: back, Wrong: true})
		return
	}
	s.sessions.end(r) // the one before, if any
	s.setCookie(w, r, s.sessions.begin(sum), int(sessionLife.Seconds()))
	s.log.Info("signed in", "actor", who.name)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	who := s.caller(r)
	if who.session != nil && !who.session.proves(r) {
		s.fail(w, r, http.StatusForbidden, "this form is not from a page that you opened since you signed in")
		return
	}
	s.sessions.end(r)
	s.setCookie(w, r, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}
