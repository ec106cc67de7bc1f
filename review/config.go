package review

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/common/model"

	"github.com/belaydev/belay/strict"
)

// Config is the key `review` of the configuration.
type Config struct {
	Publish  []Publication  `yaml:"publish"`
	Required []string       `yaml:"required"` // matchers: which incidents must have a finished review; read, not yet acted on
	Due      model.Duration `yaml:"due"`      // when it should be finished; read, not yet acted on
}

// A Publication is one place where reviews are put.
type Publication struct {
	Directory string `yaml:"directory"` // made when the first review is written
}

// DefaultConfig is what a file says that says nothing. Where reviews are put by
// default is known to the pipeline only; see Options.Directory.
func DefaultConfig() Config {
	return Config{Due: model.Duration(3 * 24 * time.Hour)}
}

// Load reads and checks the key `review` of a configuration file.
func Load(doc *strict.Doc) (Config, strict.Problems) {
	cfg := DefaultConfig()
	problems := doc.Decode(&cfg, "review")
	return cfg, append(problems, cfg.validate(doc)...)
}

func (c Config) validate(doc *strict.Doc) strict.Problems {
	var ps strict.Problems
	seen := map[string]bool{}
	for i, p := range c.Publish {
		switch dir := strings.TrimSpace(p.Directory); {
		case dir == "":
			ps = append(ps, doc.At("a place to publish reviews names no directory", "directory: a path", "review", "publish", i))
		case seen[dir]:
			ps = append(ps, doc.At(fmt.Sprintf("the directory %q is named twice", dir), "each directory once", "review", "publish", i, "directory"))
		default:
			seen[dir] = true
		}
	}
	for i, m := range c.Required {
		if _, err := parse.Matcher(m); err != nil {
			ps = append(ps, doc.At(fmt.Sprintf("%q is not a matcher: %v", m, err), `name="value", name!="value", name=~"regex", name!~"regex"`, "review", "required", i))
		}
	}
	if c.Due < 0 {
		ps = append(ps, doc.At("a review cannot be due before its incident", "a duration such as 3d", "review", "due"))
	}
	return ps
}
