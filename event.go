package belay

import (
	"context"
	"iter"
	"slices"
	"time"
)

// Seq is a position in the journal, or in one of its streams, counted from 1.
// 0 is before the first event.
type Seq int64

// AnySeq appends to a stream wherever it ends.
const AnySeq Seq = -1

// Kind names what happened.
type Kind string

// The kinds of events. The noun that an event is about is carried whole, as it
// is after the event, so that the newest event of a noun is its present state.
const (
	KindStarted     Kind = "belay.started" // stream "belay"
	KindStopped     Kind = "belay.stopped"
	KindConfigured  Kind = "belay.configured"
	KindLostSight   Kind = "belay.lost_sight" // a rule has been unknown for an hour
	KindFoundSight  Kind = "belay.found_sight"
	KindKillSwitch  Kind = "belay.kill_switch"
	KindAlert       Kind = "alert.changed"       // stream "rule/<hash>": every transition
	KindDeployment  Kind = "deployment.changed"  // stream "target/<env>/<name>"
	KindLedger      Kind = "ledger.changed"      // stream "target/<env>/<name>"
	KindOpened      Kind = "incident.opened"     // stream "incidents/<env>/<name>"
	KindJoined      Kind = "incident.joined"     // an alert joined
	KindUpdated     Kind = "incident.updated"    // one of its alerts, or its state, changed
	KindAcked       Kind = "incident.acked"      // by a person
	KindNoted       Kind = "incident.noted"      // a person's words, in Reason
	KindAssigned    Kind = "incident.assigned"   // a person is to look after it
	KindRated       Kind = "incident.rated"      // a person set its severity
	KindResolved    Kind = "incident.resolved"   // all of its alerts have ended
	KindReopened    Kind = "incident.reopened"   // something fires again soon after that
	KindRefused     Kind = "rollback.refused"    // stream "rollback/<env>/<name>"
	KindPlanned     Kind = "rollback.planned"    //
	KindCountdown   Kind = "rollback.countdown"  //
	KindProposed    Kind = "rollback.proposed"   // a person has to approve it
	KindApproved    Kind = "rollback.approved"   //
	KindOrdered     Kind = "rollback.ordered"    // a person asked for it
	KindStop        Kind = "rollback.stopped"    // a person, or a guard after the wait, ended it
	KindIntent      Kind = "rollback.intended"   // durable before the platform is asked
	KindActed       Kind = "rollback.acted"      //
	KindConverged   Kind = "rollback.converged"  //
	KindHealthy     Kind = "rollback.healthy"    // first proof; the hold begins
	KindUnhealthy   Kind = "rollback.relapsed"   // the proof broke; the hold begins anew
	KindRecovered   Kind = "rollback.recovered"  //
	KindEnded       Kind = "rollback.ended"      // failed, superseded, fought, not recovered: see State
	KindDelivery    Kind = "delivery.changed"    // stream "delivery/<destination>"
	KindReview      Kind = "review.drafted"      // stream "review/<incident>"
	KindClick       Kind = "click.judged"        // stream "click/<id>": what a person pressed in a message, and why it was refused
	KindPreexisting Kind = "deployment.repeated" // held content came back
	KindSilence     Kind = "silence.changed"     // stream "silences"
)

// Durable says that an event of this kind must have reached the disk before
// anyone acts on it.
func (k Kind) Durable() bool {
	return slices.Contains([]Kind{KindIntent, KindOrdered, KindApproved, KindStop, KindCountdown, KindLedger, KindKillSwitch, KindSilence}, k)
}

// An Event is one entry of the journal: what happened, when, to what, why and
// by whom. Seq, Stream and Pos are set by the journal.
type Event struct {
	Seq     Seq       `json:"seq"`    // position in the journal
	Stream  string    `json:"stream"` //
	Pos     Seq       `json:"pos"`    // position in the stream
	At      time.Time `json:"at"`
	Kind    Kind      `json:"kind"`
	Reason  string    `json:"reason"`          // never empty: a sentence for people
	Actor   string    `json:"actor,omitempty"` // a person; "" is Belay itself
	Service ServiceID `json:"service,omitzero"`

	Alert      *Alert       `json:"alert,omitempty"`
	Deployment *Deployment  `json:"deployment,omitempty"`
	Ledger     *LedgerEntry `json:"ledger,omitempty"`
	Incident   *Incident    `json:"incident,omitempty"`
	Rollback   *Rollback    `json:"rollback,omitempty"`
	Delivery   *Delivery    `json:"delivery,omitempty"`
	Review     *Review      `json:"review,omitempty"`
	Silence    *Silence     `json:"silence,omitempty"`
}

// A Journal is the append-only record of everything that Belay decides or
// does. All methods may be called from any goroutine.
type Journal interface {
	// Append adds events to a stream as one whole, or not at all, and returns
	// the stream's new end. It returns ErrConflict when the stream does not
	// end at expect (AnySeq always matches). When it returns, kinds that are
	// Durable have reached the disk. Any other error means: nothing was
	// written, and nobody may act.
	Append(ctx context.Context, stream string, expect Seq, events ...Event) (Seq, error)
	// Read yields the events after a position in journal order, up to the
	// present end.
	Read(ctx context.Context, after Seq) iter.Seq2[Event, error]
	// Tail yields the events after a position in journal order and waits for
	// more until ctx ends.
	Tail(ctx context.Context, after Seq) iter.Seq2[Event, error]
	// Cursor returns how far a destination has read, 0 if never.
	Cursor(ctx context.Context, destination string) (Seq, error)
	// Advance moves a destination's cursor. It never moves it back.
	Advance(ctx context.Context, destination string, to Seq) error
}

// Streams by noun. Compare-and-append on them is what keeps two writers apart.

// IncidentStream is the stream of all incidents of a service.
func IncidentStream(s ServiceID) string { return "incidents/" + s.String() }

// RollbackStream is the stream of all rollbacks of a service.
func RollbackStream(s ServiceID) string { return "rollback/" + s.String() }

// TargetStream is the stream of deployments and ledger entries of a service.
func TargetStream(s ServiceID) string { return "target/" + s.String() }
