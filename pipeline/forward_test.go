package pipeline_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
)

func TestAlertsGoToTheAlertmanagersOfAPastedFileAsWell(t *testing.T) {
	t.Parallel()
	amtool := peers.Require(t, peers.Amtool)
	am := peers.StartAlertmanager(t, "")
	s := newStage(t, "")
	address := freeAddress(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "127.0.0.1:0", address, 1)
	text = strings.Replace(text, "evaluation_interval: 200ms,", "evaluation_interval: 200ms, external_labels: {region: eu-1, replica: a},", 1)
	s.put("belay.yml", text+fmt.Sprintf(`
alerting:
  alert_relabel_configs: [{regex: replica, action: labeldrop}]
  alertmanagers: [{static_configs: [{targets: [%q]}]}]
`, am.Address))
	s.start()
	s.await("v1 known good", standing(belay.Good))

	found := get(t, "http://"+address+"/api/v1/alertmanagers")
	for range 100 { // discovery takes a moment
		if strings.Contains(string(found), am.URL+"/api/v2/alerts") {
			break
		}
		time.Sleep(100 * time.Millisecond)
		found = get(t, "http://"+address+"/api/v1/alertmanagers")
	}
	if !strings.Contains(string(found), am.URL+"/api/v2/alerts") {
		t.Errorf("/api/v1/alertmanagers says %s", found)
	}

	s.put("running", "v2")
	s.await("firing", func(ev belay.Event) bool { return ev.Alert != nil && ev.Alert.State == belay.AlertFiring })
	firing := awaitAlerts(t, amtool, am, 1)
	want := map[string]string{"alertname": "CheckoutErrors", "service": "checkout", "version": "v2", "severity": "critical", "region": "eu-1"}
	if diff := cmp.Diff(want, firing[0].Labels); diff != "" {
		t.Error(diff)
	}
	s.await("resolved", kind(belay.KindResolved))
	awaitAlerts(t, amtool, am, 0)
	if page := string(get(t, "http://"+address+"/metrics")); !strings.Contains(page, "prometheus_notifications_sent_total{") {
		t.Error("/metrics does not count what was forwarded")
	}
}

type forwarded struct{ Labels map[string]string }

// awaitAlerts asks an Alertmanager, by the program that people use for it,
// until it has so many active alerts.
func awaitAlerts(t *testing.T, amtool string, am *peers.Process, n int) []forwarded {
	t.Helper()
	var alerts []forwarded
	for range 300 {
		cmd := exec.CommandContext(t.Context(), amtool, "--alertmanager.url="+am.URL, "alert", "query", "-o", "json")
		cmd.Env = append(os.Environ(), "HOME="+filepath.Join(am.Dir, "nobody"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		alerts = nil
		if err := json.Unmarshal(out, &alerts); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if len(alerts) == n {
			return alerts
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the Alertmanager has %d alerts, want %d: %v", len(alerts), n, alerts)
	return nil
}
