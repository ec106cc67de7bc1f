// Package web shows what the journal tells: pages for people, a JSON API for
// programs, metrics for Prometheus. It decides nothing; what a person asks for
// it hands to the part that decides.
package web

import (
	"net"
	"strconv"

	"github.com/belaydev/belay/strict"
)

// DefaultListen is where the pages are when nothing else is said.
const DefaultListen = "127.0.0.1:9720"

// Config is the section web of the configuration.
type Config struct {
	Listen string `yaml:"listen"` // host:port; the host must be a loopback address
}

// withDefaults returns the configuration with every gap filled.
func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	return c
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
	if !isLoopback(host) {
		return "listen: " + strconv.Quote(listen) + " can be reached from other hosts, where anyone could read and nobody proves who they are",
			"127.0.0.1, [::1] or localhost; put a proxy that authenticates in front of it to reach it from elsewhere"
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
