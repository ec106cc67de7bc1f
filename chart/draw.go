package chart

import (
	"math"
	"slices"
	"strconv"
)

// This file draws what lies on the grid.

// series draws the lines. A point alone between two gaps is a dot.
func (l *layout) series() {
	drawn := 0
	for i, s := range l.Series {
		st := Style{Role: RoleSeries, Index: i, Tip: s.Name}
		var runs [][]XY
		var run []XY
		end := func() {
			if len(run) == 1 {
				l.add(Dot{st, run[0].X, run[0].Y, 2})
			} else if len(run) > 1 {
				runs = append(runs, run)
			}
			run = nil
		}
		for _, p := range s.Points {
			if !finite(p.Value) {
				end()
				continue
			}
			run = append(run, XY{l.x(p.At), l.y(p.Value)})
			drawn++
		}
		end()
		if len(l.Series) == 1 && len(runs) > 0 {
			l.add(Path{Style{Role: RoleArea, Index: i}, l.areas(runs), true})
		}
		if len(runs) > 0 {
			l.add(Path{st, runs, false})
		}
	}
	if drawn == 0 {
		l.add(Text{Style{Role: RoleSubtitle}, l.left + l.width/2, l.top + l.height/2, Middle, "no samples in this window"})
	}
}

// bands fill the room between their lines.
func (l *layout) bands() {
	for _, b := range l.Bands {
		var runs [][]XY
		var upper, lower []XY
		end := func() {
			if len(upper) > 1 {
				slices.Reverse(lower)
				runs = append(runs, append(upper, lower...))
			}
			upper, lower = nil, nil
		}
		for _, p := range b.Points {
			if !finite(p.Lower) || !finite(p.Upper) {
				end()
				continue
			}
			upper = append(upper, XY{l.x(p.At), l.y(p.Upper)})
			lower = append(lower, XY{l.x(p.At), l.y(p.Lower)})
		}
		end()
		if len(runs) > 0 {
			l.add(Path{Style{Role: RoleBand, Tip: b.Label}, runs, true})
		}
	}
}

// areas closes each run down to the foot of the plot.
func (l *layout) areas(runs [][]XY) [][]XY {
	foot := l.y(math.Max(l.low, math.Min(l.high, 0)))
	out := make([][]XY, 0, len(runs))
	for _, r := range runs {
		a := append([]XY{{r[0].X, foot}}, r...)
		out = append(out, append(a, XY{r[len(r)-1].X, foot}))
	}
	return out
}

// limits draws the horizontal lines; their labels and those of the windows
// come last, above all lines.
func (l *layout) limits() {
	taken := math.Inf(-1)
	for _, t := range l.Limits {
		if !finite(t.Value) {
			continue
		}
		y := l.y(t.Value)
		l.add(Line{Style{Role: RoleLimit, Tip: t.Label}, l.left, y, l.left + l.width, y})
		at := y - 6
		if at < l.top+12 {
			at = y + 14
		}
		if math.Abs(at-taken) < 13 {
			continue
		}
		taken = at
		l.add(Text{Style{Role: RoleOnLimit}, l.left + 6, at, Start, fit(t.Label, RoleOnLimit, l.width*0.6)})
	}
	edge := l.left
	for _, w := range l.Windows {
		x1, x2 := math.Max(edge, l.x(w.From)), l.x(w.To)
		label := fit(w.Label, RoleOnWindow, x2-x1-12)
		if label == "" || label != w.Label {
			continue
		}
		l.add(Text{Style{Role: RoleOnWindow, Tone: w.Tone}, x1 + 6, l.top + 15, Start, label})
		edge = x1 + 6 + textWidth(label, RoleOnWindow)
	}
}

// leaders are the lines from each marker down to the last lane.
func (l *layout) leaders() {
	foot := l.bottom()
	if n := len(l.Lanes); n > 0 {
		foot = l.lanesTop() + float64(n)*l.lane - 2
	}
	for _, p := range l.placed {
		st := Style{Role: RoleLeader, Tone: p.Tone}
		l.add(Path{st, [][]XY{{{p.cx, l.markerY(p)}, {p.x, l.top - 3}, {p.x, foot}}}, false})
	}
}

func (l *layout) markerY(p placed) float64 {
	return l.top - 12 - float64(p.row)*(2*markerR+3) - markerR + 4
}

func (l *layout) markers() {
	for _, p := range l.placed {
		tip := strconv.Itoa(p.Number) + " " + p.Label + " · " + p.At.UTC().Format("15:04:05") + " UTC"
		y := l.markerY(p)
		l.add(Dot{Style{Role: RoleMarker, Tone: p.Tone, Tip: tip}, p.cx, y, markerR},
			Text{Style{Role: RoleNumber, Tone: p.Tone}, p.cx, y + 3.7, Middle, strconv.Itoa(p.Number)})
	}
}

// key says what the numbers mean, in two columns read downwards.
func (l *layout) key() {
	if !l.size.Key || len(l.placed) == 0 {
		return
	}
	top := l.bottom() + l.below() - 10 - math.Ceil(float64(len(l.placed))/2)*keyHeight
	rows := (len(l.placed) + 1) / 2
	column := (l.size.Width - 36) / 2
	for i, p := range l.placed {
		x, y := 18+column*float64(i/rows), top+float64(i%rows)*keyHeight
		at := p.At.UTC().Format("15:04:05")
		l.add(Dot{Style{Role: RoleMarker, Tone: p.Tone}, x + markerR, y + 8, markerR},
			Text{Style{Role: RoleNumber, Tone: p.Tone}, x + markerR, y + 11.7, Middle, strconv.Itoa(p.Number)},
			Text{Style{Role: RoleMuted}, x + 26, y + 12, Start, at},
			Text{Style{Role: RoleStrong, Tip: p.Label}, x + 88, y + 12, Start, fit(p.Label, RoleStrong, column-96)})
	}
}
