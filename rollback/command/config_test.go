package command

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay/strict"
)

func TestDecodeFindsEverythingThatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing": {"command: {}\n", `f/b.yml:1: the command platform needs "state"; allowed: a list: the program, then its arguments
f/b.yml:1: the command platform needs "revisions"; allowed: a list: the program, then its arguments
f/b.yml:1: the command platform needs "restore"; allowed: a list: the program, then its arguments`},
		"an unknown key":      {"command:\n  stat: [a]\n", `f/b.yml:2: unknown key "stat"; allowed: dir, poll, restore, revisions, state, timeout`},
		"a line for a shell":  {"command:\n  state: ./x state\n", `f/b.yml:2: "./x state" is not a list; allowed: a list: [a, b], or a line with - for each element`},
		"no program":          {"command:\n  state: [\"\"]\n  revisions: [b]\n  restore: [c]\n", "f/b.yml:2: the program's name is empty; allowed: a name in PATH, or a path"},
		"no time":             {"command:\n  state: [a]\n  revisions: [b]\n  restore: [c]\n  timeout: -1s\n", "f/b.yml:5: timeout of -1s is too short; allowed: 10ms or longer, such as 30s"},
		"polling without end": {"command:\n  state: [a]\n  revisions: [b]\n  restore: [c]\n  poll: 1ns\n", "f/b.yml:5: poll of 1ns is too short; allowed: 10ms or longer, such as 30s"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("f/b.yml", []byte(tc.text))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			_, ps = Decode(doc, "command")
			if diff := cmp.Diff(tc.want, ps.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeFillsInTheDefaults(t *testing.T) {
	argv := "command:\n  state: [a, -x]\n  revisions: [b]\n  restore: [c]\n"
	base := Config{
		State: []string{"a", "-x"}, Revisions: []string{"b"}, Restore: []string{"c"},
		Timeout: 30 * time.Second, Poll: 5 * time.Second, Dir: "etc",
	}
	for name, tc := range map[string]struct {
		text string
		want func(*Config)
	}{
		"all":                  {"", func(*Config) {}},
		"a relative directory": {"  dir: work\n", func(c *Config) { c.Dir = "etc/work" }},
		"an absolute one":      {"  dir: /srv\n", func(c *Config) { c.Dir = "/srv" }},
		"times":                {"  timeout: 1m\n  poll: 100ms\n", func(c *Config) { c.Timeout, c.Poll = time.Minute, 100*time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("etc/belay.yml", []byte(argv+tc.text))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			got, ps := Decode(doc, "command")
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			want := base
			tc.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheExampleOfTheReadmeIsRight(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(readme), "```yaml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("the README has no example")
	}
	doc, ps := strict.Parse("belay.yml", []byte(example))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	c, ps := Decode(doc, "services", 0, "platform", "command")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if c.Timeout != 10*time.Second || c.Restore[len(c.Restore)-2] != "activate" {
		t.Errorf("the example says %+v", c)
	}
}
