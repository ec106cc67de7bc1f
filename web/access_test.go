package web_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/belaydev/belay/web"
)

const form = "application/x-www-form-urlencoded"

func TestABadTokensFileSaysLineWhatAndWhatIsAllowed(t *testing.T) {
	sum := web.HashToken("a")
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":         {"tokens:\n  - {name: ci, sha256: " + sum + ", scope: [read]}\n", `t.yml:2: unknown key "scope"; allowed: name, scopes, sha256`},
		"another top":            {"token: []\n", `t.yml:1: unknown key "token"; allowed: tokens`},
		"no name":                {"tokens:\n  - sha256: " + sum + "\n    scopes: [read]\n", "t.yml:2: the name is missing; allowed: 1 to 100 characters, without control characters"},
		"a name that lies":       {"tokens:\n  - name: \"ci\\u001b[2J\"\n    sha256: " + sum + "\n    scopes: [read]\n", "t.yml:2: the name is not one; allowed: 1 to 100 characters, without control characters"},
		"the name admin":         {"tokens:\n  - {name: admin, sha256: " + sum + ", scopes: [read]}\n", `t.yml:2: the name "admin" belongs to the token beside the journal; allowed: another name`},
		"a name twice":           {"tokens:\n  - {name: ci, sha256: " + sum + ", scopes: [read]}\n  - {name: ci, sha256: " + web.HashToken("b") + ", scopes: [read]}\n", `t.yml:3: a second token is named "ci"; allowed: a name of its own for each token`},
		"a token twice":          {"tokens:\n  - {name: a, sha256: " + sum + ", scopes: [read]}\n  - {name: b, sha256: " + strings.ToUpper(sum) + ", scopes: [read]}\n", "t.yml:3: a second entry for the same token; allowed: one entry for each token"},
		"the token itself":       {"tokens:\n  - {name: ci, sha256: hunter2, scopes: [read]}\n", "t.yml:2: sha256 is not the SHA-256 of a token; allowed: 64 hexadecimal digits, as sha256sum prints for the token without a newline"},
		"the hash of no token":   {"tokens:\n  - {name: ci, sha256: " + web.HashToken("") + ", scopes: [read]}\n", "t.yml:2: this is the SHA-256 of an empty token; allowed: 64 hexadecimal digits, as sha256sum prints for the token without a newline"},
		"no scope":               {"tokens:\n  - {name: ci, sha256: " + sum + "}\n", "t.yml:2: a token without a scope is good for nothing; allowed: read, ack, alert, deploy, approve, admin"},
		"an unknown scope":       {"tokens:\n  - name: ci\n    sha256: " + sum + "\n    scopes:\n      - read\n      - write\n", `t.yml:6: unknown scope "write"; allowed: read, ack, alert, deploy, approve, admin`},
		"several things at once": {"tokens:\n  - {name: '', sha256: '', scopes: []}\n", "t.yml:2: the name is missing; allowed: 1 to 100 characters, without control characters\nt.yml:2: sha256 is not the SHA-256 of a token; allowed: 64 hexadecimal digits, as sha256sum prints for the token without a newline\nt.yml:2: a token without a scope is good for nothing; allowed: read, ack, alert, deploy, approve, admin"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := web.ParseTokens("t.yml", []byte(c.text))
			if diff := cmp.Diff(c.want, ps.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestABadSectionWebOrPeopleIsAProblemInItsLine(t *testing.T) {
	sum := web.HashToken("a")
	for name, c := range map[string]struct{ yaml, want string }{
		"elsewhere without tokens":   {"web:\n  listen: 0.0.0.0:9720\n", `belay.yml:2: listen: "0.0.0.0:9720" can be reached from other hosts`},
		"a tokens_file that is not":  {"web:\n  tokens_file: none.yml\n", "belay.yml:2: tokens_file: open "},
		"a folder":                   {"web:\n  tokens_file: .\n", "is not a regular file"},
		"a config_file that is not":  {"web:\n  config_file: none.yml\n", "belay.yml:2: config_file: open "},
		"two people of one name":     {"people:\n  - name: ada\n  - name: ada\n", `belay.yml:3: the name "ada" is taken`},
		"two people with one token":  {"people:\n  - {name: ada, token_sha256: " + sum + "}\n  - {name: bob, token_sha256: " + sum + "}\n", "belay.yml:3: two people have the same token"},
		"two people of one Slack":    {"people:\n  - {name: ada, slack: U1}\n  - {name: bob, slack: U1}\n", "belay.yml:3: a second person is U1 in Slack"},
		"a token that is not hashed": {"people:\n  - name: ada\n    token_sha256: hunter2\n", "belay.yml:3: token_sha256 is not the SHA-256"},
		"an unknown key of a person": {"people:\n  - name: ada\n    mail: a@b\n", `belay.yml:3: unknown key "mail"; allowed: groups, name, slack, token_sha256`},
		"an unknown key of web":      {"web: {tokens: t.yml}\n", `belay.yml:1: unknown key "tokens"; allowed: config_file, listen, tokens_file`},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := configured(t, c.yaml, "")
			if !strings.Contains(ps.Error(), c.want) {
				t.Errorf("got %s, want %s", ps.Error(), c.want)
			}
			if strings.Contains(ps.Error(), "hunter2") {
				t.Errorf("the problem tells the secret: %s", ps.Error())
			}
		})
	}
	if cfg, ps := configured(t, "web: {listen: '0.0.0.0:9720', tokens_file: tokens.yml}\n", "tokens: []\n"); len(ps) > 0 || len(cfg.Warnings()) != 1 {
		t.Errorf("elsewhere with tokens but no TLS: %v, warnings %q", ps, cfg.Warnings())
	}
}

func TestWhoDidItIsWhoseTokenItIs(t *testing.T) {
	h, plainly := with(t, scoped(t)), with(t, web.Config{Listen: "127.0.0.1:0"})
	for _, c := range []struct {
		name  string
		house *house
		token string
		want  string
	}{
		{"a person is who the token says", h, someToken("ada"), "ack i-7k2m ada "},
		{"a program says for whom", h, someToken("ack"), "ack i-7k2m bob (by the token of only-ack) "},
		{"the admin token is nobody's where there are people", h, token(), "ack i-7k2m bob (by the token of admin) "},
		{"on one's own host the name is as good as the token", plainly, token(), "ack i-7k2m bob "},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(c.house.calls.all())
			code, _, body := c.house.send(t, "POST", "/api/belay/v1/incidents/i-7k2m/ack", `{"actor":"bob"}`, "Authorization", "Bearer "+c.token, "Content-Type", "application/json")
			if got := strings.Join(c.house.calls.all()[before:], "\n"); code != 200 || got != c.want {
				t.Errorf("status %d, %q, want %q: %s", code, got, c.want, body)
			}
		})
	}
}

