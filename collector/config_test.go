package collector_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/file"

	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/strict"
)

var update = flag.Bool("update", false, "write the .want files of testdata/bad anew")

// load reads text as the configuration file name.
func load(name, text string) (collector.Config, strict.Problems) {
	doc, problems := strict.Parse(name, []byte(text))
	if len(problems) > 0 {
		return collector.Config{}, problems
	}
	return collector.Load(doc)
}

func TestBadFilesSayWhereWhatAndWhatIsAllowed(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 8 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := load(filepath.Base(path), string(text))
			got := problems.Error() + "\n"
			for line := range strings.Lines(got) {
				if !strings.Contains(line, "; allowed: ") {
					t.Errorf("does not say what is allowed: %s", line)
				}
			}
			golden := strings.TrimSuffix(path, ".yml") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// mustLoad fails the test on any problem.
func mustLoad(t testing.TB, name, text string) collector.Config {
	t.Helper()
	cfg, problems := load(name, text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return cfg
}

func TestAnEmptyFileHasSafeDefaults(t *testing.T) {
	cfg := mustLoad(t, "/etc/belay/belay.yml", "")
	if diff := cmp.Diff(collector.Metrics{Path: "/etc/belay/data/metrics", Retention: model.Duration(15 * 24 * time.Hour), Keep: "all"}, cfg.Metrics); diff != "" {
		t.Error(diff)
	}
	if cfg.Global.SampleLimit != 100_000 || cfg.Global.BodySizeLimit != 64<<20 || cfg.Global.LabelLimit != 64 ||
		cfg.Global.LabelNameLengthLimit != 256 || cfg.Global.LabelValueLengthLimit != 4096 || cfg.Global.TargetLimit != 10_000 {
		t.Errorf("limits: %+v", cfg.Global)
	}
	if _, err := collector.New(cfg, collector.Options{}); err != nil {
		t.Error(err)
	}
}

func TestAScrapeConfigurationInheritsItsLimits(t *testing.T) {
	cfg := mustLoad(t, "belay.yml", `
global:
  scrape_interval: 5s
  sample_limit: 0
  label_limit: 7
scrape_configs:
  - job_name: shop
    target_limit: 3
    static_configs: [{targets: ["127.0.0.1:8080"]}]
`)
	sc := cfg.ScrapeConfigs[0]
	if sc.SampleLimit != 0 {
		t.Errorf("sample_limit = %d; a written 0 means no limit", sc.SampleLimit)
	}
	if sc.LabelLimit != 7 || sc.TargetLimit != 3 || sc.LabelValueLengthLimit != collector.DefaultLabelValueLengthLimit || sc.BodySizeLimit != collector.DefaultBodySizeLimit {
		t.Errorf("limits: %+v", sc)
	}
	if time.Duration(sc.ScrapeInterval) != 5*time.Second || time.Duration(sc.ScrapeTimeout) != 5*time.Second {
		t.Errorf("interval %s, timeout %s; want 5s each", sc.ScrapeInterval, sc.ScrapeTimeout)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	t.Setenv("BELAY_TEST_REGION", "eu-1")
	cfg := mustLoad(t, "/etc/belay/belay.yml", `
global:
  external_labels: {region: "${BELAY_TEST_REGION}", price: $$5, number: 010}
scrape_configs:
  - job_name: shop
    file_sd_configs: [{files: [targets/*.yml, /run/targets.json]}]
    authorization: {credentials_file: secret}
metrics:
  path: m
  retention: 2d
`)
	sd := cfg.ScrapeConfigs[0].ServiceDiscoveryConfigs[0].(*file.SDConfig)
	if diff := cmp.Diff([]string{"/etc/belay/targets/*.yml", "/run/targets.json"}, sd.Files); diff != "" {
		t.Error(diff)
	}
	if got := cfg.ScrapeConfigs[0].HTTPClientConfig.Authorization.CredentialsFile; got != "/etc/belay/secret" {
		t.Errorf("credentials_file = %s", got)
	}
	if cfg.Metrics.Path != "/etc/belay/m" || cfg.Metrics.Retention.String() != "2d" {
		t.Errorf("metrics: %+v", cfg.Metrics)
	}
	if got, want := cfg.Global.ExternalLabels.String(), `{number="010", price="$5", region="eu-1"}`; got != want {
		t.Errorf("external labels %s, want %s", got, want)
	}
}

func TestOtherShapesOfYAMLMeanTheSame(t *testing.T) {
	for name, text := range map[string]string{
		"an anchor under another key": "services: [{labels: &l {team: checkout}}]\nscrape_configs: [{job_name: shop, static_configs: [{targets: [\"h:1\"], labels: *l}]}]\n",
		"a merged mapping":            "scrape_configs:\n- &a {job_name: other, honor_labels: true}\n- {<<: *a, job_name: shop}\n",
		"JSON over several lines":     "{\n  \"scrape_configs\": [\n    {\"job_name\": \"shop\"}\n  ]\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := mustLoad(t, "belay.yml", text)
			if n := len(cfg.ScrapeConfigs); n == 0 || cfg.ScrapeConfigs[n-1].JobName != "shop" {
				t.Errorf("got %+v", cfg.ScrapeConfigs)
			}
		})
	}
	_, problems := load("belay.yml", "{\n  \"scrape_configs\": [\n    {\"job_name\": \"shop\",\n     \"scrape_interval\": \"x\"}\n  ]\n}\n")
	if got := problems.Error(); !strings.HasPrefix(got, "belay.yml:4: scrape_interval: ") {
		t.Errorf("a problem in JSON: %s", got)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yml")
	for _, path := range files {
		if text, err := os.ReadFile(path); err == nil {
			f.Add(string(text))
		}
	}
	f.Add("a: &a {b: [x]}\nscrape_configs:\n- job_name: s\n  relabel_configs: [*a, {<<: *a, regex: \"(\"}]\n  tls_config: {min_version: TLS9, ca: 1}\n  http_headers: {X: {values: [a]}}\n  oauth2: {scopes: a}\n")
	f.Add("{\n\"scrape_configs\": [{\"job_name\": 1, \"params\": {\"a\": \"b\"}}]\n}")
	f.Add("global: {scrape_interval: 5s}\nscrape_configs: [{job_name: a, static_configs: [{targets: [\"h:1\"]}]}]\nmetrics: {retention: 1d}\n")
	name := filepath.Join(f.TempDir(), "f.yml") // where a pattern of scrape_config_files finds nothing
	f.Fuzz(func(t *testing.T, text string) {
		cfg, problems := load(name, text)
		for _, p := range problems {
			if p.What == "" || p.Line < 0 || p.Line > strings.Count(text, "\n")+1 {
				t.Errorf("a problem that helps nobody: %+v", p)
			}
		}
		if len(problems) > 0 || cfg.Metrics.Path == "" {
			return
		}
		if _, err := collector.New(cfg, collector.Options{}); err != nil {
			t.Errorf("a file without problems is refused: %v", err)
		}
		for _, sc := range cfg.ScrapeConfigs {
			if sc.JobName == "" || sc.ScrapeInterval <= 0 || sc.ScrapeTimeout <= 0 || sc.ScrapeTimeout > sc.ScrapeInterval {
				t.Errorf("an impossible scrape configuration passed: %+v", sc)
			}
		}
	})
}
