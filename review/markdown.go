package review

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxText bounds one piece of outside text in a review.
const maxText = 600

// esc makes outside text plain inside a Markdown paragraph, list or table cell:
// whatever stands in it is read as letters by every reader, and none of it
// becomes a link, an element, emphasis or a new line.
func esc(s string) string {
	s = tidy(s)
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune("\\`*[]<|~$", r):
			b.WriteByte('\\')
		case r == '_' && !insideWord(s, i):
			b.WriteByte('\\')
		case r == '&' && entity(s[i:]):
			b.WriteByte('\\')
		case r == ':' && autolinks(s, i):
			b.WriteByte('\\')
		case r == '.' && hostDot(s, i):
			b.WriteByte('\\')
		case i == 0 && strings.ContainsRune("#+-=>", r):
			b.WriteByte('\\')
		case r == '@':
			b.WriteString("&#64;") // no mention and no mail address
			continue
		case (r == '.' || r == ')') && i > 0 && i <= 9 && strings.Trim(s[:i], "0123456789") == "" && (i+1 == len(s) || s[i+1] == ' '):
			b.WriteByte('\\') // no numbered list
		}
		b.WriteRune(r)
	}
	return b.String()
}

// tidy puts text on one line, drops what nobody can see, and bounds it.
func tidy(s string) string {
	if len(s) > 8*maxText {
		s = s[:8*maxText]
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == 0x2028 || r == 0x2029 || r == 0x85:
			r = ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == 0xad:
			continue
		case r == utf8.RuneError:
			r = '?'
		}
		if n++; n > maxText {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// insideWord says that an ASCII letter or digit stands on both sides.
func insideWord(s string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+1:])
	return wordy(before) && wordy(after)
}

func wordy(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func entity(s string) bool {
	if len(s) < 2 {
		return false
	}
	return s[1] == '#' || wordy(rune(s[1]))
}

// autolinks says that the colon at i would make a reader see an address.
func autolinks(s string, i int) bool {
	return strings.HasPrefix(s[i:], "://") || i >= 6 && strings.EqualFold(s[i-6:i], "mailto") || i >= 4 && strings.EqualFold(s[i-4:i], "xmpp")
}

// hostDot says that the dot at i would make a reader see www.example.
func hostDot(s string, i int) bool { return i >= 3 && strings.EqualFold(s[i-3:i], "www") }

// code sets outside text as code on one line. Inside a table, pipes would end
// the cell even in code.
func code(s string) string {
	s = strings.ReplaceAll(tidy(s), "|", "\\|")
	return codeSpan(s)
}

func codeSpan(s string) string {
	if s == "" {
		return "—"
	}
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// block sets outside text as a code block of a language.
func block(language, s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\r", ""), "?")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
	if len(s) > 8000 {
		s = strings.ToValidUTF8(s[:8000], "") + "…"
	}
	fence := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return fence + language + "\n" + strings.Trim(s, "\n") + "\n" + fence + "\n"
}

func longestRun(s string, c byte) int {
	longest, here := 0, 0
	for i := range len(s) {
		if s[i] == c {
			here++
			longest = max(longest, here)
		} else {
			here = 0
		}
	}
	return longest
}

// link makes a link of an address that is http or https, otherwise it returns
// the text alone. text is Markdown already.
func link(text, address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return text
	}
	safe := strings.NewReplacer("(", "%28", ")", "%29", "<", "%3C", ">", "%3E", "|", "%7C", " ", "%20", "\\", "%5C", "`", "%60", "*", "%2A", "_", "%5F").Replace(u.String())
	return "[" + text + "](" + safe + ")"
}

// page is a Markdown text in the making.
type page struct{ bytes.Buffer }

// line writes one line of Markdown. Outside text among args must be escaped.
func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// para writes a paragraph.
func (p *page) para(format string, args ...any) {
	p.line(format, args...)
	p.line("")
}

func (p *page) heading(text string) { p.para("## %s", text) }

func (p *page) sub(text string) { p.para("### %s", text) }

// place leaves room for a person's words.
func (p *page) place(hint string) { p.para("<!-- belay:write %s -->\n\n_…_", hint) }

// table writes rows with aligned columns. Cells are Markdown already.
func (p *page) table(header []string, rows [][]string) {
	widths := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range all {
		p.WriteByte('|')
		for i, cell := range row {
			w := widths[i]
			if i == len(row)-1 && w > 60 { // a long last column needs no padding
				w = 0
			}
			p.WriteString(" " + cell + strings.Repeat(" ", max(0, w-utf8.RuneCountInString(cell))) + " |")
		}
		p.WriteByte('\n')
		if n == 0 {
			p.WriteByte('|')
			for i, w := range widths {
				if i == len(row)-1 && w > 60 {
					w = utf8.RuneCountInString(header[i])
				}
				p.WriteString(" " + strings.Repeat("-", max(3, w)) + " |")
			}
			p.WriteByte('\n')
		}
	}
	p.WriteByte('\n')
}
