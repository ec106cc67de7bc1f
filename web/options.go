package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// Options are what the server shows and whom it asks. View, Journal and Token
// are required.
type Options struct {
	View    *View         // its owner runs it
	Journal belay.Journal // for the stream of events

	Services   []ServiceInfo
	Alerts     func() []belay.Alert                     // pending and firing; nil: as the journal tells
	Silences   func() []belay.Silence                   // those that hold, those to come, those that ended lately
	Judgements func() []belay.Judgement                 // the latest of each rule and label set
	Targets    func() []TargetInfo                      //
	Rules      func() []RuleGroupInfo                   //
	Kept       func() KeptInfo                          // what `keep: needed` left out; nil: all is kept
	Outbox     func() (depth int, oldest time.Duration) // messages that wait
	KillSwitch func() (reason string)                   // why nothing may act; "" when Belay may
	Ready      func() error                             // nil when Belay watches; otherwise why it does not yet
	Notices    func() []string                          // what the person who runs Belay should know, such as a reload that failed
	Reload     func(ctx context.Context) error          // reads the configuration again; nil: not implemented
	Now        func() time.Time                         // nil: time.Now
	Actions    Actions                                  //
	Gatherer   prometheus.Gatherer                      // of /metrics
	Prometheus http.Handler                             // Prometheus's API, at /api/v1/ and /federate; nil: not served
	Slack      http.Handler                             // takes what people press in Slack; nil: nobody does
	Log        *slog.Logger                             // nil discards
	// Alertmanager makes the handler of Alertmanager's API, at /api/v2/. actor
	// names a caller who claims to be somebody. nil: not served.
	Alertmanager func(actor func(r *http.Request, claimed string) string) http.Handler
	Explain      func(ls labels.Labels) any // who is told of an alert with these labels, and why; nil: not served

	Version      string
	Guards       []string // names of the guards that can refuse a rollback, so that each one's count begins at 0
	ReviewDir    string   // where reviews are written
	Token        string   // the admin token
	TokenFile    string   // where it lies: an absolute path that clients on this host are told
	AllowedHosts []string // names besides loopback ones by which browsers may call, such as that of a proxy in front
}

// Actions are what a person may ask for. Each is called with the name of the
// person and hands the request to the part that decides. One that is nil is
// answered with "not implemented". An error that Is ErrRefused, ErrNotFound or
// ErrInvalid tells the person why; any other is a fault of Belay.
type Actions struct {
	Deploy          func(ctx context.Context, n DeployNotice) error
	RollbackPlan    func(ctx context.Context, s belay.ServiceID) (belay.Rollback, error)
	RollbackStart   func(ctx context.Context, s belay.ServiceID, actor string) (belay.Rollback, error)
	RollbackApprove func(ctx context.Context, id, plan, actor string) error                    // plan is what the person was shown; "" trusts the id
	RollbackStop    func(ctx context.Context, id, actor, reason string) error                  // id "all" sets the kill switch
	RollbackReport  func(ctx context.Context, s belay.ServiceID, since time.Time) (any, error) // what would have been done, and what people did; JSON
	RollbackRelease func(ctx context.Context, s belay.ServiceID, c belay.Content, actor string) error
	Ack             func(ctx context.Context, incident, actor, text string) error
	Note            func(ctx context.Context, incident, actor, text string) error
	Resolve         func(ctx context.Context, incident, actor, text string) error
	Assign          func(ctx context.Context, incident, actor, to string) error       // a person
	Rate            func(ctx context.Context, incident, actor, severity string) error // critical, warning, info
	Merge           func(ctx context.Context, incident, actor, into string) error     // another incident
	AlertsReport    func(ctx context.Context, since time.Time) (any, error)           // what each rule did to people, and what to do about it; JSON
	Silence         func(ctx context.Context, s belay.Silence) error
	Expire          func(ctx context.Context, silence, actor string) error
}

// Errors by which an action says why not.
var (
	ErrRefused  = errors.New("refused")
	ErrNotFound = errors.New("not found")
	ErrInvalid  = errors.New("invalid")
)

// Because marks an error with one of ErrRefused, ErrNotFound and ErrInvalid and
// keeps its text as it is.
func Because(kind, err error) error { return &marked{kind, err} }

