package collector_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/value"

	"github.com/belaydev/belay/collector"
)

func TestATargetThatWentAwayWhileNothingRanHasEnded(t *testing.T) {
	t.Parallel()
	gone, stays := serve(t, "gone 1\n"), serve(t, "stays 1\n")
	cfg := config(t, "scrape_configs:\n- {job_name: shop, file_sd_configs: [{files: [targets.json], refresh_interval: 100ms}]}\n"+
		"- {job_name: unknown, file_sd_configs: [{files: [unknown.json], refresh_interval: 100ms}]}\n")
	dir := filepath.Dir(filepath.Dir(cfg.Metrics.Path))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unknown := serve(t, "unknown 1\n")
	write("targets.json", fmt.Sprintf(`[{"targets": [%q, %q]}]`, gone.address(), stays.address()))
	write("unknown.json", fmt.Sprintf(`[{"targets": [%q]}]`, unknown.address()))
	r := run(t, cfg, collector.Options{})
	r.until("all are scraped", func() bool {
		return len(values(t, r, "gone")) > 0 && len(values(t, r, "stays")) > 0 && len(values(t, r, "unknown")) > 0
	})
	r.stop()

	write("targets.json", fmt.Sprintf(`[{"targets": [%q]}]`, stays.address()))
	write("unknown.json", `[]`)
	r = run(t, cfg, collector.Options{})
	r.until("what is gone has ended", func() bool {
		got := values(t, r, "gone")
		return value.IsStaleNaN(got[len(got)-1])
	})
	for _, name := range []string{"stays", "unknown"} { // the second has no target, and so nothing is known of it
		if got := values(t, r, name); value.IsStaleNaN(got[len(got)-1]) {
			t.Errorf("the series %s has ended: %v", name, got)
		}
	}
}
