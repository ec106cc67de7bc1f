package chart

import (
	"math"
	"sort"
	"time"
)

// maxRows is how high markers are stacked before they are pushed aside.
const maxRows = 3

// placed is a marker with its own place and that of its circle, which stands
// aside when there is no room above the place itself.
type placed struct {
	Marker
	x, cx float64
	row   int // from 0, the one next to the plot
}

// placeMarkers gives each marker a circle that touches no other. Circles climb
// like stairs while rows last; then whole rows are spread sideways. It returns
// the number of rows used.
func placeMarkers(markers []Marker, x func(time.Time) float64, left, right float64) ([]placed, int) {
	if len(markers) == 0 {
		return nil, 0
	}
	out := make([]placed, len(markers))
	for i, m := range markers {
		at := x(m.At)
		out[i] = placed{Marker: m, x: at, cx: at}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if !out[i].At.Equal(out[j].At) {
			return out[i].At.Before(out[j].At)
		}
		return out[i].Number < out[j].Number
	})
	const gap = 2*markerR + 2
	last := make([]float64, maxRows)
	for i := range last {
		last[i] = math.Inf(-1)
	}
	rows := 0
	for i := range out {
		row := 0
		for row < maxRows-1 && out[i].x < last[row]+gap {
			row++
		}
		if out[i].x < last[row]+gap { // no row is free: take the one with most room
			for r := range last {
				if last[r] < last[row] {
					row = r
				}
			}
		}
		out[i].row, out[i].cx = row, math.Max(out[i].x, last[row]+gap)
		last[row] = out[i].cx
		rows = max(rows, row+1)
	}
	for row := range rows {
		pushBack(out, row, left, right)
	}
	return out, rows
}

// pushBack moves circles of a row left where the row runs over the right edge.
func pushBack(out []placed, row int, left, right float64) {
	limit := right
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].row != row {
			continue
		}
		out[i].cx = math.Max(left, math.Min(out[i].cx, limit))
		limit = out[i].cx - (2*markerR + 2)
	}
}
