package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belaydev/belay/pipeline"
)

func TestAPatternStaysInsideItsFolder(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write := func(file, text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	rules := write(filepath.Join(outside, "rules.yml"), "groups: []\n")
	jobs := write(filepath.Join(outside, "jobs.yml"), "scrape_configs: []\n")
	write(filepath.Join(dir, "rules", "mine.yml"), "groups: []\n")
	link(filepath.Join(dir, "linked.yml"), rules)
	link(filepath.Join(dir, "more"), outside)
	link(filepath.Join(dir, "inside.yml"), filepath.Join("rules", "mine.yml"))
	link(filepath.Join(dir, "jobs.yml"), jobs)
	for name, c := range map[string]struct{ text, want string }{
		"a rule file of its own":           {"rule_files: [rules/*.yml]", ""},
		"a link to a file of its own":      {"rule_files: [inside.yml]", ""},
		"an absolute path, said openly":    {"rule_files: [" + rules + "]", ""},
		"a link to a rule file outside":    {"rule_files: [linked.yml]", "belay.yml:1: rule_files \"linked.yml\": "},
		"a pattern that meets such a link": {"rule_files: ['link*.yml']", "leads out of the folder of this file; allowed: files below that folder, or an absolute path"},
		"a folder that is a link":          {"rule_files: [more/*.yml]", "leads out of the folder"},
		"a link to scrape configurations":  {"scrape_config_files: [jobs.yml]", "leads out of the folder"},
		"scrape configurations by ..":      {"scrape_config_files: [../*/jobs.yml]", "leads out of the folder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pipeline.Load(write(filepath.Join(dir, "belay.yml"), c.text+"\n"))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestAChangedTokensFileIsAnotherConfiguration(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hash := func() string {
		t.Helper()
		cfg, err := pipeline.Load(filepath.Join(dir, "belay.yml"))
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Hash
	}
	tokens := string(read(t, "testdata/good/tokens.yml"))
	put("belay.yml", "web: {tokens_file: tokens.yml, config_file: web.yml}\n")
	put("tokens.yml", tokens)
	put("web.yml", "http_server_config: {http2: false}\n")
	seen := map[string]bool{hash(): true}
	put("tokens.yml", strings.Replace(tokens, "deploy", "read", 1))
	seen[hash()] = true
	put("web.yml", "http_server_config: {http2: true}\n")
	seen[hash()] = true
	if len(seen) != 3 {
		t.Errorf("%d hashes of three configurations", len(seen))
	}
}
