package demo

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8/cwriter"
)

// A terminal describes where the story is told.
type terminal struct {
	live   bool       // a terminal that can redraw a line
	colour bool       // and may be coloured
	width  func() int // columns now; 0 means that lines may be as long as they like
}

// describeTerminal asks out what it is. NO_COLOR and TERM=dumb are respected;
// anything but a terminal gets plain lines.
func describeTerminal(out io.Writer, getenv func(string) string) terminal {
	plain := terminal{width: func() int { return 0 }}
	f, ok := out.(*os.File)
	if !ok || !cwriter.IsTerminal(int(f.Fd())) {
		return plain
	}
	t := terminal{
		live:   getenv("TERM") != "dumb",
		colour: getenv("TERM") != "dumb" && getenv("NO_COLOR") == "",
		width: func() int {
			if w, _, err := cwriter.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		},
	}
	return t
}

// A tone is how a word is coloured, as the parameter of an SGR sequence.
type tone string

const (
	toneNone  tone = ""
	toneFaint tone = "2"
	toneBold  tone = "1"
	toneBad   tone = "31"
	toneGood  tone = "32"
	toneAct   tone = "33"
	toneLook  tone = "36"
)

func (t terminal) paint(how tone, s string) string {
	if !t.colour || how == toneNone {
		return s
	}
	return "\x1b[" + string(how) + "m" + s + "\x1b[0m"
}

// wrap breaks text into lines of at most width columns at its spaces. A word
// that is longer than a line keeps a line of its own. Width 0 breaks nothing.
func wrap(text string, width int) []string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	var lines []string
	line, used := "", 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > width {
			lines, line, used = append(lines, line), "", 0
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	return append(lines, line)
}

// pad fills s with spaces up to width columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func isTerminal(f *os.File) bool { return cwriter.IsTerminal(int(f.Fd())) }
