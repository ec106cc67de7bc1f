package forward

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/strict"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func load(t *testing.T, text string) (Config, strict.Problems) {
	t.Helper()
	doc, ps := strict.Parse("belay.yml", []byte(text))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return Load(doc)
}

func TestBadAlertingSaysTheLineAndWhatIsAllowed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":           {"alerting:\n  alertmanager:\n  - x: 1\n", "belay.yml:2:"},
		"an unknown key below":     {"alerting:\n  alertmanagers:\n  - schema: http\n", `belay.yml:3: unknown key "schema"; allowed: alert_relabel_configs, api_version, `},
		"nobody to tell":           {"alerting:\n  alertmanagers:\n  - scheme: http\n", "belay.yml:3: alertmanagers 1 names no Alertmanager; allowed: consul_sd_configs, dns_sd_configs, file_sd_configs, http_sd_configs, kubernetes_sd_configs, static_configs"},
		"the API that is gone":     {"alerting:\n  alertmanagers:\n  - api_version: v1\n    static_configs: [{targets: [a:1]}]\n", "v1"},
		"a discovery not built in": {"alerting:\n  alertmanagers:\n  - azure_sd_configs: [{}]\n", "belay.yml:3: \"azure_sd_configs\" is not built in; use http_sd_configs; allowed: consul_sd_configs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := load(t, c.text)
			if got := ps.Error(); !strings.Contains(got, c.want) || !strings.HasPrefix(got, "belay.yml:") {
				t.Errorf("got %q, want it to say %q", got, c.want)
			}
		})
	}
}

func alert(id string, state belay.AlertState) belay.Event {
	a := &belay.Alert{
		ID: id, Rule: "Errors", Labels: labels.FromStrings("alertname", "Errors", "id", id), State: state, Expr: "errors > 1",
		ActiveAt: epoch, FiredAt: epoch, EvaluatedAt: epoch, Annotations: map[string]string{"summary": "many"},
	}
	if state == belay.AlertInactive {
		a.ResolvedAt = epoch.Add(10 * time.Second)
	}
	if state == belay.AlertPending {
		a.FiredAt = time.Time{}
	}
	return belay.Event{At: epoch, Kind: belay.KindAlert, Reason: "a test", Alert: a}
}

func TestAlertsAreSentAgainAsPrometheusDoes(t *testing.T) {
	b := newBook(Options{EvaluationInterval: 15 * time.Second, ResendDelay: time.Minute, ExternalURL: "http://belay"})
	count := func(seconds int) int { return len(b.due(epoch.Add(time.Duration(seconds) * time.Second))) }
	b.fold(alert("p", belay.AlertPending))
	observed := alert("o", belay.AlertFiring)
	observed.Alert.Observe = true
	b.fold(observed)
	if n := count(0); n != 0 {
		t.Fatalf("%d messages of what is pending or only observed", n)
	}
	b.fold(alert("a", belay.AlertFiring))
	first := b.due(epoch)
	if len(first) != 1 || !first[0].EndsAt.Equal(epoch.Add(4*time.Minute)) || first[0].GeneratorURL != "http://belay/graph?g0.expr=errors+%3E+1&g0.tab=1" {
		t.Fatalf("got %+v", first)
	}
	got := []int{count(59), count(60), count(90)}
	b.fold(alert("a", belay.AlertInactive))
	got = append(got, count(91), count(92), count(151), count(10+15*60), count(11+15*60))
	if diff := cmp.Diff([]int{0, 1, 0, 1, 0, 1, 1, 0}, got); diff != "" {
		t.Error(diff)
	}
	if len(b.alerts) != 0 || len(b.order) != 0 {
		t.Error("what nobody needs is kept")
	}
}

func TestARealAlertmanagerHearsOfFiringAndResolved(t *testing.T) {
	am := peers.StartAlertmanager(t, "")
	// The notifier's client keeps its idle connections for five minutes.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	dir := t.TempDir()
	found := filepath.Join(dir, "am.json")
	if err := os.WriteFile(found, []byte(`[{"targets":["`+strings.TrimPrefix(am.URL, "http://")+`"]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ps := load(t, `
alerting:
  alert_relabel_configs:
    - {source_labels: [id], target_label: identity}
    - {regex: secret, action: labeldrop}
  alertmanagers:
    - file_sd_configs: [{files: ["`+found+`"]}]
`)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	j, err := journal.Open(t.Context(), filepath.Join(dir, "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	f, err := New(cfg, Options{Journal: j, ExternalLabels: labels.FromStrings("region", "eu-1"), ExternalURL: "http://belay.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	firing := alert("a", belay.AlertFiring)
	firing.Alert.FiredAt = time.Now().Add(-time.Minute).UTC()
	say(t, j, firing)
	got := await(t, am.URL, 1)
	want := map[string]string{"alertname": "Errors", "id": "a", "identity": "a", "region": "eu-1"}
	if diff := cmp.Diff(want, got[0].Labels); diff != "" {
		t.Error(diff)
	}
	if got[0].Annotations["summary"] != "many" || !strings.HasPrefix(got[0].GeneratorURL, "http://belay.example.org/graph?") {
		t.Errorf("got %+v", got[0])
	}
	resolved := firing
	a := *firing.Alert
	a.State, a.ResolvedAt = belay.AlertInactive, time.Now().UTC()
	resolved.Alert = &a
	say(t, j, resolved)
	await(t, am.URL, 0)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func say(t *testing.T, j belay.Journal, ev belay.Event) {
	t.Helper()
	if _, err := j.Append(t.Context(), "rule/x", belay.AnySeq, ev); err != nil {
		t.Fatal(err)
	}
}

type amAlert struct {
	Labels, Annotations map[string]string
	GeneratorURL        string `json:"generatorURL"`
}

// await polls until the Alertmanager has so many active alerts.
func await(t *testing.T, base string, n int) []amAlert {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	deadline := time.Now().Add(20 * time.Second)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/v2/alerts", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var alerts []amAlert
		if err := json.Unmarshal(body, &alerts); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if len(alerts) == n {
			return alerts
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d alerts, want %d: %s", len(alerts), n, body)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
