package web

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/belaydev/belay"
)

// Limits of lists.
const (
	defaultLimit = 100
	maxLimit     = keepNewest
)

// maxNonce is the longest nonce that status answers to.
const maxNonce = 128

// limit reads the parameter limit. It answers and returns false when it is
// not a number from 1 to 1000.
func (s *Server) limit(w http.ResponseWriter, r *http.Request) (int, bool) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultLimit, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		s.fail(w, r, http.StatusBadRequest, "limit must be a number from 1 to "+strconv.Itoa(maxLimit))
		return 0, false
	}
	return n, true
}

// ofService returns a filter by the parameter service; none takes all.
func ofService(r *http.Request) func(belay.ServiceID) bool {
	text := r.URL.Query().Get("service")
	if text == "" {
		return func(belay.ServiceID) bool { return true }
	}
	want := belay.ParseServiceID(text)
	return func(id belay.ServiceID) bool { return id == want }
}

func serviceOf(r *http.Request) belay.ServiceID {
	return belay.ServiceID{Environment: r.PathValue("env"), Name: r.PathValue("name")}
}

// A Status is how Belay itself is doing.
type Status struct {
	Version       string    `json:"version"`
	Ready         bool      `json:"ready"`
	Reason        string    `json:"reason,omitempty"` // why it is not ready
	KillSwitch    string    `json:"kill_switch,omitempty"`
	Notices       []string  `json:"notices,omitempty"` // what the person who runs Belay should know
	StartedAt     time.Time `json:"started_at,omitzero"`
	Journal       belay.Seq `json:"journal"` // the newest event
	Services      int       `json:"services"`
	OpenIncidents int       `json:"open_incidents"`
	FiringAlerts  int       `json:"firing_alerts"`
	OutboxDepth   int       `json:"outbox_depth"`
	OutboxOldest  float64   `json:"outbox_oldest_seconds"`
	TokenFile     string    `json:"token_file,omitempty"`  // where clients on this host find the admin token
	TokenProof    string    `json:"token_proof,omitempty"` // that this server knows the token; see Proof
	Kept          *KeptInfo `json:"kept,omitempty"`        // what keep: needed left out
	Log           []Entry   `json:"log"`                   // of Belay itself, newest first
}

func (s *Server) statusReport() Status {
	v := s.opts.View
	out := Status{
		Version: s.opts.Version, Ready: true, KillSwitch: s.killSwitch(),
		Journal: v.Seq(), Services: len(s.opts.Services), Log: v.OwnEntries(20),
		OpenIncidents: len(v.Incidents(0, isOpen)), TokenFile: s.opts.TokenFile,
	}
	if err := s.ready(); err != nil {
		out.Ready, out.Reason = false, err.Error()
	}
	if s.opts.Notices != nil {
		out.Notices = s.opts.Notices()
	}
	if s.opts.Kept != nil {
		if k := s.opts.Kept(); k.Needed {
			out.Kept = &k
		}
	}
	for _, a := range s.alerts() {
		if a.State == belay.AlertFiring {
			out.FiringAlerts++
		}
	}
	depth, oldest := s.outbox()
	out.OutboxDepth, out.OutboxOldest = depth, oldest.Seconds()
	v.mu.RLock()
	out.StartedAt = v.started
	v.mu.RUnlock()
	return out
}

func (s *Server) apiStatus(w http.ResponseWriter, r *http.Request) {
	report := s.statusReport()
	if nonce := r.URL.Query().Get("nonce"); nonce != "" {
		if len(nonce) > maxNonce {
			s.fail(w, r, http.StatusBadRequest, "nonce is longer than "+strconv.Itoa(maxNonce)+" bytes")
			return
		}
		report.TokenProof = Proof(s.opts.Token, nonce)
	}
	s.json(w, http.StatusOK, report)
}

// A TokenPlace tells a client on the same host where the admin token lies, and
// that the server knows it.
type TokenPlace struct {
	File  string `json:"token_file"`
	Proof string `json:"token_proof,omitempty"` // see Proof
}

// apiToken is free, since it tells nothing that helps who cannot read the file.
func (s *Server) apiToken(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	nonce := r.URL.Query().Get("nonce")
	switch {
	case !isLoopback(host) || s.opts.TokenFile == "":
		s.fail(w, r, http.StatusNotFound, "there is no token for callers from elsewhere")
	case len(nonce) > maxNonce:
		s.fail(w, r, http.StatusBadRequest, "nonce is longer than "+strconv.Itoa(maxNonce)+" bytes")
	default:
		out := TokenPlace{File: s.opts.TokenFile}
		if nonce != "" {
			out.Proof = Proof(s.opts.Token, nonce)
		}
		s.json(w, http.StatusOK, out)
	}
}

func (s *Server) apiRules(w http.ResponseWriter, _ *http.Request) {
	groups := []RuleGroupInfo{}
	if s.opts.Rules != nil {
		groups = append(groups, s.opts.Rules()...)
	}
	s.json(w, http.StatusOK, map[string]any{"groups": groups})
}

func (s *Server) apiServices(w http.ResponseWriter, _ *http.Request) {
	s.json(w, http.StatusOK, map[string]any{"services": s.statuses()})
}

