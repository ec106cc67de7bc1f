package review

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

var hostile = []string{
	"plain text, 1.42.0 (from 1.41.3)", "a | b || c", "`code` ``x``", "<script>alert(1)</script>", "[click](https://evil.example)", "![x](y)",
	"https://evil.example www.evil.example a@evil.example <https://evil.example>", "*bold* _em_ __x__ ~~no~~ http_requests_total _x", "# title", "- item", "+ item", "1. one", "12) two", "> quote", "===", "---",
	"a\nb\r\n\nc", "\\| \\\\| \\", "&lt;b&gt; &amp; AT&T &#60;", "\x00\x1b[31m\u202eright\u202c\u200b", "\xff\xfe", "<!-- belay:write -->", "<!channel> <@U123>", "$x^2$ ~sub~ ::", "[^1]: note", "| --- |", "mailto:a@b.c xmpp:a@b.c FTP://x.y ftp://a.b", "[ ] task", ":)", "a  b", "`", "\\`", "_", "www.", "x`y|z`", "﷽", "…",
}

// plainText reads a cell as a reader of GitHub's Markdown does, and tells what
// else than text it found.
func plainText(t *testing.T, doc string) (string, []string) {
	t.Helper()
	src := []byte(doc)
	root := goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote)).Parser().Parse(text.NewReader(src))
	var out strings.Builder
	var odd []string
	err := ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch v := n.(type) {
		case *ast.Document, *ast.Paragraph, *ast.TextBlock, *extast.Table, *extast.TableHeader, *extast.TableRow, *extast.TableCell:
		case *ast.Text:
			out.Write(unescaped(v.Segment.Value(src)))
		case *ast.String:
			out.Write(v.Value)
		default:
			odd = append(odd, n.Kind().String())
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), odd
}

// unescaped undoes backslashes and the one entity that esc writes.
func unescaped(b []byte) []byte {
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && strings.ContainsRune("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", rune(b[i+1])) {
			i++
		}
		out = append(out, b[i])
	}
	return bytes.ReplaceAll(out, []byte("&#64;"), []byte("@"))
}

func checkEscape(t *testing.T, s string) {
	t.Helper()
	want := tidy(s)
	got, odd := plainText(t, esc(s)+"\n")
	if len(odd) > 0 || got != want {
		t.Errorf("%q as a paragraph (%q) reads %q with %v, want %q", s, esc(s), got, odd, want)
	}
	p := &page{}
	p.table([]string{"a", "b"}, [][]string{{esc(s), "end"}})
	got, odd = plainText(t, p.String())
	if len(odd) > 0 || got != "ab"+want+"end" {
		t.Errorf("%q in a table reads %q with %v, want %q\n%s", s, got, odd, "ab"+want+"end", p.String())
	}
}

func TestOutsideTextStaysText(t *testing.T) {
	for _, s := range hostile {
		checkEscape(t, s)
	}
}

func FuzzOutsideTextStaysText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkEscape(t, s)
		if n := utf8.RuneCountInString(tidy(s)); n > maxText+1 {
			t.Errorf("%d letters are left", n)
		}
	})
}

func FuzzCodeStaysCode(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := &page{}
		p.table([]string{"a", "b"}, [][]string{{code(s), "end"}})
		p.WriteString(block("promql", s))
		p.line("\nafter")
		src := p.Bytes()
		root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(src))
		count := map[string]int{}
		_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if entering {
				count[n.Kind().String()]++
			}
			return ast.WalkContinue, nil
		})
		if count["FencedCodeBlock"] != 1 || count["TableCell"] != 4 || count["Paragraph"] != 1 || count["Link"]+count["RawHTML"]+count["HTMLBlock"]+count["AutoLink"]+count["Emphasis"] > 0 {
			t.Errorf("%q broke out: %v\n%s", s, count, src)
		}
	})
}

func TestLinksGoToTheWebOnly(t *testing.T) {
	for in, want := range map[string]string{
		"https://ci.example.org/1?a=b":      "[x](https://ci.example.org/1?a=b)",
		"javascript:alert(1)":               "x",
		"data:text/html,x":                  "x",
		"//evil.example":                    "x",
		"https://a.example/) [y](z":         "[x](https://a.example/%29%20%5By%5D%28z)",
		"https://a.example/<script>|`\"(x)": "[x](https://a.example/%3Cscript%3E%7C%60%22%28x%29)",
	} {
		if got := link("x", in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}
