// Package belay holds the nouns that the parts of Belay share: services,
// revisions, deployments, alerts, incidents, rollbacks and the events that
// tell of them. It decides nothing; the parts hold the verbs.
package belay

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// A ServiceID names what is deployed, in one environment.
type ServiceID struct {
	Environment string `json:"environment"`
	Name        string `json:"name"`
}

// String returns "environment/name", the form used in streams and routes.
func (s ServiceID) String() string { return s.Environment + "/" + s.Name }

// ParseServiceID reads the form that String writes. A bare name is a service of
// the environment "production".
func ParseServiceID(s string) ServiceID {
	if env, name, ok := strings.Cut(s, "/"); ok {
		return ServiceID{Environment: env, Name: name}
	}
	return ServiceID{Environment: DefaultEnvironment, Name: s}
}

// DefaultEnvironment is the environment of a service that names none.
const DefaultEnvironment = "production"

// Content identifies what a platform runs: a hash of that content, never a
// number that the platform may give out twice. The empty Content is unknown.
type Content string

// Short returns enough of the hash for a person to tell two apart.
func (c Content) Short() string {
	s := string(c)
	if _, hex, ok := strings.Cut(s, ":"); ok {
		s = hex
	}
	return s[:min(len(s), 12)]
}

// A Revision is content that a platform can run.
type Revision struct {
	Content Content   `json:"content"`
	Version string    `json:"version,omitempty"` // what people call it; need not be unique
	Created time.Time `json:"created,omitzero"`
	Detail  string    `json:"detail,omitempty"` // why it cannot be restored, when it cannot
	Missing bool      `json:"missing,omitempty"`
}

// String returns the version where there is one, otherwise the short hash.
func (r Revision) String() string { return cmp.Or(r.Version, r.Content.Short()) }

// A Target is one thing that a platform runs and can restore.
type Target struct {
	Service  ServiceID `json:"service"`
	Platform string    `json:"platform"`
}

// Progress says how far a target is on its way to its desired content.
type Progress string

// The values of Progress.
const (
	Converged   Progress = "converged"
	Progressing Progress = "progressing"
	Stuck       Progress = "stuck"
)

// State is what a platform says of a target at one moment.
type State struct {
	Target    Target    `json:"target"`
	Revision  Revision  `json:"revision"` // what is desired to run now
	Token     string    `json:"token,omitempty"`
	Progress  Progress  `json:"progress"`
	Reason    string    `json:"reason,omitempty"`     // the platform's own words, when stuck
	Owner     string    `json:"owner,omitempty"`      // who else would undo a change, "" if nobody
	Operation string    `json:"operation,omitempty"`  // id of the Belay operation that put this content here
	ChangedAt time.Time `json:"changed_at,omitzero"`  // when the content last changed, by the platform's clock
	At        time.Time `json:"observed_at,omitzero"` // when this was read
}

// An Operation asks a platform to restore a revision. The platform acts only
// while Seen is what runs.
type Operation struct {
	ID     string   `json:"id"`
	Target Target   `json:"target"`
	Seen   Content  `json:"seen"`
	Token  string   `json:"token,omitempty"`
	To     Revision `json:"to"`
}

// ErrSuperseded is returned by a platform that runs something else than the
// operation has seen. Nothing was changed.
var ErrSuperseded = errors.New("superseded: something else runs by now")

// ErrConflict is returned by a journal whose stream has moved on.
var ErrConflict = errors.New("conflict: the stream has moved on")

// A Deployment is one act of putting a revision in place.
type Deployment struct {
	ID           string    `json:"id"`
	Service      ServiceID `json:"service"`
	From         Revision  `json:"from"`
	To           Revision  `json:"to"`
	StartedAt    time.Time `json:"started_at"`
	FinishedAt   time.Time `json:"finished_at,omitzero"`
	Result       string    `json:"result,omitempty"`    // "", succeeded, failed, rolled_back
	Operation    string    `json:"operation,omitempty"` // set when Belay itself did it
	Actor        string    `json:"actor,omitempty"`
	Commit       string    `json:"commit,omitempty"`
	URL          string    `json:"url,omitempty"`
	Irreversible bool      `json:"irreversible,omitempty"`
}

// Standing is what the ledger says of a revision on a target.
type Standing string

// The values of Standing; see design of the known-good ledger.
const (
	Candidate Standing = "candidate" // runs, not yet converged
	Soaking   Standing = "soaking"   // converged, being watched
	Good      Standing = "good"      // soaked with every rule green and enough of them conclusive
	Assumed   Standing = "assumed"   // nothing spoke against it, nothing proved it
	Bad       Standing = "bad"       // an incident was attributed to it
)

// A LedgerEntry is the standing of one content on one target.
type LedgerEntry struct {
	Service  ServiceID `json:"service"`
	Revision Revision  `json:"revision"`
	Standing Standing  `json:"standing"`
	Since    time.Time `json:"since"`
	Held     bool      `json:"held,omitempty"`  // known to be bad: say so when it comes back
	Epoch    int       `json:"epoch,omitempty"` // grows when a person releases a hold
}

// Value is a sample's value that survives JSON: NaN and infinities are strings.
type Value float64

// MarshalJSON writes a number, or "NaN", "+Inf", "-Inf".
func (v Value) MarshalJSON() ([]byte, error) {
	f := float64(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.AppendQuote(nil, strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Value) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil {
		return fmt.Errorf("value %s: %w", b, err)
	}
	*v = Value(f)
	return nil
}

// Verdict is what one evaluation of a rule says of one label set.
type Verdict string

// The values of Verdict. Unknown never acts and never resolves.
const (
	Pass    Verdict = "pass"    // fresh data, and it is fine
	Fail    Verdict = "fail"    // fresh data, and it breaks the rule
	Unknown Verdict = "unknown" // the query failed, or a target that should answer does not
	Absent  Verdict = "absent"  // nothing to judge: no series, or no traffic
)

// A Judgement is one rule's verdict on one label set at one time.
type Judgement struct {
	Rule    string        `json:"rule"`
	Labels  labels.Labels `json:"labels"`
	Verdict Verdict       `json:"verdict"`
	Value   Value         `json:"value"`
	At      time.Time     `json:"at"`      // when it was judged
	DataAt  time.Time     `json:"data_at"` // the newest sample that it rests on
	Partial bool          `json:"partial,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Observe bool          `json:"observe,omitempty"` // a rule that judges and records only
}
