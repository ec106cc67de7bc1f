// Package compose watches and restores one service of a Compose project: the
// containers that any version of Compose has made, through the Docker Engine
// alone. What it does to them, and what it cannot do, is in the README.
package compose

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/belaydev/belay/rollback/engine"
	"github.com/belaydev/belay/strict"
)

// Defaults of Config.
const (
	DefaultSteady = 5 * time.Second
	DefaultKeep   = 10
)

// Config is the key `compose` of a service's platform.
type Config struct {
	Project       string        `yaml:"project"`     // required: name of the project
	Service       string        `yaml:"service"`     // required: name of the service in it
	Steady        time.Duration `yaml:"steady"`      // a container without a health check counts as well after running this long; default 5s
	KeepImages    int           `yaml:"keep_images"` // how many images are kept from being pruned, by a tag of Belay's; default 10
	engine.Config `yaml:",inline"`
}

// Decode reads and checks what stands at the path, and fills in the defaults.
func Decode(doc *strict.Doc, path ...any) (Config, strict.Problems) {
	var c Config
	if ps := doc.Decode(&c, path...); len(ps) > 0 {
		return c, ps
	}
	ps := c.Check(doc, path...)
	add := func(what, allowed, key string) {
		ps = append(ps, doc.At(what, allowed, append(append([]any{}, path...), key)...))
	}
	if c.Project == "" {
		add("the compose platform needs a project", "the project's name as `docker compose ls` shows it", "project")
	}
	if c.Service == "" {
		add("the compose platform needs a service", "the service's name in the Compose file", "service")
	}
	if c.Steady < 0 {
		add(fmt.Sprintf("steady of %s is negative", c.Steady), "a duration, such as 5s", "steady")
	}
	if c.KeepImages < 0 {
		add(fmt.Sprintf("keep_images of %d is negative", c.KeepImages), "1 or more", "keep_images")
	}
	return c.withDefaults(filepath.Dir(doc.File)), ps
}

func (c Config) withDefaults(dir string) Config {
	c.Config = c.Resolve(dir)
	if c.Steady == 0 {
		c.Steady = DefaultSteady
	}
	if c.KeepImages == 0 {
		c.KeepImages = DefaultKeep
	}
	return c
}
