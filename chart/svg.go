package chart

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SVG draws the chart as one self-contained picture with real text. It holds
// two layouts of the same shape: readers with a narrow screen see the one with
// larger text. Colours follow the reader's light or dark mode, and paper.
func (c Chart) SVG() []byte {
	wide := c.Layout(Wide)
	narrow := c.Layout(Size{Width: Narrow.Width, Height: math.Round(wide.Height / 2)})
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="belay-chart" role="img" aria-label="%s" width="%s" viewBox="0 0 %s %s">`+"\n",
		escape(head2(c.Title)), num(wide.Width), num(wide.Width), num(wide.Height))
	fmt.Fprintf(&b, "<title>%s</title>\n<desc>%s</desc>\n", escape(head2(c.Title)), escape(c.Description))
	b.WriteString("<style>" + styleSheet + "</style>\n")
	b.WriteString(`<g class="wide">` + "\n")
	wide.svg(&b)
	scale := wide.Width / narrow.Width
	fmt.Fprintf(&b, "</g>\n<g class=\"narrow\" transform=\"scale(%s)\">\n", num(scale))
	narrow.svg(&b)
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

// svg writes the shapes, one a line.
func (s Scene) svg(b *bytes.Buffer) {
	for _, sh := range s.Shapes {
		switch v := sh.(type) {
		case Rect:
			element(b, "rect", v.Style, "", "x", num(v.X), "y", num(v.Y), "width", num(v.W), "height", num(v.H), "rx", num(v.Radius))
		case Line:
			element(b, "line", v.Style, "", "x1", num(v.X1), "y1", num(v.Y1), "x2", num(v.X2), "y2", num(v.Y2))
		case Dot:
			element(b, "circle", v.Style, "", "cx", num(v.X), "cy", num(v.Y), "r", num(v.R))
		case Path:
			element(b, "path", v.Style, "", "d", v.data())
		case Text:
			if v.Text != "" {
				element(b, "text", v.Style, v.Text, "x", num(v.X), "y", num(v.Y), "text-anchor", string(v.Anchor))
			}
		}
	}
}

// element writes one element with its tooltip. pairs alternate attribute and
// value; values are numbers or names made here, never input.
func element(b *bytes.Buffer, name string, st Style, text string, pairs ...string) {
	b.WriteString("<" + name + ` class="` + classes(st) + `"`)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "rx" && pairs[i+1] == "0" || pairs[i] == "text-anchor" && pairs[i+1] == "start" {
			continue
		}
		b.WriteString(" " + pairs[i] + `="` + pairs[i+1] + `"`)
	}
	if text == "" && st.Tip == "" {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">")
	if st.Tip != "" {
		b.WriteString("<title>" + escape(head2(st.Tip)) + "</title>")
	}
	b.WriteString(escape(text) + "</" + name + ">\n")
}

// classes are the role, the tone where it is one of ours, and the number of the
// series in its palette.
func classes(st Style) string {
	out := string(st.Role)
	switch st.Tone {
	case ToneImpact, ToneGap, TonePending, ToneFiring, ToneChange, ToneAct, ToneGood, ToneQuiet:
		out += " " + string(st.Tone)
	default:
		if st.Tone != "" {
			out += " " + string(ToneQuiet)
		}
	}
	if st.Role == RoleSeries || st.Role == RoleArea {
		out += " c" + strconv.Itoa(st.Index%paletteSize)
		if st.Index >= paletteSize {
			out += " again"
		}
	}
	return out
}

// data writes a path with one decimal, which is finer than any screen.
func (p Path) data() string {
	var b strings.Builder
	for _, run := range p.Runs {
		for i, at := range run {
			if i == 0 {
				b.WriteString("M")
			} else {
				b.WriteString("L")
			}
			b.WriteString(num(at.X) + " " + num(at.Y))
		}
		if p.Closed {
			b.WriteString("Z")
		}
	}
	return b.String()
}

func num(f float64) string {
	if !finite(f) {
		return "0"
	}
	return trimZeros(strconv.FormatFloat(f, 'f', 1, 64))
}

// escape makes text safe inside an element and inside a quoted attribute, and
// drops what XML cannot hold and what would turn the reading direction round.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff:
		case r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
		case r == utf8.RuneError:
			b.WriteRune('\ufffd')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
