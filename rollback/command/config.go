// Package command lets any program be a platform: three argument lists, for
// what runs, for what could run, and for putting something back. No shell is
// involved anywhere. The exit codes and the JSON are in wire.go and in the
// README; command/releases is a shipped program that keeps them.
package command

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/belaydev/belay/strict"
)

// Defaults of Config.
const (
	DefaultTimeout = 30 * time.Second
	DefaultPoll    = 5 * time.Second
)

// Config is the key `command` of a service's platform. The three lists are
// argument lists: the first element is the program, nothing is expanded.
type Config struct {
	State     []string      `yaml:"state"`     // prints what runs
	Revisions []string      `yaml:"revisions"` // prints what could run, newest first
	Restore   []string      `yaml:"restore"`   // puts a revision back
	Timeout   time.Duration `yaml:"timeout"`   // of each run; default 30s
	Poll      time.Duration `yaml:"poll"`      // between two looks at the state; default 5s
	Dir       string        `yaml:"dir"`       // working directory; default, and base when relative: the configuration file's folder
}

// Decode reads and checks what stands at the path, and fills in the defaults.
func Decode(doc *strict.Doc, path ...any) (Config, strict.Problems) {
	var c Config
	if ps := doc.Decode(&c, path...); len(ps) > 0 {
		return c, ps
	}
	ps := c.Check(doc, path...)
	return c.withDefaults(filepath.Dir(doc.File)), ps
}

// Check returns what is wrong with a configuration that was read from the path
// of the document. It looks at nothing but the values.
func (c Config) Check(doc *strict.Doc, path ...any) strict.Problems {
	var ps strict.Problems
	add := func(what, allowed, key string, more ...any) {
		at := append(append([]any{}, path...), key)
		ps = append(ps, doc.At(what, allowed, append(at, more...)...))
	}
	for _, list := range []struct {
		key  string
		argv []string
	}{{"state", c.State}, {"revisions", c.Revisions}, {"restore", c.Restore}} {
		if len(list.argv) == 0 {
			add(fmt.Sprintf("the command platform needs %q", list.key), "a list: the program, then its arguments", list.key)
			continue
		}
		for i, arg := range list.argv {
			switch {
			case i == 0 && strings.TrimSpace(arg) == "":
				add("the program's name is empty", "a name in PATH, or a path", list.key, i)
			case strings.ContainsRune(arg, 0):
				add("an argument holds a NUL byte", "any other text", list.key, i)
			}
		}
	}
	for _, d := range []struct {
		key string
		val time.Duration
	}{{"timeout", c.Timeout}, {"poll", c.Poll}} {
		if d.val < 0 || (d.val > 0 && d.val < 10*time.Millisecond) {
			add(fmt.Sprintf("%s of %s is too short", d.key, d.val), "10ms or longer, such as 30s", d.key)
		}
	}
	return ps
}

func (c Config) withDefaults(base string) Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	switch {
	case c.Dir == "":
		c.Dir = base
	case !filepath.IsAbs(c.Dir):
		c.Dir = filepath.Join(base, c.Dir)
	}
	return c
}
