// Package swarm watches and restores one service of a Docker Swarm through the
// engine of a manager. What it does to the swarm, and what it cannot do, is in
// the README.
package swarm

import (
	"path/filepath"
	"strings"

	"github.com/belaydev/belay/rollback/engine"
	"github.com/belaydev/belay/strict"
)

// Config is the key `swarm` of a service's platform.
type Config struct {
	Service       string `yaml:"service"` // required: name or id of the service
	engine.Config `yaml:",inline"`
}

// Decode reads and checks what stands at the path, and fills in the defaults.
func Decode(doc *strict.Doc, path ...any) (Config, strict.Problems) {
	var c Config
	if ps := doc.Decode(&c, path...); len(ps) > 0 {
		return c, ps
	}
	ps := c.Check(doc, path...)
	if c.Service == "" || strings.ContainsAny(c.Service, "/ \t\n?#%") {
		ps = append(ps, doc.At("the swarm platform needs a service", "the service's name as `docker service ls` shows it, such as shop_checkout", append(append([]any{}, path...), "service")...))
	}
	c.Config = c.Resolve(filepath.Dir(doc.File))
	return c, ps
}
