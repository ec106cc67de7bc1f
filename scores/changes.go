package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"
)

// afterChange is how long after a change its effect must show.
const afterChange = 2 * time.Hour

// loadChanges reads metrics of services that were changed. The one event of a series begins with the change; a series that
// the change did no harm has an event that ends before it begins.
func loadChanges(dir string) ([]series, error) {
	labels, err := readCSV(filepath.Join(dir, "labels.csv"))
	if err != nil {
		return nil, err
	}
	var out []series
	for _, l := range labels {
		rows, err := readCSV(filepath.Join(dir, "data", l[1]+".csv"))
		if err != nil {
			return nil, err
		}
		s, err := fromRows(rows)
		if err != nil {
			return nil, err
		}
		start, err := strconv.ParseInt(l[2], 10, 64)
		if err != nil {
			return nil, err
		}
		at := time.Unix(start, 0).UTC()
		s.name = l[1]
		window := indexes(s.t, at, at.Add(afterChange))
		s.events = []span{window}
		s.harmed = parseValue(l[4]) > 0
		out = append(out, s)
	}
	return out, nil
}

// scoreChanges prints how well the loudest score after a change tells the harmful changes from the others: the share of
// pairs in which the harmed series is louder.
func scoreChanges(out io.Writer, name string, set []series, rounds int, want demands) error {
	all, ahead, _, err := judgeAll(set)
	if err != nil {
		return err
	}
	loudest := make([]float64, len(set))
	for i, s := range set {
		for k := s.events[0].from; k <= s.events[0].to; k++ {
			loudest[i] = max(loudest[i], all[i].score[k])
		}
	}
	area := func(pick []int) float64 {
		won, pairs := 0.0, 0.0
		for _, i := range pick {
			for _, k := range pick {
				if !set[i].harmed || set[k].harmed {
					continue
				}
				pairs++
				switch {
				case loudest[i] > loudest[k]:
					won++
				case loudest[i] == loudest[k]:
					won += 0.5
				}
			}
		}
		return won / max(pairs, 1)
	}
	low, high := interval(len(set), rounds, area)
	metric := fmt.Sprintf("auc-%d-minutes-after", int(afterChange.Minutes()))
	if err := atLeast(out, name, metric, area(everyone(len(set))), low, high, want.auc, "%.3f"); err != nil {
		return err
	}
	return noLookAhead(out, name, ahead)
}
