package anomaly

import (
	"math"
	"time"
)

// Arm is what made a detector speak.
type Arm uint8

// The arms.
const (
	NoArm      Arm = iota
	Level          // the value is not where it is expected
	Volatility     // the value moves more than it does usually
	Sustained      // the value has been a little off for long
)

// String is the arm in a word.
func (a Arm) String() string {
	switch a {
	case Level:
		return "level"
	case Volatility:
		return "volatility"
	case Sustained:
		return "sustained"
	}
	return ""
}

// Judgement is what a detector says about one sample. It depends on that sample and those before it, never on later ones.
type Judgement struct {
	Value    float64 // NaN if missing
	Expected float64 // NaN while nothing is known
	Lower    float64 // the band: beyond it the detector fires at once
	Upper    float64
	Score    float64 // how strange the sample is; comparable between series
	Limit    float64 // the score from which it fires: follows from the budget
	Firing   bool
	Repeat   bool      // this alert repeats one of the last hours: not news
	Since    time.Time // when it began to fire; zero while it does not
	Arm      Arm       // which arm spoke loudest
	Warming  bool      // too few samples to judge
}

// state is all that a detector knows. Its fields have a fixed size, so that a snapshot is exact.
type state struct {
	Start, Last int64   // nanoseconds
	Step        float64 // usual distance of two samples, in seconds
	N           float64 // samples seen
	Magnitude   float64 // usual size of the values
	Level       float64 // beside the season, lately
	Long        float64 // beside the season, in the long run
	Plain       [3]float64
	Errors      [experts]float64 // usual error of each forecast
	Season      [seasonSlots]float64
	Known       [seasonSlots / 32]uint32
	Seasonal    bool // a whole season was seen
	Arms        [3]arm
	Previous    float64
	Move, Moves float64 // how far the value moves from sample to sample, lately and usually
	Drift       float64 // smoothed distance from the season on its slow level
	Habit       float64 // how often this series was loud lately, and
	Silence     float64 // samples since it was
	Alert       alert
	Frozen      float64 // samples for which the baseline from before a change still stands
}

// shrink says how much a prior still counts.
func (s *state) shrink() float64 { return 1 / math.Sqrt(s.N) }

const (
	seasonSlots = 288
	experts     = 5

	levelRate   = 0.1
	seasonRate  = 0.1
	longRate    = 0.002
	errorRate   = 0.01
	moveRate    = 0.1
	driftRate   = 0.1
	driftWeight = 1.2 // a small deviation that stays counts for more than a large one that does not
	movesRate   = 0.003
	longWarm    = 30 // samples before volatility and drift are judged

	habitFrom   = 2.5    // a score from which a series is loud
	habitGap    = 30     // samples of quiet between two times
	habitWeight = 0.08   // how much one time takes off
	habitFades  = 0.0002 // and how fast it is forgotten, a sample

	maxValue   = 1e250
	maxSeconds = 4_600_000_000 // differences of two times fit into nanoseconds
)

// Detector watches one series. It is not safe for concurrent use.
type Detector struct {
	direction Direction
	limit     float64
	season    float64
	within    float64 // a shorter season inside of it; 0 for none
	warm      float64
	s         state
}

// New is a detector that knows nothing yet. An invalid configuration is an error.
func New(c Config) (*Detector, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Detector{direction: c.Direction, limit: c.threshold(), season: c.season(), within: c.Within.Seconds(), warm: c.minSamples()}, nil
}

