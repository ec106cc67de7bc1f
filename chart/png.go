package chart

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomedium"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Dots per unit of the scene, so that a picture is sharp on a phone, and how
// large a picture may become.
const (
	pngScale = 2
	pngMost  = 4000 // dots a side
)

// PNG draws the chart as a picture for channels that show no SVG, in light
// colours, at two dots a unit. Letters that the Go fonts lack, such as Chinese
// ones, are shown as a box. It returns an error only when the size is beyond
// what a chart can be.
func (c Chart) PNG(size Size) ([]byte, error) {
	scene := c.Layout(size)
	w, h := int(math.Ceil(scene.Width*pngScale)), int(math.Ceil(scene.Height*pngScale))
	if w <= 0 || h <= 0 || w > pngMost || h > pngMost {
		return nil, fmt.Errorf("a picture of %d × %d dots cannot be drawn; up to %d a side", w, h, pngMost)
	}
	fonts, err := goFonts()
	if err != nil {
		return nil, err
	}
	p := &painter{dst: image.NewRGBA(image.Rect(0, 0, w, h)), pen: vector.NewRasterizer(1, 1), look: lightLook(), fonts: fonts, faces: map[faceKey]font.Face{}}
	for _, sh := range scene.Shapes {
		p.paint(sh)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, p.dst); err != nil {
		return nil, fmt.Errorf("encode the picture: %w", err)
	}
	return out.Bytes(), nil
}

// lightLook reads the light colours out of the style sheet, so that both back
// ends have the same.
var lightLook = sync.OnceValue(func() map[string]color.RGBA {
	rule, _, _ := strings.Cut(styleSheet, "max-width")
	look := map[string]color.RGBA{}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+):#([0-9a-f]{3,6})`).FindAllStringSubmatch(rule, -1) {
		hex := m[2]
		if len(hex) == 3 {
			hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
		}
		n, err := strconv.ParseUint(hex, 16, 32)
		if err == nil {
			look[m[1]] = color.RGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 255}
		}
	}
	return look
})

type fonts struct{ regular, medium *opentype.Font }

var goFonts = sync.OnceValues(func() (fonts, error) {
	regular, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return fonts{}, fmt.Errorf("font: %w", err)
	}
	medium, err := opentype.Parse(gomedium.TTF)
	if err != nil {
		return fonts{}, fmt.Errorf("font: %w", err)
	}
	return fonts{regular, medium}, nil
})

type faceKey struct {
	size float64
	bold bool
}

// A painter puts shapes on a picture.
type painter struct {
	dst   *image.RGBA
	pen   *vector.Rasterizer
	path  []step // not painted yet
	look  map[string]color.RGBA
	fonts fonts
	faces map[faceKey]font.Face
}

func (p *painter) paint(sh Shape) {
	switch v := sh.(type) {
	case Rect:
		p.rect(v)
	case Line:
		p.stroke([][]XY{{{v.X1, v.Y1}, {v.X2, v.Y2}}}, p.strokeOf(v.Style))
	case Path:
		if v.Closed {
			p.polygons(v.Runs)
			p.fill(p.fillOf(v.Style))
			return
		}
		p.stroke(v.Runs, p.strokeOf(v.Style))
	case Dot:
		if v.Role == RoleMarker { // its rim keeps markers apart
			p.disc(XY{v.X, v.Y}, v.R+0.75)
			p.fill(p.look["paper"])
		}
		p.disc(XY{v.X, v.Y}, v.R)
		p.fill(p.fillOf(v.Style))
	case Text:
		p.text(v)
	}
}

// fade is a colour that lets through what lies below.
func fade(c color.RGBA, opacity float64) color.RGBA {
	part := func(v uint8) uint8 { return uint8(math.Round(float64(v) * opacity)) }
	return color.RGBA{part(c.R), part(c.G), part(c.B), part(c.A)}
}

// tone is the colour of a tone, or of one that is not known.
func (p *painter) tone(st Style) color.RGBA {
	if c, ok := p.look[string(st.Tone)]; ok && st.Tone != "" {
		return c
	}
	if st.Tone != "" {
		return p.look["quiet"]
	}
	return p.look["muted"]
}

func (p *painter) ofSeries(st Style) color.RGBA {
	return p.look["c"+strconv.Itoa(st.Index%paletteSize)]
}

func (p *painter) fillOf(st Style) color.RGBA {
	switch st.Role {
	case RolePaper:
		return p.look["paper"]
	case RoleSeries:
		return p.ofSeries(st)
	case RoleArea:
		return fade(p.ofSeries(st), 0.09)
	case RoleBand:
		return fade(p.look["good"], 0.16)
	case RoleWindow:
		return fade(p.tone(st), 0.09)
	case RoleTrack:
		return p.look["track"]
	case RoleSpan:
		if st.Tone == ToneQuiet {
			return fade(p.tone(st), 0.28)
		}
	}
	return p.tone(st)
}

