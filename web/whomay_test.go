package web_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

var update = flag.Bool("update", false, "write docs/who-may.md as it is")

// someToken is a token of its own for each name.
func someToken(name string) string { return "token-of-" + name + "-" + strings.Repeat("x", 20) }

// configured reads the sections web and people out of a configuration whose
// tokens_file is as given.
func configured(t testing.TB, yaml, tokens string) (web.Config, strict.Problems) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokens.yml"), []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, ps := strict.Parse(filepath.Join(dir, "belay.yml"), []byte(yaml))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return web.Load(doc)
}

// scoped is a configuration with a token for each scope, named like it, and
// ada, a person.
func scoped(t testing.TB) web.Config {
	t.Helper()
	var tokens strings.Builder
	tokens.WriteString("tokens:\n")
	for _, s := range web.Scopes() {
		fmt.Fprintf(&tokens, "  - {name: only-%s, sha256: %s, scopes: [%s]}\n", s, web.HashToken(someToken(string(s))), s)
	}
	cfg, ps := configured(t, "web: {listen: '127.0.0.1:0', tokens_file: tokens.yml}\npeople:\n  - {name: ada, slack: U1, token_sha256: "+web.HashToken(someToken("ada"))+"}\n", tokens.String())
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return cfg
}

// with builds a house whose server has that configuration.
func with(t testing.TB, cfg web.Config) *house {
	t.Helper()
	h := build(t, loop(), func(o *web.Options) {
		o.Prometheus = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	})
	var err error
	h.opts.Prometheus = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = h.calls.note("prometheus", r.URL.Path) })
	h.opts.Reload = h.calls.reload
	h.opts.Alertmanager = func(func(*http.Request, string) string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				_ = h.calls.note("alertmanager", r.URL.Path)
			}
		})
	}
	h.opts.Explain = func(labels.Labels) any { return "" }
	if h.server, err = web.New(cfg, h.opts); err != nil {
		t.Fatal(err)
	}
	h.http.Config.Handler = h.server.Handler()
	return h
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// signIn signs in with a token and returns the cookie and what forms carry.
func (h *house) signIn(t testing.TB, token string) (cookie, csrf string) {
	t.Helper()
	code, header, body := h.send(t, "POST", "/signin", url.Values{"token": {token}, "back": {"/status"}}.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", h.http.URL)
	if code != http.StatusSeeOther || header.Get("Location") != "/status" {
		t.Fatalf("signing in: status %d to %q: %s", code, header.Get("Location"), body)
	}
	set := header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie lacks %s: %s", want, set)
		}
	}
	cookie, _, _ = strings.Cut(set, ";")
	_, _, page := h.send(t, "GET", "/", "", "Cookie", cookie, "Accept", "text/html")
	m := csrfField.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no form on the page of who signed in:\n%s", page)
	}
	return cookie, m[1]
}

// request returns a body that a route takes, and its type.
func request(r web.Route, csrf string) (path, body, kind string) {
	path = strings.NewReplacer("{id}", "i-7k2m", "{env}", "production", "{name}", "checkout", "{$}", "", "{rest...}", "query").Replace(r.Pattern)
	switch {
	case r.Method == http.MethodGet:
		return path, "", ""
	case strings.HasPrefix(path, "/api/v2/"):
		return path, "[]", "application/json"
	case strings.HasPrefix(path, "/api/belay/"):
		body = "{}"
		switch path[strings.LastIndex(path, "/")+1:] {
		case "deployments":
			body = `{"event":"start","service":"checkout","revision":"v2"}`
		case "note":
			body = `{"text":"x"}`
		case "assign", "severity", "merge":
			body = `{"to":"x"}`
		}
		return path, body, "application/json"
	}
	form := url.Values{"text": {"x"}, "to": {"x"}, "token": {token()}, "matchers": {`a="b"`}, "length": {"1h"}}
	if csrf != "" {
		form.Set("csrf", csrf)
	}
	return path, form.Encode(), "application/x-www-form-urlencoded"
}

// A visitor is a column of the table.
type visitor struct {
	name    string
	house   *house
	headers func(t testing.TB, r web.Route) (headers []string, csrf string)
}

func visitors(t testing.TB) []visitor {
	t.Helper()
	open, closed := with(t, web.Config{Listen: "127.0.0.1:0"}), with(t, scoped(t))
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	right := func(r web.Route) string {
		if r.Scope == "" {
			return someToken("read")
		}
		return someToken(string(r.Scope))
	}
	wrong := func(r web.Route) string { // all but admin, which includes the others, are wrong for another
		if r.Scope == web.ScopeDeploy {
			return someToken("ack")
		}
		return someToken("deploy")
	}
	fixed := func(h ...string) func(testing.TB, web.Route) ([]string, string) {
		return func(testing.TB, web.Route) ([]string, string) { return h, "" }
	}
	return []visitor{
		{"no token, no tokens_file", open, fixed()},
		{"no token", closed, fixed()},
		{"unknown token", closed, fixed(bearer("nobody-has-this")...)},
		{"wrong scope", closed, func(_ testing.TB, r web.Route) ([]string, string) { return bearer(wrong(r)), "" }},
		{"right scope", closed, func(_ testing.TB, r web.Route) ([]string, string) { return bearer(right(r)), "" }},
		{"right scope, another site", closed, func(_ testing.TB, r web.Route) ([]string, string) {
			return append(bearer(right(r)), "Origin", "https://evil.example.com", "Sec-Fetch-Site", "cross-site"), ""
		}},
		{"signed in", closed, func(t testing.TB, _ web.Route) ([]string, string) {
			cookie, csrf := closed.signIn(t, someToken("ada"))
			return []string{"Cookie", cookie, "X-CSRF-Token", csrf, "Origin", closed.http.URL}, csrf
		}},
		{"signed in, no CSRF token", closed, func(t testing.TB, _ web.Route) ([]string, string) {
			cookie, _ := closed.signIn(t, someToken("ada"))
			return []string{"Cookie", cookie, "Origin", closed.http.URL}, ""
		}},
		{"signed in, another site", closed, func(t testing.TB, _ web.Route) ([]string, string) {
			cookie, csrf := closed.signIn(t, someToken("ada"))
			return []string{"Cookie", cookie, "X-CSRF-Token", csrf, "Origin", "https://evil.example.com"}, csrf
		}},
	}
}

