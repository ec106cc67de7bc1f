package slacktest

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Faults say how the server misbehaves from now on. The counts run down by
// themselves; the zero value behaves. A call meets them in the order of the
// fields.
type Faults struct {
	// Methods limits all faults to these methods, such as "chat.update".
	// Empty means every method.
	Methods []string
	// Delay is how long each call waits before anything else happens to it.
	Delay time.Duration
	// RateLimit answers the next so many calls with 429 and RetryAfter.
	RateLimit int
	// RetryAfter is sent with a 429, in whole seconds, rounded up. 0 sends 1.
	RetryAfter time.Duration
	// ServerError answers the next so many calls with 503; nothing is stored.
	ServerError int
	// Refuse answers the next so many calls with {"ok": false} and RefuseWith.
	Refuse     int
	RefuseWith string
	// RejectBlocks names block types that this workspace does not know: a
	// message that has one is refused with invalid_blocks.
	RejectBlocks []string
	// AcceptThenTimeout stores the next so many messages or edits and never
	// answers: it holds the connection until the client gives up, or with
	// HangUp closes it at once.
	AcceptThenTimeout int
	HangUp            bool
	// AcceptThenFail stores the next so many messages or edits and answers 500.
	AcceptThenFail int
}

// SetFaults replaces all faults.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Faults returns what is left of the faults.
func (s *Server) Faults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// A fate is what befalls a call before it is carried out.
type fate struct {
	delay      time.Duration
	status     int // an HTTP status to answer with, 0 for none
	retryAfter string
	code       string // an error code of Slack to answer with
}

func (f *Faults) touch(method string) bool {
	return len(f.Methods) == 0 || slices.Contains(f.Methods, method)
}

// spend takes one from a count and says whether there was one.
func spend(n *int) bool {
	if *n <= 0 {
		return false
	}
	*n--
	return true
}

func (s *Server) fate(c call) fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.faults
	if !f.touch(c.method) {
		return fate{}
	}
	out := fate{delay: f.Delay}
	switch {
	case spend(&f.RateLimit):
		out.status = http.StatusTooManyRequests
		seconds := max(1, int((f.RetryAfter+time.Second-1)/time.Second))
		out.retryAfter = strconv.Itoa(seconds)
	case spend(&f.ServerError):
		out.status = http.StatusServiceUnavailable
	case spend(&f.Refuse):
		out.code = f.RefuseWith
	}
	return out
}

// What happens after a message was stored.
type aftermath int

const (
	confirm aftermath = iota
	hang
	hangUp
	fail
)

func (s *Server) aftermath(c call) aftermath {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.faults
	switch {
	case !f.touch(c.method):
	case spend(&f.AcceptThenTimeout):
		if f.HangUp {
			return hangUp
		}
		return hang
	case spend(&f.AcceptThenFail):
		return fail
	}
	return confirm
}
