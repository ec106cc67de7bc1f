package alertmanager_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/alertmanager"
	"github.com/belaydev/belay/strict"
)

// everyKind has one entry of each kind, all led to one stand-in. pushover has
// no address of its own to set, so it goes there through a proxy.
const everyKind = `
global:
  opsgenie_api_url: BASE/opsgenie
  opsgenie_api_key: key
  victorops_api_url: BASE/victorops
  victorops_api_key: key
  wechat_api_url: BASE/wechat/
  wechat_api_secret: s
  wechat_api_corp_id: c
  smtp_from: belay@example.org
  smtp_require_tls: false
route: {receiver: all}
receivers:
  - name: all
    discord_configs: [{webhook_url: "BASE/discord"}]
    incidentio_configs: [{url: "BASE/incidentio", alert_source_token: "${INCIDENT_TOKEN}"}]
    jira_configs: [{api_url: "BASE/jira", project: OPS, issue_type: Bug, http_config: {basic_auth: {username: u, password: p}}}]
    mattermost_configs: [{webhook_url: "BASE/mattermost", channel: ops}]
    msteams_configs: [{webhook_url: "BASE/msteams"}]
    msteamsv2_configs: [{webhook_url: "BASE/msteamsv2"}]
    opsgenie_configs: [{}]
    pagerduty_configs: [{routing_key: "0123456789abcdef0123456789abcdef", url: "BASE/pagerduty"}]
    pushover_configs: [{user_key: u, token: t, http_config: {proxy_url: "PROXY", tls_config: {ca_file: ca.pem, server_name: example.com}}}]
    rocketchat_configs: [{api_url: "BASE/rocketchat", token: t, token_id: i, channel: ops}]
    sns_configs: [{api_url: "BASE/sns", topic_arn: "arn:aws:sns:eu-west-1:1:ops", sigv4: {region: eu-west-1, access_key: a, secret_key: s}}]
    telegram_configs: [{api_url: "BASE", bot_token: t, chat_id: 7}]
    victorops_configs: [{routing_key: ops}]
    webex_configs: [{api_url: "BASE/webex", room_id: r, http_config: {authorization: {credentials: t}}}]
    wechat_configs: [{agent_id: "1", to_user: "@all"}]
`

// answers are what each service says to a message that it takes.
var answers = map[string]string{
	"/wechat/gettoken": `{"errcode":0,"access_token":"x"}`, "/wechat/message/send": `{"errcode":0}`,
	"/bott/sendMessage":                   `{"ok":true,"result":{"message_id":1,"chat":{"id":7}}}`,
	"/rocketchat/api/v1/chat.postMessage": `{"success":true}`,
	"/jira/search":                        `{"issues":[]}`, "/jira/issue": `{"id":"1","key":"OPS-1"}`,
	"/sns/":    `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`,
	"/msteams": "1", "/mattermost": "ok",
}

// A standIn plays all services, and keeps what it is told by path.
type standIn struct {
	mu   sync.Mutex
	got  []string // "POST /discord"
	said map[string]string
	auth map[string]string
	code int // 0 is 200
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got = append(s.got, r.Method+" "+r.URL.Path)
	s.said[r.URL.Path] += r.URL.RawQuery + string(b)
	s.auth[r.URL.Path] = r.Header.Get("Authorization")
	code := s.code
	s.mu.Unlock()
	if code != 0 {
		w.WriteHeader(code)
		return
	}
	_, _ = io.WriteString(w, answers[r.URL.Path])
}

func (s *standIn) take() (got []string, said map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, said = s.got, s.said
	s.got, s.said = nil, map[string]string{}
	return got, said
}

// tunnel is a proxy that leads every name to one address.
func tunnel(t *testing.T, to string) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "api.pushover.net:443" {
			t.Errorf("the proxy is asked for %s %s", r.Method, r.Host)
		}
		far, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// open opens every destination of a configuration.
