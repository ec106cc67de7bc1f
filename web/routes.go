package web

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed assets
var assets embed.FS

const apiPrefix = "/api/belay/v1"

// A route is one method and pattern, as http.ServeMux reads them.
type route struct {
	method, pattern string
	serve           http.HandlerFunc
}

func (s *Server) table() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{get, "/-/healthy", s.healthy},
		{get, "/-/ready", s.readiness},
		{post, "/-/reload", s.reload},
		{get, "/metrics", promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{}).ServeHTTP},

		{get, apiPrefix + "/openapi.yaml", s.asset("openapi.yaml", "application/yaml")},
		{get, apiPrefix + "/status", s.apiStatus},
		{get, apiPrefix + "/events", s.apiEvents},
		{get, apiPrefix + "/services", s.apiServices},
		{get, apiPrefix + "/services/{env}/{name}", s.apiService},
		{get, apiPrefix + "/deployments", s.apiDeployments},
		{get, apiPrefix + "/deployments/{id}", s.apiDeployment},
		{post, apiPrefix + "/deployments", s.postDeployment},
		{get, apiPrefix + "/incidents", s.apiIncidents},
		{get, apiPrefix + "/incidents/{id}", s.apiIncident},
		{post, apiPrefix + "/incidents/{id}/ack", s.postWords(s.opts.Actions.Ack)},
		{post, apiPrefix + "/incidents/{id}/note", s.postWords(s.opts.Actions.Note)},
		{post, apiPrefix + "/incidents/{id}/resolve", s.postWords(s.opts.Actions.Resolve)},
		{get, apiPrefix + "/rollbacks", s.apiRollbacks},
		{get, apiPrefix + "/rollbacks/{id}", s.apiRollback},
		{get, apiPrefix + "/rollbacks/{env}/{name}/plan", s.apiPlan},
		{post, apiPrefix + "/rollbacks/{env}/{name}/start", s.postStart},
		{post, apiPrefix + "/rollbacks/{env}/{name}/release", s.postRelease},
		{post, apiPrefix + "/rollbacks/{id}/stop", s.postStop},
		{post, apiPrefix + "/rollbacks/stop", s.postStopAll},
		{get, apiPrefix + "/reviews", s.apiReviews},
		{get, apiPrefix + "/reviews/{id}", s.apiReview},

		{get, "/assets/style.css", s.asset("style.css", "text/css; charset=utf-8")},
		{get, "/assets/live.js", s.asset("live.js", "text/javascript; charset=utf-8")},
		{get, "/assets/icon.svg", s.asset("icon.svg", "image/svg+xml")},
		{get, "/{$}", s.pageServices},
		{get, "/services/{env}/{name}", s.pageService},
		{get, "/incidents", s.pageIncidents},
		{get, "/incidents/{id}", s.pageIncident},
		{get, "/rollbacks", s.pageRollbacks},
		{get, "/reviews/{id}", s.pageReview},
		{get, "/alerts", s.pageAlerts},
		{get, "/targets", s.pageTargets},
		{get, "/rules", s.pageRules},
		{get, "/status", s.pageStatus},
	}
}

// A Route is one address that the server answers, for those who document or
// test it.
type Route struct{ Method, Pattern string }

// Routes returns every address that the server answers.
func (s *Server) Routes() []Route {
	var out []Route
	for _, r := range s.table() {
		out = append(out, Route{r.method, r.pattern})
	}
	return out
}

// routes returns the handler of all routes, with readable answers where there
// is none.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.HandleFunc(r.method+" "+r.pattern, r.serve)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := mux.Handler(r); pattern == "" {
			if code, allow := verdictOf(h, r); code == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", allow)
				s.fail(w, r, code, "this address takes "+allow+", not "+r.Method)
				return
			}
			s.fail(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) asset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := assets.ReadFile("assets/" + name)
		if err != nil {
			s.fail(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(text)
	}
}

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "Belay is healthy.\n")
}

func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.ready(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, "Belay is not ready: %v\n", err)
		return
	}
	_, _ = io.WriteString(w, "Belay is ready.\n")
}

// reload answers when the new configuration is in force, or says why it is not.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if s.opts.Reload == nil {
		s.fail(w, r, http.StatusNotImplemented, "this server cannot reload its configuration")
		return
	}
	if err := s.opts.Reload(context.WithoutCancel(r.Context())); err != nil { // a client that hangs up changes nothing
		s.fail(w, r, http.StatusInternalServerError, "the configuration was not reloaded, the one before stays in force:\n"+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "The configuration is reloaded.\n")
}

// fail answers with an error: JSON for programs, a page for people.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, code int, why string) {
	if strings.HasPrefix(r.URL.Path, "/api/") || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.json(w, code, map[string]string{"error": why})
		return
	}
	s.render(w, r, code, "error", "Error", errorPage{Code: code, What: http.StatusText(code), Why: why})
}

type errorPage struct {
	Code      int
	What, Why string
}

// json answers with a value. An encoding error can only be a broken
// connection by then, or a fault of ours, which the log tells.
func (s *Server) json(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		s.log.Debug("writing an answer", "error", err)
	}
}

// failAction answers with what an action said.
func (s *Server) failAction(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, ErrRefused):
		code = http.StatusConflict
	default:
		s.log.Error("doing what a person asked for", "path", r.URL.Path, "error", err)
	}
	s.fail(w, r, code, err.Error())
}

// read decodes a JSON body. With optional set, no body at all is fine too. It
// answers and returns false when the body is not what it should be.
func (s *Server) read(w http.ResponseWriter, r *http.Request, into any, optional bool) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		s.fail(w, r, http.StatusUnsupportedMediaType, "the body must be JSON, with Content-Type: application/json")
		return false
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil || (optional && errors.Is(err, io.EOF)):
		return true
	case errors.As(err, &tooLarge):
		s.fail(w, r, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
	default:
		s.fail(w, r, http.StatusBadRequest, "the body is not what this address takes: "+err.Error())
	}
	return false
}
