package chart

import (
	"bytes"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestThePictureShowsWhatTheDrawingShows(t *testing.T) {
	text, err := incident().PNG(Wide)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join("..", "docs", "images", "incident.png"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again, err := incident().PNG(Wide)
	if err != nil || !bytes.Equal(text, again) {
		t.Error("equal charts give unequal pictures")
	}
	img, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	scene := incident().Layout(Wide)
	if b := img.Bounds(); b.Dx() != int(math.Ceil(scene.Width*pngScale)) || b.Dy() != int(math.Ceil(scene.Height*pngScale)) {
		t.Errorf("the picture is %v, the scene %g × %g", b, scene.Width, scene.Height)
	}
	if len(text) > 300_000 {
		t.Errorf("the picture has %d bytes", len(text))
	}
	count := map[color.RGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			count[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}]++
		}
	}
	for name, least := range map[string]int{"paper": 100_000, "c0": 500, "limit": 300, "firing": 100, "good": 100, "ink": 300} {
		if got := count[lightLook()[name]]; got < least {
			t.Errorf("the colour %s fills %d dots, at least %d should be", name, got, least)
		}
	}
}

// FuzzPNG draws hostile charts: no panic, no picture beyond its bounds.
func FuzzPNG(f *testing.F) {
	f.Add("a", 0.5, int64(3600), "b")
	f.Add("\u202eevil\x00", math.NaN(), int64(-5), "宽")
	f.Add("x", math.MaxFloat64, int64(1), "y")
	f.Fuzz(func(t *testing.T, title string, v float64, span int64, label string) {
		to := noon.Add(time.Duration(span) * time.Second)
		c := Chart{
			Title: title, Subtitle: label, From: noon, To: to,
			Series:  []Series{{title, []Point{{noon, v}, {noon.Add(time.Second), -v}, {to, v / 3}}}},
			Limits:  []Limit{{v, label}},
			Windows: []Window{{noon, to, label, Tone(title)}},
			Markers: []Marker{{to, 1, label, ToneAct}},
			Lanes:   []Lane{{label, []Span{{noon, to, title, ToneQuiet}}}},
		}
		text, err := c.PNG(Narrow)
		if err != nil {
			return
		}
		if _, err := png.DecodeConfig(bytes.NewReader(text)); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkPNG(b *testing.B) {
	c := incident()
	for b.Loop() {
		if _, err := c.PNG(Wide); err != nil {
			b.Fatal(err)
		}
	}
}
