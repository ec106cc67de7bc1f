package review

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
)

// figure is the incident at one look.
func (d *Dossier) figure() chart.Chart {
	c := chart.Chart{
		Title:       d.title(),
		Description: d.alt(),
		From:        d.From, To: d.To, Zero: d.zero(),
		Markers: d.markers(),
		Lanes:   d.lanes(),
	}
	if m := d.Measured; m != nil {
		c.Subtitle, c.Unit = m.Query, m.Unit
		s := chart.Series{Name: m.Query}
		for _, p := range m.Points {
			s.Points = append(s.Points, chart.Point{At: p.At, Value: float64(p.Value)})
		}
		c.Series = []chart.Series{s}
		if len(m.Band) > 0 {
			c.Subtitle += "; shaded: where it was expected"
			b := chart.Band{Label: "where it was expected"}
			for _, p := range m.Band {
				b.Points = append(b.Points, chart.BandPoint{At: p.At, Lower: float64(p.Lower), Upper: float64(p.Upper)})
			}
			c.Bands = []chart.Band{b}
		}
		if limit := float64(m.Limit); !math.IsNaN(limit) {
			c.Limits = []chart.Limit{{Value: limit, Label: "limit " + m.Unit.Format(limit)}}
		}
		c.Windows = d.gapWindows()
	}
	if w, ok := d.impactWindow(); ok {
		c.Windows = append([]chart.Window{w}, c.Windows...)
	}
	return c
}

// PNG draws the incident at one look, as a picture for channels that show no
// SVG: 700 units wide, without the key of its markers.
func (d *Dossier) PNG() ([]byte, error) {
	return d.figure().PNG(chart.Size{Width: 700})
}

func (d *Dossier) impactWindow() (chart.Window, bool) {
	if !d.Impact.Known {
		return chart.Window{}, false
	}
	w := chart.Window{From: d.Impact.Start, To: d.Impact.End, Label: "impact", Tone: chart.ToneImpact}
	if w.To.IsZero() {
		w.To, w.Label = d.To, "impact, end unknown"
		return w, true
	}
	if dur, ok := d.duration("Customer impact"); ok {
		w.Label = "impact " + length(dur.Seconds, dur.Uncertainty)
	}
	return w, true
}

// gapWindows shade what is unknown between values.
func (d *Dossier) gapWindows() []chart.Window {
	var out []chart.Window
	var last time.Time
	missing := 0
	for _, p := range d.Measured.Points {
		if math.IsNaN(float64(p.Value)) {
			missing++
			continue
		}
		if missing > 1 && !last.IsZero() && last.Before(d.To) && p.At.After(d.From) {
			out = append(out, chart.Window{From: last, To: p.At, Label: "no data", Tone: chart.ToneGap})
		}
		last, missing = p.At, 0
	}
	if missing > 1 && !last.IsZero() && last.Before(d.To) {
		out = append(out, chart.Window{From: last, To: d.To, Label: "no data", Tone: chart.ToneGap})
	}
	return out
}

var markerTones = map[string]chart.Tone{
	ChangeApplied: chart.ToneChange, ImpactStart: chart.ToneImpact, FirstBreach: chart.TonePending, Detected: chart.ToneFiring,
	Notified: chart.ToneQuiet, Acknowledged: chart.ToneQuiet, MitigationStarted: chart.ToneAct, Accepted: chart.ToneAct,
	Converged: chart.ToneAct, ImpactEnd: chart.ToneGood, Recovered: chart.ToneGood, Resolved: chart.ToneGood,
}

func (d *Dossier) markers() []chart.Marker {
	var out []chart.Marker
	for _, m := range d.Milestones {
		if m.Marker == 0 || m.At.Before(d.From) || m.At.After(d.To) {
			continue
		}
		label := labelOf(m.Name)
		if dep := d.Change(); m.Name == ChangeApplied && dep != nil {
			label += ": " + dep.From.String() + " → " + dep.To.String()
		}
		out = append(out, chart.Marker{At: m.At, Number: m.Marker, Label: label, Tone: markerTones[m.Name]})
	}
	return out
}

func (d *Dossier) lanes() []chart.Lane {
	var lanes []chart.Lane
	for i, a := range d.Alerts {
		if i == 4 {
			break
		}
		name := "alert"
		if len(d.Alerts) > 1 {
			name = a.Rule
		}
		lanes = append(lanes, chart.Lane{Name: name, Spans: d.alertSpans(a)})
	}
	if spans := d.releaseSpans(); len(spans) > 0 {
		lanes = append(lanes, chart.Lane{Name: "release", Spans: spans})
	}
	if spans := d.rollbackSpans(); len(spans) > 0 {
		lanes = append(lanes, chart.Lane{Name: "rollback", Spans: spans})
	}
	return lanes
}

