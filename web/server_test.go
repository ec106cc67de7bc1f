package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

// send makes a request to the server of the house. headers alternate name and
// value; Host sets the name that the server is called by.
func (h *house) send(t testing.TB, method, path, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.http.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func TestWhoMayDoWhat(t *testing.T) {
	h := build(t, loop(), nil)
	right, wrong := "Bearer "+token(), "Bearer belay_"+strings.Repeat("cd", 32)
	here := h.http.URL
	for _, c := range []struct {
		name    string
		method  string
		headers []string
		want    int
	}{
		{"reading needs nothing", "GET", nil, 200},
		{"reading by the name localhost", "GET", []string{"Host", "localhost:9720"}, 200},
		{"reading by IPv6", "GET", []string{"Host", "[::1]:9720"}, 200},
		{"reading by a foreign name that resolves to here", "GET", []string{"Host", "evil.example.com"}, 421},
		{"writing without a token", "POST", nil, 401},
		{"writing with the wrong token", "POST", []string{"Authorization", wrong}, 401},
		{"writing with a prefix of the token", "POST", []string{"Authorization", right[:30]}, 401},
		{"writing with an empty token", "POST", []string{"Authorization", "Bearer "}, 401},
		{"writing with the token as Basic", "POST", []string{"Authorization", "Basic " + token()}, 401},
		{"writing with the right token", "POST", []string{"Authorization", right}, 200},
		{"the scheme may be written in any case", "POST", []string{"Authorization", "bearer " + token()}, 200},
		{"writing with the token from this site", "POST", []string{"Authorization", right, "Origin", here}, 200},
		{"writing with the token from another site", "POST", []string{"Authorization", right, "Origin", "https://evil.example.com"}, 403},
		{"writing from a page without an origin", "POST", []string{"Authorization", right, "Origin", "null"}, 403},
		{"writing from another port of this host", "POST", []string{"Authorization", right, "Origin", "http://127.0.0.1:1"}, 403},
		{"writing that a browser calls cross-site", "POST", []string{"Authorization", right, "Sec-Fetch-Site", "cross-site"}, 403},
		{"writing from a sibling site", "POST", []string{"Authorization", right, "Sec-Fetch-Site", "same-site"}, 403},
		{"writing by a foreign name", "POST", []string{"Authorization", right, "Host", "evil.example.com"}, 421},
		{"another method without a token", "DELETE", nil, 401},
		{"another method with the token", "DELETE", []string{"Authorization", right}, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := "/api/belay/v1/incidents/i-7k2m"
			if c.method == "POST" {
				path += "/ack"
			}
			before := len(h.calls.all())
			code, _, body := h.send(t, c.method, path, "", append(c.headers, "Content-Type", "application/json")...)
			if code != c.want {
				t.Errorf("status %d, want %d: %s", code, c.want, body)
			}
			if acted := len(h.calls.all()) > before; acted != (c.want == 200 && c.method == "POST") {
				t.Errorf("acted: %v", acted)
			}
		})
	}
}

// Alerts and silences alone are taken from whoever is on this host.
func TestEveryWriteNeedsTheToken(t *testing.T) {
	h := build(t, loop(), nil)
	for _, r := range h.server.Routes() {
		if r.Method != http.MethodPost || r.Scope == "" || r.Scope == web.ScopeRead || strings.HasPrefix(r.Pattern, "/api/v2/") {
			continue
		}
		path := strings.NewReplacer("{id}", "i-7k2m", "{env}", "production", "{name}", "checkout").Replace(r.Pattern)
		code, _, _ := h.send(t, "POST", path, "{}", "Content-Type", "application/json")
		if code != http.StatusUnauthorized {
			t.Errorf("POST %s without a token: status %d, want 401", path, code)
		}
	}
	if got := h.calls.all(); len(got) > 0 {
		t.Errorf("acted without a token: %v", got)
	}
}

