// Package web shows what the journal tells: pages for people, a JSON API for
// programs, metrics for Prometheus. It decides nothing; what a person asks for
// it hands to the part that decides.
package web

import (
	"net"
	"path/filepath"
	"strconv"

	"github.com/belaydev/belay/strict"
)

// DefaultListen is where the pages are when nothing else is said.
const DefaultListen = "127.0.0.1:9720"

// Config is the section web of the configuration, with what belongs to it.
type Config struct {
	Listen     string `yaml:"listen"`      // host:port, 127.0.0.1:9720 unless given; other hosts can reach it only where there is a tokens_file
	ConfigFile string `yaml:"config_file"` // TLS and basic auth, as the exporters of Prometheus read them
	TokensFile string `yaml:"tokens_file"` // who may do what; without it everyone on this host may read

	tokens  []Token
	people  []Person
	toolkit toolkitConfig
}

// Load reads the sections web and people of a configuration, and the files
// that they name, which lie relative to it.
func Load(doc *strict.Doc) (Config, strict.Problems) {
	var c Config
	ps := doc.Decode(&c, "web")
	var more strict.Problems
	c.people, more = readPeople(doc)
	ps = append(ps, more...)
	dir := filepath.Dir(doc.File)
	for _, f := range []struct {
		key  string
		path *string
		read func(file string, text []byte) strict.Problems
	}{
		{"config_file", &c.ConfigFile, func(file string, text []byte) (ps strict.Problems) {
			c.toolkit, ps = parseToolkit(file, text)
			return ps
		}},
		{"tokens_file", &c.TokensFile, func(file string, text []byte) (ps strict.Problems) {
			c.tokens, ps = ParseTokens(file, text)
			return ps
		}},
	} {
		if *f.path == "" {
			continue
		}
		if !filepath.IsAbs(*f.path) {
			*f.path = filepath.Join(dir, *f.path)
		}
		text, err := readBounded(*f.path, maxTokensFile)
		if err != nil {
			ps = append(ps, doc.At(f.key+": "+err.Error(), "a file that exists", "web", f.key))
			continue
		}
		ps = append(ps, f.read(*f.path, text)...)
	}
	return c, append(ps, c.Validate(doc, "web")...)
}

// withDefaults returns the configuration with every gap filled.
func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	return c
}

// People are those of the section people.
func (c Config) People() []Person { return c.people }

// Warnings are what is allowed but unwise, a sentence each.
func (c Config) Warnings() []string {
	if !c.onLoopback() && c.toolkit.tls == nil {
		return []string{"web.listen can be reached from other hosts without TLS: tokens can be read on the way; set web.config_file, or keep the way private"}
	}
	return nil
}

// onLoopback reports whether only this host can call.
func (c Config) onLoopback() bool {
	host, _, err := net.SplitHostPort(c.withDefaults().Listen)
	return err == nil && isLoopback(host)
}

// Validate finds what is wrong with the section, which stands at path in doc.
func (c Config) Validate(doc *strict.Doc, path ...any) strict.Problems {
	if what, allowed := c.problem(); what != "" {
		return strict.Problems{doc.At(what, allowed, append(path, "listen")...)}
	}
	return nil
}

// problem says what is wrong with the address, and what would be right.
func (c Config) problem() (what, allowed string) {
	listen := c.withDefaults().Listen
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "listen: " + strconv.Quote(listen) + " is not an address", "host:port, such as " + DefaultListen
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "listen: " + strconv.Quote(port) + " is not a port", "0 to 65535"
	}
	if !isLoopback(host) && c.TokensFile == "" {
		return "listen: " + strconv.Quote(listen) + " can be reached from other hosts, where anyone could read and nobody proves who they are",
			"127.0.0.1, [::1] or localhost; or web.tokens_file, which says who may do what"
	}
	return "", ""
}

// isLoopback reports whether a host is this machine and nothing else.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
