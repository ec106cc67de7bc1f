package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

// A Scope is one thing that a token may be for.
type Scope string

// The scopes. Admin includes all others; apart from that none includes another.
const (
	ScopeRead    Scope = "read"    // look at everything, and query
	ScopeAck     Scope = "ack"     // acknowledge, annotate and resolve incidents, silence alerts
	ScopeAlert   Scope = "alert"   // send samples and alerts
	ScopeDeploy  Scope = "deploy"  // announce deployments
	ScopeApprove Scope = "approve" // start and stop rollbacks, end holds
	ScopeAdmin   Scope = "admin"   // reload, and all of the above
)

// Scopes are all scopes there are.
func Scopes() []Scope {
	return []Scope{ScopeRead, ScopeAck, ScopeAlert, ScopeDeploy, ScopeApprove, ScopeAdmin}
}

// personScopes is what a person may do whose token tokens_file does not limit:
// all but administration.
func personScopes() []Scope {
	return []Scope{ScopeRead, ScopeAck, ScopeAlert, ScopeDeploy, ScopeApprove}
}

// need is what a route asks of its caller.
type need struct {
	scope  Scope // "": nothing
	signed bool  // even where reading is free
	open   bool  // nobody has to show anything where reading is free
}

// Identity is who calls.
type identity struct {
	name    string // of the person or token; "" for a caller who showed nothing
	person  bool   // the name is that of one of people
	scopes  []Scope
	session *session // set when a browser signed in
	wrong   string   // why what the request showed is not right
}

// Name is what pages call the caller.
func (i identity) Name() string { return i.name }

// known reports whether the caller proved who it is.
func (i identity) known() bool { return i.name != "" }

// Can reports whether the caller may do what needs a scope.
func (i identity) Can(s Scope) bool {
	return s == "" || slices.Contains(i.scopes, s) || slices.Contains(i.scopes, ScopeAdmin)
}

// A digest is the SHA-256 of a token: all that is kept of one.
type digest = [sha256.Size]byte

// access knows whose token is whose.
type access struct {
	free   bool // reading is: there is no tokens_file, and only this host can call
	tokens map[digest]identity
	admin  digest
	people bool // some are configured: a name may stand for one of them
	basic  *basicAuth
}

// newAccess puts together what the configuration says of tokens and people.
func newAccess(cfg Config, admin string) *access {
	a := &access{
		free:   cfg.TokensFile == "" && cfg.toolkit.basic == nil && cfg.onLoopback(),
		tokens: map[digest]identity{}, admin: sha256.Sum256([]byte(admin)), people: len(cfg.people) > 0, basic: cfg.toolkit.basic,
	}
	for _, t := range cfg.tokens {
		a.tokens[t.sum] = identity{name: t.Name, scopes: t.Scopes}
	}
	for _, p := range cfg.people {
		if p.TokenSHA256 == "" {
			continue
		}
		who := identity{name: p.Name, person: true, scopes: personScopes()}
		if t, ok := a.tokens[p.sum]; ok {
			who.scopes = t.scopes
		}
		a.tokens[p.sum] = who
	}
	a.tokens[a.admin] = identity{name: "admin", scopes: []Scope{ScopeAdmin}}
	return a
}

// whose returns whose token that is. A map's look-up of a hash tells a stranger
// nothing by its duration that helps to guess a token.
func (a *access) whose(sum digest) (identity, bool) {
	who, ok := a.tokens[sum]
	return who, ok
}

// actor is the name under which an action is journalled. A person is who the
// token says. What another token claims is told apart from a person's name as
// soon as there are people.
func (s *Server) actor(r *http.Request, claimed string) string {
	who := s.caller(r)
	claimed = strings.TrimSpace(claimed)
	switch {
	case who.person || claimed == "" || claimed == who.name:
		return who.name
	case !who.known():
		return claimed
	case who.name == "admin" && !s.access.people:
		return claimed
	}
	return claimed + " (by the token of " + who.name + ")"
}

// caller returns who sent a request. Guard found out before.
func (s *Server) caller(r *http.Request) identity {
	who, _ := r.Context().Value(callerKey{}).(identity)
	return who
}

type callerKey struct{}

// identify finds out who calls.
func (s *Server) identify(r *http.Request) identity {
	if sess, id := s.sessions.of(r, s.access); sess != nil {
		id.session = sess
		return id
	}
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		if who, ok := s.access.whose(sha256.Sum256([]byte(strings.TrimSpace(shown)))); ok {
			return who
		}
		return identity{wrong: "this is not the admin token of this server, nor any other that it knows"}
	case strings.EqualFold(scheme, "Basic") && s.access.basic != nil:
		if user, password, ok := r.BasicAuth(); ok && s.access.basic.knows(user, password) {
			return identity{name: user, scopes: []Scope{ScopeRead}}
		}
		return identity{wrong: "this is not a user and password of this server"}
	}
	if s.access.free { // another scheme may be meant for a proxy in front
		return identity{scopes: []Scope{ScopeRead}}
	}
	return identity{}
}

// may returns 0, or the status code and the reason why the caller may not do
// what the route does.
func (s *Server) may(r *http.Request, n need) (code int, why string) {
	unsafe := !isSafe(r.Method)
	who := s.caller(r)
	if unsafe && crossSite(r) {
		return http.StatusForbidden, "this request comes from another site"
	}
	if n.scope == "" {
		return 0, ""
	}
	if who.wrong != "" {
		return http.StatusUnauthorized, who.wrong
	}
	if n.open && s.access.free && !who.known() { // Prometheus and amtool on this host just work
		return 0, ""
	}
	if !who.known() && (n.signed || !who.Can(n.scope)) {
		return http.StatusUnauthorized, "this needs " + article(n.scope) + ": send it as Authorization: Bearer …, or sign in at /signin"
	}
	if !who.Can(n.scope) {
		return http.StatusForbidden, "the token of " + who.name + " is not for this: it lacks the scope " + string(n.scope)
	}
	if unsafe && who.session != nil && !who.session.proves(r) {
		return http.StatusForbidden, "this form is not from a page that you opened since you signed in: go back, reload the page and try again"
	}
	return 0, ""
}

func article(s Scope) string {
	if s == ScopeAdmin {
		return "the admin token, or another with the scope admin"
	}
	return "a token with the scope " + string(s)
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sameText compares without telling by its duration how much was right.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// HashToken returns what tokens_file and people hold of a token: its SHA-256 in
// hexadecimal.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
