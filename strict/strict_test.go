package strict_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/belaydev/belay/strict"
)

type inner struct {
	Mode string `yaml:"mode"`
	N    int    `yaml:"n"`
}

type outer struct {
	Wait  model.Duration `yaml:"wait"`
	Name  string         `yaml:"name"`
	Inner inner          `yaml:"inner"`
	List  []inner        `yaml:"list"`
}

func TestProblemsNameFileLineAndWhatIsAllowed(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown key":                      {"name: a\ninner:\n  mod: x\n", `f.yml:3: unknown key "mod"; allowed: mode, n`},
		"a wrong type":                        {"inner:\n  n: seven\n", `f.yml:2: "seven" is not a number; allowed: a whole number`},
		"two at once":                         {"nam: a\nlist:\n  - {n: x}\n", "f.yml:1: unknown key \"nam\"; allowed: inner, list, name, wait\nf.yml:3: \"x\" is not a number; allowed: a whole number"},
		"no YAML":                             {"a: [\n", "f.yml:1: the file is not YAML: did not find expected node content; allowed: YAML: key: value, lists with - or in [], the same indentation for what belongs together"},
		"a list at the top":                   {"- a\n", "f.yml:1: the file is not a mapping of keys to values; allowed: key: value"},
		"a second document":                   {"name: a\n---\nname: b\n", "f.yml:2: a second YAML document in the same file; allowed: one document"},
		"a value of a type that reads itself": {"wait: soon\nname: a\n", "f.yml:1: \"soon\" is not a duration; allowed: a duration such as 30s, 5m or 1h30m"},
		"a list for a mapping":                {"inner: [a]\n", "f.yml:1: a list stands where a mapping belongs; allowed: a mapping of keys to values"},
		"a word for a list":                   {"list: a\n", "f.yml:1: \"a\" is not a list; allowed: a list: [a, b], or a line with - for each element"},
		"a key twice":                         {"name: a\ninner:\n  n: 1\n  n: 2\n", "f.yml:4: the key \"n\" stands twice; first in line 3; allowed: each key once"},
		"a tab":                               {"inner:\n\tn: 1\n", "f.yml:2: a tab indents the line; allowed: spaces"},
		"bytes that are no text":              {"name: a\nlist: \xff\n", "f.yml:2: the file is not text in UTF-8; allowed: a text file, saved as UTF-8"},
		"a NUL byte":                          {"name: a\n# \x00\n", "f.yml:2: the file holds a NUL byte; allowed: a text file, saved as UTF-8"},
		"carriage returns and a mark":         {"\ufeffname: a\r\ninner:\r\n  n: x\r\n", "f.yml:3: \"x\" is not a number; allowed: a whole number"},
		"a mapping for a string":              {"name: {a: b}\n", "f.yml:1: a mapping stands where a single value belongs; allowed: text or a number"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("f.yml", []byte(tc.text))
			if len(ps) == 0 {
				var o outer
				ps = doc.Decode(&o)
			}
			if diff := cmp.Diff(tc.want, ps.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeBelowAPathKeepsLineNumbers(t *testing.T) {
	doc, ps := strict.Parse("f.yml", []byte("x: 1\nlist:\n  - mode: a\n    n: 1\n  - mode: b\n    m: 2\n"))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	var folded struct {
		Mode string `yaml:"mode"`
	}
	text, _ := strict.Parse("f.yml", []byte("list:\n  - mode: one\n      two\n  - mode: b\n"))
	if ps := text.Decode(&folded, "list", 0); ps != nil || folded.Mode != "one two" {
		t.Errorf("a plain scalar over two lines: %q, %v", folded.Mode, ps)
	}
	var in inner
	got := doc.Decode(&in, "list", 1).Error()
	if want := `f.yml:6: unknown key "m"; allowed: mode, n`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if line := doc.Line("list", 1, "mode"); line != 5 {
		t.Errorf("line of list[1].mode = %d, want 5", line)
	}
	if line := doc.Line("list", 1, "nothing"); line != 5 {
		t.Errorf("line of a missing key = %d, want that of its parent, 5", line)
	}
}

func TestOnlyBlanksTheOtherKeys(t *testing.T) {
	doc, _ := strict.Parse("f.yml", []byte("a: 1\nb:\n  - 2\nc: 3\n"))
	if got, want := string(doc.Only("b")), "\nb:\n  - 2\n\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutTakesKeysOutAndLeavesLines(t *testing.T) {
	drop := func(key string) bool { return key == "x" || key == "y" }
	for name, tc := range map[string]struct{ text, want string }{
		"a block":             {"g:\n  a: 1\n  x:\n    z: 2\n  b: 3\nc: 4\n", "g:\n  a: 1\n\n\n  b: 3\nc: 4\n"},
		"the last of a block": {"g:\n  a: 1\n  y: 2\nc: 4\n", "g:\n  a: 1\n\nc: 4\n"},
		"all of a block":      {"g:\n  x: 1\n  y: 2\nc: 4\n", "g: {}\n\n\nc: 4\n"},
		"in braces":           {"g: {a: [1, b], x: 2,\n  c: \"q: r\"}\nd: 4\n", "g: {\"a\": [1, \"b\"], \"c\": \"q: r\"}\n\nd: 4\n"},
		"nothing":             {"g: {a: 1}\n", "g: {a: 1}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("f.yml", []byte(tc.text))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			out := doc.Without(drop, "g")
			if diff := cmp.Diff(tc.want, string(out.Only(out.Keys()...))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
