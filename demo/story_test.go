package demo

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func fixed(width int) terminal { return terminal{width: func() int { return width }} }

func TestAStoryFitsItsTerminal(t *testing.T) {
	start := time.Date(2026, 11, 23, 14, 2, 0, 0, time.UTC)
	tell := func(width int) string {
		var b strings.Builder
		s := newStory(&b, fixed(width), start)
		s.say(start.Add(14300*time.Millisecond), "belay", "%s is known good: it ran for 12s with every rule green and no alert", goodVersion)
		s.table([][]string{
			{"alert", "4.0s", "CheckoutErrors fires"},
			{"converged", "12.1s", "1.41.3 runs again"},
		})
		return b.String()
	}
	for _, tc := range []struct {
		name  string
		width int
		want  string
	}{
		{"a pipe gets one line for each turn", 0, `
  14.3s  belay     1.41.3 is known good: it ran for 12s with every rule green and no alert
  alert       4.0s  CheckoutErrors fires
  converged  12.1s  1.41.3 runs again
`},
		{"a terminal gets its text in a column", 60, `
  14.3s  belay     1.41.3 is known good: it ran for 12s with
                   every rule green and no alert
  alert       4.0s  CheckoutErrors fires
  converged  12.1s  1.41.3 runs again
`},
		{"a narrow terminal gets the text below", 34, `
  14.3s  belay
    1.41.3 is known good: it ran
    for 12s with every rule green
    and no alert
  alert       4.0s
      CheckoutErrors fires
  converged  12.1s
      1.41.3 runs again
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tell(tc.width)
			if d := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for line := range strings.Lines(got) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); tc.width > 0 && n > tc.width {
					t.Errorf("%d columns: %q", n, line)
				}
			}
		})
	}
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	var b strings.Builder
	plain := describeTerminal(&b, func(string) string { return "" })
	if plain.live || plain.colour || plain.width() != 0 {
		t.Errorf("a pipe is taken for a terminal: %+v", plain)
	}
	s := newStory(&b, plain, time.Now())
	s.wait("soaking", time.Second)
	s.say(time.Now(), "fault", "1.42.0 answers 500")
	s.settle()
	if strings.ContainsAny(b.String(), "\x1b\r") || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("a pipe gets more than plain lines: %q", b.String())
	}
	coloured := terminal{colour: true, width: func() int { return 80 }}
	if got := coloured.paint(toneBad, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("paint = %q", got)
	}
}

func TestAFaultThatIsUnknownIsToldWhichThereAre(t *testing.T) {
	if _, err := ParseFault("eror"); err == nil || err.Error() != `fault "eror" is unknown; there are: errors, latency, crash, leak, none` {
		t.Errorf("eror: %v", err)
	}
	if f, err := ParseFault("crash"); f != FaultCrash || err != nil {
		t.Errorf("crash: %q, %v", f, err)
	}
}
