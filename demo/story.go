package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A story tells people what happens, as it happens: a line per turn with the
// time since the start, who acts, and what. On a terminal a bar moves below the
// lines while the story waits.
type story struct {
	term  terminal
	start time.Time

	mu  sync.Mutex
	out io.Writer
	bar *waiting // nil while nothing is waited for
}

// Columns of a line: time, a gap of two, who, a gap of one, then the text.
const (
	timeColumns = 7
	whoColumns  = 9
	textColumn  = timeColumns + 2 + whoColumns + 1
	narrow      = 56 // terminals below this get the text under its heading
	measure     = 96 // lines longer than this tire the eye
)

func newStory(out io.Writer, term terminal, start time.Time) *story {
	return &story{out: out, term: term, start: start}
}

// Who speaks in a story, each with the colour of its word.
var speakers = map[string]tone{
	"shop": toneNone, "belay": toneLook, "people": toneBold,
	"fault": toneBad, "alert": toneBad, "incident": toneBad,
	"slack": toneLook, "refused": toneAct, "decision": toneAct, "intent": toneAct, "platform": toneAct,
	"converged": toneGood, "healthy": toneGood, "resolved": toneGood, "review": toneLook,
}

// say tells one turn of the story that happened at a time.
func (s *story) say(at time.Time, who, format string, args ...any) {
	s.write(s.line(at, who, fmt.Sprintf(format, args...)))
}

func (s *story) line(at time.Time, who, text string) string {
	clock := fmt.Sprintf("%*.1fs", timeColumns-1, max(0, at.Sub(s.start).Seconds()))
	head := s.term.paint(toneFaint, clock) + "  " + s.term.paint(speakers[who], pad(who, whoColumns)) + " "
	width := min(s.term.width(), measure)
	if width == 0 {
		return head + text + "\n"
	}
	if width < narrow {
		return strings.TrimRight(head, " ") + "\n" + indent(wrap(text, width-4), 4)
	}
	return head + strings.TrimLeft(indent(wrap(text, width-textColumn), textColumn), " ")
}

// paragraph tells something that has no time.
func (s *story) paragraph(format string, args ...any) {
	width := s.term.width()
	if width > 0 {
		width = min(width, measure)
	}
	s.write(strings.Join(wrap(fmt.Sprintf(format, args...), width), "\n") + "\n")
}

// note tells something that belongs to the table before it.
func (s *story) note(format string, args ...any) {
	width := min(s.term.width(), measure)
	s.write(indent(wrap(fmt.Sprintf(format, args...), max(0, width-2)), 2))
}

// heading tells a line that stands out, with an empty one before it.
func (s *story) heading(text string) { s.write("\n" + s.term.paint(toneBold, text) + "\n") }

// verdict tells the last line. It is never wrapped: scripts read it.
func (s *story) verdict(how tone, text string) { s.write("\n" + s.term.paint(how, text) + "\n") }

// table tells rows of cells in aligned columns, the first to the left, the
// others to the right but for the last, which is text. On a narrow terminal
// that text moves below its row.
func (s *story) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	width := min(s.term.width(), measure)
	var b strings.Builder
	for _, row := range rows {
		line := "  " + pad(row[0], widths[0])
		last := len(row) - 1
		for i := 1; i < last; i++ {
			line += "  " + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i])) + row[i]
		}
		column := utf8.RuneCountInString(line) + 2
		switch {
		case width == 0 || last == 0:
			line = strings.TrimRight(line+"  "+row[last], " ") + "\n"
		case width < narrow:
			line = strings.TrimRight(line, " ") + "\n" + indent(wrap(row[last], width-6), 6)
		default:
			line += "  " + strings.TrimLeft(indent(wrap(row[last], width-column), column), " ")
		}
		b.WriteString(line)
	}
	s.write(b.String())
}

func indent(lines []string, columns int) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(strings.Repeat(" ", columns)+l, " ") + "\n")
	}
	return b.String()
}

// write puts text above the bar, if there is one. A terminal that went away
// does not end the demo.
func (s *story) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_, _ = s.bar.progress.Write([]byte(text))
		return
	}
	_, _ = io.WriteString(s.out, text)
}

// wait shows what the story waits for, until the next wait or settle. With a
// duration the bar fills; without it a mark turns. In a pipe it is silent.
func (s *story) wait(what string, whole time.Duration) {
	s.settle()
	if !s.term.live {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar = startWaiting(s.out, s.term.width(), what, whole)
}

// settle takes the bar away.
func (s *story) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		s.bar.stop()
		s.bar = nil
	}
}
