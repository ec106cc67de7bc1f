package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody is the largest body that a request may carry.
const maxBody = 1 << 20

// contentPolicy lets a page load this server's own style, script and pictures,
// and nothing else: no inline script, no frame, nothing from elsewhere.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard stands before every route: it sets the security headers, bounds the
// body, and finds out who calls.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer a browser would not say where a form comes from
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.allowsHost(r.Host) {
			s.fail(w, r, http.StatusMisdirectedRequest, "this server does not answer to the name "+r.Host+"; call it by 127.0.0.1 or localhost")
			return
		}
		if !s.isProm(r.URL.Path) { // it has its own limits
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		who := s.identify(r)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
	})
}

// only lets those through who may do what a route does.
func (s *Server) only(n need, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if code, why := s.may(r, n); code != 0 {
			s.refuse(w, r, code, why)
			return
		}
		next(w, r)
	}
}

// refuse answers who may not.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, why string) {
	if code == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Bearer realm="belay"`)
		if s.access.basic != nil {
			w.Header().Add("WWW-Authenticate", `Basic realm="belay", charset="UTF-8"`)
		}
		if isSafe(r.Method) && wantsPage(r) && s.access.basic == nil {
			s.askToSignIn(w, r, code)
			return
		}
	}
	s.fail(w, r, code, why)
}

// crossSite reports whether a browser sent this on behalf of another site.
// Programs send neither header.
func crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return true
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return true
		}
	}
	return false
}

// verdictOf runs what the mux would answer to a request that no route takes,
// and returns its status and the methods that are allowed there.
func verdictOf(h http.Handler, r *http.Request) (code int, allow string) {
	rec := &statusOnly{header: http.Header{}}
	h.ServeHTTP(rec, r)
	return rec.code, rec.header.Get("Allow")
}

type statusOnly struct {
	header http.Header
	code   int
}

func (s *statusOnly) Header() http.Header { return s.header }

func (s *statusOnly) WriteHeader(code int) { s.code = code }

func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// deadline gives a stream more time to write than other answers have.
func deadline(w http.ResponseWriter, d time.Duration) error {
	return http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
}