// verdict is what a cell says.
func verdict(code int) string {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest:
		return fmt.Sprint(code)
	}
	return "yes"
}

const whoMay = "../docs/who-may.md"

const whoMayHead = `# Who may do what

Written by ` + "`go test ./web -run TestTheTableOfWhoMay -update`" + ` from what the server does; the same test compares each cell.

"yes" means that the request reaches what it asks for; 401 that nobody may do this without a token; 403 that this caller, or this way of asking, may not.
"another site" is a request that a browser sends on behalf of a page from elsewhere. The scope ` + "`admin`" + ` includes all others; the token beside the journal has it.
A person of ` + "`people`" + ` who signs in may do all but administration, or what ` + "`tokens_file`" + ` says of their token.

`

func TestTheTableOfWhoMay(t *testing.T) {
	columns := visitors(t)
	routes := columns[0].house.server.Routes()
	want := readTable(t)
	var b strings.Builder
	b.WriteString(whoMayHead + "| request | scope |")
	for _, v := range columns {
		b.WriteString(" " + v.name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range routes {
		name := r.Method + " " + r.Pattern
		scope := string(r.Scope)
		if scope == "" {
			scope = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %s |", name, scope)
		for _, v := range columns {
			got := ""
			t.Run(name+" by "+v.name, func(t *testing.T) {
				got = cell(t, v, r)
				if w := want[name][v.name]; !*update && got != w {
					t.Errorf("%s, the table says %q", got, w)
				}
			})
			b.WriteString(" " + got + " |")
		}
		b.WriteString("\n")
		delete(want, name)
	}
	if *update {
		if err := os.WriteFile(whoMay, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(want) > 0 {
		t.Errorf("the table has rows that the server does not: %v", want)
	}
	if text, _ := os.ReadFile(whoMay); string(text) != b.String() {
		t.Errorf("%s is not what the test writes with -update", whoMay)
	}
}

// cell asks for one route as one visitor and holds the answer against the laws
// that the whole table has to keep.
func cell(t *testing.T, v visitor, r web.Route) string {
	headers, csrf := v.headers(t, r)
	path, body, kind := request(r, csrf)
	before := len(v.house.calls.all())
	code, _, text := v.house.send(t, r.Method, path, body, append(slices.Clone(headers), "Content-Type", kind, "Accept", "application/json")...)
	got, acted := verdict(code), len(v.house.calls.all()) > before
	changes := r.Method != http.MethodGet && r.Scope != web.ScopeRead && r.Scope != ""
	switch {
	case got == "yes" && code >= 400 && code != http.StatusNotFound:
		t.Errorf("status %d: %s", code, text)
	case changes && acted != (got == "yes"):
		t.Errorf("status %d, acted: %v", code, acted)
	case got != "yes" && acted:
		t.Errorf("refused, but acted")
	case r.Method != http.MethodGet && strings.Contains(v.name, "another site") && got == "yes":
		t.Error("another site may make a browser do this")
	case r.Scope != "" && (v.name == "no token" || v.name == "wrong scope") && got == "yes":
		t.Errorf("%s may do what needs the scope %s", v.name, r.Scope)
	case changes && v.name == "no token, no tokens_file" && (got == "yes") != strings.HasPrefix(r.Pattern, "/api/v2/"):
		t.Errorf("%s: only alerts and silences may be changed by whoever is on this host", got)
	case changes && v.name == "signed in, no CSRF token" && got == "yes":
		t.Errorf("%s may change something", v.name)
	case r.Scope != "" && v.name == "unknown token" && got == "yes":
		t.Error("a wrong token is taken for none")
	case v.name == "right scope" && got != "yes":
		t.Errorf("status %d with the right token: %s", code, text)
	}
	return got
}

func TestEachScopeOpensItsOwnDoorsAndNoOther(t *testing.T) {
	h := with(t, scoped(t))
	for _, r := range h.server.Routes() {
		if r.Scope == "" {
			continue
		}
		for _, s := range web.Scopes() {
			path, body, kind := request(r, "")
			code, _, _ := h.send(t, r.Method, path, body, "Authorization", "Bearer "+someToken(string(s)), "Content-Type", kind)
			if may := s == r.Scope || s == web.ScopeAdmin; may != (verdict(code) == "yes") {
				t.Errorf("%s %s with the scope %s: status %d", r.Method, r.Pattern, s, code)
			}
		}
	}
}

// readTable reads the checked-in table.
func readTable(t *testing.T) map[string]map[string]string {
	text, err := os.ReadFile(whoMay)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	var columns []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		var cells []string
		for c := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(c))
		}
		if columns == nil {
			columns = cells
			continue
		}
		row := map[string]string{}
		for i, c := range cells {
			row[columns[i]] = c
		}
		out[strings.Trim(cells[0], "`")] = row
	}
	return out
}
