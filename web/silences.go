package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// maxSilence is how long a silence that a page makes may hold at most. Longer
// ones are for amtool, whose users mean what they say.
const maxSilence = model.Duration(31 * 24 * time.Hour)

// silencesPage is what the page of that name shows.
type silencesPage struct {
	Matchers string // that the form begins with
	Silences []silenceRow
}

type silenceRow struct {
	belay.Silence
	State string // pending, active, expired
	Mutes int    // alerts that fire now and match
}

func (s *Server) pageSilences(w http.ResponseWriter, r *http.Request) {
	page := silencesPage{Matchers: strings.TrimSpace(r.URL.Query().Get("matchers"))}
	if len(page.Matchers) > maxWords {
		page.Matchers = ""
	}
	now, alerts := s.opts.Now(), s.alerts()
	if s.opts.Silences != nil {
		for _, sil := range s.opts.Silences() {
			row := silenceRow{Silence: sil, State: sil.State(now)}
			if row.State == "active" {
				row.Mutes = matching(sil.Matchers, alerts)
			}
			page.Silences = append(page.Silences, row)
		}
	}
	s.render(w, r, http.StatusOK, "silences", "Silences", page)
}

// matching counts the alerts that fire and match.
func matching(texts []string, alerts []belay.Alert) int {
	ms, err := parse.Matchers("{" + strings.Join(texts, ",") + "}")
	if err != nil {
		return 0
	}
	n := 0
	for _, a := range alerts {
		if a.State == belay.AlertFiring && matchesAll(ms, a.Labels) {
			n++
		}
	}
	return n
}

func matchesAll(ms amlabels.Matchers, ls labels.Labels) bool {
	return !slices.ContainsFunc(ms, func(m *amlabels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) })
}

// silenceOf is how an alert is silenced: its rule, for its service where it has
// one, written as the form takes it.
func silenceOf(a belay.Alert) string {
	ms := amlabels.Matchers{{Type: amlabels.MatchEqual, Name: model.AlertNameLabel, Value: a.Rule}}
	if service := a.Labels.Get("service"); service != "" {
		ms = append(ms, &amlabels.Matcher{Type: amlabels.MatchEqual, Name: "service", Value: service})
	}
	return ms.String()
}

func (s *Server) formSilence(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	comment, ok := s.formText(w, r)
	if !ok {
		return
	}
	ms, err := parse.Matchers(r.PostFormValue("matchers"))
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, `the matchers cannot be read: `+err.Error()+`; allowed: alertname="CheckoutErrors", service=~"checkout|search"`)
		return
	}
	length, err := model.ParseDuration(r.PostFormValue("length"))
	if err != nil || length <= 0 || length > maxSilence {
		s.fail(w, r, http.StatusBadRequest, "the length of a silence must be a time such as 30m, 2h or 1d, at most "+maxSilence.String())
		return
	}
	if s.opts.Actions.Silence == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	now := s.opts.Now()
	sil := belay.Silence{StartsAt: now, EndsAt: now.Add(time.Duration(length)), CreatedBy: s.actor(r, ""), Comment: comment}
	for _, m := range ms {
		sil.Matchers = append(sil.Matchers, m.String())
	}
	s.doneForm(w, r, s.opts.Actions.Silence(r.Context(), sil), "/silences")
}

func (s *Server) formExpire(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	if s.opts.Actions.Expire == nil {
		s.fail(w, r, http.StatusNotImplemented, notImplemented)
		return
	}
	s.doneForm(w, r, s.opts.Actions.Expire(r.Context(), r.PathValue("id"), s.actor(r, "")), "/silences")
}
