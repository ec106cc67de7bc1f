package promapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// The types of errors that clients of Prometheus know.
const (
	badData     = "bad_data"
	notFound    = "not_found"
	unavailable = "unavailable"
	timedOut    = "timeout"
	internal    = "internal"
)

// ServeHTTP finds the address and holds the request to the limits.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := a.find(r.URL.Path)
	switch {
	case !ok:
		a.fail(w, http.StatusNotFound, notFound, fmt.Errorf("belay serves nothing at %s", r.URL.Path))
		return
	case r.Method == http.MethodGet && to.get, r.Method == http.MethodPost && to.post:
	default:
		w.Header().Set("Allow", to.methods())
		a.fail(w, http.StatusMethodNotAllowed, badData, fmt.Errorf("%s takes %s, not %s", r.URL.Path, to.methods(), r.Method))
		return
	}
	if err := a.ready(); err != nil {
		a.fail(w, http.StatusServiceUnavailable, unavailable, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.opts.Limits.Timeout)
	defer cancel()
	// An answer may take as long as the query and then some; a writer that
	// knows no deadlines keeps its own.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.opts.Limits.Timeout + 30*time.Second))
	if to.limit {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			a.fail(w, http.StatusServiceUnavailable, timedOut, errors.New("too many queries are at work; this one waited its whole time"))
			return
		}
	}
	r = r.Clone(ctx)
	r.Header.Del("Origin") // upstream would answer it; who may call from where has been decided
	r.Body = http.MaxBytesReader(w, r.Body, to.body)
	if to.get { // upstream ignores errors here and would answer half of a question
		if err := r.ParseForm(); err != nil {
			a.fail(w, codeOf(err), badData, fmt.Errorf("the form cannot be read: %w", err))
			return
		}
	}
	to.serve.ServeHTTP(w, r)
}

func (r address) methods() string {
	switch {
	case r.get && r.post:
		return "GET, POST"
	case r.post:
		return http.MethodPost
	}
	return http.MethodGet
}

func codeOf(err error) int {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func (a *api) ready() error {
	if a.opts.Ready == nil {
		return nil
	}
	return a.opts.Ready()
}

// whenReady is for upstream; ServeHTTP has asked already.
func (a *api) whenReady(f http.HandlerFunc) http.HandlerFunc { return f }

// respond answers in Prometheus's envelope.
func (a *api) respond(w http.ResponseWriter, data any) {
	a.write(w, http.StatusOK, &v1.Response{Status: "success", Data: data})
}

func (a *api) fail(w http.ResponseWriter, code int, kind string, err error) {
	a.write(w, code, &v1.Response{Status: "error", ErrorType: kind, Error: err.Error()})
}

func (a *api) write(w http.ResponseWriter, code int, res *v1.Response) {
	b, err := v1.JSONCodec{}.Encode(res)
	if err != nil {
		a.log.Error("encoding an answer", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(b); err != nil {
		a.log.Debug("writing an answer", "error", err)
	}
}
