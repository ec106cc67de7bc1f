package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// An alert flaps from the moment it has changed between firing and resolved
// flapsFrom times within its window, until it has changed fewer than flapsUntil
// times in it.
const (
	flapsFrom   = 6
	flapsUntil  = 3
	flapsWindow = 10 * time.Minute // at least; longer where the rule is slower
)

// Flapping is an alert that changes too often to be believed.
type Flapping struct {
	Alert   string        // its ID
	Labels  labels.Labels //
	Changes int           // between firing and resolved, within Window
	Window  time.Duration
	Since   time.Time
}

// flaps are the changes of one alert between firing and resolved.
type flaps struct {
	labels  labels.Labels
	changes []time.Time // the last 2*flapsFrom
	since   time.Time   // when it began to flap; zero if it does not
}

// changedOver reports whether an alert, as it is after a change at now, has
// begun or ended to fire by it.
func changedOver(a belay.Alert, now time.Time) bool {
	switch a.State {
	case belay.AlertFiring:
		return a.FiredAt.Equal(now)
	case belay.AlertInactive:
		return !a.FiredAt.IsZero()
	}
	return false
}

func (f *flaps) add(at time.Time) {
	f.changes = append(f.changes, at)
	if over := len(f.changes) - 2*flapsFrom; over > 0 {
		f.changes = slices.Delete(f.changes, 0, over)
	}
}

func (f *flaps) within(window time.Duration, now time.Time) (n int) {
	for _, at := range f.changes {
		if now.Sub(at) <= window {
			n++
		}
	}
	return n
}

// settle brings since up to date.
func (f *flaps) settle(window time.Duration, now time.Time) {
	n := f.within(window, now)
	switch {
	case n >= flapsFrom && f.since.IsZero():
		f.since = now
	case n < flapsUntil:
		f.since = time.Time{}
	}
}

// window is how far back the changes of a rule's alerts count: a rule that
// takes long to fire or to resolve cannot change often in ten minutes.
func (st *ruleState) window() time.Duration {
	return max(flapsWindow, flapsFrom*(st.rule.For+st.rule.KeepFiringFor), 3*flapsFrom*st.g.interval)
}

// sayFlaps adds to the reasons of changes that are flaps.
func (st *ruleState) sayFlaps(changed []Transition, now time.Time) {
	for i := range changed {
		f := st.flaps[changed[i].Alert.ID]
		if f == nil || !changedOver(changed[i].Alert, now) {
			continue
		}
		if n := f.within(st.window(), now) + 1; n >= flapsFrom || !f.since.IsZero() {
			changed[i].Reason += fmt.Sprintf("; flaps: %d changes in %s", n, brief(st.window()))
		}
	}
}

// countFlaps takes over changes that are durable.
func (st *ruleState) countFlaps(changed []Transition, now time.Time) {
	for _, t := range changed {
		if !changedOver(t.Alert, now) {
			continue
		}
		f := st.flaps[t.Alert.ID]
		if f == nil {
			f = &flaps{labels: t.Alert.Labels}
			st.flaps[t.Alert.ID] = f
		}
		f.add(now)
	}
	for id, f := range st.flaps {
		f.settle(st.window(), now)
		if f.since.IsZero() && f.within(st.window(), now) == 0 {
			delete(st.flaps, id)
		}
	}
}

// flap remembers a change that is in the journal.
func (m *memory) flap(a belay.Alert, at time.Time) {
	if !changedOver(a, at) {
		return
	}
	if m.flaps == nil {
		m.flaps = map[string]*flaps{}
	}
	f := m.flaps[a.ID]
	if f == nil {
		f = &flaps{labels: a.Labels}
		m.flaps[a.ID] = f
	}
	f.add(at)
}

// takeFlaps adopts those changes of the journal that still count.
func (st *ruleState) takeFlaps(m *memory, now time.Time) {
	st.flaps = map[string]*flaps{}
	for id, f := range m.flaps {
		f.settle(st.window(), now)
		if f.within(st.window(), now) > 0 {
			st.flaps[id] = f
		}
	}
}

func (st *ruleState) flapping() []Flapping {
	var out []Flapping
	for id, f := range st.flaps {
		if !f.since.IsZero() {
			out = append(out, Flapping{Alert: id, Labels: f.labels, Changes: f.within(st.window(), st.lastEval), Window: st.window(), Since: f.since})
		}
	}
	slices.SortFunc(out, func(a, b Flapping) int { return labels.Compare(a.Labels, b.Labels) })
	return out
}

// brief is a duration without the units that are 0, such as 10m or 1h30m.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