func TestASessionEndsWhenItShould(t *testing.T) {
	var passed atomic.Int64
	h := build(t, loop(), func(o *web.Options) {
		o.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	})
	serve := func(cfg web.Config) *web.Server {
		s, err := web.New(cfg, h.opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	cfg := scoped(t)
	h.server = serve(cfg)
	h.http.Config.Handler = h.server.Handler()
	can := func(cookie string) bool {
		code, _, _ := h.send(t, "GET", "/status", "", "Cookie", cookie)
		return code == 200
	}
	ada, csrf := h.signIn(t, someToken("ada"))
	if !can(ada) || can("belay_session=made-up") || can("") {
		t.Error("not the session decides who reads")
	}
	if code, _, _ := h.send(t, "POST", "/signout", "", "Cookie", ada, "Content-Type", form); code != 403 || !can(ada) {
		t.Errorf("signed out by a form from nowhere: status %d", code)
	}
	if code, _, _ := h.send(t, "POST", "/signout", url.Values{"csrf": {csrf}}.Encode(), "Cookie", ada, "Content-Type", form); code != 303 || can(ada) {
		t.Errorf("signing out: status %d, still in: %v", code, can(ada))
	}
	first, _ := h.signIn(t, someToken("ada"))
	second, _ := h.signIn(t, someToken("ada"))
	if first == second {
		t.Error("two sessions have one cookie")
	}
	_, header, _ := h.send(t, "POST", "/signin", url.Values{"token": {someToken("ada")}}.Encode(), "Cookie", first, "Content-Type", form)
	if can(first) || header.Get("Set-Cookie") == "" {
		t.Error("the session before outlives a new sign-in of the same browser")
	}
	h.server.Adopt(serve(cfg))
	if !can(second) {
		t.Error("a reload ends sessions")
	}
	without, ps := configured(t, "web: {listen: '127.0.0.1:0', tokens_file: tokens.yml}\n", "tokens: []\n")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	h.server.Adopt(serve(without))
	if can(second) {
		t.Error("who was taken out of people is still in")
	}
	h.server.Adopt(serve(cfg))
	third, _ := h.signIn(t, someToken("ada"))
	passed.Store(int64(13 * time.Hour))
	if can(third) {
		t.Error("a session has no end")
	}
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	h := with(t, scoped(t))
	for back, want := range map[string]string{
		"/incidents/i-7k2m": "/incidents/i-7k2m", "": "/", "//evil.example.com": "/", "https://evil.example.com/": "/", `/\evil.example.com`: "/",
		"/\tx": "/", "/" + strings.Repeat("x", 3000): "/",
	} {
		_, header, _ := h.send(t, "POST", "/signin", url.Values{"token": {someToken("ada")}, "back": {back}}.Encode(), "Content-Type", form)
		if got := header.Get("Location"); got != want {
			t.Errorf("back to %q leads to %q", back, got)
		}
	}
	code, header, body := h.send(t, "POST", "/signin", url.Values{"token": {"wrong"}}.Encode(), "Content-Type", form, "Accept", "text/html")
	if code != 401 || header.Get("Set-Cookie") != "" || !strings.Contains(body, "no such token") || strings.Contains(body, "wrong") {
		t.Errorf("a wrong token: status %d %v", code, header)
	}
	code, header, body = h.send(t, "GET", "/incidents/i-7k2m", "", "Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
	if code != 401 || header.Get("Refresh") != "0" || !strings.Contains(body, `name="back" value="/incidents/i-7k2m"`) || strings.Contains(body, "Checkout answers") {
		t.Errorf("a link from a chat: status %d, %v", code, header)
	}
	if _, header, _ = h.send(t, "GET", "/incidents/i-7k2m", "", "Accept", "text/html", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"); header.Get("Refresh") != "" {
		t.Error("the page asks for itself without an end")
	}
}

func TestButtonsDoWhatTheySayAsWhoSignedIn(t *testing.T) {
	h := with(t, scoped(t))
	cookie, csrf := h.signIn(t, someToken("ada"))
	for _, c := range []struct{ path, fields, call, back string }{
		{"/incidents/i-7k2m/ack", "", "ack i-7k2m ada ", "/incidents/i-7k2m"},
		{"/incidents/i-7k2m/note", "text=the+cache", "note i-7k2m ada the cache", "/incidents/i-7k2m"},
		{"/incidents/i-7k2m/resolve", "text=false+alarm", "resolve i-7k2m ada false alarm", "/incidents/i-7k2m"},
		{"/rollbacks/r-5f2c81d09a3e/stop", "text=no", "stop r-5f2c81d09a3e ada no", "/incidents/i-7k2m"},
		{"/services/production/checkout/rollback", "", "start production/checkout ada", "/services/production/checkout"},
		{"/services/production/checkout/release", "revision=sha256:1", "release production/checkout sha256:1 ada", "/services/production/checkout"},
	} {
		before := len(h.calls.all())
		code, header, body := h.send(t, "POST", c.path, c.fields+"&csrf="+csrf, "Cookie", cookie, "Content-Type", form, "Origin", h.http.URL, "Sec-Fetch-Site", "same-origin")
		if code != 303 || header.Get("Location") != c.back || strings.Join(h.calls.all()[before:], "; ") != c.call {
			t.Errorf("%s: status %d to %q, %q: %s", c.path, code, header.Get("Location"), h.calls.all()[before:], body)
		}
	}
	h.calls.err = web.Because(web.ErrRefused, errors.New("too late"))
	code, _, body := h.send(t, "POST", "/rollbacks/r-1/stop", "csrf="+csrf, "Cookie", cookie, "Content-Type", form, "Accept", "text/html")
	if code != 409 || !strings.Contains(body, "too late") {
		t.Errorf("a refusal: status %d: %s", code, body)
	}
	if code, _, _ = h.send(t, "POST", "/incidents/i-7k2m/note", "csrf="+csrf+"&text="+strings.Repeat("x", 20<<10), "Cookie", cookie, "Content-Type", form); code != 400 {
		t.Errorf("a long text: status %d", code)
	}
	if code, _, _ = h.send(t, "POST", "/incidents/i-7k2m/note", "csrf="+csrf+"&text="+strings.Repeat("x", 2<<20), "Cookie", cookie, "Content-Type", form); code == 303 {
		t.Errorf("a body without end: status %d", code)
	}
}

// certificate writes a self-signed certificate for 127.0.0.1 into dir.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		text := pem.EncodeToMemory(block)
		if name == "cert.pem" {
			pool.AppendCertsFromPEM(text)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func TestTheWebConfigOfTheExportersGivesTLSAndPasswords(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("swordfish"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {grafana: '"+string(hash)+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ps := configured(t, "web: {listen: '127.0.0.1:0', config_file: "+file+"}\n", "")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	h := build(t, loop(), nil)
	server, err := web.New(cfg, h.opts)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-server.Listening():
	case err := <-done:
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	ask := func(method, path, body string, change func(*http.Request)) (code, major int, cookie string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+server.Addr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		change(req)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode, res.ProtoMajor, res.Header.Get("Set-Cookie")
	}
	for _, c := range []struct {
		name, method, path string
		change             func(*http.Request)
		want               int
	}{
		{"nobody", "GET", "/status", func(*http.Request) {}, 401},
		{"the right password", "GET", "/status", func(r *http.Request) { r.SetBasicAuth("grafana", "swordfish") }, 200},
		{"the right password again", "GET", "/status", func(r *http.Request) { r.SetBasicAuth("grafana", "swordfish") }, 200},
		{"a wrong password", "GET", "/status", func(r *http.Request) { r.SetBasicAuth("grafana", "sword") }, 401},
		{"another user", "GET", "/status", func(r *http.Request) { r.SetBasicAuth("prometheus", "swordfish") }, 401},
		{"a password reads only", "POST", "/api/belay/v1/rollbacks/stop", func(r *http.Request) { r.SetBasicAuth("grafana", "swordfish") }, 403},
		{"a token", "POST", "/api/belay/v1/rollbacks/stop", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token()) }, 200},
	} {
		if code, major, _ := ask(c.method, c.path, "{}", c.change); code != c.want || major != 2 {
			t.Errorf("%s: status %d over HTTP/%d, want %d", c.name, code, major, c.want)
		}
	}
	if _, _, cookie := ask("POST", "/signin", "token="+token(), func(r *http.Request) { r.Header.Set("Content-Type", form) }); !strings.Contains(cookie, "Secure") {
		t.Errorf("over TLS the cookie may go without: %q", cookie)
	}
	plain, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	_, _ = plain.Write([]byte("GET /-/healthy HTTP/1.0\r\n\r\n"))
	if answer, _ := io.ReadAll(plain); bytes.Contains(answer, []byte("200 OK")) {
		t.Errorf("pages without TLS: %s", answer)
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

func TestABadWebConfigSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no certificate":       {"tls_server_config:\n  cert_file: none.pem\n  key_file: none.pem\n", "web.yml:1: TLS: "},
		"a plain password":     {"basic_auth_users:\n  ada: hunter2\n", `web.yml:2: the password of "ada" is not a bcrypt hash; allowed: what`},
		"a rate limit":         {"rate_limit: {interval: 1s}\n", "web.yml:1: rate_limit is not built in"},
		"an unknown key":       {"tls_config: {}\n", `web.yml:1: unknown key "tls_config"; allowed: basic_auth_users, http_server_config, tls_server_config`},
		"headers":              {"http_server_config:\n  headers: {X-Frame-Options: deny}\n", "web.yml:2: headers are set by Belay itself"},
		"an unknown key below": {"tls_server_config: {certificate: x}\n", "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "web.yml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, ps := configured(t, "web: {config_file: "+file+"}\n", "")
			if !strings.Contains(ps.Error(), c.want) || strings.Contains(ps.Error(), "hunter2") {
				t.Errorf("got %s, want %s", ps.Error(), c.want)
			}
		})
	}
}

func FuzzParseTokens(f *testing.F) {
	sum := web.HashToken("a")
	f.Add([]byte("tokens:\n  - {name: ci, sha256: " + sum + ", scopes: [deploy]}\n"))
	f.Add([]byte("tokens:\n  - &a {name: ci, sha256: x, scopes: [read]}\n  - *a\n"))
	f.Add([]byte("tokens: 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, ps := web.ParseTokens("t.yml", text)
		if len(ps) > 0 {
			if !strings.Contains(ps.Error(), "t.yml") {
				t.Errorf("a problem without its file: %v", ps)
			}
			return
		}
		for _, token := range tokens {
			if token.Name == "" || token.Name == "admin" || len(token.Scopes) == 0 || len(token.SHA256) != 64 {
				t.Errorf("taken: %+v", token)
			}
		}
	})
}

func FuzzABodyIsReadOrRefused(f *testing.F) {
	f.Add("/api/belay/v1/deployments", "application/json", `{"event":"start","service":"checkout","revision":"v2"}`)
	f.Add("/api/belay/v1/incidents/i-7k2m/note", "application/json", `{"text":"`+hostile+`"}`)
	f.Add("/incidents/i-7k2m/note", form, "text=%zz&csrf=x")
	f.Add("/signin", form, "token=a&back=//x")
	f.Add("/rollbacks/r-1/stop", "multipart/form-data; boundary=x", "--x\r\n\r\n--x--")
	h := build(f, loop(), nil)
	f.Fuzz(func(t *testing.T, path, kind, body string) {
		u, err := url.Parse("http://127.0.0.1" + path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		req := &http.Request{
			Method: http.MethodPost, URL: u, Host: "127.0.0.1", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1",
			Header: http.Header{"Content-Type": {kind}, "Authorization": {"Bearer " + token()}}, Body: readCloser{bytes.NewBufferString(body)},
		}
		rec := &recorder{header: http.Header{}}
		h.server.Handler().ServeHTTP(rec, req)
		if rec.code >= 500 && rec.code != http.StatusNotImplemented {
			t.Errorf("status %d: %s", rec.code, rec.body.String())
		}
		if loc := rec.header.Get("Location"); loc != "" && (!strings.HasPrefix(loc, "/") || strings.HasPrefix(loc, "//")) {
			t.Errorf("leads to %q", loc)
		}
	})
}

type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
