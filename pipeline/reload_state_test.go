package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNothingIsTouchedByAReloadThatIsRefused(t *testing.T) {
	t.Parallel()
	const job = "scrape_configs: [{job_name: %s, static_configs: [{targets: ['127.0.0.1:1']}]}]\n"
	first := strings.ReplaceAll(job, "%s", "before") + provenanceConfig
	for name, tc := range map[string]struct {
		config, rules string
		spoil         func(t *testing.T, b *base)
		why           string
	}{
		"no journal": {
			config: strings.ReplaceAll(job, "%s", "after") + provenanceConfig, rules: strings.ReplaceAll(provenanceRules, "Own", "Mine"),
			spoil: func(_ *testing.T, b *base) { _ = b.journal.Close() }, why: "",
		},
		"a rule file that does not parse": {
			config: strings.ReplaceAll(job, "%s", "after") + provenanceConfig, rules: "groups: [", why: "rules.yml",
		},
		"a certificate that is not there": {
			config: "scrape_configs: [{job_name: after, tls_config: {ca_file: nowhere.pem}, static_configs: [{targets: ['127.0.0.1:1']}]}]\n" + provenanceConfig,
			rules:  strings.ReplaceAll(provenanceRules, "Own", "Mine"), why: "nowhere.pem",
		},
		"another folder for the samples": {
			config: strings.ReplaceAll(job, "%s", "after") + strings.Replace(provenanceConfig, "path: metrics", "path: elsewhere", 1),
			rules:  provenanceRules, why: "metrics.path",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := opened(t, first, provenanceRules)
			dir := filepath.Dir(b.p.cfg.File)
			before := b.present.Load()
			for file, text := range map[string]string{"belay.yml": tc.config, "rules.yml": tc.rules} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.spoil != nil {
				tc.spoil(t, b)
			}
			if _, err := b.reload(t.Context()); err == nil || !strings.Contains(err.Error(), tc.why) {
				t.Fatalf("the reload says %v, want %q", err, tc.why)
			}
			if b.present.Load() != before {
				t.Error("other parts are in place")
			}
			if name := b.engine.Groups()[0].Rules[1].Name; name != "Own" {
				t.Errorf("the rules judge %s by now", name)
			}
			for job := range b.collector.Scraper().TargetsAll() {
				if job != "before" {
					t.Errorf("it scrapes %s by now", job)
				}
			}
		})
	}
}
