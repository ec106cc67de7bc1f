package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

// incident is a chart with one of everything.
func incident() Chart {
	var points []Point
	for i := range 541 {
		t := at(time.Duration(i*5) * time.Second)
		v := 0.002 + 0.001*math.Sin(float64(i)/7)
		if s := t.Sub(at(18*time.Minute + 10*time.Second)); s >= 0 && s < 7*time.Minute+30*time.Second {
			v = 0.021 + 0.048*(1-math.Exp(-s.Seconds()/40)) + 0.004*math.Abs(math.Sin(float64(i)/3))
		}
		if s := t.Sub(at(33 * time.Minute)); s > 0 && s < 2*time.Minute {
			v = math.NaN()
		}
		points = append(points, Point{t, v})
	}
	return Chart{
		Title:       "checkout (production): errors above 2 % after 1.42.0",
		Subtitle:    "share of requests that failed · sum(rate(http_requests_total{code=~\"5..\"}[1m])) / sum(rate(http_requests_total[1m]))",
		Description: "The share of failed requests rose above 2 % at 14:18:10 and fell back at 14:25:40.",
		From:        at(0), To: at(45 * time.Minute), Zero: at(18*time.Minute + 10*time.Second),
		Unit:    Ratio,
		Series:  []Series{{"errors", points}},
		Limits:  []Limit{{0.02, "limit 2 %"}},
		Windows: []Window{{at(18*time.Minute + 10*time.Second), at(25*time.Minute + 40*time.Second), "impact 7m 30s ± 5s", ToneImpact}, {at(33 * time.Minute), at(35 * time.Minute), "no data", ToneGap}},
		Markers: []Marker{
			{at(17 * time.Minute), 1, "change applied: 1.41.3 → 1.42.0", ToneChange},
			{at(18*time.Minute + 10*time.Second), 2, "impact starts", ToneImpact},
			{at(18*time.Minute + 15*time.Second), 3, "first breach", TonePending},
			{at(18*time.Minute + 25*time.Second), 4, "alert fires", ToneFiring},
			{at(18*time.Minute + 26*time.Second), 5, "people told", ToneQuiet},
			{at(19*time.Minute + 26*time.Second), 6, "rollback begins", ToneAct},
			{at(19*time.Minute + 27*time.Second), 7, "platform accepts", ToneAct},
			{at(20*time.Minute + 40*time.Second), 8, "rollout converged", ToneAct},
			{at(25*time.Minute + 40*time.Second), 9, "healthy again", ToneGood},
			{at(30*time.Minute + 40*time.Second), 10, "resolved", ToneGood},
		},
		Lanes: []Lane{
			{"alert", []Span{{at(18*time.Minute + 15*time.Second), at(18*time.Minute + 25*time.Second), "pending", TonePending}, {at(18*time.Minute + 25*time.Second), at(25*time.Minute + 40*time.Second), "firing", ToneFiring}}},
			{"release", []Span{{at(0), at(17 * time.Minute), "1.41.3", ToneQuiet}, {at(17 * time.Minute), at(19*time.Minute + 27*time.Second), "1.42.0", ToneChange}, {at(19*time.Minute + 27*time.Second), at(45 * time.Minute), "1.41.3", ToneQuiet}}},
			{"rollback", []Span{{at(18*time.Minute + 26*time.Second), at(19*time.Minute + 26*time.Second), "countdown", TonePending}, {at(19*time.Minute + 26*time.Second), at(20*time.Minute + 40*time.Second), "acting", ToneAct}, {at(20*time.Minute + 40*time.Second), at(30*time.Minute + 40*time.Second), "proving", ToneGood}}},
		},
	}
}

