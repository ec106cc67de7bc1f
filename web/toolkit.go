package web

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/belaydev/belay/strict"
)

// toolkitConfig is what a web configuration of the exporters says: TLS and
// users with passwords.
type toolkitConfig struct {
	tls   *toolkit.TLSConfig // nil without
	http2 bool
	basic *basicAuth // nil without
}

// serverTLS returns the TLS of the listener, nil without. Certificates are read
// anew at each handshake, so that they can be renewed without a restart.
func (t toolkitConfig) serverTLS() (*tls.Config, error) {
	if t.tls == nil {
		return nil, nil //nolint:nilnil // no TLS is not an error
	}
	cfg, err := toolkit.ConfigToTLSConfig(t.tls)
	if err != nil {
		return nil, err
	}
	cfg.NextProtos = []string{"http/1.1"}
	if t.http2 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	return cfg, nil
}

// parseToolkit reads a web configuration file of the exporters.
func parseToolkit(file string, text []byte) (toolkitConfig, strict.Problems) {
	var out toolkitConfig
	doc, ps := strict.Parse(file, text)
	if len(ps) > 0 {
		return out, ps
	}
	known := []string{"tls_server_config", "http_server_config", "basic_auth_users"}
	for _, key := range doc.Keys() {
		switch {
		case key == "rate_limit":
			ps = append(ps, doc.At("rate_limit is not built in", "a proxy in front, or no such key", key))
		case !slices.Contains(known, key):
			ps = append(ps, doc.At(fmt.Sprintf("unknown key %q", key), "basic_auth_users, http_server_config, tls_server_config", key))
		}
	}
	if len(ps) > 0 {
		return out, ps
	}
	cfg := toolkit.Config{
		TLSConfig:  toolkit.TLSConfig{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13},
		HTTPConfig: toolkit.HTTPConfig{HTTP2: true},
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.SetStrict(true)
	if err := dec.Decode(&cfg); err != nil && len(doc.Keys()) > 0 {
		return out, strict.Problems{{File: file, What: err.Error()}}
	}
	cfg.TLSConfig.SetDirectory(filepath.Dir(file))
	out.http2 = cfg.HTTPConfig.HTTP2
	if len(cfg.HTTPConfig.Header) > 0 {
		ps = append(ps, doc.At("headers are set by Belay itself", "no such key", "http_server_config", "headers"))
	}
	if doc.Has("tls_server_config") {
		out.tls = &cfg.TLSConfig
		if _, err := toolkit.ConfigToTLSConfig(out.tls); err != nil {
			ps = append(ps, doc.At("TLS: "+err.Error(), "cert_file and key_file that belong together", "tls_server_config"))
		}
	}
	users := map[string][]byte{}
	for _, user := range slices.Sorted(maps.Keys(cfg.Users)) {
		hash := []byte(cfg.Users[user])
		if _, err := bcrypt.Cost(hash); err != nil {
			ps = append(ps, doc.At(fmt.Sprintf("the password of %q is not a bcrypt hash", user), "what `htpasswd -nBC 10 USER` prints after the colon", "basic_auth_users", user))
		}
		if why := badName(user); why != "" {
			ps = append(ps, doc.At(why, nameAllowed, "basic_auth_users", user))
		}
		users[user] = hash
	}
	if len(users) > 0 {
		out.basic = &basicAuth{users: users, right: map[digest]bool{}, busy: make(chan struct{}, 2)}
	}
	return out, ps
}

// basicAuth knows users by their passwords. A comparison costs tens of
// milliseconds on purpose, so what was right once is remembered, and few are
// made at a time.
type basicAuth struct {
	users map[string][]byte
	busy  chan struct{}
	mu    sync.Mutex
	right map[digest]bool
}

// errNoUser is what a comparison says when there is no such user.
var errNoUser = errors.New("no such user")

func (b *basicAuth) knows(user, password string) bool {
	key := sha256.Sum256([]byte(user + "\x00" + password))
	b.mu.Lock()
	right := b.right[key]
	b.mu.Unlock()
	if right {
		return true
	}
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	if b.compare(user, password) != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.right) < maxTokens {
		b.right[key] = true
	}
	return true
}

func (b *basicAuth) compare(user, password string) error {
	hash, ok := b.users[user]
	if ok {
		return bcrypt.CompareHashAndPassword(hash, []byte(password))
	}
	for _, any := range b.users { // takes as long, so that nobody learns who exists
		_ = bcrypt.CompareHashAndPassword(any, []byte(password))
		break
	}
	return errNoUser
}
