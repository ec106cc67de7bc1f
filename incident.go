package belay

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// AlertState is where an alert is in its life.
type AlertState string

// The values of AlertState.
const (
	AlertPending  AlertState = "pending"
	AlertFiring   AlertState = "firing"
	AlertInactive AlertState = "inactive" // resolved, or no longer pending
)

// An Alert is a rule's finding for one label set (Prometheus's meaning).
type Alert struct {
	ID          string            `json:"id"`   // hash of rule identity and labels: the same finding keeps its id
	Rule        string            `json:"rule"` // value of the label alertname
	Group       string            `json:"group"`
	Labels      labels.Labels     `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	State       AlertState        `json:"state"`
	Value       Value             `json:"value"`
	Expr        string            `json:"expr"`
	Condition   string            `json:"condition,omitempty"` // operator and limit, such as "> 0.02", where the rule has one
	For         time.Duration     `json:"for,omitempty"`
	ActiveAt    time.Time         `json:"active_at"` // evaluation that first found it
	FiredAt     time.Time         `json:"fired_at,omitzero"`
	KeepSince   time.Time         `json:"keep_firing_since,omitzero"`
	ResolvedAt  time.Time         `json:"resolved_at,omitzero"`
	EvaluatedAt time.Time         `json:"evaluated_at"`
	DataAt      time.Time         `json:"data_at"` // newest sample the last finding rests on
	Verdict     Verdict           `json:"verdict"` // of the last evaluation
	Failed      int               `json:"failed"`  // judgements in a row that failed on new data; counting stops at 100
	Observe     bool              `json:"observe,omitempty"`
	Incident    string            `json:"incident,omitempty"`
	Source      string            `json:"source,omitempty"` // who sent it in; "" when Belay judged it itself
	URL         string            `json:"url,omitempty"`    // where its sender shows it
}

// Severity returns the label of that name.
func (a Alert) Severity() string { return a.Labels.Get("severity") }

// IncidentState is where an incident is in its life.
type IncidentState string

// The values of IncidentState.
const (
	Triggered    IncidentState = "triggered"
	Acknowledged IncidentState = "acknowledged"
	Mitigating   IncidentState = "mitigating"
	Mitigated    IncidentState = "mitigated"
	Resolved     IncidentState = "resolved"
)

// An Incident is everything that goes wrong with one service until it is well
// again.
type Incident struct {
	ID             string        `json:"id"`
	Service        ServiceID     `json:"service"`
	Title          string        `json:"title"`
	Severity       string        `json:"severity"`
	State          IncidentState `json:"state"`
	OpenedAt       time.Time     `json:"opened_at"`
	AcknowledgedAt time.Time     `json:"acknowledged_at,omitzero"`
	AcknowledgedBy string        `json:"acknowledged_by,omitempty"`
	ResolvedAt     time.Time     `json:"resolved_at,omitzero"`
	Reopened       int           `json:"reopened,omitempty"`   // how often it began anew soon after its end
	ReopenedAt     time.Time     `json:"reopened_at,omitzero"` // the last time
	AssignedTo     string        `json:"assigned_to,omitempty"`
	SeverityBy     string        `json:"severity_by,omitempty"` // the person who set Severity; "": it is that of its worst alert
	MergedInto     string        `json:"merged_into,omitempty"` // the incident that it became a part of
	Alerts         []Alert       `json:"alerts"`                // latest state of each, in the order they joined
}

// BeganAt is when its present stretch began: when it was opened, or opened again.
func (i Incident) BeganAt() time.Time {
	if i.ReopenedAt.IsZero() {
		return i.OpenedAt
	}
	return i.ReopenedAt
}

// A Suspect is a deployment that may have caused an incident.
type Suspect struct {
	Deployment Deployment `json:"deployment"`
	Score      float64    `json:"score"` // 0 to 1
	Why        string     `json:"why"`
}

// An Answer is what one guard said of a plan. An empty Veto is a yes.
type Answer struct {
	Step  int    `json:"step"` // 1 to 9, the order of the decision
	Guard string `json:"guard"`
	Veto  string `json:"veto,omitempty"`   // why not, as a sentence
	Says  string `json:"detail,omitempty"` // what it saw, when it agrees
}

// Mode says what Belay may do on its own.
type Mode string

// The values of Mode.
const (
	ModeOff     Mode = "off"
	ModeNotify  Mode = "notify"
	ModeApprove Mode = "approve"
	ModeAuto    Mode = "auto"
)

// RollbackState is where a rollback is in its life.
type RollbackState string

// The values of RollbackState. Those from Recovered on are terminal.
const (
	RollbackRefused      RollbackState = "refused"           // a guard said no; judged again while the incident lasts
	RollbackPlanned      RollbackState = "planned"           // all guards agree; people are being told
	RollbackAwaiting     RollbackState = "awaiting_approval" // a person has to approve exactly this plan, until ApproveUntil
	RollbackCountdown    RollbackState = "countdown"         // told; a person may stop it until VetoUntil
	RollbackIntended     RollbackState = "intended"          // durable intent; the platform is about to be asked
	RollbackConverging   RollbackState = "converging"        // the platform accepted
	RollbackProving      RollbackState = "proving"           // converged; waiting for proof by fresh data
	RollbackRecovered    RollbackState = "recovered"
	RollbackNotRecovered RollbackState = "not_recovered"
	RollbackFailed       RollbackState = "failed"
	RollbackSuperseded   RollbackState = "superseded" // something else ran by then; nothing was changed
	RollbackFought       RollbackState = "fought"     // someone put the bad content back; hands off
	RollbackStopped      RollbackState = "stopped"    // a person said no
)

// Terminal says that nothing more will happen to a rollback in this state.
func (s RollbackState) Terminal() bool {
	return slices.Contains([]RollbackState{RollbackRecovered, RollbackNotRecovered, RollbackFailed, RollbackSuperseded, RollbackFought, RollbackStopped}, s)
}

// Acting says that the platform was, or is about to be, asked.
func (s RollbackState) Acting() bool {
	return s == RollbackIntended || s == RollbackConverging || s == RollbackProving
}

// A Rollback is one act of returning to a known-good revision, from the first
// thought of it.
type Rollback struct {
	ID           string        `json:"id"` // hash(target, bad content, hold epoch): the operation id
	Incident     string        `json:"incident,omitempty"`
	Target       Target        `json:"target"`
	From         Revision      `json:"from"`
	To           Revision      `json:"to"`
	Token        string        `json:"token,omitempty"`
	Mode         Mode          `json:"mode"`
	State        RollbackState `json:"state"`
	Reason       string        `json:"reason"` // one sentence for people: why it is in this state
	Suspects     []Suspect     `json:"suspects,omitempty"`
	Answers      []Answer      `json:"answers,omitempty"`
	Moot         bool          `json:"moot,omitempty"`        // stopped since its incident ended first; no answer, should that go on
	OrderedBy    string        `json:"ordered_by,omitempty"`  // the person who started it
	Plan         string        `json:"plan,omitempty"`        // identity of what was shown for approval
	ApprovedBy   string        `json:"approved_by,omitempty"` // the person who approved it
	ApproveUntil time.Time     `json:"approve_until,omitzero"`
	DecidedAt    time.Time     `json:"decided_at,omitzero"`   // the guards agreed
	VetoUntil    time.Time     `json:"veto_until,omitzero"`   // end of the countdown
	IntentAt     time.Time     `json:"intent_at,omitzero"`    // intent was durable
	ActedAt      time.Time     `json:"acted_at,omitzero"`     // the platform accepted
	ConvergedAt  time.Time     `json:"converged_at,omitzero"` // the platform runs it
	HealthyAt    time.Time     `json:"healthy_at,omitzero"`   // first proof by fresh data
	ClosedAt     time.Time     `json:"closed_at,omitzero"`
	RecoveryHold time.Duration `json:"recovery_hold,omitempty"`
}

// A Delivery is one attempt to put a message before people.
type Delivery struct {
	Destination string `json:"destination"`
	Incident    string `json:"incident"`
	Key         string `json:"key"`              // the same key is the same message
	Kind        string `json:"kind"`             // parent, update, reply, webhook, emergency
	Result      string `json:"result"`           // begun, sent, adopted, retry, dead
	Ref         string `json:"ref,omitempty"`    // the channel's own name of the message
	Tells       Seq    `json:"tells,omitempty"`  // the event that it tells of
	Detail      string `json:"detail,omitempty"` // the error, or how often it was tried
	Tries       int    `json:"tries,omitempty"`
}

// A Silence mutes the telling of the alerts that all of its matchers match.
type Silence struct {
	ID        string    `json:"id"`
	Matchers  []string  `json:"matchers"` // in Alertmanager's notation: severity=~"warning|info"
	StartsAt  time.Time `json:"starts_at"`
	EndsAt    time.Time `json:"ends_at"`
	UpdatedAt time.Time `json:"updated_at"`
	CreatedBy string    `json:"created_by"`
	Comment   string    `json:"comment"`
}

// State returns "pending", "active" or "expired", as Alertmanager names them.
func (s Silence) State(now time.Time) string {
	switch {
	case now.Before(s.StartsAt):
		return "pending"
	case now.Before(s.EndsAt):
		return "active"
	}
	return "expired"
}

// A Review names the files of a post-incident review.
type Review struct {
	Incident string    `json:"incident"`
	State    string    `json:"state"`          // draft
	Until    time.Time `json:"until,omitzero"` // the end of the incident that it tells of
	Files    []string  `json:"files"`          // base names
	SHA256   string    `json:"sha256"`
}
