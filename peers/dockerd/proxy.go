package dockerd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A Change is a request that the engine has accepted and that was not a
// question.
type Change struct {
	At     time.Time
	Method string
	Path   string // without the version of the API
	Query  url.Values
	Body   []byte
	Answer []byte
}

// A Proxy stands before an engine. It writes down each change that the engine
// has accepted, whoever asked for it, and can lose an answer on its way.
type Proxy struct {
	Host string // unix:///…

	server *http.Server

	mu      sync.Mutex
	changes []Change
	lose    func(Change) bool
	held    func(path string) bool
	between func()
}

// StartProxy starts a proxy before the engine; Close ends it.
func (e *Engine) StartProxy(ctx context.Context) (*Proxy, error) {
	socket := strings.TrimPrefix(e.Host, "unix://")
	path := filepath.Join(e.Dir, "proxy.sock")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Host: "unix://" + path}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		ModifyResponse: p.note,
		FlushInterval:  -1, // events
	}
	p.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
			p.hold(plain(r.URL.Path))
		}
		forward.ServeHTTP(w, r)
	})}
	go func() { _ = p.server.Serve(l) }() // it ends with Close
	return p, nil
}

type bodyKey struct{}

// note writes an accepted change down, and loses the answer where that is
// wanted.
func (p *Proxy) note(res *http.Response) error {
	body, change := res.Request.Context().Value(bodyKey{}).([]byte)
	if !change || res.StatusCode >= http.StatusBadRequest || res.StatusCode < http.StatusOK {
		return nil
	}
	answer, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	c := Change{At: time.Now(), Method: res.Request.Method, Path: plain(res.Request.URL.Path), Query: res.Request.URL.Query(), Body: body, Answer: answer}
	p.mu.Lock()
	p.changes = append(p.changes, c)
	lose := p.lose != nil && p.lose(c)
	if lose {
		p.lose = nil
	}
	p.mu.Unlock()
	if lose {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	return nil
}

// plain is a path without the version of the API.
func plain(path string) string {
	if version, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/"); ok && strings.HasPrefix(version, "v1.") {
		return "/" + rest
	}
	return path
}

// hold calls what HoldOnce was given before it lets a request through.
func (p *Proxy) hold(path string) {
	p.mu.Lock()
	var between func()
	if p.held != nil && p.held(path) {
		between, p.held, p.between = p.between, nil, nil
	}
	p.mu.Unlock()
	if between != nil {
		between()
	}
}

// HoldOnce calls between before it lets the next change through of whose path
// the function says yes.
func (p *Proxy) HoldOnce(which func(path string) bool, between func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.between = which, between
}

// Changes returns what was accepted so far, oldest first.
func (p *Proxy) Changes() []Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Change(nil), p.changes...)
}

// LoseOnce loses the answer to the next change of which the function says yes.
func (p *Proxy) LoseOnce(which func(Change) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = which
}

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() error { return p.server.Close() }
