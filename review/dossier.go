package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
)

// Schema is the version of the JSON form of a Dossier. It grows when a reader
// of the old form could misread the new one.
const Schema = 1

// A Dossier is everything a review rests on: facts from the journal, numbers
// from samples, and the samples themselves, frozen. It names no person. The
// same dossier always renders to the same bytes, and its JSON form can be read
// back with Parse and rendered again when the metrics are long gone.
type Dossier struct {
	Schema      int                `json:"schema"`
	Incident    belay.Incident     `json:"incident"`
	URL         string             `json:"url,omitempty"`      // of the incident's page
	Interval    float64            `json:"interval_seconds"`   // between samples: the uncertainty of what is computed from them
	Trigger     *belay.Alert       `json:"trigger,omitempty"`  // the alert that fired first, as it was when it fired
	Measured    *Measured          `json:"measured,omitempty"` // nil when nothing could be measured
	Impact      Impact             `json:"impact"`
	Milestones  []Milestone        `json:"milestones"`
	Durations   []Duration         `json:"durations"`
	Alerts      []AlertLife        `json:"alerts"`
	Deployments []belay.Deployment `json:"deployments"`
	Suspects    []belay.Suspect    `json:"suspects"`
	Rollbacks   []Attempt          `json:"rollbacks"`
	Ledger      []LedgerNote       `json:"ledger,omitempty"`
	Timeline    []Entry            `json:"timeline"`
	Quality     []string           `json:"data_quality"`
	From        time.Time          `json:"from"` // the window of figure and samples
	To          time.Time          `json:"to"`
}

// Source says where a moment is known from.
type Source string

// The values of Source. Computed moments carry the uncertainty of the samples.
const (
	FromSamples  Source = "computed"
	FromJournal  Source = "journal"
	FromPlatform Source = "platform"
)

// The names of milestones, in the order in which they usually come.
const (
	ChangeApplied     = "change_applied"
	ImpactStart       = "impact_start"
	FirstBreach       = "first_breach"
	Detected          = "detected"
	Notified          = "notified"
	Acknowledged      = "acknowledged"
	Decided           = "decided"
	MitigationStarted = "mitigation_started"
	Accepted          = "accepted"
	Converged         = "converged"
	ImpactEnd         = "impact_end"
	Recovered         = "recovered"
	Resolved          = "resolved"
)

// A Milestone is one moment that durations are computed between.
type Milestone struct {
	Name        string    `json:"name"`
	At          time.Time `json:"at"`
	Uncertainty float64   `json:"uncertainty_seconds"` // 0 when it is as exact as the journal's clock
	Source      Source    `json:"source"`
	Evidence    string    `json:"evidence"` // a phrase for people
	Marker      int       `json:"marker,omitempty"`
}

// A Duration is the time between two milestones.
type Duration struct {
	Name        string  `json:"name"` // a phrase for people
	From        string  `json:"from"`
	To          string  `json:"to"`
	Seconds     float64 `json:"seconds"`
	Uncertainty float64 `json:"uncertainty_seconds"`
}

// Impact is what users felt, as far as the trigger's own expression shows it.
type Impact struct {
	Known        bool        `json:"known"` // start and end rest on samples
	Start        time.Time   `json:"start,omitzero"`
	End          time.Time   `json:"end,omitzero"`
	Peak         belay.Value `json:"peak"` // the value furthest out of bounds; NaN when unknown
	PeakAt       time.Time   `json:"peak_at,omitzero"`
	BeforeChange Exoneration `json:"before_change,omitempty"`
	Note         string      `json:"note,omitempty"` // why something is unknown
}

// Exoneration compares the start of the impact with the change.
type Exoneration string

// The values of Exoneration; "" is that the change came first, or that there
// was none.
const (
	BeganBefore  Exoneration = "began_before" // by more than the uncertainty: the change did not start it
	TooCloseCall Exoneration = "too_close"    // within the uncertainty: it cannot be told
)

// AlertLife is one alert's way through an incident.
type AlertLife struct {
	ID     string         `json:"id"`
	Rule   string         `json:"rule"`
	Labels labels.Labels  `json:"labels"`
	Spans  []AlertSpan    `json:"spans"`
	Last   belay.Verdict  `json:"last_verdict"`
	Blind  []BlindStretch `json:"blind,omitempty"` // evaluations that could not judge
}