// A stroke is how a line is drawn.
type stroke struct {
	colour color.RGBA
	width  float64
	dash   [2]float64 // on and off; zero is a solid line
}

func (p *painter) strokeOf(st Style) stroke {
	switch st.Role {
	case RoleGrid:
		return stroke{p.look["grid"], 1, [2]float64{}}
	case RoleAxis, RoleTick:
		return stroke{p.look["axis"], 1, [2]float64{}}
	case RoleLimit:
		return stroke{p.look["limit"], 1.3, [2]float64{6, 4}}
	case RoleLeader:
		return stroke{fade(p.tone(st), 0.75), 1, [2]float64{2, 3}}
	case RoleSeries:
		s := stroke{p.ofSeries(st), 1.8, [2]float64{}}
		if st.Index >= paletteSize {
			s.dash = [2]float64{5, 3}
		}
		return s
	}
	return stroke{p.tone(st), 1, [2]float64{}}
}

// A step is one of a path that the painter goes: to there, from the step before
// unless it begins anew.
type step struct {
	to           XY
	begins, ends bool
}

func (p *painter) move(at XY) { p.path = append(p.path, step{to: at, begins: true}) }
func (p *painter) line(at XY) { p.path = append(p.path, step{to: at}) }

// fill paints what the path has gone round, and forgets the path. Only the part
// of the picture that the path reaches is touched.
func (p *painter) fill(c color.RGBA) {
	defer func() { p.path = p.path[:0] }()
	reach := p.reach()
	if reach.Empty() {
		return
	}
	p.pen.Reset(reach.Dx(), reach.Dy())
	at := func(s step) (x, y float32) {
		return float32(s.to.X*pngScale) - float32(reach.Min.X), float32(s.to.Y*pngScale) - float32(reach.Min.Y)
	}
	for _, s := range p.path {
		x, y := at(s)
		if s.begins {
			p.pen.MoveTo(x, y)
		} else {
			p.pen.LineTo(x, y)
		}
		if s.ends {
			p.pen.ClosePath()
		}
	}
	p.pen.DrawOp = draw.Over
	p.pen.Draw(p.dst, reach, image.NewUniform(c), image.Point{})
}

// reach is the part of the picture within which the path stays. A path that
// leaves the picture, or has a place that is none, reaches nothing.
func (p *painter) reach() image.Rectangle {
	var out image.Rectangle
	for _, s := range p.path {
		if math.Abs(s.to.X) > pngMost || math.Abs(s.to.Y) > pngMost || math.IsNaN(s.to.X) || math.IsNaN(s.to.Y) {
			return image.Rectangle{}
		}
		x, y := int(math.Floor(s.to.X*pngScale)), int(math.Floor(s.to.Y*pngScale))
		out = out.Union(image.Rect(x, y, x+2, y+2))
	}
	return out.Intersect(p.dst.Bounds())
}

func (p *painter) polygons(runs [][]XY) {
	for _, run := range runs {
		for i, at := range run {
			if i == 0 {
				p.move(at)
			} else {
				p.line(at)
			}
		}
		if len(run) > 0 {
			p.path[len(p.path)-1].ends = true
		}
	}
}

// disc goes round a circle, always the same way, as all that is filled in one
// go must.
func (p *painter) disc(at XY, r float64) {
	const steps = 24
	for i := range steps {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / steps)
		to := XY{at.X + r*cos, at.Y + r*sin}
		if i == 0 {
			p.move(to)
		} else {
			p.line(to)
		}
	}
	p.path[len(p.path)-1].ends = true
}

func (p *painter) rect(r Rect) {
	if r.W <= 0 || r.H <= 0 {
		return
	}
	if r.Role == RolePaper {
		p.box(r.X, r.Y, r.W, r.H, r.Radius)
		p.fill(p.look["edge"])
		r.X, r.Y, r.W, r.H = r.X+1, r.Y+1, r.W-2, r.H-2
	}
	p.box(r.X, r.Y, r.W, r.H, r.Radius)
	p.fill(p.fillOf(r.Style))
}

// box goes round a rectangle with round corners.
func (p *painter) box(x, y, w, h, radius float64) {
	r := math.Max(0, math.Min(radius, math.Min(w, h)/2))
	const steps = 6
	first := true
	for corner, c := range []XY{{x + w - r, y + h - r}, {x + r, y + h - r}, {x + r, y + r}, {x + w - r, y + r}} {
		for i := range steps + 1 {
			sin, cos := math.Sincos(math.Pi / 2 * (float64(corner) + float64(i)/steps))
			to := XY{c.X + r*cos, c.Y + r*sin}
			if first {
				p.move(to)
				first = false
			} else {
				p.line(to)
			}
		}
	}
	p.path[len(p.path)-1].ends = true
}

