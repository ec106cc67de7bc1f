// Package slacktest is a small Slack that runs on this machine. It keeps
// channels, threads and edits as Slack does, enforces Slack's limits, shows
// the channels as a page at /, and can be told to misbehave: rate limits,
// server errors, a message that is stored but never confirmed.
//
// It serves two masters. Tests of package slack use it because it never
// de-duplicates: whoever posts twice is seen to have posted twice. And it is
// the Slack of `belay demo`, where a stranger watches an incident without
// having a workspace; so it is written to production standards, bounded in
// what it reads, and safe to look at whatever the messages hold.
//
// What it is not: a full Slack. It knows the methods that Belay needs,
// takes any token (or the one it was told), lets everybody post everywhere,
// and keeps everything in memory. Where Slack is vague it is strict.
package slacktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options are what a Server can be told; the zero value is useful.
type Options struct {
	// Token is the only bot token that is accepted. Empty accepts any token,
	// but still demands one.
	Token string
	// AppToken is the app-level token that opens Socket Mode connections. Empty
	// opens none.
	AppToken string
	// Interactions is where presses are posted while no Socket Mode connection
	// is open, signed with SigningSecret.
	Interactions, SigningSecret string
	// Visitor is the person at the page: the user in whose name its buttons
	// are pressed. Empty shows buttons that do nothing.
	Visitor string
	// Channels are the names of the channels that exist, without "#". Empty
	// creates every channel when it is first written to.
	Channels []string
	// OnChange is called after each change, with no lock held, possibly from
	// several goroutines at once. It may call Snapshot or WriteJSON.
	OnChange func()
	// Now is the server's clock; nil is time.Now.
	Now func() time.Time
	// Log receives one line for each refused call; nil discards.
	Log *slog.Logger
}

// Server is a Slack in memory: the API below /api/, a page at /. It is an
// http.Handler; all of its methods may be called from any goroutine.
type Server struct {
	opts    Options
	mux     *http.ServeMux
	mu      sync.Mutex // guards what follows
	rooms   []*room
	lastTS  int64 // microseconds since 1970 of the newest ts given out
	faults  Faults
	changes uint64

	triggers  map[string]string // whose they are
	dialogues map[string]Dialogue
	whispers  []Whisper
	tickets   map[string]bool // for Socket Mode connections
	sockets   sockets
	files     map[string]*file
	fileOrder []string

	writeMu sync.Mutex // one WriteJSON at a time, so that the newest state wins
}

// New returns a server with no messages.
func New(opts Options) *Server {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: opts, mux: http.NewServeMux(),
		triggers: map[string]string{}, dialogues: map[string]Dialogue{}, tickets: map[string]bool{}, files: map[string]*file{},
	}
	for _, name := range opts.Channels {
		s.addRoom(name)
	}
	s.mux.HandleFunc("/api/{method}", s.serveAPI)
	s.mux.HandleFunc("POST /api/upload", s.serveUpload)
	s.mux.HandleFunc("GET /file/{id}", s.serveFile)
	s.mux.HandleFunc("GET /socket", s.serveSocket)
	s.mux.HandleFunc("GET /{$}", s.servePage)
	s.mux.HandleFunc("GET /version", s.serveVersion)
	s.mux.HandleFunc("POST /press", s.servePress)
	s.mux.HandleFunc("POST /submit", s.serveSubmit)
	s.mux.Handle("GET /page.css", asset("page.css", "text/css; charset=utf-8"))
	s.mux.Handle("GET /page.js", asset("page.js", "text/javascript; charset=utf-8"))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Serve answers on a listener until ctx ends, and closes it. A client's API
// URL is "http://" + the listener's address + "/api/".
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve slack: %w", err)
	}
	return nil
}

// A call is one request to an API method.
type call struct {
	method string
	args   url.Values
}

// A reply is the answer to a call; code is Slack's error code, "" for ok.
type reply struct {
	code   string
	fields map[string]any
}

func refuse(code string) reply { return reply{code: code} }

