package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func flat(n int, step time.Duration, events ...span) series {
	s := series{t: make([]time.Time, n), v: make([]float64, n), events: events}
	for i := range s.t {
		s.t[i] = time.Unix(0, 0).UTC().Add(time.Duration(i) * step)
	}
	return s
}

func on(n int, at ...int) []float64 {
	out := make([]float64, n)
	for _, i := range at {
		out[i] = 1
	}
	return out
}

func TestAlarmsThatAreCloseAreOneAlert(t *testing.T) {
	for name, c := range map[string]struct {
		s             series
		at            []int
		alerts, hits  int
		events, found int
	}{
		"within half an hour":                {flat(500, time.Minute), []int{10, 20, 50, 80}, 1, 0, 0, 0},
		"further apart":                      {flat(500, time.Minute), []int{10, 41}, 2, 0, 0, 0},
		"hourly: over two samples":           {flat(500, time.Hour), []int{10, 12, 15}, 2, 0, 0, 0},
		"an alert that touches two events":   {flat(500, time.Minute, span{10, 12}, span{30, 35}), []int{11, 33}, 1, 1, 2, 2},
		"beside an event is false":           {flat(500, time.Minute, span{10, 12}), []int{13}, 1, 0, 1, 0},
		"false first, then in the event":     {flat(500, time.Minute, span{10, 12}), []int{9, 10}, 1, 1, 1, 1},
		"twice in one event catches it once": {flat(500, time.Minute, span{100, 200}), []int{100, 180}, 2, 2, 1, 1},
	} {
		got := countEvents(c.s, on(500, c.at...), 1)
		if got.alerts != c.alerts || got.hits != c.hits || got.events != c.events || got.caught != c.found {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
	}
}

func TestDelayIsCountedFromTheEventsBeginning(t *testing.T) {
	got := countEvents(flat(500, time.Minute, span{100, 120}), on(500, 107, 110), 1)
	if diff := cmp.Diff([]float64{7}, got.intervals); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReportSaysWhatIsMissing(t *testing.T) {
	var out bytes.Buffer
	if err := report(&out, t.TempDir(), 1); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"nab", "web-services", "cloud-monitoring", "changes"} {
		if !strings.Contains(out.String(), set) {
			t.Errorf("%s is not mentioned:\n%s", set, out.String())
		}
	}
	if strings.Count(out.String(), "missing: no ") != 4 || strings.Contains(out.String(), "reached") {
		t.Errorf("the report:\n%s", out.String())
	}
}

func TestReportReadsASetAndJudgesIt(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "cloud-monitoring", "kind")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, file := range []string{"a.csv", "b.csv"} {
		var csv strings.Builder
		csv.WriteString("TimeStamp,Value,Label\n")
		for i := range 4000 {
			v, label := 50+r.NormFloat64(), "0"
			if i >= 2500 && i < 2510 {
				v, label = v+40, "1"
			}
			fmt.Fprintf(&csv, "%s,%g,%s\n", time.Unix(int64(i)*60, 0).UTC().Format(time.RFC3339), v, label)
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(csv.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := report(&out, dir, 10); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"event-f1                           1.000", "recall-at-0.2-false-a-day          1.000", "series-that-look-ahead             0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestLookAheadIsSeen(t *testing.T) {
	s := flat(900, time.Minute)
	for i := range s.v {
		s.v[i] = float64(i % 10)
	}
	full, err := judge(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := looksAhead(s, full); bad || err != nil {
		t.Errorf("the detector looks ahead: %v, %v", bad, err)
	}
	full.score[100] += 0.5 // what a detector that knows the future would have said
	if bad, _ := looksAhead(s, full); !bad {
		t.Error("a detector that looks ahead is not seen")
	}
}
