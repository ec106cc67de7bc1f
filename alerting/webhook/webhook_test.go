package webhook_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/webhook"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A hook is a real server that keeps what it was sent.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	keys   []string
	answer http.HandlerFunc // nil answers 200
}

func newHook(t *testing.T, answer http.HandlerFunc) *hook {
	h := &hook{answer: answer}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies, h.keys = append(h.bodies, string(b)), append(h.keys, r.Header.Get("Idempotency-Key"))
		h.mu.Unlock()
		if h.answer != nil {
			h.answer(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) sent() (bodies, keys []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bodies, h.keys
}

func notifier(t *testing.T, cfg alerting.Webhook) *webhook.Notifier {
	t.Helper()
	n, err := webhook.New(cfg, webhook.Options{Receiver: "ops", ExternalURL: "https://belay.example.org", Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func an(rule string, s belay.AlertState) belay.Alert {
	a := belay.Alert{
		ID: rule, Rule: rule, State: s, ActiveAt: noon,
		Labels:      labels.FromStrings("alertname", rule, "service", "checkout"),
		Annotations: map[string]string{"summary": rule + " is bad", "runbook": "https://r.example.org"},
	}
	if s == belay.AlertInactive {
		a.ResolvedAt = noon.Add(time.Minute)
	}
	return a
}

func message(alerts ...belay.Alert) alerting.Message {
	return alerting.Message{
		Kind: alerting.Parent, Key: "checkout-1", Links: alerting.Links{Incident: "https://belay.example.org/incidents/checkout-1"},
		Incident: belay.Incident{ID: "checkout-1", Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Alerts: alerts},
	}
}

func TestThePayloadIsAlertmanagers(t *testing.T) {
	h := newHook(t, nil)
	n := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL), MaxAlerts: 2})
	_, err := n.Notify(t.Context(), message(an("Errors", belay.AlertFiring), an("Queue", belay.AlertInactive), an("Third", belay.AlertFiring)))
	if err != nil {
		t.Fatal(err)
	}
	bodies, keys := h.sent()
	var got map[string]any
	if err := json.Unmarshal([]byte(bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	fp := func(rule string) string {
		return model.LabelSet{"alertname": model.LabelValue(rule), "service": "checkout"}.Fingerprint().String()
	}
	alert := func(rule, status, ends string) any {
		return map[string]any{
			"status": status, "labels": map[string]any{"alertname": rule, "service": "checkout"},
			"annotations": map[string]any{"summary": rule + " is bad", "runbook": "https://r.example.org"},
			"startsAt":    "2026-11-23T12:00:00Z", "endsAt": ends,
			"generatorURL": "https://belay.example.org/incidents/checkout-1", "fingerprint": fp(rule),
		}
	}
	want := map[string]any{
		"version": "4", "receiver": "ops", "status": "firing", "externalURL": "https://belay.example.org",
		"groupKey":     `{}:{environment="production", incident="checkout-1", service="checkout"}`,
		"groupLabels":  map[string]any{"incident": "checkout-1", "service": "checkout", "environment": "production"},
		"commonLabels": map[string]any{"service": "checkout"}, "commonAnnotations": map[string]any{"runbook": "https://r.example.org"},
		"routeLabels": map[string]any{}, "notification_reason": "", "truncatedAlerts": 1.0,
		"alerts": []any{alert("Errors", "firing", "0001-01-01T00:00:00Z"), alert("Queue", "resolved", "2026-11-23T12:01:00Z")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(keys[0], "checkout-1/") || len(keys[0]) < len("checkout-1/")+8 {
		t.Errorf("Idempotency-Key %q", keys[0])
	}
}

func TestOnlyChangesOfTheAlertsAreSent(t *testing.T) {
	h := newHook(t, nil)
	n := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL)})
	firing, ended := an("Errors", belay.AlertFiring), an("Errors", belay.AlertInactive)
	ref := ""
	notify := func(want bool, what string, m alerting.Message) {
		t.Helper()
		m.Ref = ref
		got, err := n.Notify(t.Context(), m)
		switch {
		case want && err == nil:
			ref = got
		case !want && errors.Is(err, alerting.ErrUnchanged):
		default:
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	acked := message(firing)
	acked.Incident.AcknowledgedBy, acked.Rollback = "alice", &belay.Rollback{}
	value := firing
	value.Value = 7
	reply := message(ended)
	reply.Kind = alerting.Reply

	notify(true, "it fires", message(firing))
	notify(false, "an acknowledgement and a rollback", acked)
	notify(false, "another value", message(value))
	notify(false, "a reply", reply)
	notify(true, "another joins", message(firing, an("Queue", belay.AlertFiring)))
	notify(true, "one ends", message(ended, an("Queue", belay.AlertFiring)))
	notify(true, "both have ended", message(ended, an("Queue", belay.AlertInactive)))
	if bodies, keys := h.sent(); len(bodies) != 4 || keys[0] == keys[1] || keys[1] == keys[2] {
		t.Errorf("%d sent, keys %q", len(bodies), keys)
	}
}

func TestWhatAPersonClosedIsResolved(t *testing.T) {
	h := newHook(t, nil)
	n := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL)})
	m := message(an("Errors", belay.AlertFiring))
	m.Incident.State, m.Incident.ResolvedAt = belay.Resolved, noon.Add(time.Hour)
	if _, err := n.Notify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	bodies, _ := h.sent()
	if !strings.Contains(bodies[0], `"status":"resolved"`) || !strings.Contains(bodies[0], `"endsAt":"2026-11-23T13:00:00Z"`) || strings.Contains(bodies[0], `"firing"`) {
		t.Error(bodies[0])
	}
}

func TestSendResolvedFalseKeepsTheEndQuiet(t *testing.T) {
	h := newHook(t, nil)
	no := false
	n := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL), SendResolved: &no})
	if _, err := n.Notify(t.Context(), message(an("Errors", belay.AlertInactive))); !errors.Is(err, alerting.ErrUnchanged) {
		t.Errorf("error %v", err)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for name, tc := range map[string]struct {
		code       int
		retryAfter string
		permanent  bool
		after      time.Duration
	}{
		"bad request":                 {400, "", true, 0},
		"gone":                        {410, "5", true, 0},
		"too many":                    {429, "7", false, 7 * time.Second},
		"unavailable until a date":    {503, noon.Add(90 * time.Second).Format(http.TimeFormat), false, 90 * time.Second},
		"unavailable for days":        {503, "864000", false, time.Hour},
		"unavailable since a while":   {503, noon.Add(-time.Hour).Format(http.TimeFormat), false, 0},
		"broken":                      {500, "", false, -1},
		"broken with a broken header": {502, "-soon-", false, -1},
		"request time-out":            {408, "", false, -1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", tc.retryAfter)
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, "because")
			})
			_, err := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL)}).Notify(t.Context(), message(an("Errors", belay.AlertFiring)))
			if err == nil || errors.Is(err, alerting.ErrPermanent) != tc.permanent || errors.Is(err, alerting.ErrAmbiguous) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), "because") {
				t.Errorf("%v: what the receiver said is lost", err)
			}
			var asked *alerting.RetryAfterError
			after := time.Duration(-1)
			if errors.As(err, &asked) {
				after = asked.After
			}
			if !tc.permanent && after != tc.after {
				t.Errorf("again in %s, want %s", after, tc.after)
			}
		})
	}
}

