package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
)

const provenanceConfig = `
rule_files: [rules.yml]
metrics: {path: metrics}
journal: {path: belay.db}
`

const provenanceRules = `
groups:
- name: shop
  rules:
  - {record: ratio, expr: failures / requests}
  - {alert: Own, expr: failures > 1}
  - {alert: Sent, expr: sent > 1}
  - {alert: Recorded, expr: ratio > 0.1}
  - {alert: Anything, expr: '{job="shop"} > 1'}
`

// opened makes a Belay of which only the collector runs.
func opened(t *testing.T, config, rules string) *base {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"belay.yml": config, "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(filepath.Join(dir, "belay.yml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err := p.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.collector.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = b.journal.Close()
	})
	<-b.collector.Ready()
	return b
}

// send writes one sample as /api/v1/write does.
func (b *base) send(t *testing.T, name string) {
	t.Helper()
	app := b.collector.Receiver().AppenderV2(t.Context())
	if _, err := app.Append(0, labels.FromStrings("__name__", name), 0, time.Now().UnixMilli(), 1, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestAnAlertThatRestsOnWhatOthersSentInIsForeign(t *testing.T) {
	t.Parallel()
	b := opened(t, provenanceConfig, provenanceRules)
	says := func(rule string) string {
		return b.present.Load().foreign(belay.Alert{Rule: rule, Group: "shop"})
	}
	for _, rule := range []string{"Own", "Sent", "Recorded", "Anything"} {
		if why := says(rule); why != "" {
			t.Errorf("nobody has sent anything, and %s %s", rule, why)
		}
	}
	if says("FromElsewhere") == "" {
		t.Error("an alert that no rule makes is taken for Belay's own")
	}
	b.send(t, "sent")
	b.send(t, "requests")
	for rule, want := range map[string]string{
		"Own": "", "Sent": "reads sent, of which others", "Recorded": "reads requests, of which others", "Anything": "reads any metric, of which others",
	} {
		if why := says(rule); !strings.HasPrefix(why, want) || (want == "") != (why == "") {
			t.Errorf("%s %q, want %q", rule, why, want)
		}
	}
}

func TestWhatAnotherServerAnswersIsForeign(t *testing.T) {
	t.Parallel()
	b := opened(t, strings.Replace(provenanceConfig, "{path: metrics}", `{path: metrics, source: {url: "http://127.0.0.1:1"}}`, 1), provenanceRules)
	if why := b.present.Load().foreign(belay.Alert{Rule: "Own", Group: "shop"}); !strings.Contains(why, "metrics.source") {
		t.Errorf("it says %q", why)
	}
}

// Whoever only sends samples in has no targets, and need not wait for any.
func TestWithNothingToScrapeRulesJudgeAtOnce(t *testing.T) {
	t.Parallel()
	b := opened(t, provenanceConfig, strings.Replace(provenanceRules, "sent > 1", "sent > 0", 1))
	b.send(t, "sent")
	b.engine.Evaluate(t.Context(), time.Now())
	for _, a := range b.engine.Alerts() {
		if a.Rule == "Sent" && a.State == belay.AlertFiring {
			return
		}
	}
	t.Errorf("nothing fires; the rules say %+v", b.engine.Judgements())
}

func TestEachGuardsVetoesAreCountedFromZero(t *testing.T) {
	t.Parallel()
	names := guardNames()
	if len(names) < 10 {
		t.Errorf("too few guards: %v", names)
	}
	text := httptest.NewRecorder()
	b := opened(t, provenanceConfig, provenanceRules)
	b.server.Handler().ServeHTTP(text, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/metrics", nil))
	for _, name := range names {
		if want := fmt.Sprintf("belay_rollback_vetoes_total{guard=%q} 0", name); !strings.Contains(text.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
