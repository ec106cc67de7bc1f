package main

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/belaydev/belay/chart"
	"github.com/belaydev/belay/rules/anomaly"
)

// picture is one figure of docs/anomaly-rules.md: a made-up series, and what the detector says to it.
type picture struct {
	file, title, words string
	value              func(i int, noise float64) float64
	from, to           int // the samples that are drawn, one a minute
	event              int
	label              string
}

func pictures() []picture {
	day := func(i int) float64 { return math.Sin(2 * math.Pi * float64(i-360) / 1440) }
	return []picture{
		{
			file: "anomaly-season.svg", title: "Requests a second: the fifth day",
			words: "A curve that rises and falls with the day, its band around it, and a drop in the afternoon that leaves the band.",
			value: func(i int, noise float64) float64 {
				v := 400 + 180*day(i) + 12*noise
				if i >= 4*1440+840 && i < 4*1440+880 {
					v *= 0.55
				}
				return v
			},
			from: 4 * 1440, to: 5 * 1440, event: 4*1440 + 840, label: "45 % of the requests are gone",
		},
		{
			file: "anomaly-level.svg", title: "Latency, p99 in milliseconds: a release makes it slower",
			words: "A latency that steps up at a release; the band stays where it was, then follows the new level.",
			value: func(i int, noise float64) float64 {
				v := 180 + 15*day(i) + 6*noise
				if i >= 3*1440+600 {
					v += 70
				}
				return v
			},
			from: 3*1440 + 480, to: 3*1440 + 900, event: 3*1440 + 600, label: "the release",
		},
	}
}

// draw runs the default detector over the picture's series and draws its last part.
func (p picture) draw() ([]byte, error) {
	d, err := anomaly.New(anomaly.Config{})
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(7, 7))
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Minute) }
	var value, lower, upper []chart.Point
	var firing []chart.Span
	for i := range p.to {
		j := d.Observe(at(i), p.value(i, r.NormFloat64()))
		if i < p.from {
			continue
		}
		value = append(value, chart.Point{At: at(i), Value: j.Value})
		lower = append(lower, chart.Point{At: at(i), Value: j.Lower})
		upper = append(upper, chart.Point{At: at(i), Value: j.Upper})
		switch n := len(firing); {
		case j.Firing && n > 0 && firing[n-1].From.Equal(j.Since):
			firing[n-1].To = at(i)
		case j.Firing:
			firing = append(firing, chart.Span{From: j.Since, To: at(i), Label: "firing", Tone: chart.ToneFiring})
		}
	}
	return chart.Chart{
		Title: p.title, Subtitle: "value, and the band that its history draws", Description: p.words,
		From: at(p.from), To: at(p.to),
		Series:  []chart.Series{{Name: "value", Points: value}, {Name: "lower", Points: lower}, {Name: "upper", Points: upper}},
		Markers: []chart.Marker{{At: at(p.event), Number: 1, Label: p.label, Tone: chart.ToneChange}},
		Lanes:   []chart.Lane{{Name: "anomaly", Spans: firing}},
	}.SVG(), nil
}

// drawPictures writes every picture into a folder.
func drawPictures(dir string) error {
	for _, p := range pictures() {
		svg, err := p.draw()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), svg, 0o644); err != nil { //nolint:gosec // a picture for everyone
			return err
		}
	}
	return nil
}
