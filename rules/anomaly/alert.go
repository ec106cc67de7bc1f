package anomaly

import (
	"fmt"
	"math"
	"time"
)

const (
	calm      = 0.5 // an alert may end below this share of its limit
	calmFor   = 3   // after so many samples
	holdFor   = 120 // samples after which a new level is no longer an incident
	stillOff  = 0.5 // the share of the first deviation that still is one
	louder    = 3   // an alert so many times as loud as those before it is news at once
	settleFor = 50  // samples for which the sustained arm may remember what is over
	newsAfter = 200 // samples after an alert that was news, after which the next one is news again
)

// alert is the life of an alert: it begins at the limit, lasts while the value stays away from where it was expected when
// it began, and ends in calm or when the new level is accepted.
type alert struct {
	Firing, Repeat bool
	Arm            Arm
	Since          int64
	Expected       float64 // when it began
	Off            float64 // and how far off the value was
	Calm           float64 // samples below the calm share
	Samples        float64 // since it began
	Old            float64 // samples since the last alert that was news
	Loudest        float64 // score since then
	Ended          float64 // samples since it ended
	Ever           bool
}

// away says that a value is still, or again, where it was when the alert began.
func (a *alert) away(v float64) bool {
	off := v - a.Expected
	return off*a.Off > 0 && math.Abs(off) >= stillOff*math.Abs(a.Off)
}

func (a *alert) step(j *Judgement, now int64) {
	loud := j.Score >= j.Limit
	// The sustained arm forgets slowly. When the value has come back, and only that arm speaks, it speaks of the past.
	past := a.Ever && a.Arm != Volatility && j.Arm == Sustained && !a.away(j.Value)
	a.Old++
	a.Ended++
	switch {
	case loud && !a.Firing && past && a.Ended <= settleFor:
	case loud && !a.Firing:
		repeat, old := a.Ever && a.Old <= newsAfter && j.Score <= louder*a.Loudest, a.Old
		if !repeat {
			old = 0
		}
		loudest := j.Score
		if repeat {
			loudest = max(loudest, a.Loudest)
		}
		*a = alert{
			Firing: true, Repeat: repeat, Arm: j.Arm, Since: now, Expected: j.Expected, Off: j.Value - j.Expected, Old: old, Loudest: loudest, Ever: true,
		}
	case a.Firing:
		a.Samples++
		a.Loudest = max(a.Loudest, j.Score)
		held := a.Arm != Volatility && a.Samples < holdFor && a.away(j.Value)
		if held || !past && j.Score >= calm*j.Limit {
			a.Calm = 0
		} else if a.Calm++; a.Calm >= calmFor {
			a.Firing, a.Ended = false, 0
		}
	}
	j.Firing, j.Repeat = a.Firing, a.Firing && a.Repeat
	if a.Firing {
		j.Since = time.Unix(0, a.Since).UTC()
	}
}

// Why is the judgement in words.
func (j Judgement) Why() string {
	switch {
	case math.IsNaN(j.Value) && j.Firing:
		return "no sample; firing as before"
	case math.IsNaN(j.Value):
		return "no sample"
	case j.Warming:
		return "learning: too few samples to judge"
	}
	side := "above"
	if j.Value < j.Expected {
		side = "below"
	}
	what := fmt.Sprintf("%.4g is %s the expected %.4g", j.Value, side, j.Expected)
	switch {
	case j.Arm == Volatility && j.Score >= j.Limit:
		return "it moves more from sample to sample than it does usually"
	case j.Arm == Sustained && j.Score >= j.Limit:
		return what + ", and has been for too long to be chance"
	case j.Score >= j.Limit:
		return fmt.Sprintf("%s by more than chance explains (band %.4g to %.4g)", what, j.Lower, j.Upper)
	case j.Firing:
		return what + "; not back to normal yet"
	case j.Value > j.Upper || j.Value < j.Lower:
		return what + ", on the side that is no problem"
	}
	return "as expected"
}