func TestWhatPeopleAskForReachesThePartThatDecides(t *testing.T) {
	h := build(t, loop(), nil)
	api := "/api/belay/v1"
	for _, c := range []struct {
		path, body string
		code       int
		call       string // what the action was called with, or part of the answer
	}{
		{"/deployments", `{"event":"start","service":"checkout","revision":"sha256:1","actor":"ada"}`, 200, "deploy start production/checkout sha256:1 ada"},
		{"/deployments", `{"event":"fail","service":"staging/checkout","revision":"v2"}`, 200, "deploy fail staging/checkout v2 "},
		{"/deployments", `{"event":"begin","service":"checkout","revision":"v2"}`, 400, "start, finish or fail"},
		{"/deployments", `{"event":"start","service":"checkout"}`, 400, "revision must be given"},
		{"/deployments", `{"event":"start","servce":"checkout"}`, 400, "servce"},
		{"/deployments", `{"event":"start","service":"a","revision":"b"} {}`, 400, "something follows"},
		{"/deployments", ``, 400, "the body is not"},
		{"/deployments", `[]`, 400, "the body is not"},
		{"/deployments", `{"event":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "larger than 1048576"},
		{"/incidents/i-7k2m/ack", `{"actor":"ada"}`, 200, "ack i-7k2m ada "},
		{"/incidents/i-7k2m/ack", ``, 200, "ack i-7k2m admin "},
		{"/incidents/i-7k2m/note", `{"actor":"ada","text":"it was the cache"}`, 200, "note i-7k2m ada it was the cache"},
		{"/incidents/i-7k2m/note", `{"actor":"ada","text":"  "}`, 400, "a note needs a text"},
		{"/incidents/i-7k2m/resolve", `{"text":"false alarm"}`, 200, "resolve i-7k2m admin false alarm"},
		{"/incidents/i-7k2m/assign", `{"to":"bob"}`, 200, "assign i-7k2m admin bob"},
		{"/incidents/i-7k2m/severity", `{"actor":"ada","to":"info"}`, 200, "severity i-7k2m ada info"},
		{"/incidents/i-7k2m/merge", `{"to":"i-1"}`, 200, "merge i-7k2m admin i-1"},
		{"/incidents/i-7k2m/merge", `{"into":"i-1"}`, 400, "into"},
		{"/incidents/i-7k2m/assign", `{"to":" "}`, 400, "to must be given"},
		{"/incidents/i-none/assign", `{"to":"bob"}`, 404, "there is no incident i-none"},
		{"/incidents/i-none/ack", ``, 404, "there is no incident i-none"},
		{"/rollbacks/production/checkout/start", `{"actor":"ada"}`, 200, "start production/checkout ada"},
		{"/rollbacks/production/checkout/release", `{"actor":"ada","revision":"v1.4.3"}`, 200, "release production/checkout v1.4.3 ada"},
		{"/rollbacks/production/checkout/release", ``, 200, "release production/checkout  admin"},
		{"/rollbacks/r-1/stop", `{"actor":"ada","text":"no"}`, 200, "stop r-1 ada no"},
		{"/rollbacks/stop", `{"actor":"ada","text":"maintenance"}`, 200, "stop all ada maintenance"},
	} {
		before := len(h.calls.all())
		code, header, body := h.send(t, "POST", api+c.path, c.body, "Authorization", "Bearer "+token(), "Content-Type", "application/json")
		if code != c.code || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %.60s: status %d %s, want %d: %s", c.path, c.body, code, header.Get("Content-Type"), c.code, body)
		}
		got := body
		if code == 200 {
			got = strings.Join(h.calls.all()[before:], "\n")
		}
		if !strings.Contains(got, c.call) {
			t.Errorf("%s %.60s: got %q, want %q", c.path, c.body, got, c.call)
		}
	}
	if code, _, _ := h.send(t, "POST", api+"/rollbacks/stop", "actor=eve", "Authorization", "Bearer "+token(), "Content-Type", "application/x-www-form-urlencoded"); code != 415 {
		t.Errorf("a form: status %d, want 415", code)
	}
}

func TestAnActionsErrorTellsWhy(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{web.Because(web.ErrRefused, errors.New("a rollback is under way")), 409},
		{fmt.Errorf("%w: no such service", web.ErrNotFound), 404},
		{fmt.Errorf("%w: no hash", web.ErrInvalid), 400},
		{errors.New("the journal: disk full"), 500},
	} {
		h := build(t, nil, nil)
		h.calls.err = c.err
		code, _, body := h.send(t, "POST", "/api/belay/v1/rollbacks/production/checkout/start", "{}", "Authorization", "Bearer "+token(), "Content-Type", "application/json")
		if code != c.code || !strings.Contains(body, c.err.Error()) {
			t.Errorf("%v: status %d, want %d: %s", c.err, code, c.code, body)
		}
	}
}

func TestAnActionThatNobodyDoesIsNotImplemented(t *testing.T) {
	h := build(t, loop(), func(o *web.Options) { o.Actions = web.Actions{} })
	for _, r := range h.server.Routes() {
		path := strings.NewReplacer("{id}", "i-7k2m", "{env}", "production", "{name}", "checkout").Replace(r.Pattern)
		if !strings.HasPrefix(path, "/api/belay/") || r.Method != http.MethodPost && !strings.HasSuffix(path, "/plan") {
			continue
		}
		body := `{}`
		switch {
		case strings.HasSuffix(path, "/deployments"):
			body = `{"event":"start","service":"checkout","revision":"v2"}`
		case strings.HasSuffix(path, "/note"):
			body = `{"text":"words"}`
		case strings.HasSuffix(path, "/assign"), strings.HasSuffix(path, "/severity"), strings.HasSuffix(path, "/merge"):
			body = `{"to":"x"}`
		}
		code, _, text := h.send(t, r.Method, path, body, "Authorization", "Bearer "+token(), "Content-Type", "application/json")
		if code != http.StatusNotImplemented {
			t.Errorf("%s %s: status %d, want 501: %s", r.Method, path, code, text)
		}
	}
}

func TestAPlanIsNotForOtherSites(t *testing.T) {
	h := build(t, nil, nil)
	path := "/api/belay/v1/rollbacks/production/checkout/plan"
	if code, _, _ := h.send(t, "GET", path, "", "Sec-Fetch-Site", "cross-site"); code != 403 || len(h.calls.all()) > 0 {
		t.Errorf("another site: status %d, calls %v", code, h.calls.all())
	}
	code, _, body := h.send(t, "GET", path, "")
	var r belay.Rollback
	if err := json.Unmarshal([]byte(body), &r); code != 200 || err != nil || len(r.Answers) != 7 {
		t.Errorf("status %d, %v: %s", code, err, body)
	}
}

func TestTheAPITellsWhatTheJournalHolds(t *testing.T) {
	h := build(t, loop(), nil)
	h.write(t, "i-7k2m.md", reviewMarkdown)
	for _, c := range []struct {
		path string
		code int
		want []string
	}{
		{"/services", 200, []string{`"name": "checkout"`, `"version": "v1.4.2"`, `"rolled_back": true`, `"state": "unknown"`}},
		{"/services/production/checkout", 200, []string{`"held": true`, `"standing": "good"`}},
		{"/services/production/nobody", 404, []string{`"error": "there is no service production/nobody"`}},
		{"/deployments", 200, []string{`"id": "d-1"`, `"id": "d-2"`}},
		{"/deployments?limit=1", 200, []string{`"id": "d-2"`}},
		{"/deployments?service=search", 200, []string{`"deployments": []`}},
		{"/deployments/d-1", 200, []string{`"actor": "ada"`}},
		{"/deployments/d-3", 404, []string{`"error"`}},
		{"/incidents", 200, []string{`"id": "i-7k2m"`}},
		{"/incidents?state=open", 200, []string{`"incidents": []`}},
		{"/incidents?state=resolved&service=production/checkout", 200, []string{`"id": "i-7k2m"`}},
		{"/incidents/i-7k2m", 200, []string{`"timeline"`, `"r-5f2c81d09a3e"`, `"slack #checkout-oncall"`, `"review"`}},
		{"/incidents/i-none", 404, []string{`"error"`}},
		{"/incidents?limit=0", 400, []string{"from 1 to 1000"}},
		{"/incidents?limit=1001", 400, []string{"from 1 to 1000"}},
		{"/rollbacks", 200, []string{`"state": "recovered"`}},
		{"/rollbacks/r-5f2c81d09a3e", 200, []string{`"guard": "known_good"`}},
		{"/rollbacks/r-none", 404, []string{`"error"`}},
		{"/reviews", 200, []string{`"i-7k2m.md"`}},
		{"/reviews/i-7k2m", 200, []string{`"markdown": "# Checkout`}},
		{"/reviews/i-none", 404, []string{`"error"`}},
		{"/events?after=3&limit=2", 200, []string{`"seq": 4`, `"seq": 5`, `"next": 5`}},
		{"/events?after=99", 200, []string{`"events": []`, `"next": 99`}},
		{"/events?after=-1", 400, []string{"after must be"}},
		{"/status", 200, []string{`"version": "v0.1.0"`, `"token_file": "/var/lib/belay/belay.token"`, `"journal": 14`, `"ready": true`}},
		{"/openapi.yaml", 200, []string{"openapi: 3.1.0"}},
		{"/nothing", 404, []string{`"error": "there is nothing at /api/belay/v1/nothing"`}},
	} {
		code, _, body := h.send(t, "GET", "/api/belay/v1"+c.path, "")
		if code != c.code {
			t.Errorf("%s: status %d, want %d: %s", c.path, code, c.code, body)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s:\n%s", c.path, want, body)
			}
		}
		if strings.Contains(body, token()) {
			t.Errorf("%s tells the token", c.path)
		}
	}
}

