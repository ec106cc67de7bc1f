// Package engine is what the platforms swarm and compose share: how they reach
// a Docker Engine, how they name content and images, and the memory of what the
// engine itself forgets.
package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/belaydev/belay/strict"
)

// Defaults of Config.
const (
	DefaultTimeout = 30 * time.Second
	DefaultPoll    = time.Second
)

// Config is how an engine is reached and how often it is asked.
type Config struct {
	Host    string        `yaml:"host"`       // such as unix:///var/run/docker.sock or tcp://manager:2376; default: DOCKER_HOST, then the local socket
	TLS     TLS           `yaml:"tls_config"` // for tcp; default: what DOCKER_CERT_PATH and DOCKER_TLS_VERIFY say when host is not set
	Timeout time.Duration `yaml:"timeout"`    // of each call; default 30s
	Poll    time.Duration `yaml:"poll"`       // between two looks; default 1s
}

// TLS are the files of a client certificate, relative to the configuration file.
type TLS struct {
	CAFile   string `yaml:"ca_file"`   // whom to trust
	CertFile string `yaml:"cert_file"` // Belay's certificate
	KeyFile  string `yaml:"key_file"`  // and its key
}

// Check returns what is wrong with a configuration that was read from the path
// of the document. It opens nothing.
func (c Config) Check(doc *strict.Doc, path ...any) strict.Problems {
	var ps strict.Problems
	add := func(what, allowed, key string) {
		ps = append(ps, doc.At(what, allowed, append(append([]any{}, path...), key)...))
	}
	if c.Host != "" {
		if _, err := client.ParseHostURL(c.Host); err != nil {
			add(fmt.Sprintf("%q is no address of a Docker Engine", c.Host), "unix:///var/run/docker.sock, tcp://HOST:PORT", "host")
		}
	}
	if set := c.TLS != (TLS{}); set && (c.TLS.CAFile == "" || c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		add("tls_config is incomplete", "ca_file, cert_file and key_file", "tls_config")
	} else if set && c.Host == "" {
		add("tls_config without host", "host: tcp://HOST:PORT beside it", "tls_config")
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

// Resolve returns the configuration with its defaults, and with relative paths
// taken from a folder.
func (c Config) Resolve(dir string) Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	for _, file := range []*string{&c.TLS.CAFile, &c.TLS.CertFile, &c.TLS.KeyFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	return c
}

// A Client reaches an engine. It opens files and connections with the first
// call, and the version of the API is agreed on with it.
type Client struct {
	cfg Config

	mu  sync.Mutex
	api *client.Client
}

// NewClient returns a client. It touches neither files nor a network.
func NewClient(cfg Config) *Client { return &Client{cfg: cfg} }

// API returns the client of the engine's API.
func (c *Client) API() (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		return c.api, nil
	}
	opts := []client.Opt{client.WithHost(c.cfg.Host)}
	switch {
	case c.cfg.Host == "":
		opts = []client.Opt{client.FromEnv}
	case c.cfg.TLS != (TLS{}):
		opts = append(opts, client.WithTLSClientConfig(c.cfg.TLS.CAFile, c.cfg.TLS.CertFile, c.cfg.TLS.KeyFile))
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker engine: %w", err)
	}
	c.api = api
	return api, nil
}

// ErrTimeout is the cause of a call that took longer than Config.Timeout.
var ErrTimeout = errors.New("the engine did not answer in time")

// Call bounds one call to the engine.
func (c Config) Call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.Timeout, ErrTimeout)
}

// Seconds is a number of seconds as the engine counts them.
func Seconds(n int) time.Duration { return time.Duration(n) * time.Second }