func (d *Dossier) alertSpans(a AlertLife) []chart.Span {
	var out []chart.Span
	for _, s := range a.Spans {
		tone := chart.TonePending
		switch s.State {
		case belay.AlertFiring:
			tone = chart.ToneFiring
		case belay.AlertInactive:
			continue
		case belay.AlertPending:
		}
		to := s.To
		if to.IsZero() {
			to = d.To
		}
		out = append(out, chart.Span{From: s.From, To: to, Label: string(s.State), Tone: tone})
	}
	return out
}

// releaseSpans show which revision was meant to run.
func (d *Dossier) releaseSpans() []chart.Span {
	suspect := d.Change()
	tone := func(r belay.Revision) chart.Tone {
		if suspect != nil && r.Content == suspect.To.Content {
			return chart.ToneChange
		}
		return chart.ToneQuiet
	}
	var out []chart.Span
	for i, dep := range d.Deployments {
		if i == 0 && dep.StartedAt.After(d.From) && (dep.From.Version != "" || dep.From.Content != "") {
			out = append(out, chart.Span{From: d.From, To: dep.StartedAt, Label: dep.From.String(), Tone: tone(dep.From)})
		}
		to := d.To
		if i+1 < len(d.Deployments) {
			to = d.Deployments[i+1].StartedAt
		}
		if !to.Before(d.From) {
			out = append(out, chart.Span{From: later(dep.StartedAt, d.From), To: to, Label: dep.To.String(), Tone: tone(dep.To)})
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rollbackSpans show what Belay was doing.
func (d *Dossier) rollbackSpans() []chart.Span {
	var out []chart.Span
	for _, a := range d.Rollbacks {
		for _, r := range a.Refusals {
			out = append(out, chart.Span{From: r.First, To: r.Last, Label: "refused", Tone: chart.ToneQuiet})
		}
		for i, p := range a.Phases {
			to := d.To
			if i+1 < len(a.Phases) {
				to = a.Phases[i+1].At
			} else if p.State.Terminal() {
				to = p.At
			}
			out = append(out, chart.Span{From: p.At, To: to, Label: strings.ReplaceAll(string(p.State), "_", " "), Tone: rollbackTone(p.State)})
		}
	}
	return out
}

func rollbackTone(s belay.RollbackState) chart.Tone {
	switch s {
	case belay.RollbackPlanned, belay.RollbackAwaiting, belay.RollbackCountdown:
		return chart.TonePending
	case belay.RollbackIntended, belay.RollbackConverging:
		return chart.ToneAct
	case belay.RollbackProving, belay.RollbackRecovered:
		return chart.ToneGood
	case belay.RollbackNotRecovered, belay.RollbackFailed, belay.RollbackFought:
		return chart.ToneFiring
	case belay.RollbackRefused, belay.RollbackSuperseded, belay.RollbackStopped:
	}
	return chart.ToneQuiet
}

// alt tells the figure in words.
func (d *Dossier) alt() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Time chart from %s to %s UTC.", stamp(d.From), clock(d.To))
	switch m := d.Measured; {
	case m == nil || !d.Impact.Known:
		b.WriteString(" The trigger's values are not known.")
	default:
		fmt.Fprintf(&b, " The value went out of bounds at %s", clock(d.Impact.Start))
		if !math.IsNaN(float64(d.Impact.Peak)) {
			fmt.Fprintf(&b, ", reached %s at %s", m.Unit.Format(float64(d.Impact.Peak)), clock(d.Impact.PeakAt))
		}
		if d.Impact.End.IsZero() {
			b.WriteString("; when it came back is not known.")
		} else {
			fmt.Fprintf(&b, " and came back at %s.", clock(d.Impact.End))
		}
	}
	for _, m := range d.Milestones {
		if m.Marker > 0 {
			fmt.Fprintf(&b, " %d: %s at %s.", m.Marker, strings.ToLower(labelOf(m.Name)), clock(m.At))
		}
	}
	return b.String()
}

func (d *Dossier) duration(name string) (Duration, bool) {
	for _, x := range d.Durations {
		if x.Name == name {
			return x, true
		}
	}
	return Duration{}, false
}
