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
	"github.com/prometheus/prometheus/model/labels"
)

//go:embed assets
var assets embed.FS

const apiPrefix = "/api/belay/v1"

// A route is one method and pattern, as http.ServeMux reads them, and what it
// asks of who calls.
type route struct {
	method, pattern string
	needs           need
	serve           http.HandlerFunc
}

func (s *Server) table() []route {
	get, post := http.MethodGet, http.MethodPost
	free, read, alert := need{}, need{scope: ScopeRead}, need{scope: ScopeAlert, signed: true}
	ack, deploy, approve, admin := need{scope: ScopeAck, signed: true}, need{scope: ScopeDeploy, signed: true}, need{scope: ScopeApprove, signed: true}, need{scope: ScopeAdmin, signed: true}
	return []route{
		{get, "/-/healthy", free, s.healthy},
		{get, "/-/ready", free, s.readiness},
		{post, "/-/reload", admin, s.reload},
		{get, "/metrics", read, promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{}).ServeHTTP},

		{get, apiPrefix + "/openapi.yaml", read, s.asset("openapi.yaml", "application/yaml")},
		{get, apiPrefix + "/token", free, s.apiToken},
		{get, apiPrefix + "/status", read, s.apiStatus},
		{get, apiPrefix + "/events", read, s.apiEvents},
		{get, apiPrefix + "/rules", read, s.apiRules},
		{get, apiPrefix + "/services", read, s.apiServices},
		{get, apiPrefix + "/services/{env}/{name}", read, s.apiService},
		{get, apiPrefix + "/deployments", read, s.apiDeployments},
		{get, apiPrefix + "/deployments/{id}", read, s.apiDeployment},
		{post, apiPrefix + "/deployments", deploy, s.postDeployment},
		{get, apiPrefix + "/incidents", read, s.apiIncidents},
		{get, apiPrefix + "/incidents/{id}", read, s.apiIncident},
		{post, apiPrefix + "/incidents/{id}/ack", ack, s.postWords(s.opts.Actions.Ack)},
		{post, apiPrefix + "/incidents/{id}/note", ack, s.postWords(s.opts.Actions.Note)},
		{post, apiPrefix + "/incidents/{id}/resolve", ack, s.postWords(s.opts.Actions.Resolve)},
		{post, apiPrefix + "/incidents/{id}/assign", ack, s.postTo(s.opts.Actions.Assign)},
		{post, apiPrefix + "/incidents/{id}/severity", ack, s.postTo(s.opts.Actions.Rate)},
		{post, apiPrefix + "/incidents/{id}/merge", ack, s.postTo(s.opts.Actions.Merge)},
		{get, apiPrefix + "/rollbacks", read, s.apiRollbacks},
		{get, apiPrefix + "/rollbacks/report", read, s.apiReport},
		{get, apiPrefix + "/rollbacks/{id}", read, s.apiRollback},
		{get, apiPrefix + "/rollbacks/{env}/{name}/plan", read, s.apiPlan},
		{post, apiPrefix + "/rollbacks/{env}/{name}/start", approve, s.postStart},
		{post, apiPrefix + "/rollbacks/{env}/{name}/release", approve, s.postRelease},
		{post, apiPrefix + "/rollbacks/{id}/approve", approve, s.postApprove},
		{post, apiPrefix + "/rollbacks/{id}/stop", approve, s.postStop},
		{post, apiPrefix + "/rollbacks/stop", approve, s.postStopAll},
		{get, apiPrefix + "/alerts/report", read, s.apiAlertsReport},
		{get, apiPrefix + "/reviews", read, s.apiReviews},
		{get, apiPrefix + "/reviews/{id}", read, s.apiReview},

		{get, "/api/v1/{rest...}", read, s.prometheus},
		{post, "/api/v1/{rest...}", read, s.prometheus}, // queries too long for an address
		{post, "/api/v1/write", alert, s.prometheus},
		{get, "/api/v2/{rest...}", read, s.alertmanager},
		{post, "/api/v2/alerts", need{scope: ScopeAlert, open: true}, s.alertmanager},
		{post, "/api/v2/silences", need{scope: ScopeAck, open: true}, s.alertmanager},
		{http.MethodDelete, "/api/v2/silence/{id}", need{scope: ScopeAck, open: true}, s.alertmanager},
		{get, apiPrefix + "/route", read, s.apiRoute},
		{get, "/federate", read, s.prometheus},

		{post, "/slack/interactions", free, s.slack}, // signed by Slack

		{get, "/signin", free, s.pageSignIn},
		{post, "/signin", free, s.signIn},
		{post, "/signout", free, s.signOut},
		{post, "/incidents/{id}/ack", ack, s.formWords(s.opts.Actions.Ack)},
		{post, "/incidents/{id}/note", ack, s.formWords(s.opts.Actions.Note)},
		{post, "/incidents/{id}/resolve", ack, s.formWords(s.opts.Actions.Resolve)},
		{post, "/incidents/{id}/assign", ack, s.formTo(s.opts.Actions.Assign)},
		{post, "/incidents/{id}/severity", ack, s.formTo(s.opts.Actions.Rate)},
		{post, "/incidents/{id}/merge", ack, s.formTo(s.opts.Actions.Merge)},
		{post, "/rollbacks/{id}/approve", approve, s.formApprove},
		{post, "/rollbacks/{id}/stop", approve, s.formStop},
		{post, "/services/{env}/{name}/rollback", approve, s.formStart},
		{post, "/services/{env}/{name}/release", approve, s.formRelease},

		{get, "/assets/style.css", free, s.asset("style.css", "text/css; charset=utf-8")},
		{get, "/assets/live.js", free, s.asset("live.js", "text/javascript; charset=utf-8")},
		{get, "/assets/icon.svg", free, s.asset("icon.svg", "image/svg+xml")},
		{get, "/{$}", read, s.pageServices},
		{get, "/services/{env}/{name}", read, s.pageService},
		{get, "/incidents", read, s.pageIncidents},
		{get, "/incidents/{id}", read, s.pageIncident},
		{get, "/rollbacks", read, s.pageRollbacks},
		{get, "/reviews/{id}", read, s.pageReview},
		{get, "/alerts", read, s.pageAlerts},
		{get, "/silences", read, s.pageSilences},
		{post, "/silences", ack, s.formSilence},
		{post, "/silences/{id}/expire", ack, s.formExpire},
		{get, "/targets", read, s.pageTargets},
		{get, "/rules", read, s.pageRules},
		{get, "/status", read, s.pageStatus},
	}
}