// AlertSpan is a stretch in one state. A zero To is still so at the end.
type AlertSpan struct {
	State belay.AlertState `json:"state"`
	From  time.Time        `json:"from"`
	To    time.Time        `json:"to,omitzero"`
}

// A BlindStretch is a moment at which the journal says unknown or absent.
type BlindStretch struct {
	At      time.Time     `json:"at"`
	Verdict belay.Verdict `json:"verdict"`
	Reason  string        `json:"reason"`
}

// An Attempt is one rollback from the first thought of it to its end.
type Attempt struct {
	Rollback belay.Rollback `json:"rollback"` // as it was at the end
	Phases   []Phase        `json:"phases"`
	Refusals []Refusal      `json:"refusals,omitempty"`
}

// A Phase is one state of a rollback and when it began.
type Phase struct {
	State  belay.RollbackState `json:"state"`
	At     time.Time           `json:"at"`
	Reason string              `json:"reason"`
	Person bool                `json:"person,omitempty"` // a person did this
}

// A Refusal is one reason why a rollback was not done, however often it was
// judged again.
type Refusal struct {
	First  time.Time      `json:"first"`
	Last   time.Time      `json:"last"`
	Times  int            `json:"times"`
	Reason string         `json:"reason"`
	Vetoes []belay.Answer `json:"vetoes,omitempty"`
}

// LedgerNote is what the ledger came to say of a revision.
type LedgerNote struct {
	At     time.Time         `json:"at"`
	Entry  belay.LedgerEntry `json:"entry"`
	Reason string            `json:"reason"`
}

// An Entry is one row of the timeline.
type Entry struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"` // change, impact, alert, incident, rollback, message, belay, note
	What    string    `json:"what"`
	Marker  int       `json:"marker,omitempty"`
	Measure bool      `json:"computed,omitempty"` // known from samples only
}

// Measured are the trigger's values, frozen, and how they were asked for.
type Measured struct {
	Query    string      `json:"query"`            // the side of the comparison that varies
	Operator string      `json:"operator"`         // the side of it that is bad, such as ">"
	Limit    belay.Value `json:"limit"`            // NaN when it is no fixed number
	Unit     chart.Unit  `json:"unit,omitempty"`   // guessed from the query
	Window   float64     `json:"window_seconds"`   // longest range that the query averages over
	Step     float64     `json:"step_seconds"`     // between values
	Labels   string      `json:"series,omitempty"` // the series that was followed
	Points   []Point     `json:"points"`           // thinned out to chart.MaxPoints; NaN is a gap
	Band     []BandPoint `json:"band,omitempty"`   // where an anomaly rule expected the value; thinned out likewise
}

// A BandPoint is what an anomaly rule took for usual at one moment.
type BandPoint struct {
	At    time.Time   `json:"t"`
	Lower belay.Value `json:"lower"`
	Upper belay.Value `json:"upper"`
}

// A Point is one frozen value.
type Point struct {
	At    time.Time   `json:"t"`
	Value belay.Value `json:"v"`
}

// Milestone returns the milestone of that name.
func (d *Dossier) Milestone(name string) (Milestone, bool) {
	for _, m := range d.Milestones {
		if m.Name == name {
			return m, true
		}
	}
	return Milestone{}, false
}

// Parse reads the JSON form of a dossier.
func Parse(text []byte) (Dossier, error) {
	var d Dossier
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&d); err != nil {
		return Dossier{}, fmt.Errorf("read the review's JSON: %w", err)
	}
	if d.Schema != Schema {
		return Dossier{}, fmt.Errorf("the review's JSON has schema %d; this Belay reads %d", d.Schema, Schema)
	}
	return d, nil
}

// encode writes the JSON form.
func (d *Dossier) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(d); err != nil {
		// A Dossier holds only types that encode; a time beyond year 9999 is the
		// one exception, and the figures without it would be a lie.
		return []byte(fmt.Sprintf("{\"schema\": 0, \"error\": %q}\n", err.Error()))
	}
	return b.Bytes()
}
