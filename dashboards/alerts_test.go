package dashboards_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const rulesPath = "prometheus/belay.yml"

// An ownRule is a rule of the file, with the names of recorded series replaced
// by what records them.
type ownRule struct {
	rulefmt.Rule
	flat string
}

func (r ownRule) name() string { return r.Record + r.Alert }

// ownRules reads the rule file as Prometheus does.
func ownRules(t *testing.T) []ownRule {
	t.Helper()
	groups, errs := rulefmt.Parse(made(t)[rulesPath], false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var out []ownRule
	records := map[string]string{}
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			if rule.Record != "" {
				records[rule.Record] = rule.Expr
			}
			flat := rule.Expr
			for name, expr := range records {
				flat = strings.ReplaceAll(flat, name, "("+expr+")")
			}
			out = append(out, ownRule{rule, flat})
		}
	}
	return out
}

var camel = regexp.MustCompile(`^Belay[A-Z][A-Za-z]+$`)

// TestAlertsFollowTheConventionOfMixins also wants a page for each alert, and
// an alert for each page.
func TestAlertsFollowTheConventionOfMixins(t *testing.T) {
	pages := map[string]bool{}
	for _, rule := range ownRules(t) {
		if rule.Record != "" {
			continue
		}
		severity, summary := rule.Labels["severity"], rule.Annotations["summary"]
		if !camel.MatchString(rule.Alert) || !slices.Contains([]string{"critical", "warning", "info"}, severity) {
			t.Errorf("%s, severity %q", rule.Alert, severity)
		}
		if !strings.HasSuffix(summary, ".") || strings.Contains(summary, "{{") || rule.Annotations["description"] == "" {
			t.Errorf("%s: a summary is one sentence, the same for each instance; a description follows: %q", rule.Alert, rule.Annotations)
		}
		page, ok := strings.CutPrefix(rule.Annotations["runbook_url"], "https://github.com/belaydev/belay/blob/main/")
		text, err := os.ReadFile(filepath.Join("..", page))
		if !ok || err != nil {
			t.Errorf("%s: no runbook at %s: %v", rule.Alert, rule.Annotations["runbook_url"], err)
			continue
		}
		pages[filepath.Base(page)] = true
		for _, part := range []string{"# " + rule.Alert + "\n", "## What it means", "## What to do"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q", page, part)
			}
		}
	}
	found, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if base := filepath.Base(f); base != "README.md" && !pages[base] {
			t.Errorf("no alert leads to %s", f)
		}
	}
}

// TestNoAlertFiresInTheDemo: in the demo Belay itself is well. With conditions
// taken away each rule sees the demo's data.
func TestNoAlertFiresInTheDemo(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	for _, rule := range ownRules(t) {
		found := r.ask(t, rule.name(), rule.flat)
		switch {
		case rule.Record != "" && len(found) == 0:
			t.Errorf("%s records nothing of the demo", rule.Record)
		case rule.Alert != "" && rule.For == 0 && len(found) > 0:
			t.Errorf("%s fires in the demo: %v", rule.Alert, found)
		case rule.Alert != "":
			parser.Inspect(parse(t, rule.Alert, rule.flat), func(node parser.Node, _ []parser.Node) error {
				if b, ok := node.(*parser.BinaryExpr); ok && b.Op.IsComparisonOperator() && len(r.ask(t, rule.Alert, b.LHS.String())) == 0 {
					t.Errorf("%s compares nothing: %s", rule.Alert, b.LHS)
				}
				return nil
			})
		}
	}
}

// TestEachAlertFiresWhenItShould runs Prometheus's own rule tests.
func TestEachAlertFiresWhenItShould(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			t.Fatal("promtool is not here; scripts/test-deps installs it")
		}
		t.Skip("promtool is not here; scripts/test-deps installs it")
	}
	const cases = "testdata/alerts.yml"
	text, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range ownRules(t) {
		if rule.Alert != "" && len(regexp.MustCompile(`alertname: `+rule.Alert+`\b`).FindAllString(string(text), -1)) < 2 {
			t.Errorf("%s does not show %s firing and quiet", cases, rule.Alert)
		}
	}
	if said, err := exec.CommandContext(t.Context(), promtool, "test", "rules", cases).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