func TestEachRouteOfTheAPIIsDescribed(t *testing.T) {
	h := build(t, nil, nil)
	_, _, text := h.send(t, "GET", "/api/belay/v1/openapi.yaml", "")
	var raw struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, methods := range raw.Paths {
		for method, node := range methods {
			if method == "parameters" {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path)
			var op struct {
				Summary   string
				Security  []map[string][]string
				Responses map[string]yaml.Node
			}
			if err := node.Decode(&op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			if op.Summary == "" || len(op.Responses) == 0 {
				t.Errorf("%s %s lacks a summary or responses", method, path)
			}
			if secured := len(op.Security) > 0; secured != (method == "post") {
				t.Errorf("%s %s: needs a token: %v", method, path, secured)
			}
		}
	}
	for _, r := range h.server.Routes() {
		if strings.HasPrefix(r.Pattern, "/api/belay/") {
			served = append(served, r.Method+" "+r.Pattern)
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("openapi.yaml (-served +described):\n%s", diff)
	}
}

func TestTheStreamGoesOnWithTheJournal(t *testing.T) {
	h := build(t, loop(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.http.URL+"/api/belay/v1/events?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", "13") // wins over after
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("content type %s", kind)
	}
	lines := bufio.NewScanner(res.Body)
	next := func() (id string, e belay.Event) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(text), &e); err != nil {
					t.Fatal(err)
				}
				return id, e
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", e
	}
	if id, e := next(); id != "14" || e.Kind != belay.KindReview {
		t.Errorf("first is %s %s", id, e.Kind)
	}
	note := belay.Event{At: start, Kind: belay.KindNoted, Reason: "two\nlines", Incident: incident("i-7k2m", belay.Resolved)}
	if _, err := h.journal.Append(ctx, "test", belay.AnySeq, note); err != nil {
		t.Fatal(err)
	}
	if id, e := next(); id != "15" || e.Reason != "two\nlines" {
		t.Errorf("then comes %s %q", id, e.Reason)
	}
}

