package main

import (
	"math"
	"sort"
	"time"
)

// mergeGap is how far apart two alarms may be and still be one alert, at least; a series with a longer interval merges
// over two of its samples.
const mergeGap = 30 * time.Minute

// eventCount is what one threshold does on one series.
type eventCount struct {
	alerts, hits   int // alerts, and those that touch a labelled event
	events, caught int
	delays         []time.Duration
	days           float64
	intervals      []float64 // delays in samples
}

// countEvents applies a threshold to one series: alarms that are close together are one alert, an event is caught by an
// alarm inside of it. Nothing else is adjusted.
func countEvents(s series, score []float64, threshold float64) eventCount {
	out := eventCount{events: len(s.events)}
	if len(s.t) > 1 {
		out.days = s.t[len(s.t)-1].Sub(s.t[0]).Hours() / 24
	}
	step := s.interval()
	gap := max(mergeGap, 2*step)
	last, hit, w := time.Time{}, false, 0
	seen := make([]bool, len(s.events))
	for i, v := range score {
		if !(v >= threshold) {
			continue
		}
		for w < len(s.events) && i > s.events[w].to {
			w++
		}
		inside := w < len(s.events) && i >= s.events[w].from
		if out.alerts == 0 || s.t[i].Sub(last) > gap {
			out.alerts++
			hit = false
		}
		last = s.t[i]
		if !inside {
			continue
		}
		if !hit {
			hit = true
			out.hits++
		}
		if !seen[w] {
			seen[w] = true
			out.caught++
			late := s.t[i].Sub(s.t[s.events[w].from])
			out.delays = append(out.delays, late)
			out.intervals = append(out.intervals, late.Seconds()/step.Seconds())
		}
	}
	return out
}

func (c *eventCount) add(o eventCount) {
	c.alerts += o.alerts
	c.hits += o.hits
	c.events += o.events
	c.caught += o.caught
	c.days += o.days
	c.delays = append(c.delays, o.delays...)
	c.intervals = append(c.intervals, o.intervals...)
}

func (c eventCount) recall() float64 { return ratio(c.caught, c.events) }

func (c eventCount) f1() float64 {
	p, r := ratio(c.hits, c.alerts), c.recall()
	if p+r == 0 {
		return 0
	}
	return 2 * p * r / (p + r)
}

// falseRate is false alerts a series and day.
func (c eventCount) falseRate() float64 { return float64(c.alerts-c.hits) / max(c.days, 1e-9) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// sweep is what each of a set's thresholds does on each of its series: counts[threshold][series].
type sweep struct {
	thresholds []float64
	counts     [][]eventCount
}

// newSweep tries n thresholds from the highest score downward.
func newSweep(set []series, scores [][]float64, n int) sweep {
	var all []float64
	for _, s := range scores {
		for _, v := range s {
			if !math.IsNaN(v) {
				all = append(all, v)
			}
		}
	}
	sort.Sort(sort.Reverse(sort.Float64Slice(all)))
	var out sweep
	grow := math.Pow(float64(len(all))*0.1/20, 1/float64(n))
	for k := 20.0; int(k) < len(all)/10; k *= grow {
		c := all[int(k)]
		if len(out.thresholds) > 0 && c >= out.thresholds[len(out.thresholds)-1] {
			continue
		}
		row := make([]eventCount, len(set))
		for i := range set {
			row[i] = countEvents(set[i], scores[i], c)
		}
		out.thresholds = append(out.thresholds, c)
		out.counts = append(out.counts, row)
	}
	return out
}

// total adds the series named by pick, which may name one several times.
func (s sweep) total(k int, pick []int) eventCount {
	var sum eventCount
	for _, i := range pick {
		sum.add(s.counts[k][i])
	}
	return sum
}

// bestF1 is the threshold with the best event F1 on the picked series.
func (s sweep) bestF1(pick []int) (k int, f1 float64) {
	for i := range s.thresholds {
		if f := s.total(i, pick).f1(); f > f1 {
			k, f1 = i, f
		}
	}
	return k, f1
}

// recallAt is the best recall at a threshold whose false alarms keep to the budget.
func (s sweep) recallAt(pick []int, budget float64) (k int, recall float64) {
	for i := range s.thresholds {
		if c := s.total(i, pick); c.falseRate() <= budget && c.recall() > recall {
			k, recall = i, c.recall()
		}
	}
	return k, recall
}
