package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

const escape = "\x1b[2J\x1b]0;owned\a\r\u202eevil"

// A desk is a terminal before a running server.
type desk struct {
	web   web.Config
	url   string
	env   map[string]string
	calls []string
	err   error // what every action answers
}

// type runs one command line and returns what it printed.
func (d *desk) run(t *testing.T, line ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	env := &environment{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, getenv: func(k string) string { return d.env[k] }}
	code = run(t.Context(), line, env)
	return code, out.String(), bad.String()
}

// at points the desk to another server.
func (d *desk) at(url string) *desk {
	d.env["BELAY_URL"] = url
	return d
}

func (d *desk) note(words ...string) error {
	d.calls = append(d.calls, strings.Join(words, " "))
	return d.err
}

func sitDown(t *testing.T, events ...belay.Event) *desk {
	t.Helper()
	return (&desk{}).open(t, events...)
}

// open starts the server.
func (d *desk) open(t *testing.T, events ...belay.Event) *desk {
	t.Helper()
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	view := web.NewView(store, nil)
	for i, e := range events {
		e.Seq, e.At = belay.Seq(i+1), time.Date(2026, 3, 14, 14, 2, i, 0, time.UTC)
		view.Apply(e)
	}
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, web.TokenName)
	token, err := web.LoadOrCreateToken(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "i-1.md"), []byte("# Review\n\nAll is well."+escape+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkout := belay.ServiceID{Environment: "production", Name: "checkout"}
	server, err := web.New(d.web, web.Options{
		View: view, Journal: store, Token: token, TokenFile: tokenFile, ReviewDir: dir, Version: "v0.1.0",
		Services: []web.ServiceInfo{{ID: checkout, Platform: "command", Mode: belay.ModeAuto, Match: map[string]string{"service": "checkout"}}},
		Actions: web.Actions{
			Deploy: func(_ context.Context, n web.DeployNotice) error {
				return d.note("deploy", n.Event, n.Service.String(), string(n.Revision), n.Version, n.Commit, n.Actor)
			},
			RollbackPlan: func(_ context.Context, s belay.ServiceID) (belay.Rollback, error) {
				if s != checkout {
					return belay.Rollback{}, web.Because(web.ErrNotFound, errors.New("no service "+s.String()))
				}
				return plan(), d.note("plan")
			},
			RollbackStart: func(_ context.Context, s belay.ServiceID, actor string) (belay.Rollback, error) {
				r := plan()
				r.State, r.Answers = belay.RollbackPlanned, r.Answers[:1]
				return r, d.note("start", s.String(), actor)
			},
			RollbackApprove: func(_ context.Context, id, plan, actor string) error { return d.note("approve", id, plan, actor) },
			RollbackStop:    func(_ context.Context, id, actor, reason string) error { return d.note("stop", id, actor, reason) },
			RollbackRelease: func(_ context.Context, s belay.ServiceID, c belay.Content, actor string) error {
				return d.note("release", s.String(), string(c), actor)
			},
			Ack:     func(_ context.Context, id, actor, text string) error { return d.note("ack", id, actor, text) },
			Note:    func(_ context.Context, id, actor, text string) error { return d.note("note", id, actor, text) },
			Resolve: func(_ context.Context, id, actor, text string) error { return d.note("resolve", id, actor, text) },
			Assign:  func(_ context.Context, id, actor, to string) error { return d.note("assign", id, actor, to) },
			Rate:    func(_ context.Context, id, actor, to string) error { return d.note("severity", id, actor, to) },
			Merge:   func(_ context.Context, id, actor, to string) error { return d.note("merge", id, actor, to) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = view.Run(ctx) }() // the store is empty: it catches up at once
	t.Cleanup(func() { cancel(); <-done })
	for !view.CaughtUp() {
		time.Sleep(time.Millisecond)
	}
	s := httptest.NewServer(server.Handler())
	t.Cleanup(s.Close)
	d.url = s.URL
	d.env = map[string]string{"BELAY_URL": s.URL, "USER": "ada"}
	return d
}

func TestWhereReadingIsNotFreeCommandsShowTheirToken(t *testing.T) {
	dir := t.TempDir()
	text := "tokens:\n  - {name: ci, sha256: " + web.HashToken("deployer") + ", scopes: [deploy]}\n"
	if err := os.WriteFile(filepath.Join(dir, "tokens.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, _ := strict.Parse(filepath.Join(dir, "belay.yml"), []byte("web: {tokens_file: tokens.yml}\npeople: [{name: ada, token_sha256: "+web.HashToken("adas")+"}]\n"))
	cfg, problems := web.Load(doc)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	d := (&desk{web: cfg}).open(t, story()...)
	for _, c := range []struct {
		token, line string
		code        int
		call, says  string
	}{
		{"", "service list", 0, "", "production/checkout"}, // with what lies beside the journal
		{"", "incident ack i-1", 0, "ack i-1 ada (by the token of admin) ", "acknowledged"},
		{"adas", "incident ack i-1 --actor bob", 0, "ack i-1 ada ", "acknowledged"},
		{"deployer", "deploy start checkout --revision v2 --actor bob", 0, "deploy start production/checkout v2   bob (by the token of ci)", "noted"},
		{"deployer", "service list", 3, "", "it lacks the scope read"},
		{"deployer", "rollback start checkout", 3, "", "it lacks the scope approve"},
		{"stolen", "service list", 3, "", "not the admin token"},
	} {
		d.calls, d.env["BELAY_TOKEN"] = nil, c.token
		code, stdout, stderr := d.run(t, strings.Fields(c.line)...)
		if got := strings.Join(d.calls, "; "); code != c.code || got != c.call || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s with %q: exit %d, %q: %s%s", c.line, c.token, code, got, stdout, stderr)
		}
	}
}

func plan() belay.Rollback {
	return belay.Rollback{
		ID: "r-5f2c", Incident: "i-1", Target: belay.Target{Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Platform: "command"},
		From: belay.Revision{Content: "sha256:bad", Version: "v1.4.3"}, To: belay.Revision{Content: "sha256:good", Version: "v1.4.2"},
		Mode: belay.ModeAuto, State: belay.RollbackRefused, Reason: "the mode is notify: Belay tells people and does not act",
		Answers: []belay.Answer{
			{Step: 1, Guard: "evidence", Says: "CheckoutErrors failed 3 of 3 times on fresh data, and this sentence is long enough to need a second line"},
			{Step: 5, Guard: "known_good", Says: "v1.4.2 is known good"},
			{Step: 7, Guard: "mode", Veto: "the mode is notify: Belay tells people and does not act"},
		},
	}
}

func story() []belay.Event {
	id := belay.ServiceID{Environment: "production", Name: "checkout"}
	t0 := time.Date(2026, 3, 14, 14, 2, 0, 0, time.UTC)
	i := &belay.Incident{
		ID: "i-1", Service: id, Title: "Checkout answers with errors " + escape, Severity: "critical", State: belay.Triggered, OpenedAt: t0,
		Alerts: []belay.Alert{{ID: "a", Rule: "CheckoutErrors", State: belay.AlertFiring, Value: 0.184, Condition: "> 0.02", ActiveAt: t0, Labels: labels.FromStrings("service", "checkout")}},
	}
	r := plan()
	d := &belay.Deployment{ID: "d-1", Service: id, From: r.To, To: r.From, StartedAt: t0, Result: "succeeded"}
	long := strings.Repeat("a-very-long-reason ", 12)
	return []belay.Event{
		{Kind: belay.KindStarted, Reason: "Belay has started"},
		{Kind: belay.KindDeployment, Service: id, Reason: "v1.4.3 was deployed", Deployment: d},
		{Kind: belay.KindLedger, Service: id, Reason: "held", Ledger: &belay.LedgerEntry{Service: id, Revision: r.From, Standing: belay.Bad, Held: true, Since: t0}},
		{Kind: belay.KindOpened, Service: id, Reason: "CheckoutErrors fires " + escape, Incident: i},
		{Kind: belay.KindRefused, Service: id, Reason: long, Actor: "ada", Rollback: &r},
		{Kind: belay.KindReview, Service: id, Reason: "drafted", Review: &belay.Review{Incident: "i-1", State: "draft", Files: []string{"i-1.md"}}},
	}
}

func TestCommandsSayWhatTheyAreToldAndExitAsTheyShould(t *testing.T) {
	d := sitDown(t, story()...)
	for _, c := range []struct {
		line string
		code int
		call string // what the server was asked for, if anything
		says string // part of stdout or stderr
	}{
		{"deploy start --service checkout --revision sha256:1 --version v2 --commit c0ffee", 0, "deploy start production/checkout sha256:1 v2 c0ffee ada", "start of v2: noted"},
		{"deploy finish --service staging/checkout --revision v2 --actor bob", 0, "deploy finish staging/checkout v2   bob", "noted"},
		{"deploy fail --service checkout --revision v2", 0, "deploy fail production/checkout v2   ada", "noted"},
		{"deploy start --service checkout", 3, "", "--service and --revision must be given"},
		{"deploy start --servce checkout", 3, "", "unknown flag"},
		{"deploy begin", 3, "", "unknown command"},
		{"rollback plan checkout", 1, "plan", "✖ 7 mode"},
		{"rollback plan nobody", 1, "", "no service production/nobody"},
		{"rollback plan", 3, "", "name the service: `belay rollback plan SERVICE`"},
		{"rollback plan --service checkout", 1, "plan", "✖ 7 mode"},
		{"rollback plan --service staging/checkout", 1, "", "no service staging/checkout"},
		{"rollback plan --service checkout checkout", 3, "", "name the service once"},
		{"rollback plan checkout search", 3, "", "accepts at most 1 arg"},
		{"rollback start --service checkout", 0, "start production/checkout ada", "planned"},
		{"rollback start", 3, "", "--service SERVICE"},
		{"rollback release --service checkout", 0, "release production/checkout  ada", "the hold has ended"},
		{"rollback release --service checkout v1.4.3", 0, "release production/checkout v1.4.3 ada", "the hold has ended"},
		{"rollback release --service checkout checkout v1.4.3", 3, "", "name the service once"},
		{"service show --service checkout", 0, "", "bad, held"},
		{"deploy start checkout --revision v2", 0, "deploy start production/checkout v2   ada", "start of v2: noted"},
		{"deploy start checkout --service checkout --revision v2", 3, "", "name the service once"},
		{"rollback start checkout", 0, "start production/checkout ada", "planned"},
		{"rollback stop r-5f2c --reason no", 0, "stop r-5f2c ada no", "rollback r-5f2c is stopped"},
		{"rollback stop --all --reason maintenance", 0, "stop all ada maintenance", "the kill switch is set"},
		{"rollback stop", 3, "", "either the id of a rollback or --all"},
		{"rollback stop r-5f2c --all", 3, "", "either the id of a rollback or --all"},
		{"rollback release checkout v1.4.3", 0, "release production/checkout v1.4.3 ada", "the hold has ended"},
		{"rollback release checkout", 0, "release production/checkout  ada", "the hold has ended"},
		{"rollback list", 0, "", "r-5f2c"},
		{"rollback list --service other", 0, "", "none"},
		{"rollback approve r-5f2c --plan 3a1b", 0, "approve r-5f2c 3a1b ada", "rollback r-5f2c is approved"},
		{"rollback approve", 3, "", "accepts 1 arg"},
		{"incident list --state open", 0, "", "i-1"},
		{"incident show i-1", 0, "", "TIMELINE"},
		{"incident show i-9", 1, "", "there is no incident i-9"},
		{"incident ack i-1", 0, "ack i-1 ada ", "acknowledged"},
		{"incident note i-1 the cache was cold", 0, "note i-1 ada the cache was cold", "noted"},
		{"incident note i-1", 3, "", "requires at least 2"},
		{"incident resolve i-1 --actor bob", 0, "resolve i-1 bob ", "resolved"},
		{"incident assign i-1 bob", 0, "assign i-1 ada bob", "incident i-1: assigned to bob"},
		{"incident severity i-1 warning", 0, "severity i-1 ada warning", "incident i-1: called warning"},
		{"incident merge i-1 i-2", 0, "merge i-1 ada i-2", "incident i-1: a part of i-2"},
		{"incident merge i-1", 3, "", "accepts 2 arg"},
		{"review list", 0, "", "i-1.md"},
		{"review show i-1", 0, "", "All is well."},
		{"review show i-2", 1, "", "there is no review"},
		{"service list", 0, "", "production/checkout"},
		{"service show checkout", 0, "", "bad, held"},
		{"service show nobody", 1, "", "there is no service production/nobody"},
		{"status", 0, "", "v0.1.0 · ready"},
		{"status -o yaml", 3, "", "allowed: text, json"},
		{"status extra", 3, "", "unknown command"},
	} {
		d.calls = nil
		code, stdout, stderr := d.run(t, strings.Fields(c.line)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("belay %s: exit %d, want %d and %q\nstdout: %s\nstderr: %s", c.line, code, c.code, c.says, stdout, stderr)
		}
		if got := strings.Join(d.calls, "; "); got != c.call {
			t.Errorf("belay %s: asked for %q, want %q", c.line, got, c.call)
		}
		for _, line := range strings.Split(stdout, "\n") {
			if n := utf8.RuneCountInString(line); n > screen {
				t.Errorf("belay %s: a line of %d characters: %s", c.line, n, line)
			}
		}
		if strings.ContainsAny(stdout+stderr, "\x1b\a\r\u202e") {
			t.Errorf("belay %s: lets control characters through: %q", c.line, stdout+stderr)
		}
	}
}

func TestARefusalEndsWithItsReason(t *testing.T) {
	d := sitDown(t, story()...)
	d.err = web.Because(web.ErrRefused, errors.New("a rollback to v1.4.2 is under way"))
	for _, line := range []string{"rollback start checkout", "rollback stop r-1", "rollback release checkout", "incident ack i-1", "deploy start --service checkout --revision v2"} {
		code, stdout, stderr := d.run(t, strings.Fields(line)...)
		if code != 1 || stdout != "" || stderr != "belay: a rollback to v1.4.2 is under way\n" {
			t.Errorf("belay %s: exit %d, %q, %q", line, code, stdout, stderr)
		}
	}
}

func TestAPlanShowsEveryGuardInOrder(t *testing.T) {
	d := sitDown(t)
	_, got, _ := d.run(t, "rollback", "plan", "checkout")
	want := `production/checkout: v1.4.3 → v1.4.2 · mode auto · refused
the mode is notify: Belay tells people and does not act

  ✔ 1 evidence    CheckoutErrors failed 3 of 3 times on fresh data, and this
                  sentence is long enough to need a second line
  ✔ 5 known good  v1.4.2 is known good
  ✖ 7 mode        the mode is notify: Belay tells people and does not act
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSONIsWhatTheServerSaid(t *testing.T) {
	d := sitDown(t, story()...)
	for _, line := range []string{"rollback plan checkout", "rollback list", "incident list", "incident show i-1", "review list", "review show i-1", "service list", "service show checkout", "status", "incident ack i-1"} {
		_, stdout, stderr := d.run(t, append(strings.Fields(line), "-o", "json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil || len(v) == 0 {
			t.Errorf("belay %s -o json: %v\n%s%s", line, err, stdout, stderr)
		}
	}
}

func TestTheTokenGoesToNobodyElse(t *testing.T) {
	d := sitDown(t)
	var seen []string
	tokenFile := ""
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			seen = append(seen, a)
		}
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(web.TokenPlace{File: tokenFile})
			return
		}
		http.Redirect(w, r, d.url, http.StatusTemporaryRedirect)
	}))
	defer stranger.Close()
	secret := filepath.Join(t.TempDir(), "id_rsa")
	if err := os.WriteFile(secret, []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env["BELAY_URL"] = stranger.URL
	for name, file := range map[string]string{"another file": secret, "no file": "", "a file that is gone": filepath.Join(t.TempDir(), web.TokenName)} {
		tokenFile = file
		code, _, stderr := d.run(t, "rollback", "stop", "--all")
		if code != 3 || !strings.Contains(stderr, "BELAY_TOKEN") {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
	}
	if len(seen) > 0 {
		t.Errorf("a secret was sent: %v", seen)
	}
	var status web.Status // a squatter who learned where the token of a real Belay lies
	if _, out, _ := d.at(d.url).run(t, "status", "-o", "json"); json.Unmarshal([]byte(out), &status) != nil || status.TokenFile == "" {
		t.Fatalf("no token file in %s", out)
	}
	tokenFile = status.TokenFile
	if code, _, stderr := d.at(stranger.URL).run(t, "rollback", "stop", "--all"); code != 3 || !strings.Contains(stderr, "not the Belay whose token this is") {
		t.Errorf("a squatter: exit %d: %s", code, stderr)
	}
	if len(seen) > 0 {
		t.Errorf("the squatter was told the token: %v", seen)
	}
	d.env["BELAY_URL"] = "http://belay.example.org:1"
	if code, _, stderr := d.run(t, "rollback", "stop", "--all"); code != 3 || !strings.Contains(stderr, "on another host") {
		t.Errorf("another host: exit %d: %s", code, stderr)
	}
	d.env["BELAY_URL"], d.env["BELAY_TOKEN"] = stranger.URL, "belay_mine"
	if code, _, stderr := d.run(t, "rollback", "stop", "--all"); code != 3 || !strings.Contains(stderr, "does not answer like Belay: 307") {
		t.Errorf("a redirect: exit %d: %s", code, stderr)
	}
	if len(d.calls) > 0 {
		t.Errorf("a redirect was followed: %v", d.calls)
	}
	d.env["BELAY_URL"] = d.url
	if code, _, stderr := d.run(t, "rollback", "stop", "--all"); code != 3 || !strings.Contains(stderr, "not the admin token") {
		t.Errorf("the wrong token: exit %d: %s", code, stderr)
	}
}

func TestAServerThatIsNotThereIsNoVerdict(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	rubbish := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer rubbish.Close()
	for url, want := range map[string]string{
		gone.URL:                     "cannot reach Belay",
		other.URL:                    "does not answer like Belay: 404",
		rubbish.URL:                  "does not answer like Belay",
		"127.0.0.1:9720":             "BELAY_URL is",
		"ftp://127.0.0.1":            "BELAY_URL is",
		"http://user:pw@127.0.0.1:1": "user:xxxxx@",
	} {
		d := &desk{env: map[string]string{"BELAY_URL": url}}
		for _, line := range []string{"status", "incident show i-1", "rollback plan checkout", "rollback stop --all"} {
			code, _, stderr := d.run(t, strings.Fields(line)...)
			if code != 3 || !strings.Contains(stderr, want) {
				t.Errorf("%s, belay %s: exit %d: %s", url, line, code, stderr)
			}
		}
	}
}

func TestEachClientCommandHasAnExample(t *testing.T) {
	env := &environment{getenv: func(string) string { return "" }}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || !strings.Contains(c.Example, "belay ") {
			t.Errorf("%s lacks a short description or an example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range []*cobra.Command{deployCommand(env), rollbackCommand(env), incidentCommand(env), reviewCommand(env), serviceCommand(env), statusCommand(env)} {
		walk(c)
	}
}

func TestTablesFitTheScreen(t *testing.T) {
	table := newTable("ID", "SERVICE", "FROM", "TO", "STATE", "WHY")
	long := strings.Repeat("x", 70)
	table.add("r-0123456789ab", "production/"+long, "sha256:"+long, "v1", "not_recovered", long)
	table.add("r-1", "", "a\tb", "ümlaut", "", "why")
	lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], "r-0123456789ab ") {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > screen {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	at := func(line, cell string) int {
		before, _, _ := strings.Cut(line, cell)
		return utf8.RuneCountInString(before)
	}
	if at(lines[0], "WHY") != at(lines[2], "why") {
		t.Errorf("columns are not aligned:\n%s", strings.Join(lines, "\n"))
	}
}
