package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// page is what the layout shows around every page.
type page struct {
	Title      string
	Path       string // of the section, to mark it in the menu
	Version    string
	KillSwitch string
	Now        time.Time
	Who        identity
	CSRF       string // what forms carry; "" for who has not signed in
	Here       string // path and query, to come back to
	Live       bool   // the page follows the journal
	Data       any
}

// parsePages reads every page once, each with the layout around it.
func parsePages(s *Server) (map[string]*template.Template, error) {
	names := []string{
		"services", "service", "incidents", "incident", "rollbacks", "review", "alerts", "silences", "targets", "rules", "status", "error", "signin",
	}
	pages := map[string]*template.Template{}
	for _, name := range names {
		t, err := template.New("layout.html").Funcs(s.funcs()).
			ParseFS(assets, "assets/layout.html", "assets/parts.html", "assets/"+name+".html")
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, code int, name, title string, data any) {
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var out bytes.Buffer // whole before the first byte, so that a fault is not half a page
	p := page{
		Title: title, Path: "/" + section, Version: s.opts.Version, Now: s.opts.Now(), Who: s.caller(r), Data: data,
		Here: r.URL.RequestURI(), Live: code == http.StatusOK && name != "signin",
	}
	if p.Who.session != nil {
		p.CSRF = p.Who.session.csrf
	}
	if p.Who.Can(ScopeRead) {
		p.KillSwitch = s.killSwitch()
	}
	err := s.pages[name].Execute(&out, p)
	if err != nil {
		s.log.Error("drawing a page", "page", name, "error", err)
		http.Error(w, "This page cannot be drawn; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(out.Bytes())
}

// funcs are the words that templates may use.
func (s *Server) funcs() template.FuncMap {
	return template.FuncMap{
		"ago":         func(t time.Time) string { return ago(s.opts.Now(), t) },
		"elapsed":     func(t time.Time) string { return span(s.opts.Now().Sub(t)) },
		"until":       func(t time.Time) string { return span(t.Sub(s.opts.Now())) },
		"clock":       clock,
		"stamp":       func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"span":        span,
		"between":     func(from, to time.Time) string { return span(to.Sub(from)) },
		"value":       value,
		"words":       func(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "_", " ") },
		"labels":      labelPairs,
		"serviceURL":  func(id belay.ServiceID) string { return "/services/" + seg(id.Environment) + "/" + seg(id.Name) },
		"incidentURL": func(id string) string { return "/incidents/" + seg(id) },
		"reviewURL":   func(id string) string { return "/reviews/" + seg(id) },
		"drawingURL":  drawingURL,
		"open":        isOpen,
		"waiting":     func(r belay.Rollback) bool { return !r.State.Terminal() && !r.State.Acting() },
		"queryURL":    queryURL,
		"others":      func(n int) string { return fmt.Sprintf("%d more", n-1) },
		"newestFirst": newestFirst,
		"held": func(l []belay.LedgerEntry) bool {
			return slices.ContainsFunc(l, func(e belay.LedgerEntry) bool { return e.Held })
		},
		"tone":      tone,
		"anchor":    anchor,
		"guardsSay": guardsSay,
		"vetoed":    vetoed,
		"told":      told,
		"silenceOf": silenceOf,
	}
}

func seg(s string) string { return url.PathEscape(s) }

func drawingURL(incident string) string { return "/reviews/" + seg(incident) + ".svg" }

// anchor is the name of a place in a page: letters and digits are kept.
func anchor(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' {
			return r
		}
		return '-'
	}, id)
}

// tone sorts a word into one of the few colours that pages have.
func tone(v any) string {
	switch fmt.Sprint(v) {
	case "healthy", "good", "recovered", "resolved", "succeeded", "pass", "sent", "adopted", "true":
		return "good"
	case "incident", "critical", "firing", "bad", "failed", "fail", "not_recovered", "triggered", "dead", "false", "fought":
		return "bad"
	case "pending", "warning", "refused", "unknown", "rolled_back", "acknowledged", "countdown", "awaiting_approval", "soaking", "retry", "stopped", "superseded":
		return "warn"
	case "rolling_back", "mitigating", "mitigated", "planned", "intended", "converging", "proving", "begun", "candidate":
		return "busy"
	}
	return "calm"
}

// clock returns a time in UTC.
func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// queryURL lets only an address of this server's query API through.
func queryURL(query string) string {
	if strings.HasPrefix(query, "/api/v1/query") {
		return query
	}
	return ""
}

func newestFirst(in []EvaluationInfo) []EvaluationInfo {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}

func vetoed(answers []belay.Answer) bool {
	return slices.ContainsFunc(answers, func(a belay.Answer) bool { return a.Veto != "" })
}

// guardsSay sums up what guards answered.
func guardsSay(answers []belay.Answer) string {
	no := 0
	for _, a := range answers {
		if a.Veto != "" {
			no++
		}
	}
	switch no {
	case 0:
		return fmt.Sprintf("All %d guards agree", len(answers))
	case 1:
		return fmt.Sprintf("1 of %d guards says no", len(answers))
	default:
		return fmt.Sprintf("%d of %d guards say no", no, len(answers))
	}
}

// A telling sums up what one destination was told of an incident.
type telling struct {
	Destination         string
	Sent, Waiting, Dead int
	Detail              string // of the newest that did not get through
}