type marked struct{ kind, err error }

func (m *marked) Error() string   { return m.err.Error() }
func (m *marked) Unwrap() []error { return []error{m.kind, m.err} }

// StopAll is the id that RollbackStop takes to stop everything.
const StopAll = "all"

// A DeployNotice tells of a deployment from outside.
type DeployNotice struct {
	Event        string          `json:"event"` // start, finish, fail
	Service      belay.ServiceID `json:"service"`
	Revision     belay.Content   `json:"revision"`
	Version      string          `json:"version,omitempty"`
	Commit       string          `json:"commit,omitempty"`
	Actor        string          `json:"actor,omitempty"`
	URL          string          `json:"url,omitempty"`
	Irreversible bool            `json:"irreversible,omitempty"`
}

// A TargetInfo is one thing that Belay scrapes.
type TargetInfo struct {
	Job        string        `json:"job"`
	URL        string        `json:"url"`
	Labels     labels.Labels `json:"labels"`
	Healthy    bool          `json:"healthy"`
	Error      string        `json:"error,omitempty"`
	LastScrape time.Time     `json:"last_scrape,omitzero"`
}

// A RuleGroupInfo is one group of a rule file.
type RuleGroupInfo struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Interval time.Duration `json:"interval_ns"`
	Rules    []RuleInfo    `json:"rules"`
}

// A RuleInfo is one rule as it did at its last evaluation.
type RuleInfo struct {
	Name        string        `json:"name"`
	Kind        string        `json:"kind"` // alert, record
	Expr        string        `json:"expr"`
	For         time.Duration `json:"for_ns,omitempty"`
	Labels      labels.Labels `json:"labels"`
	Verdict     belay.Verdict `json:"verdict,omitempty"` // the worst of its label sets
	Error       string        `json:"error,omitempty"`
	EvaluatedAt time.Time     `json:"evaluated_at,omitzero"`
	Observe     bool          `json:"observe,omitempty"`

	Evaluations []EvaluationInfo `json:"evaluations,omitempty"` // the last ones, oldest first
}

// An EvaluationInfo is what one evaluation of a rule saw.
type EvaluationInfo struct {
	At       time.Time
	Duration time.Duration
	Value    belay.Value   // of the label set that says most; without meaning when Found is 0
	Found    int           // label sets
	Verdict  belay.Verdict // the worst of them; "" for a recording rule
	Series   int           // that had samples to read
	Error    string
	Query    string // repeats it: path and parameters of /api/v1/query
}

// MarshalJSON writes the duration in seconds, and no value where none was found.
func (e EvaluationInfo) MarshalJSON() ([]byte, error) {
	out := struct {
		At       time.Time     `json:"at"`
		Duration float64       `json:"duration_seconds"`
		Value    *belay.Value  `json:"value,omitempty"`
		Found    int           `json:"found"`
		Verdict  belay.Verdict `json:"verdict,omitempty"`
		Series   int           `json:"series"`
		Error    string        `json:"error,omitempty"`
		Query    string        `json:"query,omitempty"`
	}{At: e.At, Duration: e.Duration.Seconds(), Found: e.Found, Verdict: e.Verdict, Series: e.Series, Error: e.Error, Query: e.Query}
	if e.Found > 0 {
		out.Value = &e.Value
	}
	return json.Marshal(out)
}

// A KeptInfo is what became of samples since the start where only those are
// stored that something of Belay can read.
type KeptInfo struct {
	Needed  bool   `json:"needed"` // keep is needed; otherwise the rest is empty
	Stored  uint64 `json:"stored_samples"`
	LeftOut uint64 `json:"left_out_samples"`
}

// Saved is the share of samples that was left out, from 0 to 1.
func (k KeptInfo) Saved() float64 {
	if all := k.Stored + k.LeftOut; all > 0 {
		return float64(k.LeftOut) / float64(all)
	}
	return 0
}

// String says it in words.
func (k KeptInfo) String() string {
	if !k.Needed {
		return "all"
	}
	return fmt.Sprintf("what rules, reviews and dashboards can read: %d samples stored, %d left out (%.1f %% saved)", k.Stored, k.LeftOut, 100*k.Saved())
}
