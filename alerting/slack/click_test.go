package slack

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack/slacktest"
)

const pressed = `{"type":"block_actions","trigger_id":"1.2.x","api_app_id":"A1","team":{"id":"T1"},"user":{"id":"U1","team_id":"T1"},
	"channel":{"id":"C1"},"message":{"ts":"1.5"},"actions":[{"action_id":"belay_approve","value":"op-1 0a1b"}]}`

func TestAPressIsReadAsWhoPressedWhatWhere(t *testing.T) {
	c, err := parseClick([]byte(pressed))
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "U1" || c.Ref() != "C1:1.5" || c.Action != Approve || c.Subject != "op-1" || c.Plan != "0a1b" || c.ID == "" {
		t.Errorf("read as %+v", c)
	}
	again, _ := parseClick([]byte(pressed))
	other, _ := parseClick([]byte(strings.Replace(pressed, "1.2.x", "1.2.y", 1)))
	if again.ID != c.ID || other.ID == c.ID {
		t.Errorf("the same press is %s and %s, another is %s", c.ID, again.ID, other.ID)
	}
}

func TestWhatNoButtonOfBelayLeadsToIsRefused(t *testing.T) {
	for what, payload := range map[string]string{
		"no JSON":            "<html>",
		"an unknown button":  strings.Replace(pressed, "belay_approve", "other", 1),
		"two buttons":        strings.Replace(pressed, `"actions":[`, `"actions":[{"action_id":"belay_stop","value":"x"},`, 1),
		"no value":           strings.Replace(pressed, "op-1 0a1b", "", 1),
		"nobody":             strings.Replace(pressed, `"id":"U1"`, `"id":""`, 1),
		"no channel":         strings.Replace(pressed, `"id":"C1"`, `"id":""`, 1),
		"no trigger":         strings.Replace(pressed, "1.2.x", "", 1),
		"a huge value":       strings.Replace(pressed, "0a1b", strings.Repeat("a", 300), 1),
		"not UTF-8":          strings.Replace(pressed, "0a1b", "\xff", 1),
		"a foreign dialogue": `{"type":"view_submission","view":{"callback_id":"belay_deny","private_metadata":"zzz"}}`,
		"a dialogue for a plain button": `{"type":"view_submission","trigger_id":"1","api_app_id":"A1","team":{"id":"T1"},"user":{"id":"U1"},
			"view":{"callback_id":"belay_approve","private_metadata":"{\"c\":\"C1\",\"t\":\"1\",\"v\":\"op-1 0a1b\"}","state":{"values":{"words":{"text":{"value":"x"}}}}}}`,
	} {
		if c, err := parseClick([]byte(payload)); err == nil || errors.Is(err, errNotOurs) {
			t.Errorf("%s is read as %+v, %v", what, c, err)
		}
	}
	for _, kind := range []string{"view_closed", "shortcut", "block_suggestion"} {
		if _, err := parseClick([]byte(`{"type":"` + kind + `"}`)); !errors.Is(err, errNotOurs) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func FuzzInteractionPayload(f *testing.F) {
	f.Add([]byte(pressed))
	f.Add([]byte(`{"type":"view_submission","view":{"callback_id":"belay_note","private_metadata":"{}"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseClick(payload)
		if err == nil && (c.ID == "" || c.User == "" || c.Channel == "" || !c.Action.known() || len(c.Subject) > maxID) {
			t.Errorf("half a click: %+v", c)
		}
	})
}

func decideNothing(context.Context, Click) string { return "" }

// app is a configuration with secrets in files.
func app(t *testing.T, secret string) alerting.Slack {
	t.Helper()
	file := filepath.Join(t.TempDir(), "signing")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return alerting.Slack{BotToken: "xoxb-test", SigningSecretFile: file}
}

// TestASecretCanBeRotated signs with the old secret while the file holds both.
func TestASecretCanBeRotated(t *testing.T) {
	cfg := app(t, "new\nold\n")
	desk, err := NewDesk(cfg, DeskOptions{Decide: decideNothing})
	if err != nil {
		t.Fatal(err)
	}
	send := func(secret string) int {
		body := "payload=" + strings.ReplaceAll(pressed, "&", "%26")
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/slack/interactions", bytes.NewBufferString(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		slacktest.Sign(req.Header, secret, body, time.Now())
		w := httptest.NewRecorder()
		desk.ServeHTTP(w, req)
		return w.Code
	}
	for secret, want := range map[string]int{"new": 200, "old": 200, "older": 401, "": 401} {
		if got := send(secret); got != want {
			t.Errorf("signed with %q: %d, want %d", secret, got, want)
		}
	}
	if err := os.WriteFile(cfg.SigningSecretFile, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := send("old"); got != 401 {
		t.Errorf("the old secret is taken after its end: %d", got)
	}
}

func TestAnEmptySecretIsAnErrorAtTheStart(t *testing.T) {
	if _, err := NewDesk(app(t, " \n"), DeskOptions{Decide: decideNothing}); err == nil || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("got %v", err)
	}
	if d, err := NewDesk(alerting.Slack{BotToken: "x"}, DeskOptions{}); d != nil || err != nil {
		t.Errorf("without secrets there is a desk: %v, %v", d, err)
	}
}
