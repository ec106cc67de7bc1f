package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Server serves the pages, the API and the metrics.
type Server struct {
	cfg      Config
	opts     Options
	log      *slog.Logger
	pages    map[string]*template.Template
	handler  http.Handler
	amapi    http.Handler           // nil: not served
	current  atomic.Pointer[Server] // who answers: the server itself, or the one that it adopted
	streams  chan struct{}          // a place for each open stream of events
	access   *access
	sessions *sessions

	stopping  chan struct{} // closed when Run's context ends: streams end
	listening chan struct{} // closed when addr is set
	addr      net.Addr
}

// maxStreams is how many streams of events may be open at once.
const maxStreams = 64

// New returns a server that Run starts. It returns an error when the
// configuration would let strangers in, or when something required is missing.
func New(cfg Config, opts Options) (*Server, error) {
	cfg = cfg.withDefaults()
	if what, allowed := cfg.problem(); what != "" {
		return nil, fmt.Errorf("web: %s; allowed: %s", what, allowed)
	}
	if opts.View == nil || opts.Journal == nil || !isToken(opts.Token) {
		return nil, errors.New("web: a view, a journal and an admin token are required")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Gatherer == nil {
		opts.Gatherer = prometheus.NewRegistry()
	}
	s := &Server{
		cfg: cfg, opts: opts, log: opts.Log, access: newAccess(cfg, opts.Token), sessions: newSessions(opts.Now),
		streams: make(chan struct{}, maxStreams), stopping: make(chan struct{}), listening: make(chan struct{}),
	}
	var err error
	if s.pages, err = parsePages(s); err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	if opts.Alertmanager != nil {
		s.amapi = opts.Alertmanager(s.actor)
	}
	s.handler = s.guard(s.routes())
	s.current.Store(s)
	return s, nil
}

// Handler returns the whole of what the server serves.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().handler.ServeHTTP(w, r) })
}

// Adopt lets another server, which does not run, answer from the next request
// on: so a new configuration comes in without a refused connection. What is
// being answered goes on, and open streams of events with it; whoever signed in
// stays so while their token is known. The address and its TLS stay those of s.
func (s *Server) Adopt(next *Server) {
	next.streams, next.stopping, next.sessions = s.streams, s.stopping, s.sessions
	s.current.Store(next)
}

// Listening is closed when the server accepts connections.
func (s *Server) Listening() <-chan struct{} { return s.listening }

// Addr returns the address that the server listens on, nil before Listening
// is closed.
func (s *Server) Addr() net.Addr {
	select {
	case <-s.listening:
		return s.addr
	default:
		return nil
	}
}

// shutdownGrace is how long open requests may take to end.
const shutdownGrace = 5 * time.Second

// Run serves until ctx ends, then lets open requests finish. It returns an
// error when it cannot listen or serve.
func (s *Server) Run(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	s.addr = l.Addr()
	if encrypted, err := s.cfg.toolkit.serverTLS(); err != nil {
		return errors.Join(fmt.Errorf("web: TLS: %w", err), l.Close())
	} else if encrypted != nil {
		l = tls.NewListener(l, encrypted)
	}
	close(s.listening)
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		close(s.stopping)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		err := srv.Shutdown(grace)
		if err != nil {
			err = errors.Join(err, srv.Close())
		}
		stopped <- err
	})
	s.log.Info("serving pages", "address", s.addr.String())
	err = srv.Serve(l)
	if stop() { // ctx has not ended: Serve failed by itself
		return fmt.Errorf("web: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("web: stopping: %w", err)
	}
	return nil
}

// ready returns why the server cannot be relied on yet.
func (s *Server) ready() error {
	if !s.opts.View.CaughtUp() {
		return errors.New("still reading the journal")
	}
	if s.opts.Ready == nil {
		return nil
	}
	return s.opts.Ready()
}

func (s *Server) killSwitch() string {
	if s.opts.KillSwitch == nil {
		return ""
	}
	return s.opts.KillSwitch()
}

// allowsHost reports whether a request may call this server by that name. A
// name that merely resolves to this host is how a foreign site would make a
// browser read from it.
func (s *Server) allowsHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if isLoopback(name) || !s.access.free { // who reads proves who they are, by whatever name
		return true
	}
	for _, allowed := range s.opts.AllowedHosts {
		if strings.EqualFold(allowed, name) {
			return true
		}
	}
	return false
}