// stroke draws lines of a width, round where they bend.
func (p *painter) stroke(runs [][]XY, s stroke) {
	half := s.width / 2
	for _, run := range dashed(runs, s.dash) {
		for i := 1; i < len(run); i++ {
			p.segment(run[i-1], run[i], half)
		}
		if s.dash[0] == 0 {
			for _, at := range run {
				p.disc(at, half)
			}
		}
	}
	p.fill(s.colour)
}

// segment goes round one straight piece of a line, the way that disc goes.
func (p *painter) segment(a, b XY, half float64) {
	dx, dy := b.X-a.X, b.Y-a.Y
	length := math.Hypot(dx, dy)
	if length == 0 || !finite(length) {
		return
	}
	nx, ny := -dy/length*half, dx/length*half
	p.move(XY{a.X - nx, a.Y - ny})
	p.line(XY{b.X - nx, b.Y - ny})
	p.line(XY{b.X + nx, b.Y + ny})
	p.line(XY{a.X + nx, a.Y + ny})
	p.path[len(p.path)-1].ends = true
}

// dashed cuts lines into pieces; a dash of nothing leaves them whole.
func dashed(runs [][]XY, dash [2]float64) [][]XY {
	if dash[0] <= 0 || dash[1] <= 0 {
		return runs
	}
	var out [][]XY
	for _, run := range runs {
		on, left := true, dash[0]
		var piece []XY
		for i := 1; i < len(run); i++ {
			a, b := run[i-1], run[i]
			length := math.Hypot(b.X-a.X, b.Y-a.Y)
			for done := 0.0; done < length; {
				step := math.Min(left, length-done)
				from, to := along(a, b, done/length), along(a, b, (done+step)/length)
				if on {
					if len(piece) == 0 {
						piece = append(piece, from)
					}
					piece = append(piece, to)
				}
				done, left = done+step, left-step
				if left <= 0 {
					if on {
						out, piece = append(out, piece), nil
					}
					on = !on
					left = dash[1]
					if on {
						left = dash[0]
					}
				}
			}
		}
		if len(piece) > 1 {
			out = append(out, piece)
		}
	}
	return out
}

func along(a, b XY, t float64) XY { return XY{a.X + (b.X-a.X)*t, a.Y + (b.Y-a.Y)*t} }

// inks are the colours of texts that are not muted.
func (p *painter) ink(st Style) (c color.RGBA, bold, halo bool) {
	on := func() color.RGBA {
		switch st.Tone {
		case TonePending:
			return p.look["on-pending"]
		case ToneQuiet:
			return p.look["ink"]
		}
		return p.look["on"]
	}
	switch st.Role {
	case RoleTitle:
		return p.look["ink"], true, false
	case RoleStrong:
		return p.look["ink"], false, false
	case RoleNumber:
		if st.Tone == ToneQuiet {
			return p.look["on"], true, false
		}
		return on(), true, false
	case RoleOnSpan:
		return on(), true, false
	case RoleOnLimit:
		return p.look["limit"], true, true
	case RoleOnWindow:
		return p.tone(st), true, true
	case RoleLabel, RoleMuted:
		return p.look["muted"], false, true
	}
	return p.look["muted"], false, false
}

func (p *painter) text(t Text) {
	words := strings.Map(printable, t.Text)
	size := fontSizes[t.Role]
	if words == "" || size == 0 || !finite(t.X) || !finite(t.Y) {
		return
	}
	colour, bold, halo := p.ink(t.Style)
	face := p.face(faceKey{size, bold})
	if face == nil {
		return
	}
	pen := font.Drawer{Dst: p.dst, Face: face}
	x := fixed.Int26_6(t.X * pngScale * 64)
	switch width := pen.MeasureString(words); t.Anchor {
	case Middle:
		x -= width / 2
	case End:
		x -= width
	}
	y := fixed.Int26_6(t.Y * pngScale * 64)
	write := func(c color.RGBA, dx, dy fixed.Int26_6) {
		pen.Src, pen.Dot = image.NewUniform(c), fixed.Point26_6{X: x + dx, Y: y + dy}
		pen.DrawString(words)
	}
	if halo {
		const far = 3 * 64
		for _, d := range [][2]fixed.Int26_6{{-far, 0}, {far, 0}, {0, -far}, {0, far}, {-2 * 64, -2 * 64}, {2 * 64, -2 * 64}, {-2 * 64, 2 * 64}, {2 * 64, 2 * 64}} {
			write(p.look["paper"], d[0], d[1])
		}
	}
	write(colour, 0, 0)
}

// printable drops what draws nothing, or turns the reading direction round.
func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return ' '
	case !unicode.IsPrint(r):
		return -1
	}
	return r
}

func (p *painter) face(k faceKey) font.Face {
	if f, ok := p.faces[k]; ok {
		return f
	}
	from := p.fonts.regular
	if k.bold {
		from = p.fonts.medium
	}
	f, err := opentype.NewFace(from, &opentype.FaceOptions{Size: k.size * pngScale, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return nil // the sizes are ours
	}
	p.faces[k] = f
	return f
}