func TestGolden(t *testing.T) {
	crowded := incident()
	crowded.Title, crowded.From, crowded.To = "everything within six seconds", at(18*time.Minute), at(18*time.Minute+40*time.Second)
	for i := range crowded.Markers {
		crowded.Markers[i].At = at(18*time.Minute + 36*time.Second + time.Duration(i)*300*time.Millisecond)
	}
	many := incident()
	many.Title, many.Unit, many.Limits, many.Markers, many.Lanes, many.Windows = "twelve series", Seconds, []Limit{{0.4, "limit 400 ms"}}, nil, nil, nil
	many.Series = nil
	for i := range 12 {
		s := Series{Name: fmt.Sprintf("instance 10.0.0.%d:8080", i)}
		for k := range 200 {
			s.Points = append(s.Points, Point{at(time.Duration(k*13) * time.Second), 0.1 + 0.03*float64(i) + 0.02*math.Sin(float64(k*(i+1))/17)})
		}
		many.Series = append(many.Series, s)
	}
	empty := Chart{Title: "nothing was scraped", From: at(0), To: at(time.Hour), Zero: at(20 * time.Minute), Limits: []Limit{{1, "< 1"}}}
	learned := Chart{Title: "a value in its band", From: at(0), To: at(time.Hour), Unit: Seconds, Bands: []Band{{Label: "expected"}}, Series: []Series{{Name: "latency"}}}
	for k := range 60 {
		lower, when := 0.1, at(time.Duration(k)*time.Minute)
		if k == 30 {
			lower = math.NaN()
		}
		learned.Series[0].Points = append(learned.Series[0].Points, Point{when, 0.2 + 0.01*math.Sin(float64(k))})
		learned.Bands[0].Points = append(learned.Bands[0].Points, BandPoint{when, lower, 9})
	}
	for name, c := range map[string]Chart{"incident": incident(), "crowded": crowded, "many": many, "empty": empty, "band": learned} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".svg")
			got := c.SVG()
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s differs from the drawing (-want +got):\n%.2000s", file, diff)
			}
			if again := c.SVG(); !bytes.Equal(got, again) {
				t.Error("the second drawing of the same chart has other bytes")
			}
		})
	}
}

// wellFormed reads the picture as XML and returns its element names.
func wellFormed(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	seen := map[string]int{}
	dec := xml.NewDecoder(bytes.NewReader(svg))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return seen
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if el, ok := tok.(xml.StartElement); ok {
			seen[el.Name.Local]++
			for _, a := range el.Attr {
				if strings.HasPrefix(strings.ToLower(a.Name.Local), "on") || a.Name.Local == "href" {
					t.Errorf("attribute %s came in", a.Name.Local)
				}
			}
		}
	}
}

func FuzzSVGHoldsHostileText(f *testing.F) {
	f.Add(`<script>alert(1)</script>`, `" onload="x`, 0.5)
	f.Add("]]>\x00\x1b\u202e", "&lt;", math.Inf(1))
	f.Add("\xff\xfe", "'", -1e300)
	f.Fuzz(func(t *testing.T, a, b string, v float64) {
		c := incident()
		c.Title, c.Subtitle, c.Description = a, b, a+b
		c.Series[0].Name, c.Series[0].Points[3].Value = a, v
		c.Limits[0] = Limit{v, b}
		c.Windows[0].Label, c.Markers[0].Label, c.Lanes[0].Name, c.Lanes[0].Spans[0].Label = a, b, a, b
		c.Windows[0].Tone = Tone(a)
		seen := wellFormed(t, c.SVG())
		for name := range seen {
			if !slices.Contains([]string{"svg", "title", "desc", "style", "g", "rect", "line", "circle", "path", "text"}, name) {
				t.Errorf("an element %q came in", name)
			}
		}
	})
}

func TestMarkersNeverTouch(t *testing.T) {
	for _, spread := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute, 10 * time.Minute} {
		for _, start := range []time.Duration{0, 20 * time.Minute, 44 * time.Minute} {
			c := incident()
			for i := range c.Markers {
				c.Markers[i].At = at(start + time.Duration(i)*spread/10)
			}
			l := &layout{Chart: c.bounded(MaxPoints), size: Wide, lane: 22}
			l.measure()
			for i, a := range l.placed {
				if a.cx < l.left || a.cx > l.left+l.width {
					t.Errorf("spread %v from %v: marker %d stands outside the plot at %.1f", spread, start, a.Number, a.cx)
				}
				for _, b := range l.placed[:i] {
					if a.row == b.row && math.Abs(a.cx-b.cx) < 2*markerR {
						t.Errorf("spread %v from %v: markers %d and %d overlap", spread, start, a.Number, b.Number)
					}
				}
			}
		}
	}
}

func TestAChartIsBounded(t *testing.T) {
	c := incident()
	c.Series = nil
	for range 50 {
		var s Series
		for i := range 20000 {
			s.Points = append(s.Points, Point{at(time.Duration(i) * 100 * time.Millisecond), float64(i % 97)})
		}
		c.Series = append(c.Series, s)
	}
	for i := range 500 {
		c.Markers = append(c.Markers, Marker{At: at(0), Number: i})
	}
	scene := c.Layout(Wide)
	points, lines := 0, 0
	for _, s := range scene.Shapes {
		if p, ok := s.(Path); ok && p.Role == RoleSeries {
			lines++
			for _, r := range p.Runs {
				points += len(r)
			}
		}
	}
	if points > MaxPoints || points < MaxPoints/2 || lines > MaxSeries {
		t.Errorf("drew %d points in %d lines, want at most %d in %d", points, lines, MaxPoints, MaxSeries)
	}
	if n := len(c.SVG()); n > 150_000 {
		t.Errorf("the picture has %d bytes", n)
	}
}