// writes says whether a method changes what a channel shows.
func (c call) writes() bool { return c.method == "chat.postMessage" || c.method == "chat.update" }

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	c := call{method: r.PathValue("method")}
	var err error
	if c.args, err = readArgs(w, r); err != nil {
		s.answer(w, c, refuse("invalid_form_data"))
		return
	}
	fate := s.fate(c)
	if !pause(r.Context(), fate.delay) {
		return
	}
	if fate.status != 0 {
		w.Header().Set("Retry-After", fate.retryAfter)
		if fate.status != http.StatusTooManyRequests {
			w.Header().Del("Retry-After")
		}
		http.Error(w, http.StatusText(fate.status), fate.status)
		return
	}
	rep := refuse(fate.code)
	switch {
	case fate.code != "":
	case c.method == "apps.connections.open":
		rep = s.openSocket(r, token(r, c.args))
	case c.method == "files.getUploadURLExternal" && s.admits(token(r, c.args)):
		s.mu.Lock()
		rep = s.announceFile(r, c.args)
		s.mu.Unlock()
	default:
		rep = s.do(c, token(r, c.args))
	}
	if rep.code == "" && c.writes() {
		if s.opts.OnChange != nil {
			s.opts.OnChange()
		}
		if s.swallow(w, r, c) {
			return
		}
	}
	s.answer(w, c, rep)
}

// swallow applies the faults that happen after a message was stored.
func (s *Server) swallow(w http.ResponseWriter, r *http.Request, c call) bool {
	switch s.aftermath(c) {
	case hangUp:
		panic(http.ErrAbortHandler) // net/http's way to close a connection without an answer
	case hang:
		<-r.Context().Done()
	case fail:
		http.Error(w, "stored, then failed", http.StatusInternalServerError)
	default:
		return false
	}
	return true
}

// admits says whether calls with a token are answered.
func (s *Server) admits(token string) bool {
	return token != "" && (s.opts.Token == "" || token == s.opts.Token)
}

func (s *Server) do(c call, token string) reply {
	switch {
	case token == "":
		return refuse("not_authed")
	case s.opts.Token != "" && token != s.opts.Token:
		return refuse("invalid_auth")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.method {
	case "auth.test":
		return reply{fields: map[string]any{
			"url": "http://slack.test/", "team": "Local", "team_id": teamID,
			"user": "belay", "user_id": botUser, "bot_id": botID,
		}}
	case "bots.info":
		if c.args.Get("bot") != botID {
			return refuse("bot_not_found")
		}
		return reply{fields: map[string]any{"bot": map[string]any{"id": botID, "app_id": appID, "name": "belay", "user_id": botUser}}}
	case "files.completeUploadExternal":
		return s.completeFile(c.args)
	case "chat.postEphemeral":
		return s.whisper(c.args)
	case "views.open":
		return s.openView(c.args)
	case "chat.postMessage":
		return s.post(c.args)
	case "chat.update":
		return s.update(c.args)
	case "conversations.history":
		return s.history(c.args)
	case "conversations.replies":
		return s.replies(c.args)
	case "conversations.list":
		return s.list(c.args)
	}
	return refuse("unknown_method")
}

func (s *Server) answer(w http.ResponseWriter, c call, rep reply) {
	body := map[string]any{"ok": rep.code == ""}
	for k, v := range rep.fields {
		body[k] = v
	}
	if rep.code != "" {
		body["error"] = rep.code
		s.opts.Log.Debug("slack call refused", "method", c.method, "error", rep.code)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(body) // the client is gone, nothing is left to tell it
}

// pause waits, and says false when the client went away first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// token returns the bearer token, which Slack takes from the header or, as
// slack-go sends it, from the form.
func token(r *http.Request, args url.Values) string {
	if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(t)
	}
	return args.Get("token")
}

// maxBody bounds a request. Slack's own bound is not published; a message of
// 50 blocks fits many times.
const maxBody = 1 << 20

// readArgs reads arguments from the query, a form or a JSON object. Values in
// JSON that are not strings keep their JSON text, as a form would carry them.
func readArgs(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		if err := r.ParseForm(); err != nil {
			return nil, fmt.Errorf("read form: %w", err)
		}
		return r.Form, nil
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return jsonArgs(text)
}

func jsonArgs(text []byte) (url.Values, error) {
	if len(text) == 0 {
		return url.Values{}, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	args := url.Values{}
	for k, raw := range fields {
		var str string
		if json.Unmarshal(raw, &str) == nil {
			args.Set(k, str)
			continue
		}
		args.Set(k, string(raw))
	}
	return args, nil
}
