package amapi

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"

	"github.com/belaydev/belay"
)

// A wireSilence is a silence as Alertmanager reads and writes it.
type wireSilence struct {
	ID        string        `json:"id,omitempty"`
	Status    *wireState    `json:"status,omitempty"`
	UpdatedAt *time.Time    `json:"updatedAt,omitempty"`
	Comment   string        `json:"comment"`
	CreatedBy string        `json:"createdBy"`
	EndsAt    time.Time     `json:"endsAt"`
	Matchers  []wireMatcher `json:"matchers"`
	StartsAt  time.Time     `json:"startsAt"`
}

type wireState struct {
	State string `json:"state"`
}

type wireMatcher struct {
	IsEqual *bool  `json:"isEqual,omitempty"` // nil is true
	IsRegex bool   `json:"isRegex"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

// matcher gives it Alertmanager's own type.
func (m wireMatcher) matcher() (*amlabels.Matcher, error) {
	t := amlabels.MatchEqual
	switch equal := m.IsEqual == nil || *m.IsEqual; {
	case equal && m.IsRegex:
		t = amlabels.MatchRegexp
	case m.IsRegex:
		t = amlabels.MatchNotRegexp
	case !equal:
		t = amlabels.MatchNotEqual
	}
	if m.Name == "" {
		return nil, fmt.Errorf("%w: a matcher without a name", ErrInvalid)
	}
	out, err := amlabels.NewMatcher(t, m.Name, m.Value)
	if err != nil {
		return nil, fmt.Errorf("%w: matcher of %s: %w", ErrInvalid, m.Name, err)
	}
	return out, nil
}

func (a *api) wire(s belay.Silence) wireSilence {
	updated := s.UpdatedAt.UTC()
	out := wireSilence{
		ID: s.ID, Status: &wireState{s.State(a.Now())}, UpdatedAt: &updated, Comment: s.Comment, CreatedBy: s.CreatedBy,
		StartsAt: s.StartsAt.UTC(), EndsAt: s.EndsAt.UTC(), Matchers: []wireMatcher{},
	}
	for _, m := range parsed(s) {
		equal := m.Type == amlabels.MatchEqual || m.Type == amlabels.MatchRegexp
		out.Matchers = append(out.Matchers, wireMatcher{
			IsEqual: &equal, IsRegex: m.Type == amlabels.MatchRegexp || m.Type == amlabels.MatchNotRegexp, Name: m.Name, Value: m.Value,
		})
	}
	return out
}

// parsed returns the matchers of a silence that holds; it was checked before.
func parsed(s belay.Silence) amlabels.Matchers {
	var out amlabels.Matchers
	for _, text := range s.Matchers {
		if m, err := parse.Matcher(text); err == nil {
			out = append(out, m)
		}
	}
	return out
}

func (a *api) silences(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	wanted, err := matchers(q["filter"])
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	shown := map[string]bool{}
	for _, name := range []string{"active", "pending", "expired"} {
		if shown[name], err = flag(q, name); err != nil {
			a.refuse(w, r, err)
			return
		}
	}
	out := []wireSilence{}
	for _, s := range a.Silences() {
		if !shown[s.State(a.Now())] || !hasAll(parsed(s), wanted) {
			continue
		}
		out = append(out, a.wire(s))
	}
	answer(w, http.StatusOK, out)
}

// hasAll says whether a silence has each of these matchers, as they stand.
func hasAll(has, wanted amlabels.Matchers) bool {
	for _, m := range wanted {
		if !slices.ContainsFunc(has, func(h *amlabels.Matcher) bool { return h.Name == m.Name && h.Type == m.Type && h.Value == m.Value }) {
			return false
		}
	}
	return true
}

func (a *api) silence(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	for _, s := range a.Silences() {
		if s.ID == id {
			answer(w, http.StatusOK, a.wire(s))
			return
		}
	}
	answer(w, http.StatusNotFound, "no silence has this id")
}

func (a *api) setSilence(w http.ResponseWriter, r *http.Request) {
	var sent wireSilence
	if err := body(r, &sent); err != nil {
		a.refuse(w, r, err)
		return
	}
	s := belay.Silence{
		ID: sent.ID, Comment: sent.Comment, CreatedBy: a.Actor(r, sent.CreatedBy), StartsAt: sent.StartsAt, EndsAt: sent.EndsAt,
	}
	for _, m := range sent.Matchers {
		matcher, err := m.matcher()
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		s.Matchers = append(s.Matchers, matcher.String())
	}
	id, err := a.SetSilence(r.Context(), s)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"silenceID": id})
}

func (a *api) expire(w http.ResponseWriter, r *http.Request) {
	if err := a.Expire(r.Context(), r.PathValue("id"), a.Actor(r, "")); err != nil {
		a.refuse(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}