// told groups messages, newest first, by their destination.
func told(deliveries []belay.Delivery) []*telling {
	var out []*telling
	for _, d := range deliveries {
		i := slices.IndexFunc(out, func(t *telling) bool { return t.Destination == d.Destination })
		if i < 0 {
			i = len(out)
			out = append(out, &telling{Destination: d.Destination})
		}
		t := out[i]
		switch d.Result {
		case "sent", "adopted":
			t.Sent++
			continue
		case "dead":
			t.Dead++
		default:
			t.Waiting++
		}
		if t.Detail == "" {
			t.Detail = d.Detail
		}
	}
	return out
}

func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < -time.Second:
		return "in " + span(-d)
	case d < time.Second:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span writes a duration with the two units that matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d.Milliseconds()/100)/10, 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return twoUnits(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return twoUnits(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return twoUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func twoUnits(big int, bigUnit string, small int, smallUnit string) string {
	s := fmt.Sprintf("%d %s", big, bigUnit)
	if small > 0 {
		s += fmt.Sprintf(" %d %s", small, smallUnit)
	}
	return s
}

// value writes a sample with as many digits as a person reads.
func value(v belay.Value) string { return strconv.FormatFloat(float64(v), 'g', 4, 64) }

// labelPairs returns the labels to show, without the name of the rule.
func labelPairs(ls labels.Labels) []string {
	var out []string
	ls.Range(func(l labels.Label) {
		if l.Name != labels.AlertName && l.Name != model.MetricNameLabel {
			out = append(out, l.Name+"="+l.Value)
		}
	})
	return out
}

func (s *Server) pageServices(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "services", "Services", map[string]any{
		"Services": s.statuses(), "Incidents": s.opts.View.Incidents(5, nil), "Entries": s.opts.View.Entries(12, nil),
	})
}

func (s *Server) pageService(w http.ResponseWriter, r *http.Request) {
	id := serviceOf(r)
	status, ok := s.statusOf(id)
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no service "+id.String())
		return
	}
	s.render(w, r, http.StatusOK, "service", id.Name, map[string]any{
		"Status":      status,
		"Incidents":   s.opts.View.Incidents(20, func(i belay.Incident) bool { return i.Service == id }),
		"Deployments": s.opts.View.Deployments(20, func(d belay.Deployment) bool { return d.Service == id }),
		"Rollbacks":   s.opts.View.Rollbacks(20, func(b belay.Rollback) bool { return b.Target.Service == id }),
		"Entries":     s.opts.View.Entries(20, func(e Entry) bool { return e.Service == id }),
	})
}

// pageLimit is how many rows a list shows.
const pageLimit = 100

func (s *Server) pageIncidents(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "incidents", "Incidents", s.opts.View.Incidents(pageLimit, nil))
}

// incidentPage is an incident and what it may be changed to.
type incidentPage struct {
	IncidentStory
	People []string         // none: anybody
	Others []belay.Incident // of other services, that are open
}

func (s *Server) pageIncident(w http.ResponseWriter, r *http.Request) {
	story, ok := s.opts.View.Incident(r.PathValue("id"))
	if !ok {
		s.fail(w, r, http.StatusNotFound, "there is no incident "+r.PathValue("id"))
		return
	}
	page := incidentPage{IncidentStory: story, Others: s.opts.View.Incidents(pageLimit, func(i belay.Incident) bool { return isOpen(i) && i.ID != story.ID })}
	for _, p := range s.cfg.people {
		page.People = append(page.People, p.Name)
	}
	s.render(w, r, http.StatusOK, "incident", story.Title, page)
}

func (s *Server) pageRollbacks(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "rollbacks", "Rollbacks", s.opts.View.Rollbacks(pageLimit, nil))
}

func (s *Server) pageAlerts(w http.ResponseWriter, r *http.Request) {
	alerts := slices.Clone(s.alerts())
	slices.SortStableFunc(alerts, func(a, b belay.Alert) int { return strings.Compare(string(a.State), string(b.State)) }) // firing before pending
	s.render(w, r, http.StatusOK, "alerts", "Alerts", alerts)
}

// maxTargets is how many targets the page shows, those that are down first.
const maxTargets = 1000

type targetsPage struct {
	Targets    []TargetInfo
	Down, More int
}

// All is how many there are.
func (p targetsPage) All() int { return len(p.Targets) + p.More }

func (s *Server) pageTargets(w http.ResponseWriter, r *http.Request) {
	var page targetsPage
	if s.opts.Targets != nil {
		page.Targets = slices.Clone(s.opts.Targets())
	}
	for _, t := range page.Targets {
		if !t.Healthy {
			page.Down++
		}
	}
	slices.SortStableFunc(page.Targets, func(a, b TargetInfo) int {
		if a.Healthy == b.Healthy {
			return strings.Compare(a.Job, b.Job)
		} else if a.Healthy {
			return 1
		}
		return -1
	})
	if over := len(page.Targets) - maxTargets; over > 0 {
		page.Targets, page.More = page.Targets[:maxTargets], over
	}
	s.render(w, r, http.StatusOK, "targets", "Targets", page)
}

func (s *Server) pageRules(w http.ResponseWriter, r *http.Request) {
	var groups []RuleGroupInfo
	if s.opts.Rules != nil {
		groups = s.opts.Rules()
	}
	s.render(w, r, http.StatusOK, "rules", "Rules", groups)
}

func (s *Server) pageStatus(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "status", "Status", map[string]any{
		"Status":     s.statusReport(),
		"Deliveries": s.opts.View.Deliveries(20, nil),
	})
}
