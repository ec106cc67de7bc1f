package anomaly

import "math"

const (
	clockSlots  = 48     // parts of a season with a scale of their own
	clockWeight = 0.6    // how much of the scale is that part's
	clockMemory = 0.01   // share of a new residual in it
	scaleMemory = 0.002  // share of a new residual in the scale
	scalePrior  = 0.02   // the scale before it is known, as a share of the series' magnitude
	cut         = 5      // a residual teaches at most so many scales
	maxZ        = 1000.0 // beyond that all is equally impossible
)

// arm is one way of looking at a series: it turns a residual into a score.
type arm struct {
	Size  float64 // usual size of the residual
	Clock [clockSlots]float64
	Tail  tail
}

// scale is the size that a residual would usually have now.
func (a *arm) scale(s *state, slot int) float64 {
	size := a.Size
	if c := a.Clock[slot]; c > 0 {
		size += clockWeight * (c - size)
	}
	return size + scalePrior*s.Magnitude*s.shrink()
}

// judge is the score of a residual, and learns from it. Only the geometric mean of how large the residual is and how rare
// that is for this series counts: neither a series with wild tails nor one with tiny errors can alarm by itself.
func (a *arm) judge(s *state, residual, scale float64, slot int, warm bool, direction Direction) float64 {
	size := math.Abs(residual)
	z := 0.0
	if scale > 0 {
		z = min(size/scale, maxZ)
	}
	score := 0.0
	if warm && !(direction == Up && residual < 0) && !(direction == Down && residual > 0) {
		score = math.Sqrt(z / 3 * a.Tail.rarity(z))
	}
	a.Tail.learn(z)
	if warm && scale > 0 {
		size = min(size, cut*scale)
	}
	a.Size += max(scaleMemory, 1/s.N) * (size - a.Size)
	if a.Clock[slot] == 0 {
		a.Clock[slot] = a.Size
	}
	a.Clock[slot] += clockMemory * (size - a.Clock[slot])
	return score
}
