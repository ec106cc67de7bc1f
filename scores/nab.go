package main

import (
	"fmt"
	"io"
	"math"
)

// profile is one of the benchmark's cost profiles.
type profile struct {
	name       string
	falseAlarm float64 // what one false alarm far from a window costs
	missed     float64 // what a missed window costs
}

func nabProfiles() []profile {
	return []profile{{"standard", 0.11, 1}, {"low-fp", 0.22, 1}, {"low-fn", 0.11, 2}}
}

// nabSigmoid is the benchmark's reward for a detection at the place y of a window: y runs from -1 at its first sample
// to 0 at its end, and goes on beyond it.
func nabSigmoid(y float64) float64 {
	if y > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*y)) - 1
}

// nabProbation is how many samples of a file are not judged.
func nabProbation(n int) int { return min(int(0.15*float64(n)), 750) }

// nabFile is one file, reduced to what the rules need: each judged sample with its score is a reward inside of a window or a
// cost outside.
type nabFile struct {
	outside []nabPoint
	windows [][]nabPoint
}

type nabPoint struct{ score, value float64 }

// nabReduce applies the benchmark's rules to one file. Inside a window only the best detection counts, and a window
// without one is missed. A false alarm costs more the further it is from the window before it.
func nabReduce(s series, score []float64) nabFile {
	out := nabFile{windows: make([][]nabPoint, len(s.events))}
	start, w := nabProbation(len(s.t)), 0
	for i := range s.t {
		for w < len(s.events) && i > s.events[w].to {
			w++
		}
		if i < start {
			continue
		}
		if w < len(s.events) && i >= s.events[w].from {
			width := float64(s.events[w].to - s.events[w].from + 1)
			y := -float64(s.events[w].to-i+1) / width
			out.windows[w] = append(out.windows[w], nabPoint{score[i], nabSigmoid(y) / nabSigmoid(-1)})
			continue
		}
		cost := -1.0
		if w > 0 {
			before := s.events[w-1]
			width := float64(before.to - before.from)
			cost = nabSigmoid(float64(i-before.to) / width)
		}
		out.outside = append(out.outside, nabPoint{score[i], cost})
	}
	return out
}

// nabResult is the benchmark's score of a set of files at one threshold: 0 is a detector that says nothing, 100 one that is
// perfect.
func nabResult(files []nabFile, p profile, threshold float64) (score float64, hits, falseAlarms int) {
	raw, windows := 0.0, 0
	for _, f := range files {
		for _, o := range f.outside {
			if o.score >= threshold {
				raw += p.falseAlarm * o.value
				falseAlarms++
			}
		}
		for _, w := range f.windows {
			windows++
			best := math.Inf(-1)
			for _, o := range w {
				if o.score >= threshold {
					best = max(best, o.value)
				}
			}
			if math.IsInf(best, -1) {
				raw -= p.missed
				continue
			}
			raw += best
			hits++
		}
	}
	null, perfect := -p.missed*float64(windows), float64(windows)
	return 100 * (raw - null) / (perfect - null), hits, falseAlarms
}

// nabRuns is what the detector says to every file at each of the budgets: the samples at which an alert begins that is news.
type nabRuns struct {
	budgets []float64
	files   [][]nabFile // by budget, by file
}

// scoreNAB prints the benchmark's rows. Its threshold is the one knob that a detector has here, the budget; each half of
// the files is judged with the budget that is best for the other half.
func scoreNAB(out io.Writer, name string, set []series, rounds int, want demands) error {
	all, ahead, perSample, err := judgeAll(set)
	if err != nil {
		return err
	}
	runs, err := newNABRuns(set)
	if err != nil {
		return err
	}
	standard, lowFP := nabProfiles()[0], nabProfiles()[1]
	pick := everyone(len(set))
	cross := runs.crossed(standard, pick)
	low, high := interval(len(set), rounds, func(p []int) float64 { return runs.crossed(standard, p) })
	if err := atLeast(out, name, "standard-budget-of-other-half", cross, low, high, want.nab, "%.1f"); err != nil {
		return err
	}
	for _, p := range nabProfiles() {
		k, best := runs.best(p, pick)
		_, hits, alarms := nabResult(choose(runs.files[k], pick), p, 1)
		metric, value := p.name+"-best-budget", fmt.Sprintf("%.1f (%g a day, %d/%d)", best, runs.budgets[k], hits, alarms)
		if p.name == lowFP.name {
			verdict := "not"
			if best >= want.lowFP {
				verdict = "reached"
			}
			err = row(out, name, metric, value, fmt.Sprintf("≥%.1f", want.lowFP), verdict)
		} else {
			err = shown(out, name, metric, value)
		}
		if err != nil {
			return err
		}
	}
	shipped := make([]nabFile, len(set))
	for i, s := range set {
		shipped[i] = nabReduce(s, indicator(all[i].news))
	}
	score, hits, alarms := nabResult(shipped, standard, 1)
	if err := shown(out, name, "standard-shipped-budget", fmt.Sprintf("%.1f (%d/%d)", score, hits, alarms)); err != nil {
		return err
	}
	if err := shown(out, name, "ns-a-sample", fmt.Sprint(perSample.Nanoseconds())); err != nil {
		return err
	}
	if err := scoreGolden(out, name, set); err != nil {
		return err
	}
	return noLookAhead(out, name, ahead)
}

func newNABRuns(set []series) (nabRuns, error) {
	runs := nabRuns{budgets: []float64{0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5, 10}}
	for _, b := range runs.budgets {
		files := make([]nabFile, len(set))
		for i, s := range set {
			j, err := judge(s, b)
			if err != nil {
				return runs, err
			}
			files[i] = nabReduce(s, indicator(j.news))
		}
		runs.files = append(runs.files, files)
	}
	return runs, nil
}

func choose(files []nabFile, pick []int) []nabFile {
	out := make([]nabFile, len(pick))
	for i, p := range pick {
		out[i] = files[p]
	}
	return out
}

// best is the budget with the best score on the picked files.
func (r nabRuns) best(p profile, pick []int) (k int, score float64) {
	for i := range r.budgets {
		if s, _, _ := nabResult(choose(r.files[i], pick), p, 1); s > score {
			k, score = i, s
		}
	}
	return k, score
}

// crossed is the score of the picked files when each half of them is run with the budget that is best for the other.
func (r nabRuns) crossed(p profile, pick []int) float64 {
	var a, b []int
	for _, i := range pick {
		if i%2 == 0 {
			a = append(a, i)
		} else {
			b = append(b, i)
		}
	}
	ka, _ := r.best(p, a)
	kb, _ := r.best(p, b)
	score, _, _ := nabResult(append(choose(r.files[kb], a), choose(r.files[ka], b)...), p, 1)
	return score
}
