package web

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	cookieName  = "belay_session"
	sessionLife = 12 * time.Hour
	maxSessions = 1000
)

// A session is a browser in which somebody signed in.
type session struct {
	token digest // with which they did; when the configuration drops it the session ends
	csrf  string // what each form of a page carries
	until time.Time
}

// proves reports whether a request that changes something comes from a page of
// this session.
func (s *session) proves(r *http.Request) bool {
	shown := r.Header.Get("X-CSRF-Token")
	if shown == "" && isForm(r) {
		shown = r.PostFormValue("csrf")
	}
	return shown != "" && sameText(shown, s.csrf)
}

// sessions are those of all browsers, in memory: a restart ends them.
type sessions struct {
	now  func() time.Time
	mu   sync.Mutex
	open map[digest]*session // by the hash of the cookie
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, open: map[digest]*session{}}
}

// begin opens a session and returns the value of its cookie.
func (s *sessions) begin(token digest) (cookie string) {
	cookie = rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var oldest digest
	for k, v := range s.open {
		if now.After(v.until) {
			delete(s.open, k)
		} else if o := s.open[oldest]; o == nil || v.until.Before(o.until) {
			oldest = k
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
	s.open[sha256.Sum256([]byte(cookie))] = &session{token: token, csrf: rand.Text(), until: now.Add(sessionLife)}
	return cookie
}

// of returns the session of a request and whose it is, nil without one.
func (s *sessions) of(r *http.Request, a *access) (*session, identity) {
	for _, c := range r.CookiesNamed(cookieName) {
		s.mu.Lock()
		found := s.open[sha256.Sum256([]byte(c.Value))]
		s.mu.Unlock()
		if found == nil || s.now().After(found.until) {
			continue
		}
		if who, ok := a.whose(found.token); ok {
			return found, who
		}
	}
	return nil, identity{}
}

// end closes the session of a request.
func (s *sessions) end(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.CookiesNamed(cookieName) {
		delete(s.open, sha256.Sum256([]byte(c.Value)))
	}
}
