package pipeline_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/pipeline"
)

var update = flag.Bool("update", false, "write what is printed as what is wanted")

func TestTheSampleConfigurationLoads(t *testing.T) {
	cfg, err := pipeline.Load("testdata/good/belay.yml")
	if err != nil {
		t.Fatal(err)
	}
	checkout, payments := cfg.Services[0], cfg.Services[1]
	if checkout.Policy.Mode != belay.ModeAuto || !checkout.Policy.AllowChecked || time.Duration(checkout.Policy.Soak) != 10*time.Minute {
		t.Errorf("the service does not override the policy: %+v", checkout.Policy)
	}
	if payments.Policy.Mode != belay.ModeNotify || payments.ID.Environment != "production" || payments.Match["service"] != "payments" {
		t.Errorf("defaults: %+v", payments)
	}
	if checkout.Platform == nil || checkout.PlatformName != "command" {
		t.Error("no platform")
	}
	if want := (belay.ServiceID{Environment: "production", Name: "payments"}); checkout.DependsOn[0] != want {
		t.Errorf("depends on %v", checkout.DependsOn)
	}
	if len(cfg.Rules.Groups) != 1 || len(cfg.Collector.ScrapeConfigs) != 2 {
		t.Errorf("%d groups, %d scrape configs", len(cfg.Rules.Groups), len(cfg.Collector.ScrapeConfigs))
	}
	if checkout.Policy.KillSwitchFile != filepath.Join("testdata", "good", "data", "STOP") {
		t.Errorf("kill switch %q is not beside the file", checkout.Policy.KillSwitchFile)
	}
}

var located = regexp.MustCompile(`^testdata/bad/[a-z/-]+\.yml:\d+: .+; allowed: .+$`)

func TestBadConfigurationsSayFileLineWhatAndWhatIsAllowed(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			_, err := pipeline.Load(file)
			if err == nil {
				t.Fatal("it loads")
			}
			wantFile := strings.TrimSuffix(file, ".yml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(err.Error()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(wantFile)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), err.Error()); diff != "" {
				t.Error(diff)
			}
			for line := range strings.Lines(err.Error()) {
				if line = strings.TrimSpace(line); !located.MatchString(line) {
					t.Errorf("not of the form file:line: what; allowed: what: %s", line)
				}
			}
		})
	}
}

func TestWhatAPastedPrometheusFileHasInVainIsAWarning(t *testing.T) {
	cfg, err := pipeline.Parse("p.yml", []byte("global: {scrape_interval: 5s}\nremote_read: []\nstorage: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p.yml:2: remote_read has no meaning here and is ignored", "p.yml:3: storage has no meaning here and is ignored"}, cfg.Warnings); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yml", "testdata/good/*.yml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := pipeline.Parse("testdata/fuzz.yml", text); err != nil && !strings.Contains(err.Error(), "testdata/fuzz.yml") {
			t.Errorf("a problem that names no file: %v", err)
		}
	})
}
