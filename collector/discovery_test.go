package collector_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belaydev/belay/collector"
)

func TestHTTPDiscoveryFindsTargets(t *testing.T) {
	shop := serve(t, "requests_total 1\n")
	sd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `[{"targets": [%q], "labels": {"__meta_team": "checkout"}}]`, shop.address())
	}))
	t.Cleanup(sd.Close)
	r := run(t, config(t, fmt.Sprintf("scrape_configs:\n- job_name: shop\n  http_sd_configs: [{url: %q}]\n  relabel_configs: [{source_labels: [__meta_team], target_label: team}]\n", sd.URL)), collector.Options{})
	r.until("it is scraped", func() bool { return r.target("shop").Healthy })
	if team := r.target("shop").Labels.Get("team"); team != "checkout" {
		t.Errorf("team %q", team)
	}
}

// docker plays as much of an engine as discovery asks of it.
func docker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/containers/json"):
		_, _ = io.WriteString(w, `[{"Id":"c1","Names":["/shop"],"Labels":{"scrape":"yes"},"Ports":[{"PrivatePort":8080,"Type":"tcp"}],"NetworkSettings":{"Networks":{"bridge":{"NetworkID":"n1","IPAddress":"10.1.2.3"}}},"HostConfig":{"NetworkMode":"bridge"}}]`)
	case strings.HasSuffix(r.URL.Path, "/networks"):
		_, _ = io.WriteString(w, `[{"Name":"bridge","Id":"n1","Scope":"local"}]`)
	default:
		_, _ = io.WriteString(w, "{}")
	}
}

func TestDockerDiscoveryFindsContainers(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(docker))
	t.Cleanup(engine.Close)
	shop := serve(t, "requests_total 1\n")
	r := run(t, config(t, fmt.Sprintf("scrape_configs:\n- job_name: shop\n  docker_sd_configs: [{host: %q}]\n  relabel_configs: [{source_labels: [__address__], target_label: inside}, {target_label: __address__, replacement: %q}]\n", engine.URL, shop.address())), collector.Options{})
	r.until("it is scraped", func() bool { return r.target("shop").Healthy })
	if inside := r.target("shop").Labels.Get("inside"); inside != "10.1.2.3:8080" {
		t.Errorf("the container is at %q", inside)
	}
}

func TestFilesOfScrapeConfigurationsStayInTheirFolder(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "scrape/a.yml"), "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: [t.json]}]\n")
	write(filepath.Join(dir, "scrape/b.yml"), "scrape_configs:\n- job_name: b\n  static_configs: [{targets: [\"h:1\"]}]\n")
	cfg := mustLoad(t, filepath.Join(dir, "belay.yml"), "scrape_config_files: [scrape/*.yml, scrape/a.yml]\n")
	if len(cfg.ScrapeConfigs) != 2 || cfg.ScrapeConfigs[0].JobName != "a" || cfg.ScrapeConfigs[1].SampleLimit != collector.DefaultSampleLimit {
		t.Errorf("%+v", cfg.ScrapeConfigs)
	}
	write(filepath.Join(outside, "secret.yml"), "scrape_configs: [{job_name: secret}]\n")
	write(filepath.Join(dir, "bad/c.yml"), "scrape_configs:\n- job_name: a\n- job_nam: c\nglobal: {}\n")
	if err := os.Symlink(filepath.Join(outside, "secret.yml"), filepath.Join(dir, "bad/link.yml")); err != nil {
		t.Fatal(err)
	}
	_, problems := load(filepath.Join(dir, "belay.yml"), "scrape_config_files:\n- scrape/*.yml\n- bad/*.yml\n- "+outside+"/*.yml\n")
	for _, want := range []string{
		"c.yml:2: job_name: \"a\" is taken by the job in " + filepath.Join(dir, "scrape/a.yml") + ":2",
		"c.yml:3: unknown key \"job_nam\"",
		"c.yml:4: unknown key \"global\"; allowed: scrape_configs",
		"belay.yml:3: " + filepath.Join(dir, "bad/link.yml") + " leads out of the folder",
		"belay.yml:4: " + filepath.Join(outside, "secret.yml") + " leads out of the folder",
	} {
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("no %q in\n%v", want, problems)
		}
	}
}
