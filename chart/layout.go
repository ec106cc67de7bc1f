package chart

import (
	"math"
	"time"
)

// Size is a format that a chart can be laid out for.
type Size struct {
	Width  float64
	Height float64 // 0 is as high as the chart needs
	Key    bool    // list what the markers mean below the figure
}

// The sizes that SVG uses. Narrow is for telephones: it is drawn at half the
// width, so that its text is twice as large beside it.
var (
	Wide   = Size{Width: 900, Key: true}
	Narrow = Size{Width: 450}
)

const (
	right      = 22.0 // margin
	plotHeight = 230.0
	keyHeight  = 21.0
	markerR    = 8.5
)

// layout is a chart on its way to a scene.
type layout struct {
	Chart
	size       Size
	lane       float64 // height of each
	scene      Scene
	left       float64 // of the plot
	top        float64
	width      float64
	height     float64
	low, high  float64 // of the value axis
	head       float64 // room inside the plot, above the highest value, for the labels of windows
	ticks      []tick
	placed     []placed
	rows       int // of markers
	legendRows int
	legend     []XY // where each entry stands, below the subtitle
}

// Layout places everything on a scene of the given size.
func (c Chart) Layout(size Size) Scene {
	points := MaxPoints
	if size.Width < Wide.Width {
		points = MaxPoints * 2 / 5
	}
	l := &layout{Chart: c.bounded(points), size: size}
	l.scene.Width = size.Width
	l.lane = 22
	if size.Width < Wide.Width {
		l.lane, l.Subtitle = 17, ""
	}
	l.measure()
	l.paper()
	l.heading()
	l.windows()
	l.grid()
	l.leaders()
	l.axes()
	l.lanes()
	l.bands()
	l.series()
	l.limits()
	l.markers()
	l.key()
	return l.scene
}

func (l *layout) add(s ...Shape) { l.scene.Shapes = append(l.scene.Shapes, s...) }

// measure settles every margin before the first shape is drawn.
func (l *layout) measure() {
	lo, hi := l.domain()
	l.low, l.high, l.ticks = valueTicks(lo, hi, l.Unit, l.tickCount())
	if lo > hi {
		l.low, l.high, l.ticks = 0, 1, nil // a scale without values would be made up
	}
	if len(l.Windows) > 0 {
		l.head = 20
	}
	l.left = 44
	for _, t := range l.ticks {
		l.left = math.Max(l.left, textWidth(t.label, RoleLabel)+16)
	}
	for _, lane := range l.Lanes {
		l.left = math.Max(l.left, math.Min(textWidth(lane.Name, RoleLabel), l.size.Width/6)+16)
	}
	l.left = math.Min(l.left, l.size.Width/4)
	l.width = l.size.Width - l.left - right
	l.placeLegend()
	l.placed, l.rows = placeMarkers(l.Markers, l.x, l.left, l.left+l.width)

	l.top = 32
	if l.Subtitle != "" {
		l.top += 18
	}
	l.top += float64(l.legendRows)*18 + float64(l.rows)*(2*markerR+3) + 12
	below := l.below()
	l.height = plotHeight
	if l.size.Height > 0 {
		l.height = math.Max(60, l.size.Height-l.top-below)
	}
	l.scene.Height = l.top + l.height + below
}

func (l *layout) tickCount() int {
	if l.size.Height > 0 {
		return 3
	}
	return 5
}

// below is the height of all that stands under the plot.
func (l *layout) below() float64 {
	h := 26.0
	if l.hasZero() {
		h += 18
	}
	if len(l.Lanes) > 0 {
		h += 8 + float64(len(l.Lanes))*l.lane
	}
	if l.size.Key && len(l.Markers) > 0 {
		h += 16 + math.Ceil(float64(len(l.Markers))/2)*keyHeight
	}
	return h + 10
}

// hasZero says that T+ can be told: a zero far from the window would tell
// nobody anything.
func (l *layout) hasZero() bool {
	return !l.Zero.IsZero() && l.Zero.Sub(l.From).Abs() < 366*24*time.Hour
}

func (l *layout) x(at time.Time) float64 {
	f := float64(at.Sub(l.From)) / float64(l.To.Sub(l.From))
	return l.left + l.width*math.Min(1, math.Max(0, f))
}

func (l *layout) y(v float64) float64 {
	f := (v - l.low) / (l.high - l.low)
	return l.top + l.head + (l.height-l.head)*(1-math.Min(1, math.Max(0, f)))
}

func (l *layout) bottom() float64 { return l.top + l.height }

// lanesTop is where the first lane begins.
func (l *layout) lanesTop() float64 {
	y := l.bottom() + 26
	if l.hasZero() {
		y += 18
	}
	return y + 8
}

// domain is the range of all finite values and limits. It begins at 0 unless
// everything lies far above. Without any, lo is above hi.
func (l *layout) domain() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	see := func(v float64) {
		if finite(v) {
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
	}
	for _, s := range l.Series {
		for _, p := range s.Points {
			see(p.Value)
		}
	}
	for _, t := range l.Limits {
		see(t.Value)
	}
	if lo > hi {
		return lo, hi
	}
	if lo > 0 && (lo < hi*0.75 || lo == hi) {
		lo = 0
	}
	if hi < 0 && (hi > lo*0.75 || lo == hi) {
		hi = 0
	}
	return lo, hi
}