func TestThinKeepsSpikesAndGaps(t *testing.T) {
	var points []Point
	for i := range 10000 {
		points = append(points, Point{at(time.Duration(i) * time.Second), 1})
	}
	points[1234].Value, points[5678].Value, points[9000].Value = 50, -3, math.NaN()
	low, high, gaps := 0, 0, 0
	thin := Thin(points, 300)
	for i, p := range thin {
		switch {
		case p.Value == 50:
			high++
		case p.Value == -3:
			low++
		case math.IsNaN(p.Value):
			gaps++
		}
		if i > 0 && !p.At.After(thin[i-1].At) {
			t.Fatalf("point %d is out of order", i)
		}
	}
	if low != 1 || high != 1 || gaps != 1 || len(thin) > 300 {
		t.Errorf("kept %d lows, %d highs, %d gaps in %d points, want one of each in at most 300", low, high, gaps, len(thin))
	}
}

func TestAGapBreaksTheLine(t *testing.T) {
	c := incident()
	c.Series[0].Points = []Point{{at(0), 1}, {at(time.Minute), 2}, {at(2 * time.Minute), math.NaN()}, {at(3 * time.Minute), 2}, {at(4 * time.Minute), math.Inf(1)}, {at(5 * time.Minute), 1}, {at(6 * time.Minute), 1}}
	runs, dots := 0, 0
	for _, s := range c.Layout(Wide).Shapes {
		switch v := s.(type) {
		case Path:
			if v.Role == RoleSeries {
				runs += len(v.Runs)
			}
		case Dot:
			if v.Role == RoleSeries {
				dots++
			}
		}
	}
	if runs != 2 || dots != 1 {
		t.Errorf("drew %d lines and %d dots, want 2 and 1", runs, dots)
	}
}

func TestUnitsReadWell(t *testing.T) {
	for _, tc := range []struct {
		u    Unit
		v    float64
		want string
	}{
		{Ratio, 0.0687, "6.87 %"},
		{Ratio, 0, "0 %"},
		{Ratio, 1, "100 %"},
		{Ratio, math.NaN(), "unknown"},
		{Seconds, 0.2345, "234 ms"},
		{Seconds, 12.5, "12.5 s"},
		{Bytes, 1 << 20, "1 MiB"},
		{Bytes, 12, "12 B"},
		{Number, 1234.5, "1234"},
		{Number, 2.5e6, "2.5 M"},
		{Number, math.Inf(1), "infinite"},
		{Number, -0.00012, "-0.00012"},
	} {
		if got := tc.u.Format(tc.v); got != tc.want {
			t.Errorf("%s of %v reads %q, want %q", tc.u, tc.v, got, tc.want)
		}
	}
}

func TestAnyRangeHasAFewTicks(t *testing.T) {
	values := []float64{0, 1, 1 + 1e-15, -1, 1e-300, -1e-300, 5e-324, 1e99, -1e99, 1e15, 1e15 + 1, 0.1, 0.3, 99.999, 1 << 40}
	for _, u := range []Unit{Number, Ratio, Seconds, Bytes} {
		for _, lo := range values {
			for _, hi := range values {
				if hi < lo {
					continue
				}
				low, high, ticks := valueTicks(lo, hi, u, 5)
				if len(ticks) < 2 || len(ticks) > 12 || !(low-(high-low)*1e-6 <= lo) || !(high > low) {
					t.Errorf("%v to %v %s: %d ticks from %v to %v", lo, hi, u, len(ticks), low, high)
				}
				for i, tk := range ticks {
					if len(tk.label) > 16 || i > 0 && tk.label == ticks[i-1].label {
						t.Errorf("%v to %v %s: tick %d is labelled %q", lo, hi, u, i, tk.label)
					}
				}
			}
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	_, _, ticks := valueTicks(0, 0.073, Ratio, 5)
	var got []string
	for _, tk := range ticks {
		got = append(got, tk.label)
	}
	if diff := cmp.Diff([]string{"0 %", "2 %", "4 %", "6 %", "8 %"}, got); diff != "" {
		t.Errorf("value ticks (-want +got):\n%s", diff)
	}
	got = nil
	for _, tk := range sinceTicks(at(0), at(45*time.Minute), at(18*time.Minute), 9) {
		got = append(got, tk.label)
	}
	if diff := cmp.Diff([]string{"−15m", "−10m", "−5m", "T+0", "+5m", "+10m", "+15m", "+20m", "+25m"}, got); diff != "" {
		t.Errorf("time ticks (-want +got):\n%s", diff)
	}
}

func BenchmarkSVG(b *testing.B) {
	c := incident()
	b.ReportAllocs()
	for b.Loop() {
		c.SVG()
	}
}
