// Package webhook lets a program behind a URL be a platform: it says what runs
// and what could run, and puts a revision back. Every request is signed. The
// messages are in wire.go and in the README.
package webhook

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/strict"
)

// Defaults of Config.
const (
	DefaultTimeout = 30 * time.Second
	DefaultPoll    = 5 * time.Second
)

// Config is the key `webhook` of a service's platform.
type Config struct {
	URL           string        `yaml:"url"`             // GET says what runs, GET …/revisions what could run, POST …/restore puts a revision back
	SecretFile    string        `yaml:"secret_file"`     // holds the key that requests are signed with; relative to the configuration file's folder; read at each request
	Timeout       time.Duration `yaml:"timeout"`         // of each request, and of following a status URL; default 30s
	Poll          time.Duration `yaml:"poll"`            // between two looks at the state; default 5s
	CompareAndSet rollback.CAS  `yaml:"compare_and_set"` // what the receiver promises: atomic, checked (default) or none
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
	add := func(key, what, allowed string) {
		ps = append(ps, doc.At(what, allowed, append(slices.Clone(path), key)...))
	}
	if what := badURL(c.URL); what != "" {
		add("url", what, "such as https://deploy.example.org/belay/checkout")
	}
	if c.SecretFile == "" {
		add("secret_file", "the webhook platform signs its requests and needs secret_file", "a file that holds the key, readable by Belay alone")
	}
	switch c.CompareAndSet {
	case "", rollback.Atomic, rollback.Checked, rollback.None:
	default:
		add("compare_and_set", fmt.Sprintf("unknown compare_and_set %q", c.CompareAndSet), "atomic, checked, none")
	}
	for key, d := range map[string]time.Duration{"timeout": c.Timeout, "poll": c.Poll} {
		if d < 0 || d > 0 && d < 10*time.Millisecond {
			add(key, fmt.Sprintf("%s of %s is too short", key, d), "10ms or longer, such as 30s")
		}
	}
	return ps
}

func badURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "the webhook platform needs url"
	case err != nil:
		return fmt.Sprintf("url cannot be read: %v", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Sprintf("url %q is no http or https address", s)
	case u.User != nil:
		return "url holds a user or a password; requests are signed with secret_file instead"
	case u.RawQuery != "" || u.Fragment != "":
		return "url has a query or a fragment, but paths are added to it"
	}
	return ""
}

func (c Config) withDefaults(base string) Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.CompareAndSet == "" {
		c.CompareAndSet = rollback.Checked
	}
	if c.SecretFile != "" && !filepath.IsAbs(c.SecretFile) {
		c.SecretFile = filepath.Join(base, c.SecretFile)
	}
	c.URL = strings.TrimRight(c.URL, "/")
	return c
}