// A Route is one address that the server answers, for those who document or
// test it.
type Route struct {
	Method, Pattern string
	Scope           Scope // that the caller needs; "" for none
}

// Routes returns every address that the server answers.
func (s *Server) Routes() []Route {
	var out []Route
	for _, r := range s.table() {
		out = append(out, Route{r.method, r.pattern, r.needs.scope})
	}
	return out
}

// routes returns the handler of all routes, with readable answers where there
// is none.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.HandleFunc(r.method+" "+r.pattern, s.only(r.needs, r.serve))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := mux.Handler(r); pattern == "" {
			if !isSafe(r.Method) && !s.caller(r).known() {
				s.refuse(w, r, http.StatusUnauthorized, "this needs a token: send it as Authorization: Bearer …")
				return
			}
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
	if strings.HasPrefix(r.URL.Path, "/api/") || !wantsPage(r) {
		s.json(w, code, map[string]string{"error": why})
		return
	}
	s.render(w, r, code, "error", "Error", errorPage{Code: code, What: http.StatusText(code), Why: why})
}

// wantsPage reports whether a person with a browser asks.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// isProm reports whether an address is one that Prometheus has.
func (s *Server) isProm(path string) bool {
	return s.opts.Prometheus != nil && (strings.HasPrefix(path, "/api/v1/") || path == "/federate")
}

// prometheus serves what Prometheus serves under the same address.
func (s *Server) prometheus(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.opts.Prometheus == nil:
		s.fail(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
	case crossSite(r): // a query costs, so another site may not make a browser ask
		s.fail(w, r, http.StatusForbidden, "this request comes from another site")
	default:
		s.opts.Prometheus.ServeHTTP(w, r)
	}
}

// alertmanager serves what Alertmanager serves under the same address.
func (s *Server) alertmanager(w http.ResponseWriter, r *http.Request) {
	if s.amapi == nil {
		s.fail(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
		return
	}
	s.amapi.ServeHTTP(w, r)
}

// apiRoute says who is told of an alert with the labels of ?label=name=value.
func (s *Server) apiRoute(w http.ResponseWriter, r *http.Request) {
	if s.opts.Explain == nil {
		s.fail(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
		return
	}
	set := map[string]string{}
	for _, pair := range r.URL.Query()["label"] {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			s.fail(w, r, http.StatusBadRequest, fmt.Sprintf("label=%q; allowed: label=name=value", pair))
			return
		}
		set[name] = value
	}
	s.json(w, http.StatusOK, s.opts.Explain(labels.FromMap(set)))
}

// slack hands over what people press in Slack. Its handler checks who sent it.
func (s *Server) slack(w http.ResponseWriter, r *http.Request) {
	if s.opts.Slack == nil {
		s.fail(w, r, http.StatusNotFound, "no buttons come here: slack.signing_secret_file is not set")
		return
	}
	s.opts.Slack.ServeHTTP(w, r)
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
