package web

import (
	"crypto/sha256"
	"crypto/subtle"
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
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// guard stands before every route: it sets the security headers, bounds the
// body, and lets nobody change anything without the token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.allowsHost(r.Host) {
			s.fail(w, r, http.StatusMisdirectedRequest, "this server does not answer to the name "+r.Host+"; call it by 127.0.0.1 or localhost")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
			if code, why := s.mayWrite(r); code != 0 {
				if code == http.StatusUnauthorized {
					h.Set("WWW-Authenticate", `Bearer realm="belay"`)
				}
				s.fail(w, r, code, why)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// mayWrite returns 0, or the status code and the reason why not.
func (s *Server) mayWrite(r *http.Request) (code int, why string) {
	if crossSite(r) {
		return http.StatusForbidden, "this request comes from another site"
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return http.StatusUnauthorized, "this needs the admin token: send it as Authorization: Bearer …"
	}
	if !sameToken(token, s.opts.Token) {
		return http.StatusUnauthorized, "this is not the admin token of this server"
	}
	return 0, ""
}

// sameToken compares without telling by its duration how much was right.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
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
