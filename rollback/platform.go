package rollback

import (
	"context"
	"errors"

	"github.com/belaydev/belay"
)

// A Platform is one deployment system. It obeys and reports; all judgement
// lives in the Controller.
//
// All methods may be called from any goroutine, may block until ctx ends, and
// must return soon after it has ended. A read that fails returns an error and
// no half-true value: nobody guesses what runs.
type Platform interface {
	// Watch emits the present state of the target at once, then each change
	// of it (content, progress, reason, owner, operation). Changes that follow
	// each other closely may be told as one; the newest is always told. emit is
	// called by one goroutine at a time and may block. Watch blocks and returns
	// nil once ctx has ended. It returns an error when it has lost sight of the
	// target; the caller says so, waits, and calls it again.
	Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error

	// State reads what runs now. It asks the platform itself, never a cache,
	// and its Revision.Content is never empty.
	State(ctx context.Context, t belay.Target) (belay.State, error)

	// Revisions lists what can be restored, newest first; what the platform
	// still remembers but can no longer restore is listed as Missing with the
	// reason in Detail. The present revision is one of them. Two revisions
	// with the same content are the same revision, whatever they are called.
	Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error)

	// Restore makes op.To the desired content, if and only if op.Seen is what
	// is desired now. It returns when the platform has accepted, not when the
	// target has converged.
	//
	// Twice is once: an operation of the same ID that was applied before
	// changes nothing ever again. While its content still is in place, a
	// repetition returns nil; when it is not, ErrSuperseded.
	//
	// belay.ErrSuperseded means that something else ran and that nothing was
	// changed. ErrTryLater means that nothing was changed and that asking again
	// is sensible. After any other error, time-outs included, it is unknown
	// whether the operation was applied: read State before anything else, and
	// repeat with the same ID only.
	Restore(ctx context.Context, op belay.Operation) error
}

// ErrTryLater is returned by a platform that cannot do a thing at present, has
// changed nothing, and expects to be able to do it soon.
var ErrTryLater = errors.New("the platform asks to try again later")

// CAS says what stands between reading a target and changing it.
type CAS string

// The values of CAS. Automatic rollback needs Atomic, or Checked and
// rollback.allow_checked.
const (
	Atomic  CAS = "atomic"  // the platform itself refuses a change of something that has moved on
	Checked CAS = "checked" // read, compare, write: a race of known width is left
	None    CAS = "none"    // a change of something else cannot be ruled out
)

// Capabilities are what a platform promises beyond the interface.
type Capabilities struct {
	CAS CAS
	// Stamped says that State.Operation names the operation which put the
	// present content in place, so that Belay's own work is known by its mark.
	Stamped bool
}

// Capable is implemented by every platform that promises anything.
type Capable interface {
	// Capabilities neither blocks nor fails, and always returns the same.
	Capabilities() Capabilities
}

// CapabilitiesOf returns what a platform promises; one that says nothing, or
// something unheard of, promises nothing.
func CapabilitiesOf(p Platform) Capabilities {
	c, ok := p.(Capable)
	if !ok {
		return Capabilities{CAS: None}
	}
	caps := c.Capabilities()
	switch caps.CAS {
	case Atomic, Checked:
	default:
		caps.CAS = None
	}
	return caps
}
