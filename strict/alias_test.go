package strict_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay/strict"
)

type aliased struct {
	Mode  string            `yaml:"mode"`
	Match map[string]string `yaml:"match"`
}

func TestAnchorsMayStandAnywhereInTheFile(t *testing.T) {
	for name, text := range map[string]string{
		"in another section": "first: &a {mode: auto, match: {b: c}}\nsecond: *a\n",
		"merged":             "first: &a\n  mode: manual\n  match: {b: c}\nsecond:\n  <<: *a\n  mode: auto\n",
		"below, in braces":   "first: &a {b: c}\nsecond: {mode: auto,\n  match: *a}\n",
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("f.yml", []byte(text))
			var got aliased
			ps = append(ps, doc.Decode(&got, "second")...)
			if diff := cmp.Diff(aliased{"auto", map[string]string{"b": "c"}}, got); diff != "" || len(ps) > 0 {
				t.Error(ps, diff)
			}
		})
	}
}

func TestAProblemBehindAnAliasNamesTheLineWhereItStands(t *testing.T) {
	doc, _ := strict.Parse("f.yml", []byte("first: &a\n  mode: auto\n  mach: {b: c}\nsecond:\n  <<: *a\n  moode: x\nthird: {mode: auto,\n\n  match: *a,\n  x: 1}\n"))
	ps := append(doc.Decode(&aliased{}, "second"), doc.Decode(&aliased{}, "third")...)
	want := "f.yml:3: unknown key \"mach\"; allowed: match, mode\n" +
		"f.yml:3: a mapping stands where a single value belongs; allowed: text or a number\n" +
		"f.yml:6: unknown key \"moode\"; allowed: match, mode\n" +
		"f.yml:10: unknown key \"x\"; allowed: match, mode"
	if diff := cmp.Diff(want, ps.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAliasesUnfoldToIsBounded(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	for name, c := range map[string]struct{ text, want string }{
		"aliases of aliases":     {bomb, "f.yml:1: the file holds more than 1000000 values once its aliases are unfolded; allowed: the values themselves"},
		"an anchor in itself":    {"a: &a\n  b: *a\n", `f.yml:1: the anchor "a" holds itself; allowed: the values themselves`},
		"a key twice at the top": {"a: 1\nb: 2\na: 3\n", `f.yml:3: the key "a" stands twice; first in line 1; allowed: each key once`},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := strict.Parse("f.yml", []byte(c.text))
			if diff := cmp.Diff(c.want, ps.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
