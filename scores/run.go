package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/belaydev/belay/rules/anomaly"
)

// judgements are a detector's answers to one series: its scores, and the state of its alert.
type judgements struct {
	score  []float64
	firing []bool
	news   []bool // an alert begins that repeats none of the last hours
}

// judge runs the one default configuration, with another budget if it is not zero, over a series.
func judge(s series, budget float64) (judgements, error) {
	d, err := anomaly.New(anomaly.Config{Budget: budget})
	if err != nil {
		return judgements{}, err
	}
	n := len(s.t)
	out := judgements{score: make([]float64, n), firing: make([]bool, n), news: make([]bool, n)}
	before := false
	for i := range s.t {
		j := d.Observe(s.t[i], s.v[i])
		out.score[i], out.firing[i] = j.Score, j.Firing
		out.news[i] = j.Firing && !before && !j.Repeat
		before = j.Firing
	}
	return out, nil
}

// judgeAll judges every series of a set, and proves on each that nothing looks ahead: the answers to its first part are the
// same when that part is all there is, and when nonsense follows.
func judgeAll(set []series) (all []judgements, ahead int, perSample time.Duration, err error) {
	samples := 0
	began := time.Now()
	for _, s := range set {
		j, err := judge(s, 0)
		if err != nil {
			return nil, 0, 0, err
		}
		samples += len(s.t)
		all = append(all, j)
	}
	perSample = time.Since(began) / time.Duration(max(samples, 1))
	for i, s := range set {
		bad, err := looksAhead(s, all[i])
		if err != nil {
			return nil, 0, 0, err
		}
		if bad {
			ahead++
		}
	}
	return all, ahead, perSample, nil
}

func looksAhead(s series, full judgements) (bool, error) {
	n := len(s.t) / 3
	tail := min(n+500, len(s.t))
	changed := series{t: s.t[:tail], v: append([]float64(nil), s.v[:tail]...)}
	for i := n; i < tail; i++ {
		changed.v[i] = -1e3*s.v[i] + float64(i%13)
	}
	j, err := judge(changed, 0)
	if err != nil {
		return false, err
	}
	for i := range n {
		if j.score[i] != full.score[i] || j.firing[i] != full.firing[i] {
			return true, nil
		}
	}
	return false, nil
}

// interval draws the series of a set again and again, and returns where the middle 95 % of the statistic lie.
func interval(n, rounds int, statistic func(pick []int) float64) (low, high float64) {
	r := rand.New(rand.NewPCG(20, 26))
	values := make([]float64, rounds)
	pick := make([]int, n)
	for k := range values {
		for i := range pick {
			pick[i] = r.IntN(n)
		}
		values[k] = statistic(pick)
	}
	sort.Float64s(values)
	if rounds == 0 {
		return math.NaN(), math.NaN()
	}
	return values[rounds*25/1000], values[min(rounds*975/1000, rounds-1)]
}

func everyone(n int) []int {
	pick := make([]int, n)
	for i := range pick {
		pick[i] = i
	}
	return pick
}

// scoreEvents prints the rows of a set with labelled events.
func scoreEvents(out io.Writer, name string, set []series, rounds int, want demands) error {
	all, ahead, perSample, err := judgeAll(set)
	if err != nil {
		return err
	}
	scores := make([][]float64, len(all))
	for i, j := range all {
		scores[i] = j.score
	}
	sw, pick := newSweep(set, scores, 120), everyone(len(set))
	k, f1 := sw.bestF1(pick)
	low, high := interval(len(set), rounds, func(p []int) float64 { return sw.total(k, p).f1() })
	if err := atLeast(out, name, "event-f1", f1, low, high, want.f1, "%.3f"); err != nil {
		return err
	}
	for _, budget := range []float64{0.1, 0.2, 0.5} {
		k, recall := sw.recallAt(pick, budget)
		metric := fmt.Sprintf("recall-at-%g-false-a-day", budget)
		low, high := interval(len(set), rounds, func(p []int) float64 { return sw.total(k, p).recall() })
		if budget == 0.2 {
			err = atLeast(out, name, metric, recall, low, high, want.recall, "%.3f")
		} else {
			err = shown(out, name, metric, fmt.Sprintf("%.3f [%.3f,%.3f]", recall, low, high))
		}
		if err != nil {
			return err
		}
	}
	rows := [][2]string{
		{"delay-samples-median-p90", delays(sw.total(k, pick).intervals)},
		{"half-threshold-f1", crossF1(sw, len(set))},
		{"ns-a-sample", fmt.Sprint(perSample.Nanoseconds())},
	}
	for _, budget := range []float64{0.01, 0.05, 0.3} {
		c, err := firing(set, budget)
		if err != nil {
			return err
		}
		rows = append(rows, [2]string{
			fmt.Sprintf("firing-at-%g-f1-recall-false", budget), fmt.Sprintf("%.3f %.3f %.3f", c.f1(), c.recall(), c.falseRate()),
		})
	}
	for _, r := range rows {
		if err := shown(out, name, r[0], r[1]); err != nil {
			return err
		}
	}
	return noLookAhead(out, name, ahead)
}

// firing is what the detectors' own alerts do at a budget.
func firing(set []series, budget float64) (eventCount, error) {
	var sum eventCount
	for _, s := range set {
		j, err := judge(s, budget)
		if err != nil {
			return sum, err
		}
		sum.add(countEvents(s, indicator(j.firing), 1))
	}
	return sum, nil
}

func noLookAhead(out io.Writer, name string, ahead int) error {
	verdict := "reached"
	if ahead > 0 {
		verdict = "not"
	}
	return row(out, name, "series-that-look-ahead", fmt.Sprint(ahead), "0", verdict)
}

// crossF1 is the event F1 of each half of the series at the threshold that is best for the other half.
func crossF1(sw sweep, n int) string {
	var a, b []int
	for i := range n {
		if i%2 == 0 {
			a = append(a, i)
		} else {
			b = append(b, i)
		}
	}
	ka, _ := sw.bestF1(a)
	kb, _ := sw.bestF1(b)
	return fmt.Sprintf("%.3f %.3f", sw.total(kb, a).f1(), sw.total(ka, b).f1())
}

func indicator(on []bool) []float64 {
	out := make([]float64, len(on))
	for i, b := range on {
		if b {
			out[i] = 1
		}
	}
	return out
}

func delays(intervals []float64) string {
	if len(intervals) == 0 {
		return "none"
	}
	sort.Float64s(intervals)
	return fmt.Sprintf("%.0f %.0f", intervals[len(intervals)/2], intervals[len(intervals)*9/10])
}
