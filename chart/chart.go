// Package chart draws time charts: series with gaps, limits, shaded windows,
// numbered events and swimlanes, all on one time axis in UTC.
//
// A Chart says what is to be seen. Layout turns it into a Scene of plain
// shapes, and a back end such as SVG turns the scene into bytes. Equal charts
// give equal bytes. Whatever text comes in is escaped and cut to its place, and
// whatever data comes in is thinned out, so that no input makes a chart that a
// reader's browser cannot bear.
package chart

import (
	"math"
	"time"
)

// The bounds that hold for every chart, whatever it is given.
const (
	MaxPoints  = 2000 // drawn points, all series together
	MaxSeries  = 20
	MaxMarkers = 40
	MaxLanes   = 12
	MaxSpans   = 200 // per lane
	MaxWindows = 60
)

// A Chart is one figure. Only From and To must be set.
type Chart struct {
	Title       string
	Subtitle    string // what the y axis shows, and where it comes from
	Description string // the figure in words, for those who cannot see it
	From, To    time.Time
	Zero        time.Time // where T+0 lies; the zero time leaves the T+ axis out
	Unit        Unit
	Series      []Series
	Bands       []Band
	Limits      []Limit
	Windows     []Window
	Markers     []Marker
	Lanes       []Lane
}

// A Series is one line. Points are in order of time.
type Series struct {
	Name   string
	Points []Point
}

// A Point is one value. NaN and infinities are gaps: the line is broken there.
type Point struct {
	At    time.Time
	Value float64
}

// A Band is the room between two lines, such as where a value was expected. It
// does not widen the value axis: what of it lies beyond is cut off.
type Band struct {
	Label  string
	Points []BandPoint // in order of time
}

// A BandPoint is the band at one moment. NaN and infinities are gaps.
type BandPoint struct {
	At           time.Time
	Lower, Upper float64
}

// A Limit is a horizontal line with a label, such as a rule's threshold.
type Limit struct {
	Value float64
	Label string
}

// Tone is the meaning of a coloured thing. Back ends map it to a colour.
type Tone string

// The values of Tone.
const (
	ToneImpact  Tone = "impact"  // what users felt
	ToneGap     Tone = "gap"     // nothing is known
	TonePending Tone = "pending" // suspected
	ToneFiring  Tone = "firing"  // certain
	ToneChange  Tone = "change"  // somebody changed something
	ToneAct     Tone = "act"     // Belay or a person put something right
	ToneGood    Tone = "good"    // proved well
	ToneQuiet   Tone = "quiet"   // waiting, or of no colour
)

// A Window shades a stretch of time over the whole height of the plot.
type Window struct {
	From, To time.Time
	Label    string
	Tone     Tone
}

// A Marker is a numbered moment. The number is also a row of the key below the
// figure and, in a review, of the timeline.
type Marker struct {
	At     time.Time
	Number int
	Label  string
	Tone   Tone
}

// A Lane is a row of spans below the plot, on the same axis.
type Lane struct {
	Name  string
	Spans []Span
}

// A Span is one stretch of a lane. A span that ends where it begins is drawn as
// a thin tick.
type Span struct {
	From, To time.Time
	Label    string
	Tone     Tone
}

// bounded returns a copy of the chart that keeps to the bounds, at most points
// drawn points in all.
func (c Chart) bounded(points int) Chart {
	if !c.To.After(c.From) {
		c.To = c.From.Add(time.Minute)
	}
	c.Series = head(c.Series, MaxSeries)
	c.Limits = head(c.Limits, MaxSeries)
	bands := make([]Band, 0, len(c.Bands))
	for _, b := range head(c.Bands, MaxSeries) {
		bands = append(bands, b.thin(c.From, c.To, points))
	}
	c.Bands = bands
	c.Windows = head(c.Windows, MaxWindows)
	c.Markers = head(c.Markers, MaxMarkers)
	lanes := make([]Lane, 0, MaxLanes)
	for _, l := range head(c.Lanes, MaxLanes) {
		lanes = append(lanes, Lane{Name: l.Name, Spans: head(l.Spans, MaxSpans)})
	}
	c.Lanes = lanes
	series := make([]Series, 0, len(c.Series))
	for _, s := range c.Series {
		series = append(series, Series{Name: s.Name, Points: Thin(between(s.Points, c.From, c.To), points/max(1, len(c.Series)))})
	}
	c.Series = series
	return c
}

func head[T any](s []T, n int) []T { return s[:min(len(s), n)] }

func between(points []Point, from, to time.Time) []Point {
	var out []Point
	for _, p := range points {
		if !p.At.Before(from) && !p.At.After(to) {
			out = append(out, p)
		}
	}
	return out
}

// Thin returns at most limit points that look like the ones given: of every
// stretch of them the lowest, the highest and a gap, if there is one, survive.
// Few enough points are returned as they are.
func Thin(points []Point, limit int) []Point {
	if len(points) <= limit {
		return points
	}
	buckets := max(1, limit/3)
	out := make([]Point, 0, limit)
	for b := range buckets {
		from, to := b*len(points)/buckets, (b+1)*len(points)/buckets
		out = append(out, extremes(points[from:to])...)
	}
	return head(out, limit)
}

// thin returns the band between two times, in at most limit points at even
// distances.
func (b Band) thin(from, to time.Time, limit int) Band {
	var in []BandPoint
	for _, p := range b.Points {
		if !p.At.Before(from) && !p.At.After(to) {
			in = append(in, p)
		}
	}
	out := Band{Label: b.Label}
	every := (len(in) + limit - 1) / max(1, limit)
	for i := 0; i < len(in); i += max(1, every) {
		out.Points = append(out.Points, in[i])
	}
	return out
}

// extremes keeps the lowest, the highest and the first missing of some points,
// in their order.
func extremes(points []Point) []Point {
	low, high, gap := -1, -1, -1
	for i, p := range points {
		switch {
		case !finite(p.Value):
			if gap < 0 {
				gap = i
			}
		default:
			if low < 0 || p.Value < points[low].Value {
				low = i
			}
			if high < 0 || p.Value > points[high].Value {
				high = i
			}
		}
	}
	var out []Point
	for i, p := range points {
		if i == low || i == high || i == gap {
			out = append(out, p)
		}
	}
	return out
}

// finite says that a value can be drawn: beyond 1e100 sums overflow, and nobody
// measures there.
func finite(v float64) bool { return math.Abs(v) < 1e100 }