// Observe judges the next sample and learns from it. NaN, infinite and absurdly large values are missing samples: what
// fired goes on firing, and nothing is learned. So is a sample that is not later than the one before it, and one more than
// 145 years away from 1970.
func (d *Detector) Observe(t time.Time, v float64) Judgement {
	s := &d.s
	now, sec := t.UnixNano(), t.Unix()
	if !(math.Abs(v) <= maxValue) || sec < -maxSeconds || sec > maxSeconds || (s.N > 0 && now <= s.Last) {
		return d.missing()
	}
	if s.N == 0 {
		d.begin(now, v)
	}
	since := d.clock(now)
	s.N++
	s.Magnitude += max(0.003, 1/s.N) * (math.Abs(v) - s.Magnitude)
	season, slot := d.slots(since)
	wave, seasonal := d.wave(since, season)

	forecasts := [experts]float64{s.Level + wave, s.Plain[0], s.Plain[1], s.Plain[2], s.Long + wave}
	expected := blend(&forecasts, &s.Errors)
	low, high := expected, expected
	if seasonal {
		low = min(low, forecasts[0], forecasts[4])
		high = max(high, forecasts[0], forecasts[4])
	}
	warm := s.N > d.warm
	scale := s.Arms[0].scale(s, slot)
	j := Judgement{Value: v, Expected: expected, Limit: d.limit, Warming: !warm}
	reach := scale * s.Arms[0].Tail.reach(d.limit)
	j.Lower, j.Upper = low-reach, high+reach
	j.Score, j.Arm = s.Arms[0].judge(s, outside(v, low, high), scale, slot, warm, d.direction), Level
	spoken := j.Score >= d.limit // a value outside of its band needs no further reason
	if moved := d.moves(v, slot, warm); moved > j.Score {
		j.Score = moved
		if !spoken {
			j.Arm = Volatility
		}
	}
	if drifts := d.drifts(v-forecasts[4], slot, warm); drifts > j.Score {
		j.Score = drifts
		if !spoken {
			j.Arm = Sustained
		}
	}
	j.Score = d.discount(j.Score)
	s.Alert.step(&j, now)
	d.learn(v, &forecasts, season, scale, warm)
	return j
}

func (d *Detector) begin(now int64, v float64) {
	s := &d.s
	s.Start, s.Last = now, now
	s.Level, s.Long, s.Previous = v, v, v
	for i := range s.Plain {
		s.Plain[i] = v
	}
}

// clock moves the detector's time on, and returns the seconds since the first sample: the zero of time is the series' own.
func (d *Detector) clock(now int64) float64 {
	s := &d.s
	if gap := float64(now-s.Last) / 1e9; gap > 0 {
		switch {
		case s.Step == 0:
			s.Step = gap
		case gap > s.Step:
			s.Step *= 1.02
			s.Step = min(s.Step, gap)
		case gap < s.Step:
			s.Step = max(s.Step/1.02, gap)
		}
	}
	s.Last = now
	return float64(now-s.Start) / 1e9
}

// wave is what the season adds to the level now. It is nothing until a whole season was seen.
func (d *Detector) wave(since float64, season int) (wave float64, seasonal bool) {
	s := &d.s
	if d.within > 0 && since >= d.within && since < d.season { // the first week still knows yesterday
		return d.yesterday(since)
	}
	if d.season == 0 || since < d.season || s.Known[season/32]&(1<<(season%32)) == 0 {
		return 0, false
	}
	if !s.Seasonal {
		s.Seasonal = true
		s.Level -= s.Season[season] // until now it followed the wave itself
	}
	return s.Season[season], true
}

// slots are the places of a moment in the season and in the clock of the scales.
func (d *Detector) slots(since float64) (season, clock int) {
	if d.season == 0 {
		return 0, 0
	}
	phase := math.Mod(since, d.season) / d.season
	return min(int(phase*seasonSlots), seasonSlots-1), min(int(phase*clockSlots), clockSlots-1)
}

// blend is the forecasts' mean, each weighted by how small its errors were: one over the fourth power.
func blend(forecasts, errors *[experts]float64) float64 {
	least := errors[0]
	for _, e := range errors[1:] {
		least = min(least, e)
	}
	if least == 0 { // a forecast that was never wrong
		for i, e := range errors {
			if e == 0 {
				return forecasts[i]
			}
		}
	}
	var weights, sum float64
	for i, f := range forecasts {
		q := least / errors[i]
		q *= q
		q *= q
		weights += q
		sum += q * f
	}
	return sum / weights
}

