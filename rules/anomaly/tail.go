package anomaly

import "math"

// What the tail is believed to be before it is known, and how fast it is learned.
const (
	tailShare   = 0.02  // share of the samples that is the tail
	tailMemory  = 0.005 // share of a new sample in where the tail begins
	tailPrior   = 30    // the prior counts like so many samples of the tail
	tailShape   = 0.2   // the prior's shape: heavier than exponential
	tailScale   = 0.6   // the prior's size, in units of where the tail begins
	tailMax     = 200   // samples of the tail that are remembered
	tailCut     = 6     // a sample of the tail teaches at most so many times where it begins
	tailShapeHi = 0.5
	evidence    = 1.69897 // -log10 of tailShare
)

// tail learns how often a series is how far off: a generalised Pareto distribution above a moving quantile, fitted by its
// first two moments and shrunk to a prior. With little history it says what a robust z-score says, with weeks of it what
// extreme-value theory does.
type tail struct {
	From      float64 // where the tail begins: the 98 % quantile
	N         float64
	Mean      float64 // of what lies beyond From
	Square    float64
	Remembers float64 // samples that Mean and Square stand for
}

// rarity is -log10 of the share of samples that are as far off as z.
func (t *tail) rarity(z float64) float64 {
	from := t.From
	if from == 0 {
		from = 3
	}
	if z <= from {
		return evidence * z / from
	}
	mean := (t.Mean*t.Remembers + tailPrior*tailScale*from/(1-tailShape)) / (t.Remembers + tailPrior)
	shape := tailShape
	if v := t.Square - t.Mean*t.Mean; v > 0 && t.Remembers > 5 {
		own := min(max(0.5*(1-t.Mean*t.Mean/v), 0), tailShapeHi)
		shape = (own*t.Remembers + tailPrior*tailShape) / (t.Remembers + tailPrior)
	}
	y := (z - from) / (mean * (1 - shape))
	return evidence + math.Log10(1+shape*y)/shape
}

func (t *tail) learn(z float64) {
	t.N++
	if t.N == 1 {
		t.From = 3
	}
	rate := 4 * max(tailMemory, 1/(t.N+10))
	if z <= t.From {
		t.From = max(t.From*(1-rate*tailShare), 1)
		return
	}
	excess := z - t.From
	t.From *= 1 + rate*(1-tailShare)
	excess = min(excess, tailCut*t.From)
	t.Remembers = min(t.Remembers+1, tailMax)
	w := 1 / t.Remembers
	t.Mean += w * (excess - t.Mean)
	t.Square += w * (excess*excess - t.Square)
}

// reach is the z at which the score of a level reaches the limit: half the width of the band, in scales.
func (t *tail) reach(limit float64) float64 {
	// The score is sqrt(z/3 * rarity(z)), which rises with z. Below the tail it is linear in z; beyond, a few steps of a
	// search by halving are as exact as a picture needs.
	from := t.From
	if from == 0 {
		from = 3
	}
	if z := limit * math.Sqrt(3*from/evidence); z <= from {
		return z
	}
	z := max(from, limit*3)
	for range 3 {
		z = max(from, 3*limit*limit/t.rarity(z))
	}
	return z
}
