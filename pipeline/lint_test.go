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

func TestLintFindsWhatIsAllowedButUnwise(t *testing.T) {
	cfg, err := pipeline.Load("testdata/lint/belay.yml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range cfg.Lint() {
		got = append(got, f.String())
	}
	want := []string{
		`testdata/lint/belay.yml:2: nobody-is-told: neither route.receiver nor a service's owners.slack_channel nor alerting is set`,
		`testdata/lint/belay.yml:4: inline-secret: a secret stands in the file; its key that ends in _file, or ${NAME} of the environment, keeps it out of version control`,
		`testdata/lint/belay.yml:6: rule-files-match-nothing: "more/*.yml" matches no file`,
		`testdata/lint/belay.yml:8: service-without-owner: production/checkout has no owners.slack_channel`,
		`testdata/lint/belay.yml:8: service-without-rule: production/checkout can be rolled back, and no rule of rule_files has the labels that rollback.when asks for: severity="page"`,
		`testdata/lint/belay.yml:8: auto-without-veto: production/checkout is rolled back without a veto: nobody can say Stop`,
		`testdata/lint/belay.yml:8: auto-without-kill-switch: production/checkout is rolled back by itself, and kill_switch_file is empty`,
		`testdata/lint/belay.yml:11: service-without-owner: production/payments has no owners.slack_channel`,
		`testdata/lint/belay.yml:11: service-without-platform: production/payments names no platform: Belay can tell, but not roll back`,
		`testdata/lint/rules.yml:6: rule-without-for: "Errors" has no for: one bad sample is enough`,
		`testdata/lint/rules.yml:6: rule-without-severity: "Errors" has no label severity`,
		`testdata/lint/rules.yml:6: rule-without-summary: "Errors" has no annotation summary or description`,
		`testdata/lint/rules.yml:6: unknown-series: "Errors" reads job:errors:rate1m, which no rule here records`,
		`testdata/lint/rules.yml:6: unknown-job: "Errors" asks for job="shopp", which no scrape configuration has`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range pipeline.Checks() {
		if !strings.Contains(strings.Join(got, "\n"), ": "+c.Name+": ") {
			t.Errorf("no example of %s", c.Name)
		}
	}
}

func TestTheSampleConfigurationIsClean(t *testing.T) {
	cfg, err := pipeline.Load("testdata/good/belay.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range cfg.Lint() {
		if !strings.Contains(f.String(), "production/payments") { // which is there to be watched alone
			t.Error(f)
		}
	}
}

func TestEveryCheckIsDocumented(t *testing.T) {
	page := string(read(t, "../docs/configuration.md"))
	for _, c := range pipeline.Checks() {
		if !strings.Contains(page, "| `"+c.Name+"` | "+c.Why+" |") {
			t.Errorf("docs/configuration.md does not say: | `%s` | %s |", c.Name, c.Why)
		}
	}
}

// TestBadFixturesAreMany counts the files that must be refused, over all parts.
func TestBadFixturesAreMany(t *testing.T) {
	where := map[string]int{}
	located := regexp.MustCompile(`(?m)^[^:\n]+:\d+: .+$`)
	for _, part := range []string{"collector", "rules", "pipeline"} {
		files, err := filepath.Glob(filepath.Join("..", part, "testdata", "bad", "*.yml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yml") + ".want")
			if err != nil || !located.Match(want) {
				t.Errorf("%s: no message with file and line: %v", file, err)
				continue
			}
			where[part]++
		}
	}
	if sum := where["collector"] + where["rules"] + where["pipeline"]; sum < 40 {
		t.Errorf("%d bad fixtures, at least 40 are wanted: %v", sum, where)
	} else {
		t.Logf("%d bad fixtures: %v", sum, where)
	}
}
