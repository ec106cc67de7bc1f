// Package amapi serves Alertmanager's HTTP API, version 2: Prometheus can name
// Belay as an Alertmanager, and amtool and Grafana's Alertmanager data source
// work against it.
//
// Upstream's own handlers want its own stores behind them; these answer from
// Belay's alerts, routes and silences in the same words.
package amapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// Prefix is where the API lies.
const Prefix = "/api/v2"

// Errors by which the functions of Options say why not. Any other error means
// that something could not be written, and that it does not hold.
var (
	ErrInvalid  = errors.New("invalid")
	ErrNotFound = errors.New("not found")
)

// Options are what the API serves.
type Options struct {
	Alerts     func() []Alert // that fire, and what becomes of them
	Post       func(ctx context.Context, alerts []Incoming, sender string) error
	Silences   func() []belay.Silence // in the order in which they are shown
	SetSilence func(ctx context.Context, s belay.Silence) (id string, err error)
	Expire     func(ctx context.Context, id, actor string) error
	Receivers  []string // in the order of the configuration
	Config     string   // the Alertmanager part of the configuration, its secrets masked
	Started    time.Time
	Version    string

	// Actor is the name under which a caller acts who claims to be somebody.
	Actor  func(r *http.Request, claimed string) string
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// An Alert is one that fires, with what becomes of it.
type Alert struct {
	belay.Alert
	Fingerprint string
	EndsAt      time.Time // when it ends unless it is found again
	SilencedBy  []string  // ids of silences
	InhibitedBy []string  // fingerprints of alerts
	Groups      []GroupOf // one for each route that claims it
}

// A GroupOf is the group of an alert on one route.
type GroupOf struct {
	Key         string
	Receiver    string
	Labels      map[string]string
	RouteLabels map[string]string
	MutedBy     []string // time intervals
}

// Incoming is one alert as it is sent in.
type Incoming struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// maxAlerts bounds how many alerts one request may send.
const maxAlerts = 20_000

type api struct{ Options }

// New returns the handler of everything below Prefix.
func New(opts Options) http.Handler {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Actor == nil {
		opts.Actor = func(_ *http.Request, claimed string) string { return claimed }
	}
	a := &api{opts}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Prefix+"/status", a.status)
	mux.HandleFunc("GET "+Prefix+"/receivers", a.receivers)
	mux.HandleFunc("GET "+Prefix+"/alerts", a.alerts)
	mux.HandleFunc("POST "+Prefix+"/alerts", a.post)
	mux.HandleFunc("GET "+Prefix+"/alerts/groups", a.groups)
	mux.HandleFunc("GET "+Prefix+"/silences", a.silences)
	mux.HandleFunc("POST "+Prefix+"/silences", a.setSilence)
	mux.HandleFunc("GET "+Prefix+"/silence/{id}", a.silence)
	mux.HandleFunc("DELETE "+Prefix+"/silence/{id}", a.expire)
	mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, "there is nothing at "+r.URL.Path)
	})
	return mux
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // plain values do not fail
		b, code = []byte(`"this cannot be written as JSON"`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

// refuse answers with the reason, under the code that it deserves. What could
// not be journalled is the server's trouble and may be tried again.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrInvalid):
		answer(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrNotFound):
		answer(w, http.StatusNotFound, err.Error())
	default:
		a.Logger.Error("a request to the Alertmanager API failed", "method", r.Method, "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, "the journal does not take it, so it does not hold: "+err.Error())
	}
}

// body reads JSON, and nothing else: a browser's form is not one.
func body(r *http.Request, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return fmt.Errorf("%w: Content-Type %q; allowed: application/json", ErrInvalid, r.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"cluster": map[string]any{"status": "disabled", "peers": []any{}},
		"config":  map[string]any{"original": a.Config},
		"uptime":  a.Started.UTC(),
		"versionInfo": map[string]any{
			"version": a.Version, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": runtime.Version(),
		},
	})
}

type named struct {
	Name string `json:"name"`
}

func (a *api) receivers(w http.ResponseWriter, _ *http.Request) {
	out := make([]named, len(a.Receivers))
	for i, name := range a.Receivers {
		out[i].Name = name
	}
	answer(w, http.StatusOK, out)
}

func (a *api) post(w http.ResponseWriter, r *http.Request) {
	var sent []Incoming
	if err := body(r, &sent); err != nil {
		a.refuse(w, r, err)
		return
	}
	if len(sent) > maxAlerts {
		a.refuse(w, r, fmt.Errorf("%w: %d alerts in one request; allowed: %d", ErrInvalid, len(sent), maxAlerts))
		return
	}
	if err := a.Post(r.Context(), sent, a.Actor(r, sender(r))); err != nil {
		a.refuse(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// sender is what a program that shows no token calls itself, and from where.
func sender(r *http.Request) string {
	agent, _, _ := strings.Cut(r.UserAgent(), " ")
	if agent == "" {
		agent = "somebody"
	}
	host := r.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		host = host[:i]
	}
	return agent[:min(len(agent), 60)] + " at " + host
}