func open(t *testing.T, dir, text string) map[string]*alertmanager.Notifier {
	t.Helper()
	doc, ps := strict.Parse(filepath.Join(dir, "belay.yml"), []byte(text))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	cfg, ps := alerting.Load(doc, nil)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	upstream, err := cfg.Expanded()
	if err != nil {
		t.Fatal(err)
	}
	templates, err := alertmanager.Templates(upstream.Templates, "https://belay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*alertmanager.Notifier{}
	for _, d := range cfg.Destinations(nil) {
		if out[d.Kind], err = alertmanager.New(alertmanager.Options{Receiver: upstream.Receivers[0], Kind: d.Kind, Index: d.Index, Template: templates}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func message(state belay.AlertState) alerting.Message {
	now := time.Now().UTC()
	a := belay.Alert{
		ID: "a", Rule: "DiskFull", Labels: labels.FromStrings("alertname", "DiskFull", "instance", "db-1"), State: state,
		Annotations: map[string]string{"summary": "91 % of the disk is used"}, ActiveAt: now.Add(-time.Minute), EvaluatedAt: now,
	}
	reason := "first notification"
	if state != belay.AlertFiring {
		a.ResolvedAt, reason = now.Add(-time.Second), "all alerts resolved"
	}
	return alerting.Message{Kind: alerting.Parent, Key: "k", At: now, Group: &alerting.Group{
		Key: `{}:{alertname="DiskFull"}`, Receiver: "all", Labels: labels.FromStrings("alertname", "DiskFull"), Reason: reason, Alerts: []belay.Alert{a},
	}}
}

// TestEveryKindReachesItsService sends through each kind to a stand-in of its
// service.
func TestEveryKindReachesItsService(t *testing.T) {
	t.Setenv("INCIDENT_TOKEN", "from-the-environment")
	s := &standIn{said: map[string]string{}, auth: map[string]string{}}
	plain, secure := httptest.NewServer(s), httptest.NewTLSServer(s)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("BASE", plain.URL, "PROXY", tunnel(t, secure.Listener.Addr().String())).Replace(everyKind)
	all := open(t, dir, text)
	want := map[string]string{
		"discord": "POST /discord", "incidentio": "POST /incidentio", "jira": "POST /jira/issue", "mattermost": "POST /mattermost",
		"msteams": "POST /msteams", "msteamsv2": "POST /msteamsv2", "opsgenie": "POST /opsgenie/v2/alerts", "pagerduty": "POST /pagerduty",
		"pushover": "POST /1/messages.json", "rocketchat": "POST /rocketchat/api/v1/chat.postMessage", "sns": "POST /sns", "telegram": "POST /bott/sendMessage",
		"victorops": "POST /victorops/key/ops", "webex": "POST /webex", "wechat": "POST /wechat/message/send",
	}
	kinds := alertmanager.Kinds()
	if missing := slices.DeleteFunc(kinds, func(k string) bool { return want[k] != "" || k == "email" }); len(missing) > 0 {
		t.Errorf("no stand-in for %v", missing)
	}
	for kind, address := range want {
		t.Run(kind, func(t *testing.T) {
			ref, err := all[kind].Notify(t.Context(), message(belay.AlertFiring))
			got, said := s.take()
			_, path, _ := strings.Cut(address, " ")
			if err != nil || ref == "" || !slices.Contains(got, address) {
				t.Fatalf("%v; it was asked for %q", err, got)
			}
			if !strings.Contains(said[path], "DiskFull") {
				t.Errorf("nothing of the alert in %s", said[path])
			}
			if kind == "jira" { // it would have to find the issue
				return
			}
			if _, err := all[kind].Notify(t.Context(), message(belay.AlertInactive)); err != nil {
				t.Errorf("resolved: %v", err)
			}
			if got, _ := s.take(); len(got) == 0 {
				t.Error("nobody was told of the end")
			}
		})
	}
	if s.auth["/incidentio"] != "Bearer from-the-environment" {
		t.Errorf("incident.io was shown %q", s.auth["/incidentio"])
	}
}

func TestAnswersSayWhetherToTryAgain(t *testing.T) {
	s := &standIn{said: map[string]string{}, auth: map[string]string{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	n := open(t, t.TempDir(), "route: {receiver: a}\nreceivers: [{name: a, discord_configs: [{webhook_url: '"+srv.URL+"'}]}]\n")["discord"]
	for code, permanent := range map[int]bool{400: true, 404: true, 500: false, 503: false} {
		s.mu.Lock()
		s.code = code
		s.mu.Unlock()
		if _, err := n.Notify(t.Context(), message(belay.AlertFiring)); err == nil || errors.Is(err, alerting.ErrPermanent) != permanent {
			t.Errorf("status %d: %v", code, err)
		}
	}
}

func TestAnIncidentIsAGroupOfItsOwn(t *testing.T) {
	s := &standIn{said: map[string]string{}, auth: map[string]string{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	n := open(t, t.TempDir(), "route: {receiver: a}\nreceivers: [{name: a, pagerduty_configs: [{routing_key: '0123456789abcdef0123456789abcdef', url: '"+srv.URL+"'}]}]\n")["pagerduty"]
	m := message(belay.AlertFiring)
	m.Incident = belay.Incident{ID: "checkout-1", Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Alerts: m.Group.Alerts}
	m.Group = nil
	ref, err := n.Notify(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	_, said := s.take()
	if !strings.Contains(said["/"], `"event_action":"trigger"`) {
		t.Error(said)
	}
	m.Ref = ref
	if _, err := n.Notify(t.Context(), m); !errors.Is(err, alerting.ErrUnchanged) {
		t.Errorf("told twice: %v", err)
	}
	m.Incident.State, m.Incident.ResolvedAt = belay.Resolved, m.At
	if _, err := n.Notify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, said := s.take(); !strings.Contains(said["/"], `"event_action":"resolve"`) {
		t.Error(said)
	}
}

// python returns Debian's Python with a mail server in it, or skips the test.
func python(t *testing.T) string {
	t.Helper()
	const path = "/usr/bin/python3"
	if err := exec.CommandContext(t.Context(), path, "-c", "import aiosmtpd").Run(); err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			t.Fatalf("aiosmtpd is not here; scripts/test-deps installs it: %v", err)
		}
		t.Skip("aiosmtpd is not here; scripts/test-deps installs it")
	}
	return path
}

// TestEmailReachesARealMailServer sends by SMTP and reads the mailbox.
func TestEmailReachesARealMailServer(t *testing.T) {
	interpreter := python(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	box := filepath.Join(t.TempDir(), "box")
	srv := exec.CommandContext(t.Context(), interpreter, "-m", "aiosmtpd", "-n", "-l", address, "-c", "aiosmtpd.handlers.Mailbox", box)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Process.Kill(); _ = srv.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	n := open(t, t.TempDir(), fmt.Sprintf(`
global: {smtp_smarthost: %q, smtp_from: belay@example.org, smtp_require_tls: false}
route: {receiver: a}
receivers: [{name: a, email_configs: [{to: "ops@example.org", send_resolved: true}]}]
`, address))["email"]
	for _, state := range []belay.AlertState{belay.AlertFiring, belay.AlertInactive} {
		if _, err := n.Notify(t.Context(), message(state)); err != nil {
			t.Fatal(err)
		}
	}
	letters, err := filepath.Glob(filepath.Join(box, "new", "*"))
	if err != nil || len(letters) != 2 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	var subjects []string
	for _, file := range letters {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(b))))
		if !strings.Contains(string(text), "91 % of the disk is used") || !strings.Contains(string(b), "To: ops@example.org") {
			t.Errorf("the letter:\n%s", b)
		}
		for line := range strings.Lines(string(b)) {
			if s, ok := strings.CutPrefix(line, "Subject: "); ok {
				subjects = append(subjects, strings.TrimSpace(s))
			}
		}
	}
	slices.Sort(subjects)
	if diff := cmp.Diff([]string{"[FIRING:1] DiskFull (db-1)", "[RESOLVED] DiskFull (db-1)"}, subjects); diff != "" {
		t.Error(diff)
	}
}
