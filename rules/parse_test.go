package rules

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

var update = flag.Bool("update", false, "write what is seen into the golden files")

func TestBadRuleFilesSayFileLineAndWhatIsWrong(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d bad fixtures, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := Parse(filepath.Base(file), text)
			if len(problems) == 0 {
				t.Fatal("no problem was found")
			}
			golden := strings.TrimSuffix(file, ".yml") + ".want"
			got := problems.Error() + "\n"
			for line := range strings.Lines(got) {
				if !strings.Contains(line, "; allowed: ") {
					t.Errorf("does not say what is allowed: %s", line)
				}
			}
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

func TestAGoodFileBecomesGroupsAndRules(t *testing.T) {
	set, problems := Load([]string{"testdata/good/check*.yml", "testdata/good/checkout.yml"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if len(set.Groups) != 1 || len(set.Groups[0].Rules) != 3 {
		t.Fatalf("got %+v", set.Groups)
	}
	g := set.Groups[0]
	if g.Interval != 5*time.Second || g.QueryOffset != time.Second || g.Limit != 100 {
		t.Errorf("group = %+v", g)
	}
	type shape struct {
		Name      string
		Recording bool
		For, Keep time.Duration
		Labels    string
		Observe   bool
		Line      int
	}
	var got []shape
	ids := map[string]bool{}
	for _, r := range g.Rules {
		got = append(got, shape{r.Name, r.Recording, r.For, r.KeepFiringFor, r.Labels.String(), r.Observe, r.Line})
		ids[r.ID] = true
	}
	want := []shape{
		{"service:errors:ratio1m", true, 0, 0, `{team="shop"}`, false, 8},
		{"CheckoutErrors", false, 10 * time.Second, time.Minute, `{severity="critical", team="checkout"}`, false, 12},
		{"Watched", false, 0, 0, `{team="shop"}`, true, 19},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 3 {
		t.Errorf("%d distinct ids, want 3", len(ids))
	}
}

func TestFilesThatAreNotThereAreProblems(t *testing.T) {
	_, problems := Load([]string{"testdata/nothing.yml", "testdata/nothing/*.yml"})
	want := "testdata/nothing.yml: cannot be read: no such file or directory; allowed: a rule file that this user may read\n" +
		"testdata/nothing/*.yml: no file matches this pattern; allowed: a file, or a pattern that matches some"
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestTheSameRuleTwiceHasTwoIdentities(t *testing.T) {
	set, problems := Parse("f.yml", []byte("groups: [{name: g, rules: [{alert: A, expr: x > 1}, {alert: A, expr: x > 2}]}]"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if a, b := set.Groups[0].Rules[0].ID, set.Groups[0].Rules[1].ID; a == b {
		t.Errorf("both rules are %s", a)
	}
}

func TestMergedKeysAreReadAndJudged(t *testing.T) {
	const text = `
groups:
  - name: g
    rules:
      - &base {alert: A, expr: x > 1, mode: observe, labels: &l {severity: low}}
      - {<<: *base, alert: B}
      - {alert: C, expr: y > 1, labels: *l}
`
	set, problems := Parse("f.yml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	rules := set.Groups[0].Rules
	if rules[1].Name != "B" || !rules[1].Observe || rules[2].Labels.Get("severity") != "low" {
		t.Errorf("got %+v and %+v", rules[1], rules[2])
	}
}

// FuzzParse compares with rulefmt: what it refuses is refused here, and what
// is accepted here and needs none of Belay's keys is accepted there.
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
		set, problems := Parse("f.yml", text)
		for _, p := range problems {
			if p.What == "" || p.Line < 0 {
				t.Errorf("problem without words or place: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		for _, g := range set.Groups {
			for _, r := range g.Rules {
				if r.Observe || r.NoData != "" || r.ResolveWhen != nil || r.MinSamples > 0 {
					return
				}
			}
		}
		_, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		if len(errs) > 0 {
			t.Errorf("accepted here, refused by rulefmt: %v", errs)
		}
	})
}
