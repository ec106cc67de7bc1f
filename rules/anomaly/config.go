package anomaly

import (
	"fmt"
	"math"
	"time"
)

// Direction says which side of the band is a problem.
type Direction string

// The directions. The empty one is Both.
const (
	Both Direction = "both"
	Up   Direction = "up"
	Down Direction = "down"
)

// Sensitivity is a budget with a name.
type Sensitivity string

// The sensitivities: 0.01, 0.05 and 0.3 false alarms a series and day. The empty one is Medium.
const (
	Low    Sensitivity = "low"
	Medium Sensitivity = "medium"
	High   Sensitivity = "high"
)

// Bounds of Config.Budget, in false alarms a series and day.
const (
	MinBudget = 0.001
	MaxBudget = 100
)

// Config is what a user may say about a detector. The zero value is the default, and right for most series.
type Config struct {
	Direction   Direction
	Sensitivity Sensitivity
	Budget      float64       // false alarms a series and day that are acceptable; 0 takes the budget of Sensitivity
	Season      time.Duration // how often the series repeats itself; 0 is a day, and less than zero is no season
	Within      time.Duration // a shorter season inside of Season, such as a day within a week; used until Season was seen once; 0 is none
	MinSamples  int           // samples before anything is judged; 0 is 10
}

// Validate says what is wrong, and what is allowed.
func (c Config) Validate() error {
	switch c.Direction {
	case "", Both, Up, Down:
	default:
		return fmt.Errorf("direction %q: one of both, up, down", c.Direction)
	}
	switch c.Sensitivity {
	case "", Low, Medium, High:
	default:
		return fmt.Errorf("sensitivity %q: one of low, medium, high", c.Sensitivity)
	}
	if c.Budget != 0 && !(c.Budget >= MinBudget && c.Budget <= MaxBudget) {
		return fmt.Errorf("budget %g: from %g to %g false alarms a series and day", c.Budget, MinBudget, float64(MaxBudget))
	}
	if c.Season > 0 && c.Season < time.Minute {
		return fmt.Errorf("season %s: a minute or more", c.Season)
	}
	if c.Within < 0 || (c.Within > 0 && (c.Within < time.Minute || c.Within >= c.Season)) {
		return fmt.Errorf("a season of %s within one of %s: a minute or more, and shorter than the other", c.Within, c.Season)
	}
	if c.MinSamples < 0 {
		return fmt.Errorf("min_samples %d: not below zero", c.MinSamples)
	}
	return nil
}

func (c Config) budget() float64 {
	switch {
	case c.Budget > 0:
		return c.Budget
	case c.Sensitivity == Low:
		return 0.01
	case c.Sensitivity == High:
		return 0.3
	}
	return 0.05
}

func (c Config) season() float64 {
	switch {
	case c.Season > 0:
		return c.Season.Seconds()
	case c.Season < 0:
		return 0
	}
	return (24 * time.Hour).Seconds()
}

// threshold is the score from which a series fires. The curve is the one that the labelled data show: make scores prints
// what it keeps.
func (c Config) threshold() float64 { return 2.75 * math.Pow(0.2/c.budget(), 0.25) }

func (c Config) minSamples() float64 {
	if c.MinSamples > 0 {
		return float64(c.MinSamples)
	}
	return 10
}
