package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
	"github.com/belaydev/belay/strict"
)

var target = belay.Target{Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Platform: "webhook"}

// serve runs a receiver, and returns the platform that talks to it.
func serve(t *testing.T, h http.Handler, change func(*Config)) *Platform {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{URL: srv.URL + "/deploy/checkout", SecretFile: file, Poll: 20 * time.Millisecond, Timeout: 5 * time.Second, CompareAndSet: rollback.Atomic}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg, Options{Client: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWebhookConforms(t *testing.T) {
	for _, slow := range []bool{false, true} {
		t.Run(map[bool]string{false: "answers at once", true: "answers by status URL"}[slow], func(t *testing.T) {
			rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness {
				r := newReceiver(t)
				r.slow = slow
				p := serve(t, r, nil)
				breakage := func(name, says string) rollbacktest.Breakage {
					return rollbacktest.Breakage{Name: name, Says: says, Deploy: func(testing.TB, string) { r.deploy("v2", name); r.stuck(says) }}
				}
				return rollbacktest.Harness{
					Platform: p, Target: target,
					Deploy:       func(_ testing.TB, name, body string) { r.deploy(name, body) },
					DeployBroken: func(_ testing.TB, name string) { r.deploy(name, "broken"); r.stuck("crash loop: exit status 2") },
					Breakages:    []rollbacktest.Breakage{breakage("image pull", "image pull: not found"), breakage("quota", "quota: no CPU is left")},
					Restart:      func(testing.TB) {},
					Scale:        func(_ testing.TB, n int) { r.mu.Lock(); r.instances = n; r.mu.Unlock() },
					Instances:    func(testing.TB) int { r.mu.Lock(); defer r.mu.Unlock(); return r.instances },
					EditLabel:    func(testing.TB) { r.mu.Lock(); r.note = "edited"; r.mu.Unlock() },
					Remove: func(_ testing.TB, name string) {
						r.mu.Lock()
						defer r.mu.Unlock()
						for i := range r.releases {
							r.releases[i].missing = r.releases[i].missing || r.releases[i].name == name
						}
					},
					RestoreLost: func(ctx context.Context, op belay.Operation) error {
						lose := func(yes bool) { r.mu.Lock(); r.lose = yes; r.mu.Unlock() }
						lose(true)
						defer lose(false)
						return p.Restore(ctx, op)
					},
					Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
						r.mu.Lock()
						r.before = meanwhile
						r.mu.Unlock()
						return p.Restore(ctx, op)
					},
					History: func(testing.TB) []rollbacktest.Change {
						r.mu.Lock()
						defer r.mu.Unlock()
						return append([]rollbacktest.Change{}, r.history...)
					},
				}
			})
		})
	}
}

const goodState = `{"content":"sha256:bb","progress":"converged"}`

var op = belay.Operation{ID: "op-1", Target: target, Seen: "sha256:bb", To: belay.Revision{Content: "sha256:aa"}}

// scripted answers GET of the state well, and everything else as it is told.
func scripted(code int, header, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && req.URL.Path == "/deploy/checkout" {
			_, _ = w.Write([]byte(goodState))
			return
		}
		if header != "" {
			w.Header().Set("Location", header)
		}
		if strings.HasPrefix(req.URL.Path, "/status") {
			code = http.StatusOK
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	})
}

