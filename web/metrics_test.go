package web_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web"
)

func TestMetricsTellTheStory(t *testing.T) {
	refused := rollbackIn(belay.RollbackRefused)
	refused.ID = "r-0"
	refused.Answers[6].Veto = "The mode is notify."
	second := *refused
	events := append(loop(), belay.Event{Kind: belay.KindRefused, Service: checkout, Reason: "The mode is notify.", Rollback: refused},
		belay.Event{Kind: belay.KindRefused, Service: checkout, Reason: "The mode is notify.", Rollback: &second})
	events = at(events...)
	h := build(t, events, func(o *web.Options) {
		o.Outbox = func() (int, time.Duration) { return 3, 90 * time.Second }
		o.Guards = []string{"mode", "freeze"}
	})
	_, _, body := h.send(t, "GET", "/metrics", "")
	for _, want := range []string{
		`belay_build_info{goversion="go1.`,
		`belay_service_info{environment="production",platform="command",revision="600d600d600d",service="checkout",version="v1.4.2"} 1`,
		`belay_deployments_total{environment="production",result="succeeded",service="checkout"} 2`,
		`belay_deployments_total{environment="production",result="failed",service="search"} 0`,
		`belay_deployment_timestamp_seconds{environment="production",service="checkout"} 1.773496994e+09`,
		`belay_alerts{alertname="CheckoutErrors",service="checkout",state="firing"} 1`,
		`belay_incidents_open{environment="production",service="checkout",severity="critical"} 0`,
		`belay_incidents_total{environment="production",service="checkout",severity="critical"} 1`,
		`belay_incidents_total{environment="production",service="search",severity="critical"} 0`,
		`belay_rollbacks_total{environment="production",mode="auto",result="recovered",service="checkout"} 1`,
		`belay_rollbacks_total{environment="production",mode="notify",result="stopped",service="search"} 0`,
		`belay_rollback_vetoes_total{guard="mode"} 2`,
		`belay_rollback_vetoes_total{guard="freeze"} 0`,
		`belay_revision_held{environment="production",revision="b16b00b5b16b",service="checkout"} 1`,
		`belay_rolled_back{environment="production",service="checkout"} 1`,
		`belay_rolled_back{environment="production",service="search"} 0`,
		`belay_recovery_seconds_bucket{environment="production",service="checkout",le="10"} 0`,
		`belay_recovery_seconds_bucket{environment="production",service="checkout",le="30"} 1`, // opened at 60 s, proved well at 90 s
		`belay_recovery_seconds_sum{environment="production",service="checkout"} 30`,
		`belay_recovery_seconds_count{environment="production",service="search"} 0`,
		`belay_outbox_depth 3`,
		`belay_outbox_oldest_seconds 90`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestMetricsAreAsTheEcosystemWantsThem(t *testing.T) {
	promtool := peers.Require(t, peers.Promtool)
	h := build(t, loop(), nil)
	_, _, body := h.send(t, "GET", "/metrics", "")
	if !strings.Contains(body, "# HELP belay_service_state") {
		t.Fatal("there are no metrics")
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