func TestReadyWhenBelayWatches(t *testing.T) {
	not := errors.New("no target was scraped yet")
	h := build(t, nil, func(o *web.Options) { o.Ready = func() error { return not } })
	if code, _, body := h.send(t, "GET", "/-/healthy", ""); code != 200 {
		t.Errorf("healthy: %d %s", code, body)
	}
	if code, _, body := h.send(t, "GET", "/-/ready", ""); code != 503 || !strings.Contains(body, "no target was scraped yet") {
		t.Errorf("not ready: %d %s", code, body)
	}
	not = nil
	if code, _, body := h.send(t, "GET", "/-/ready", ""); code != 200 {
		t.Errorf("ready: %d %s", code, body)
	}
	empty := web.NewView(h.journal, nil)
	opts := h.opts
	opts.View = empty // nobody runs it: it never catches up
	s, err := web.New(web.Config{}, opts)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/-/ready", nil)
	req.Host = "127.0.0.1:9720"
	s.Handler().ServeHTTP(rec, req)
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "still reading the journal") {
		t.Errorf("before the journal is read: %d %s", rec.Code, rec.Body)
	}
}

func TestAnAddressThatStrangersReachIsAnError(t *testing.T) {
	for listen, want := range map[string]string{
		"":                "",
		"127.0.0.1:0":     "",
		"127.8.8.8:9720":  "",
		"[::1]:9720":      "",
		"localhost:9720":  "",
		":9720":           "other hosts",
		"0.0.0.0:9720":    "other hosts",
		"[::]:9720":       "other hosts",
		"192.0.2.1:9720":  "other hosts",
		"localhost.x:1":   "other hosts",
		"9720":            "not an address",
		"127.0.0.1:":      "not a port",
		"127.0.0.1:70000": "not a port",
	} {
		doc, _ := strict.Parse("belay.yml", []byte("web:\n  listen: x\n"))
		problems := web.Config{Listen: listen}.Validate(doc, "web")
		_, err := web.New(web.Config{Listen: listen}, web.Options{View: web.NewView(nil, nil), Journal: &flaky{}, Token: token()})
		if want == "" {
			if problems.Err() != nil || err != nil {
				t.Errorf("%q: %v, %v", listen, problems, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New with %q: %v, want %s", listen, err, want)
		}
		if text := fmt.Sprint(problems.Err()); !strings.HasPrefix(text, "belay.yml:2: ") || !strings.Contains(text, want) {
			t.Errorf("check of %q: %s, want %s", listen, text, want)
		}
	}
}

func TestRunServesUntilToldToStopAndLeavesNothingBehind(t *testing.T) {
	h := build(t, loop(), nil)
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.server.Run(ctx) }()
	<-h.server.Listening()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.server.Addr().String()+"/api/belay/v1/events?after=now", nil)
	req.Header.Set("Accept", "text/event-stream")
	res, err := client.Do(req) // an open stream must not keep Belay from stopping
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %v: the open stream held it up", took)
	}
	_ = res.Body.Close()
	transport.CloseIdleConnections()
	goleak.VerifyNone(t, ignore)

	taken, err := web.New(web.Config{Listen: strings.TrimPrefix(h.http.URL, "http://")}, h.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an address that is taken: %v", err)
	}
}

func TestStreamsAreNotWithoutEnd(t *testing.T) {
	h := build(t, loop(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func() int {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.http.URL+"/api/belay/v1/events?after=now", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res.StatusCode
	}
	for i := range 64 {
		if code := open(); code != 200 {
			t.Fatalf("stream %d: status %d", i+1, code)
		}
	}
	if code := open(); code != 503 {
		t.Errorf("one stream too many: status %d, want 503", code)
	}
	if code, _, _ := h.send(t, "GET", "/-/healthy", ""); code != 200 {
		t.Errorf("pages must still be served: status %d", code)
	}
}