func TestWhatAnAnswerToARestoreMeans(t *testing.T) {
	for name, tc := range map[string]struct {
		code                 int
		location, body       string
		ok                   bool
		superseded, tryLater bool
		says                 string
	}{
		"200 is accepted":                  {code: 200, ok: true},
		"204 is accepted":                  {code: 204, ok: true},
		"202 without an address, too":      {code: 202, ok: true},
		"202, and the status says so":      {code: 202, location: "/status/1", body: `{"status":"accepted"}`, ok: true},
		"202, and it was superseded":       {code: 202, location: "/status/1", body: `{"status":"superseded","reason":"v3 runs"}`, superseded: true, says: "v3 runs"},
		"202, and it failed":               {code: 202, location: "/status/1", body: `{"status":"failed","reason":"the disk is full"}`, says: "the disk is full"},
		"202, and rubbish":                 {code: 202, location: "/status/1", body: `{"status":"perhaps"}`, says: `status is "perhaps"`},
		"202, and an address elsewhere":    {code: 202, location: "http://169.254.169.254/latest", says: "is not followed"},
		"202, and another scheme":          {code: 202, location: "file:///etc/passwd", says: "is not followed"},
		"409 is superseded":                {code: 409, body: "v3 runs", superseded: true, says: "v3 runs"},
		"412 is superseded":                {code: 412, superseded: true, says: "without a word"},
		"429 is try later":                 {code: 429, tryLater: true},
		"503 is try later":                 {code: 503, body: "a deployment is under way", tryLater: true, says: "a deployment is under way"},
		"500 leaves open what happened":    {code: 500, body: "oops\n<html>", says: "500 Internal Server Error: oops <html>"},
		"302 is not followed":              {code: 302, location: "http://127.0.0.1:1/", says: "redirects are not followed"},
		"a flood of an answer is cut":      {code: 200, body: strings.Repeat("x", maxResponse+10), says: "longer than 1048576 bytes"},
		"422 is said in the answer's word": {code: 422, body: "no such revision", says: "no such revision"},
	} {
		t.Run(name, func(t *testing.T) {
			err := serve(t, scripted(tc.code, tc.location, tc.body), nil).Restore(t.Context(), op)
			if (err == nil) != tc.ok || errors.Is(err, belay.ErrSuperseded) != tc.superseded || errors.Is(err, rollback.ErrTryLater) != tc.tryLater {
				t.Fatalf("Restore returned %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %q, want something with %q", err, tc.says)
			}
		})
	}
}

func TestWhatAnAnswerAboutTheStateMustBe(t *testing.T) {
	for name, tc := range map[string]struct{ body, says string }{
		"empty":              {"", "the answer is empty"},
		"a page":             {"<html>502</html>", `does not begin with '{'`},
		"no content":         {`{"progress":"converged"}`, "content is"},
		"content of spaces":  {`{"content":"a b","progress":"converged"}`, "without spaces"},
		"no progress":        {`{"content":"a"}`, "not converged, progressing or stuck"},
		"a key nobody knows": {`{"content":"a","progress":"converged","colour":"red"}`, "colour"},
		"two answers":        {goodState + goodState, "there is more"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.body)) })
			_, err := serve(t, h, nil).State(t.Context(), target)
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "/deploy/checkout") {
				t.Errorf("the error is %v, want something with %q and the address", err, tc.says)
			}
		})
	}
}

func TestAnotherSecretIsRefused(t *testing.T) {
	r := newReceiver(t)
	r.deploy("v1", "a")
	p := serve(t, r, nil)
	if _, err := p.State(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.cfg.SecretFile, []byte("another"), 0o600); err != nil { // rotated on one side only
		t.Fatal(err)
	}
	if _, err := p.State(t.Context(), target); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "signature does not match") {
		t.Errorf("the error is %v", err)
	}
	for name, text := range map[string]string{"empty": " \n", "gone": ""} {
		if err := os.WriteFile(p.cfg.SecretFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "gone" {
			_ = os.Remove(p.cfg.SecretFile)
		}
		if _, err := p.State(t.Context(), target); err == nil || !strings.Contains(err.Error(), "secret_file") {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if r.refused != 1 {
		t.Errorf("%d requests reached the receiver with a bad signature, want 1", r.refused)
	}
}

func TestSignatures(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	body := []byte(`{"operation":"op-1"}`)
	good := Sign([]byte(secret), at, body)
	// printf '1790000000.{"operation":"op-1"}' | openssl dgst -sha256 -hmac 'a key of the test'
	if want := "sha256=3911ad033dc6efb3ee9f3a728ed19857ce2f7cd1a3cd99b19c56f46ca3321fbf"; good != want {
		t.Errorf("signed %s, want %s as openssl does", good, want)
	}
	for name, err := range map[string]error{
		"another body":   Verify([]byte(secret), "1790000000", good, []byte("{}"), at),
		"another time":   Verify([]byte(secret), "1790000001", good, body, at),
		"another secret": Verify([]byte("x"), "1790000000", good, body, at),
		"no time":        Verify([]byte(secret), "soon", good, body, at),
		"a replay":       Verify([]byte(secret), "1790000000", good, body, at.Add(6*time.Minute)),
		"no signature":   Verify([]byte(secret), "1790000000", "", body, at),
	} {
		if err == nil {
			t.Errorf("%s was believed", name)
		}
	}
	if err := Verify([]byte(secret), "1790000000", good, body, at.Add(time.Minute)); err != nil {
		t.Error(err)
	}
}

func TestAReceiverThatHangsIsLeftInTime(t *testing.T) {
	hang := make(chan struct{})
	p := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-hang:
		case <-req.Context().Done():
		}
	}), func(c *Config) { c.Timeout = 50 * time.Millisecond })
	defer close(hang)
	if _, err := p.State(t.Context(), target); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("State returned %v", err)
	}
	if err := p.Restore(t.Context(), op); err == nil || errors.Is(err, belay.ErrSuperseded) || errors.Is(err, rollback.ErrTryLater) {
		t.Errorf("Restore returned %v, want an error that leaves open what happened", err)
	}
}

