package pipeline_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay/pipeline"
)

// show returns what `belay config show` prints of a file, which must load
// again and then look the same.
func show(t *testing.T, file string) string {
	t.Helper()
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pipeline.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.Show()
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "shown.yml")
	if err := os.WriteFile(again, text, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := pipeline.Load(again)
	if err != nil {
		t.Fatalf("what is shown does not load: %v\n%s", err, text)
	}
	twice, err := second.Show()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(twice)); diff != "" {
		t.Errorf("shown again it is another:\n%s", diff)
	}
	return string(text)
}

func TestTheShownConfigurationHasTheDefaultsAndLoadsAgain(t *testing.T) {
	text := show(t, "testdata/good/belay.yml")
	for _, want := range []string{"attribution_window: 30m", "sample_limit: 100000", "retention: 15d", "environment: production"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not shown:\n%s", want, text)
		}
	}
}

var hidden = regexp.MustCompile(`hush-[a-z0-9-]+`)

func TestPastedFilesLoadAndShowNoSecret(t *testing.T) {
	for _, pattern := range []string{"testdata/prometheus/*.yml", "testdata/alertmanager/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 10 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
				if text := show(t, file); hidden.MatchString(text) {
					t.Errorf("shows %s", hidden.FindString(text))
				}
			})
		}
	}
}