func (l *layout) paper() {
	l.add(Rect{Style{Role: RolePaper}, 0, 0, l.size.Width, l.scene.Height, 10})
}

func (l *layout) heading() {
	room := l.size.Width - 2*18
	l.add(Text{Style{Role: RoleTitle}, 18, 28, Start, fit(l.Title, RoleTitle, room)})
	y := 28.0
	if l.Subtitle != "" {
		y += 18
		l.add(Text{Style{Role: RoleSubtitle, Tip: l.Subtitle}, 18, y, Start, fit(l.Subtitle, RoleSubtitle, room)})
	}
	for i, at := range l.legend {
		s := Style{Role: RoleSeries, Index: i}
		l.add(Line{s, at.X, y + at.Y - 4, at.X + 16, y + at.Y - 4},
			Text{Style{Role: RoleMuted}, at.X + 22, y + at.Y, Start, l.legendText(i)})
	}
}

// placeLegend lays the names of several series out in rows. One series needs
// none: the subtitle names it.
func (l *layout) placeLegend() {
	if len(l.Series) < 2 {
		return
	}
	x, row := 18.0, 1
	for i := range l.Series {
		w := 22 + textWidth(l.legendText(i), RoleMuted) + 18
		if x > 18 && x+w > l.size.Width-right {
			x, row = 18, row+1
		}
		l.legend = append(l.legend, XY{x, float64(row) * 18})
		x += w
	}
	if l.size.Height > 0 && row > 2 {
		l.legend, row = nil, 0 // no room: the tooltips still tell
	}
	l.legendRows = row
}

func (l *layout) legendText(i int) string { return fit(l.Series[i].Name, RoleMuted, 190) }

func (l *layout) grid() {
	for _, t := range l.ticks {
		y := l.y(t.at)
		l.add(Line{Style{Role: RoleGrid}, l.left, y, l.left + l.width, y},
			Text{Style{Role: RoleLabel}, l.left - 8, y + 4, End, t.label})
	}
}

func (l *layout) axes() {
	b := l.bottom()
	l.add(Line{Style{Role: RoleAxis}, l.left, b, l.left + l.width, b})
	l.axis(clockTicks(l.From, l.To, l.xTicks()), b, b+19, "UTC")
	if l.hasZero() {
		l.axis(sinceTicks(l.From, l.To, l.Zero, l.xTicks()), b+22, b+37, "T+")
	}
}

// xTicks is how many labels the time axis has room for.
func (l *layout) xTicks() int { return max(2, int(l.width/84)) }

// axis writes one row of time labels with its name at the left. Labels that
// would touch the one before, or the edge, are left out.
func (l *layout) axis(ticks []tick, tickY, textY float64, name string) {
	l.add(Text{Style{Role: RoleLabel}, l.left - 8, textY, End, name})
	seconds := l.To.Sub(l.From).Seconds()
	last := l.left - 6
	for _, t := range ticks {
		x := l.left + l.width*t.at/seconds
		w := textWidth(t.label, RoleLabel)
		if x-w/2 < last+6 || x+w/2 > l.size.Width-4 {
			continue
		}
		last = x + w/2
		role := RoleMuted
		if name == "UTC" {
			role = RoleLabel
			l.add(Line{Style{Role: RoleTick}, x, tickY, x, tickY + 5})
		}
		l.add(Text{Style{Role: role}, x, textY, Middle, t.label})
	}
}

// windows shades stretches of time. Labels stand inside at the top, and only
// where they fit.
func (l *layout) windows() {
	for _, w := range l.Windows {
		if w.To.Before(l.From) || w.From.After(l.To) || !w.To.After(w.From) {
			continue
		}
		x1, x2 := l.x(w.From), l.x(w.To)
		tip := w.Label + " · " + stretch(w.From, w.To)
		l.add(Rect{Style{Role: RoleWindow, Tone: w.Tone, Tip: tip}, x1, l.top, math.Max(1, x2-x1), l.height, 0})
	}
}

func stretch(from, to time.Time) string {
	return from.UTC().Format("15:04:05") + " – " + to.UTC().Format("15:04:05") + " UTC"
}

// lanes draws the swimlanes under the axis.
func (l *layout) lanes() {
	y := l.lanesTop()
	for i, lane := range l.Lanes {
		top := y + float64(i)*l.lane
		l.add(Text{Style{Role: RoleLabel, Tip: lane.Name}, l.left - 8, top + l.lane/2 + 3, End, fit(lane.Name, RoleLabel, l.left-14)},
			Rect{Style{Role: RoleTrack}, l.left, top + 2, l.width, l.lane - 6, 3})
		for _, s := range lane.Spans {
			l.span(s, top+2)
		}
	}
}

func (l *layout) span(s Span, y float64) {
	if s.To.Before(l.From) || s.From.After(l.To) {
		return
	}
	x1, x2 := l.x(s.From), l.x(s.To)
	w := math.Min(math.Max(x2-x1, 3), l.left+l.width-x1+1)
	st := Style{Role: RoleSpan, Tone: s.Tone, Tip: s.Label + " · " + stretch(s.From, s.To)}
	h := l.lane - 6
	l.add(Rect{st, x1, y, w, h, math.Min(3, w/2)})
	if label := fit(s.Label, RoleOnSpan, w-8); label != "" {
		l.add(Text{Style{Role: RoleOnSpan, Tone: s.Tone}, x1 + 5, y + h/2 + 3.7, Start, label})
	}
}
