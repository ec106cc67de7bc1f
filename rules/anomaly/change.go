package anomaly

import (
	"math"
	"time"
)

// frozenFor is for how many samples after a change the baseline from before it stands still.
const frozenFor = 120

// Change tells that what makes the series was changed at t, as by a deployment. For the next 120 samples the level in the
// long run, and how far the series usually drifts from it, stay as they were: a slow regression after the change is then
// measured against what was before it, instead of being followed. A change before the first sample says nothing.
func (d *Detector) Change(t time.Time) {
	if s := &d.s; s.N > 0 && t.UnixNano() > s.Start {
		s.Frozen = frozenFor
	}
}

// yesterday is the wave that the season within foretells while the longer one is still seen for the first time.
func (d *Detector) yesterday(since float64) (wave float64, seasonal bool) {
	s := &d.s
	slot := min(int(math.Mod(since-d.within, d.season)/d.season*seasonSlots), seasonSlots-1)
	if !s.Seasonal {
		s.Seasonal = true
		s.Level -= s.Season[slot]
	}
	return s.Season[slot], true
}
