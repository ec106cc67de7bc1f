package slacktest

import (
	"html"
	"html/template"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	marked = regexp.MustCompile(`<(!(?:channel|here|everyone|group)\b[^>]*|!subteam\^[^>]*|@[UW][^>]*)>`)
	bare   = regexp.MustCompile(`@(?:channel|here|everyone|group)\b`)
)

// pings returns whom a message would notify: mentions in markup, and bare
// words wherever Slack was asked, or not forbidden, to read them as mentions.
func pings(text string, blocks []block, loose bool) []string {
	found := marked.FindAllString(text, -1)
	if loose {
		found = append(found, bare.FindAllString(text, -1)...)
	}
	for _, b := range blocks {
		for _, t := range b.texts() {
			if t.Type != "mrkdwn" {
				continue
			}
			found = append(found, marked.FindAllString(t.Text, -1)...)
			if !t.Verbatim || loose {
				found = append(found, bare.FindAllString(t.Text, -1)...)
			}
		}
	}
	return found
}

// render turns Slack's markup into HTML. Whatever is not markup is escaped.
func render(s string) template.HTML {
	var b strings.Builder
	inline(&b, s)
	return template.HTML(b.String()) // inline escapes every piece of text that it writes
}

// inline writes a stretch of markup. It knows links, dates, mentions, code,
// bold, italic, strike-through and line breaks.
func inline(b *strings.Builder, s string) {
	before := ' '
	for s != "" {
		c, size := utf8.DecodeRuneInString(s)
		n := 0
		switch c {
		case '<':
			n = angle(b, s)
		case '`':
			n = span(b, s, "code", before, false)
		case '*':
			n = span(b, s, "strong", before, true)
		case '_':
			n = span(b, s, "em", before, true)
		case '~':
			n = span(b, s, "s", before, true)
		case '\n':
			b.WriteString("<br>")
			n = 1
		}
		if n == 0 {
			n = plain(b, s, size)
		}
		before, _ = utf8.DecodeLastRuneInString(s[:n])
		s = s[n:]
	}
}

// plain writes text up to the next character that could begin markup.
func plain(b *strings.Builder, s string, first int) int {
	n := len(s)
	if i := strings.IndexAny(s[first:], "<`*_~\n"); i >= 0 {
		n = first + i
	}
	b.WriteString(text(s[:n]))
	return n
}

// text decodes the three entities that Slack decodes, and escapes for HTML.
// Slack draws emoji as pictures; the lights are drawn here as well, so that
// they are seen where no font has them.
func text(s string) string {
	return lights.Replace(html.EscapeString(decode.Replace(s)))
}

var (
	decode = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")
	lights = strings.NewReplacer(
		"🔴", `<span class="light red" role="img" aria-label="red circle"></span>`,
		"🟡", `<span class="light yellow" role="img" aria-label="yellow circle"></span>`,
		"🟢", `<span class="light green" role="img" aria-label="green circle"></span>`,
	)
)

// span writes what stands between two equal marks on one line and returns
// how much it read, 0 when the mark is only a character.
func span(b *strings.Builder, s, tag string, before rune, nested bool) int {
	if word(before) {
		return 0
	}
	end := 1 + strings.IndexByte(s[1:], s[0])
	if end <= 1 || strings.ContainsRune(s[:end], '\n') {
		return 0
	}
	after, _ := utf8.DecodeRuneInString(s[end+1:])
	if s[1] == ' ' || s[end-1] == ' ' || end+1 < len(s) && word(after) {
		return 0
	}
	b.WriteString("<" + tag + ">")
	if nested {
		inline(b, s[1:end])
	} else {
		b.WriteString(text(s[1:end]))
	}
	b.WriteString("</" + tag + ">")
	return end + 1
}

func word(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// angle writes what stands between angle brackets and returns how much it
// read, 0 when it is nothing that Slack knows.
func angle(b *strings.Builder, s string) int {
	end := strings.IndexByte(s, '>')
	if end < 2 {
		return 0
	}
	target, label, labelled := strings.Cut(s[1:end], "|")
	switch {
	case strings.HasPrefix(target, "!date^"):
		b.WriteString(date(target, label))
	case marked.MatchString(s[:end+1]):
		b.WriteString(`<b class="ping">@` + text(strings.TrimLeft(target, "!@")) + `</b>`)
	case strings.HasPrefix(target, "http://"), strings.HasPrefix(target, "https://"):
		if !labelled {
			label = target
		}
		href := html.EscapeString(html.UnescapeString(target))
		b.WriteString(`<a href="` + href + `" rel="noreferrer" target="_blank">` + text(label) + `</a>`)
	default:
		return 0
	}
	return end + 1
}

// date writes a date token in UTC, or its fallback when it is malformed.
func date(token, fallback string) string {
	parts := strings.Split(token, "^") // !date, seconds, format, link
	if len(parts) < 3 {
		return text(fallback)
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || seconds < 0 {
		return text(fallback)
	}
	at := time.Unix(seconds, 0).UTC()
	shown := strings.NewReplacer(
		"{time_secs}", at.Format("15:04:05"), "{time}", at.Format("15:04"),
		"{date_num}", at.Format("2006-01-02"), "{date}", at.Format("January 2, 2006"),
		"{date_short}", at.Format("Jan 2, 2006"), "{date_long}", at.Format("Monday, January 2, 2006"),
	).Replace(parts[2])
	return `<time datetime="` + at.Format(time.RFC3339) + `" title="` + at.Format("2006-01-02 15:04:05 UTC") + `">` + text(shown) + `</time>`
}