func (s *Server) apiService(w http.ResponseWriter, r *http.Request) {
	status, ok := s.statusOf(serviceOf(r))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no service "+serviceOf(r).String())
		return
	}
	s.json(w, http.StatusOK, status)
}

func (s *Server) apiDeployments(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.limit(w, r); ok {
		mine := ofService(r)
		list := s.opts.View.Deployments(n, func(d belay.Deployment) bool { return mine(d.Service) })
		s.json(w, http.StatusOK, map[string]any{"deployments": list})
	}
}

func (s *Server) apiDeployment(w http.ResponseWriter, r *http.Request) {
	d, ok := s.opts.View.Deployment(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no deployment "+r.PathValue("id"))
		return
	}
	s.json(w, http.StatusOK, d)
}

func (s *Server) apiIncidents(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.limit(w, r); ok {
		mine, state := ofService(r), r.URL.Query().Get("state")
		list := s.opts.View.Incidents(n, func(i belay.Incident) bool {
			right := state == "" || state == string(i.State) || (state == "open" && isOpen(i))
			return right && mine(i.Service)
		})
		s.json(w, http.StatusOK, map[string]any{"incidents": list})
	}
}

func (s *Server) apiIncident(w http.ResponseWriter, r *http.Request) {
	story, ok := s.opts.View.Incident(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no incident "+r.PathValue("id"))
		return
	}
	s.json(w, http.StatusOK, story)
}

func (s *Server) apiRollbacks(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.limit(w, r); ok {
		mine := ofService(r)
		list := s.opts.View.Rollbacks(n, func(b belay.Rollback) bool { return mine(b.Target.Service) })
		s.json(w, http.StatusOK, map[string]any{"rollbacks": list})
	}
}

func (s *Server) apiRollback(w http.ResponseWriter, r *http.Request) {
	b, ok := s.opts.View.Rollback(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no rollback "+r.PathValue("id"))
		return
	}
	s.json(w, http.StatusOK, b)
}

// apiPlan asks the platform, so another site may not make a browser ask.
func (s *Server) apiPlan(w http.ResponseWriter, r *http.Request) {
	if crossSite(r) {
		s.fail(w, r, http.StatusForbidden, "this request comes from another site")
		return
	}
	if s.opts.Actions.RollbackPlan == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	b, err := s.opts.Actions.RollbackPlan(r.Context(), serviceOf(r))
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.json(w, http.StatusOK, b)
}

// apiReport reads the whole journal: ?service=ENV/NAME and ?since=30d, or a time
// in RFC 3339, bound what it tells of.
func (s *Server) apiReport(w http.ResponseWriter, r *http.Request) {
	if s.opts.Actions.RollbackReport == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	since, ok := s.since(w, r)
	if !ok {
		return
	}
	var service belay.ServiceID
	if name := r.FormValue("service"); name != "" {
		service = belay.ParseServiceID(name)
	}
	report, err := s.opts.Actions.RollbackReport(r.Context(), service, since)
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.json(w, http.StatusOK, report)
}

// since reads how far back a report goes, the zero time for all. It answers and
// returns false when that cannot be read.
func (s *Server) since(w http.ResponseWriter, r *http.Request) (time.Time, bool) {
	text := r.FormValue("since")
	if text == "" {
		return time.Time{}, true
	}
	if d, err := model.ParseDuration(text); err == nil {
		return s.opts.Now().Add(-time.Duration(d)), true
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, fmt.Sprintf("since is %q: a duration such as 30d, or a time in RFC 3339", text))
		return time.Time{}, false
	}
	return at, true
}

// apiAlertsReport reads the whole journal: ?since=30d, or a time in RFC 3339,
// bounds what it tells of.
func (s *Server) apiAlertsReport(w http.ResponseWriter, r *http.Request) {
	if s.opts.Actions.AlertsReport == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	since, ok := s.since(w, r)
	if !ok {
		return
	}
	report, err := s.opts.Actions.AlertsReport(r.Context(), since)
	if err != nil {
		s.failAction(w, r, err)
		return
	}
	s.json(w, http.StatusOK, report)
}

func (s *Server) apiReviews(w http.ResponseWriter, r *http.Request) {
	if n, ok := s.limit(w, r); ok {
		s.json(w, http.StatusOK, map[string]any{"reviews": s.opts.View.Reviews(n, nil)})
	}
}

// A ReviewText is a review with its words.
type ReviewText struct {
	belay.Review
	Markdown string `json:"markdown"`
}

func (s *Server) apiReview(w http.ResponseWriter, r *http.Request) {
	review, ok := s.opts.View.Review(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no review of incident "+r.PathValue("id"))
		return
	}
	text, err := s.reviewFile(review, ".md")
	if err != nil {
		s.failReview(w, r, err)
		return
	}
	s.json(w, http.StatusOK, ReviewText{Review: review, Markdown: string(text)})
}

func (s *Server) failReview(w http.ResponseWriter, r *http.Request, err error) {
	s.log.Warn("reading a review", "path", r.URL.Path, "error", err)
	why := "the file of this review cannot be read"
	if os.IsNotExist(err) {
		why = "the file of this review is gone"
	}
	s.fail(w, r, http.StatusNotFound, why)
}
