package slack

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// Slack's limits, in characters unless they count things. They are kept by
// counting UTF-16 units, which is never less than any other way to count.
const (
	maxBlocks  = 50   // of a message
	maxSection = 3000 // the text of a section
	maxFields  = 10   // of a section
	maxField   = 2000
	maxHeader  = 150
	maxContext = 10 // elements of a context block
	maxText    = 4000
	maxAlt     = 1000 // of a picture; Slack allows 2000
	// maxAll bounds all texts of a message's blocks together. Slack's own
	// bound is not documented; messages of 11 300 characters were refused.
	maxAll = 9000
)

// Shares of these limits, so that a whole message stays below maxAll whatever
// its data holds.
const (
	shareSentence = 1000
	shareField    = 400
	shareContext  = 400
	shareURL      = 400
)

const ellipsis = "…"

// markup makes data safe for Slack's markup: no tag, no mention, no code, no
// second line, at most limit characters.
func markup(s string, limit int) string {
	return fit(s, limit, func(r rune) string {
		switch r {
		case '&':
			return "&amp;"
		case '<':
			return "&lt;"
		case '>':
			return "&gt;"
		}
		return string(r)
	})
}

// plain makes data safe for a text without markup. Slack does not say whether
// it decodes entities there, so what would need them is replaced.
func plain(s string, limit int) string {
	return fit(s, limit, func(r rune) string {
		switch r {
		case '<':
			return "‹"
		case '>':
			return "›"
		}
		return string(r)
	})
}

// code sets data as code, "–" where there is none.
func code(s string, limit int) string {
	s = markup(s, limit-2)
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

// fit cleans s and writes it through escape, cut between two characters to
// at most limit of them, with an ellipsis where something is missing.
func fit(s string, limit int, escape func(rune) string) string {
	var b strings.Builder
	used, keep := 0, 0
	for _, r := range clean(s, limit) {
		piece := escape(r)
		used += width(piece)
		if used > limit {
			return strings.TrimRight(b.String()[:keep], " \u200d") + ellipsis
		}
		b.WriteString(piece)
		if used < limit {
			keep = b.Len()
		}
	}
	return b.String()
}

func width(s string) int {
	n := 0
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

// loud are the words that Slack can read as a call to everybody.
var loud = regexp.MustCompile(`(?i)@(here|channel|everyone|group)`)

// clean returns enough of s to fill limit characters, on one line, without
// control characters, without marks that reverse or hide text, without
// back-ticks, and with nothing that reads as a mention.
func clean(s string, limit int) string {
	var b strings.Builder
	space, n := false, 0
	for _, r := range s {
		if n > limit {
			break
		}
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = n > 0
			continue
		case hidden(r):
			continue
		case r == '`':
			r = '\''
		}
		if space {
			b.WriteByte(' ')
			space, n = false, n+1
		}
		b.WriteRune(r) // what is not UTF-8 has become U+FFFD
		n++
	}
	return loud.ReplaceAllString(b.String(), "@\u2060$1") // a word joiner: looks the same, is no mention
}

// hidden says that a character shows nothing but changes how its neighbours
// are read: directions that are never closed, tags, zero widths. The joiner
// of emoji stays.
func hidden(r rune) bool {
	return unicode.Is(unicode.Bidi_Control, r) || r >= 0xE0000 && r <= 0xE007F ||
		r == '\u200b' || r == '\u2060' || r == '\ufeff' || r == '\u2028' || r == '\u2029'
}

// when is a time that each reader sees in their own time zone, "" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	return fmt.Sprintf("<!date^%d^{time_secs}|%s>", t.Unix(), t.Format("15:04:05 UTC"))
}

// link returns a link, "" where the address is not one of the web or is too
// long. The label is ours, never data.
func link(address, label string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	safe := strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", "&", "&amp;", "`", "%60").Replace(u.String())
	if width(safe) > shareURL {
		return ""
	}
	return "<" + safe + "|" + label + ">"
}