func TestNoAnswerIsAmbiguousButNoConnectionIsNot(t *testing.T) {
	release := make(chan struct{})
	h := newHook(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server closes
	silent := notifier(t, alerting.Webhook{URL: alerting.Secret(h.URL + "/secret-path"), Timeout: model.Duration(50 * time.Millisecond)})
	_, err := silent.Notify(t.Context(), message(an("Errors", belay.AlertFiring)))
	if !errors.Is(err, alerting.ErrAmbiguous) || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("no answer: %v", err)
	}

	cut := newHook(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = notifier(t, alerting.Webhook{URL: alerting.Secret(cut.URL)}).Notify(t.Context(), message(an("Errors", belay.AlertFiring)))
	if !errors.Is(err, alerting.ErrAmbiguous) {
		t.Errorf("connection cut: %v", err)
	}

	gone := newHook(t, nil)
	gone.Close()
	_, err = notifier(t, alerting.Webhook{URL: alerting.Secret(gone.URL + "/secret-path")}).Notify(t.Context(), message(an("Errors", belay.AlertFiring)))
	if err == nil || errors.Is(err, alerting.ErrAmbiguous) || errors.Is(err, alerting.ErrPermanent) || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("no connection: %v", err)
	}
}

func TestTheAddressIsReadFromItsFileEachTime(t *testing.T) {
	first, second := newHook(t, nil), newHook(t, nil)
	file := filepath.Join(t.TempDir(), "url")
	n := notifier(t, alerting.Webhook{URLFile: file})
	if _, err := n.Notify(t.Context(), message(an("Errors", belay.AlertFiring))); err == nil || errors.Is(err, alerting.ErrPermanent) {
		t.Errorf("no file yet: %v", err)
	}
	for _, h := range []*hook{first, second} {
		if err := os.WriteFile(file, []byte(h.URL+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Notify(t.Context(), message(an("Errors", belay.AlertFiring))); err != nil {
			t.Fatal(err)
		}
		if bodies, _ := h.sent(); len(bodies) != 1 {
			t.Errorf("%d messages", len(bodies))
		}
	}
}
