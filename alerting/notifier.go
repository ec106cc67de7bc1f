package alerting

import (
	"context"
	"errors"
	"time"

	"github.com/belaydev/belay"
)

// Kind says what a message is to its channel.
type Kind string

// The values of Kind.
const (
	Parent Kind = "parent" // the one message of an incident: posted once, then edited to show the present truth
	Reply  Kind = "reply"  // one turn of the story, in the parent's thread
)

// A Message is one thing to put before people. A notifier renders it as its
// channel can.
type Message struct {
	Kind   Kind
	Key    string // the same key is the same message: the incident's id, or that and the event's Seq for a reply
	Ref    string // the channel's name of this message, when it was posted before: edit it
	Thread string // the channel's name of the parent, for a reply
	Retry  bool   // an earlier attempt with this key may have got through: look for it before posting

	At       time.Time
	Event    belay.Event     // what the message tells of; for a reply its Reason is the text
	Incident belay.Incident  // as it is now
	Rollback *belay.Rollback // the newest of this incident, nil if there is none
	Review   *belay.Review   // nil until it is drafted
	Links    Links
	Group    *Group // of alerts that belong to no incident; Incident then only stands for it

	// Picture draws the incident as a PNG, for a reply that should show it. It
	// is nil for most. A channel that shows no pictures leaves it out, and no
	// message waits for one that cannot be drawn.
	Picture func(context.Context) ([]byte, error)
}

// Links lead from a message to the pages about it. Empty ones are left out.
type Links struct {
	Incident, Service, Review string
}

// A Notifier is one channel to people.
type Notifier interface {
	// Notify posts or edits a message and returns the channel's own name for
	// it, with which it can be edited or answered later. Calling it twice with
	// the same key must look like once: with Retry set the notifier looks for
	// the key in the channel before it posts. It returns an error that Is
	// ErrPermanent when trying again cannot help, an error that As a
	// *RetryAfterError when the channel named a time, an error that Is
	// ErrAmbiguous when the message may have got through, and any other
	// error when it surely did not.
	Notify(ctx context.Context, m Message) (ref string, err error)
}

// ErrPermanent marks a delivery that can never succeed.
var ErrPermanent = errors.New("permanent")

// ErrAmbiguous marks a delivery that may or may not have got through.
var ErrAmbiguous = errors.New("ambiguous: it may have got through")

// ErrUnchanged says that nothing was sent, because the channel shows nothing
// of what is new in the message. The outbox goes on without a record of it.
var ErrUnchanged = errors.New("unchanged: the channel shows it already")

// Threadless is implemented by notifiers whose channel has no threads, such as
// webhooks. They are given Parent messages only, and what they send is never
// taken as proof that people know of a planned rollback.
type Threadless interface{ Threadless() }

// A RetryAfterError carries the time a channel asks to be left alone.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *RetryAfterError) Error() string {
	return "rate limited, again in " + e.After.String() + ": " + e.Err.Error()
}

// Unwrap returns the channel's own error.
func (e *RetryAfterError) Unwrap() error { return e.Err }