// outside is how far a value lies above high, or, negative, below low. What the season foretells is not strange, even
// when the last minutes say otherwise.
func outside(v, low, high float64) float64 { return max(v-high, 0) + min(v-low, 0) }

// moves is the score of how much the series moves from sample to sample.
func (d *Detector) moves(v float64, slot int, warm bool) float64 {
	s := &d.s
	s.Move += moveRate * (math.Abs(v-s.Previous) - s.Move)
	s.Previous = v
	residual := s.Move - s.Moves
	a := &s.Arms[1]
	score := a.judge(s, residual, a.scale(s, slot), slot, warm, Both)
	s.Moves += max(movesRate, 1/s.N) * residual
	if s.N <= longWarm || (d.direction != "" && d.direction != Both) {
		return 0
	}
	return score
}

// drifts is the score of a small deviation that stays.
func (d *Detector) drifts(off float64, slot int, warm bool) float64 {
	s := &d.s
	s.Drift += driftRate * (off - s.Drift)
	a := &s.Arms[2]
	var before arm
	if s.Frozen > 0 {
		before = *a
	}
	score := driftWeight * a.judge(s, s.Drift, a.scale(s, slot), slot, warm, d.direction)
	if s.Frozen > 0 { // what comes after a change is compared with what was before it, and teaches nothing yet
		*a = before
	}
	if s.N <= longWarm {
		return 0
	}
	return score
}

// discount is what remains of a score in a series that is loud again and again: what it does every day is no news, and a
// budget is not to be spent by the same few series. The count fades over some thousand samples.
func (d *Detector) discount(score float64) float64 {
	s := &d.s
	s.Habit *= 1 - habitFades
	out := score / (1 + habitWeight*s.Habit)
	s.Silence++
	if score >= habitFrom {
		if s.Silence > habitGap {
			s.Habit++
		}
		s.Silence = 0
	}
	return out
}

// learn moves every forecast towards the sample, but never by more than a cut residual: an incident teaches little.
func (d *Detector) learn(v float64, forecasts *[experts]float64, season int, scale float64, warm bool) {
	s := &d.s
	most := math.Inf(1)
	if warm && scale > 0 {
		most = cut * scale
	}
	for i, f := range forecasts {
		s.Errors[i] += max(errorRate, 1/s.N) * (min(math.Abs(v-f), 2*most) - s.Errors[i])
	}
	if long := v - forecasts[4]; s.Frozen > 0 {
		s.Frozen--
	} else {
		s.Long += max(longRate, 1/s.N) * bound(long, most)
	}
	residual := bound(v-forecasts[0], most)
	s.Level += max(levelRate, 1/s.N) * residual
	if off := v - s.Long; d.season > 0 {
		if bit := uint32(1) << (season % 32); s.Known[season/32]&bit == 0 {
			s.Known[season/32] |= bit
			s.Season[season] = off
		} else {
			s.Season[season] += seasonRate * bound(off-s.Season[season], most)
		}
	}
	for i, rate := range [3]float64{0.7, 0.1, 0.003} {
		s.Plain[i] += max(rate, 1/s.N) * bound(v-s.Plain[i], most)
	}
}

func bound(v, most float64) float64 { return max(-most, min(most, v)) }

// missing is the judgement of a sample that is not there.
func (d *Detector) missing() Judgement {
	a := &d.s.Alert
	j := Judgement{
		Value: math.NaN(), Expected: math.NaN(), Lower: math.NaN(), Upper: math.NaN(), Limit: d.limit,
		Warming: d.s.N <= d.warm, Firing: a.Firing, Repeat: a.Repeat, Arm: a.Arm,
	}
	if a.Firing {
		j.Since = time.Unix(0, a.Since).UTC()
	}
	return j
}