func TestConfigurationsAreCheckedOffline(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"all is well":      {`{url: "https://deploy.example.org/x/", secret_file: key}`, nil},
		"nothing":          {`{}`, []string{"needs url", "needs secret_file"}},
		"no address":       {`{url: "deploy", secret_file: key}`, []string{"no http or https address"}},
		"a password":       {`{url: "https://a:b@c/", secret_file: key}`, []string{"holds a user or a password"}},
		"a query":          {`{url: "https://c/?x=1", secret_file: key}`, []string{"query"}},
		"an unknown key":   {`{url: "https://c", secret_file: key, colour: red}`, []string{"colour"}},
		"an unknown word":  {`{url: "https://c", secret_file: key, compare_and_set: maybe}`, []string{"atomic, checked, none"}},
		"too short a poll": {`{url: "https://c", secret_file: key, poll: 1ms}`, []string{"too short"}},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("/etc/belay/belay.yml", []byte("platform: "+tc.text))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			cfg, ps := Decode(doc, "platform")
			if len(ps) != len(tc.want) {
				t.Fatalf("problems: %v, want %d", ps, len(tc.want))
			}
			for i, want := range tc.want {
				if !strings.Contains(fmt.Sprint(ps), want) {
					t.Errorf("problem %d: %v, want something with %q", i, ps, want)
				}
			}
			want := Config{URL: "https://deploy.example.org/x", SecretFile: "/etc/belay/key", Timeout: DefaultTimeout, Poll: DefaultPoll, CompareAndSet: rollback.Checked}
			if diff := cmp.Diff(want, cfg); len(tc.want) == 0 && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever a receiver answers: no panic, and what is believed is bounded and
// names a content.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{goodState, `[{"content":"a"},{"content":"a","missing":true}]`, `{"status":"accepted"}`, `{"content":"\u0000","progress":"stuck"}`, "[", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if st, err := parseState(body); err == nil {
			if st.Revision.Content == "" || !word(string(st.Revision.Content)) || len([]rune(st.Reason)) > maxText+1 || strings.ContainsAny(st.Reason, "\n\x00") {
				t.Errorf("believed %+v", st)
			}
			if st.Progress == belay.Stuck && st.Reason == "" {
				t.Errorf("stuck without a reason: %+v", st)
			}
		}
		if revs, err := parseRevisions(body); err == nil {
			seen := map[belay.Content]bool{}
			for _, r := range revs {
				if r.Content == "" || seen[r.Content] {
					t.Errorf("believed %+v", revs)
				}
				seen[r.Content] = true
			}
		}
		if st, err := parseStatus(body); err == nil && st.Status == "" {
			t.Error("a status without a word")
		}
	})
}
