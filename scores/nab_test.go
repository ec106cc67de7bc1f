package main

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"
)

// layout is where the benchmark's windows and labelled instants lie in a file.
type layout struct {
	File    string
	Samples int
	Windows [][2]int
	Events  []int
}

func layouts(t *testing.T) []layout {
	t.Helper()
	raw, err := os.ReadFile("testdata/nab-windows.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []layout
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (l layout) series() series {
	s := series{t: make([]time.Time, l.Samples), v: make([]float64, l.Samples)}
	for _, w := range l.Windows {
		s.events = append(s.events, span{w[0], w[1]})
	}
	return s
}

// benchmark scores a detector that fires where fire says.
func benchmark(t *testing.T, p profile, fire func(l layout, score []float64)) float64 {
	t.Helper()
	var files []nabFile
	for _, l := range layouts(t) {
		s := l.series()
		score := make([]float64, l.Samples)
		fire(l, score)
		files = append(files, nabReduce(s, score))
	}
	got, _, _ := nabResult(files, p, 1)
	return got
}

func TestBenchmarkGivesTheKnownScoresOfKnownDetectors(t *testing.T) {
	after := func(late int) func(l layout, score []float64) {
		return func(l layout, score []float64) {
			for _, e := range l.Events {
				score[min(e+late, len(score)-1)] = 1
			}
		}
	}
	for name, c := range map[string]struct {
		fire func(l layout, score []float64)
		want float64
	}{
		"one that says nothing":                 {func(layout, []float64) {}, 0},
		"one that fires as each window begins":  {func(l layout, s []float64) { fireAtStart(l, s) }, 100},
		"one that fires at the labelled moment": {after(0), 92.17},
		"one sample after it":                   {after(1), 91.92},
		"twelve samples after it":               {after(12), 88.72},
	} {
		if got := benchmark(t, nabProfiles()[0], c.fire); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.2f, want %.2f", name, got, c.want)
		}
	}
}

func fireAtStart(l layout, score []float64) {
	for _, w := range l.Windows {
		score[w[0]] = 1
	}
}

func TestFalseAlarmsCostWhatTheProfileSays(t *testing.T) {
	s := layout{Samples: 1000, Windows: [][2]int{{400, 499}}}.series()
	for name, c := range map[string]struct {
		at   int
		want float64 // in hundredths of what lies between nothing and perfect: two for the one window
	}{
		"in the probation: nothing":         {100, 0},
		"before every window: all":          {300, -5.5},
		"just behind a window: hardly":      {500, -5.5 * -nabSigmoid(1.0/99)},
		"three windows behind: all":         {900, -5.5},
		"at the window's start: its reward": {400, 100},
	} {
		score := make([]float64, 1000)
		score[c.at] = 1
		got, _, _ := nabResult([]nabFile{nabReduce(s, score)}, nabProfiles()[0], 1)
		if math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f, want %.3f", name, got, c.want)
		}
	}
}
