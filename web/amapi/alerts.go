package amapi

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"
)

// A wireAlert is an alert as Alertmanager writes it.
type wireAlert struct {
	Annotations  map[string]string `json:"annotations"`
	EndsAt       time.Time         `json:"endsAt"`
	Fingerprint  string            `json:"fingerprint"`
	Receivers    []named           `json:"receivers"`
	StartsAt     time.Time         `json:"startsAt"`
	Status       wireStatus        `json:"status"`
	UpdatedAt    time.Time         `json:"updatedAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	Labels       map[string]string `json:"labels"`
}

type wireStatus struct {
	InhibitedBy []string `json:"inhibitedBy"`
	MutedBy     []string `json:"mutedBy"`
	SilencedBy  []string `json:"silencedBy"`
	State       string   `json:"state"`
}

type wireGroup struct {
	Alerts      []wireAlert       `json:"alerts"`
	Labels      map[string]string `json:"labels"`
	Receiver    named             `json:"receiver"`
	RouteLabels map[string]string `json:"routeLabels"`
}

// A filter is what the parameters of a request leave over.
type filter struct {
	matchers                            amlabels.Matchers
	receiver                            *regexp.Regexp
	active, silenced, inhibited, unproc bool
	muted                               bool
}

func readFilter(q url.Values) (f filter, err error) {
	if f.matchers, err = matchers(q["filter"]); err != nil {
		return f, err
	}
	for name, to := range map[string]*bool{
		"active": &f.active, "silenced": &f.silenced, "inhibited": &f.inhibited, "unprocessed": &f.unproc, "muted": &f.muted,
	} {
		if *to, err = flag(q, name); err != nil {
			return f, err
		}
	}
	if text := q.Get("receiver"); text != "" {
		if f.receiver, err = regexp.Compile("^(?:" + text + ")$"); err != nil {
			return f, fmt.Errorf("%w: receiver: %w", ErrInvalid, err)
		}
	}
	return f, nil
}

// flag is true where it is not given.
func flag(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s=%q; allowed: true, false", ErrInvalid, name, text)
	}
	return v, nil
}

func matchers(texts []string) (amlabels.Matchers, error) {
	var out amlabels.Matchers
	for _, text := range texts {
		m, err := parse.Matcher(text)
		if err != nil {
			if m, err = amlabels.ParseMatcher(text); err != nil {
				return nil, fmt.Errorf("%w: filter %s: %w", ErrInvalid, text, err)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// keeps says whether an alert passes, whoever receives it.
func (f filter) keeps(a Alert) bool {
	suppressed := len(a.SilencedBy)+len(a.InhibitedBy) > 0
	if !f.active && !suppressed || !f.silenced && len(a.SilencedBy) > 0 || !f.inhibited && len(a.InhibitedBy) > 0 {
		return false
	}
	for _, m := range f.matchers {
		if !m.Matches(a.Labels.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (f filter) receives(g GroupOf) bool {
	return f.receiver == nil || f.receiver.MatchString(g.Receiver)
}

// ours are the alerts that a request asks for.
func (a *api) ours(w http.ResponseWriter, r *http.Request) ([]Alert, filter, bool) {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		a.refuse(w, r, err)
		return nil, f, false
	}
	return slices.DeleteFunc(slices.Clone(a.Alerts()), func(x Alert) bool { return !f.keeps(x) }), f, true
}

func (a *api) alerts(w http.ResponseWriter, r *http.Request) {
	all, f, ok := a.ours(w, r)
	if !ok {
		return
	}
	out := []wireAlert{}
	for _, x := range all {
		if f.receiver == nil || slices.ContainsFunc(x.Groups, f.receives) {
			out = append(out, wire(x, nil))
		}
	}
	slices.SortStableFunc(out, func(x, y wireAlert) int { return strings.Compare(x.Fingerprint, y.Fingerprint) })
	answer(w, http.StatusOK, out)
}

func (a *api) groups(w http.ResponseWriter, r *http.Request) {
	all, f, ok := a.ours(w, r)
	if !ok {
		return
	}
	byKey := map[string]*wireGroup{}
	for _, x := range all {
		for _, g := range x.Groups {
			if !f.receives(g) || !f.muted && len(g.MutedBy) > 0 {
				continue
			}
			if byKey[g.Key] == nil {
				byKey[g.Key] = &wireGroup{Labels: set(g.Labels), Receiver: named{g.Receiver}, RouteLabels: set(g.RouteLabels)}
			}
			byKey[g.Key].Alerts = append(byKey[g.Key].Alerts, wire(x, g.MutedBy))
		}
	}
	out := []*wireGroup{}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[key])
	}
	slices.SortStableFunc(out, func(x, y *wireGroup) int {
		if c := strings.Compare(fmt.Sprint(x.Labels), fmt.Sprint(y.Labels)); c != 0 {
			return c
		}
		return strings.Compare(x.Receiver.Name, y.Receiver.Name)
	})
	answer(w, http.StatusOK, out)
}

func wire(a Alert, mutedBy []string) wireAlert {
	out := wireAlert{
		Annotations: map[string]string{}, EndsAt: a.EndsAt.UTC(), Fingerprint: a.Fingerprint, Receivers: []named{},
		StartsAt: a.ActiveAt.UTC(), UpdatedAt: a.EvaluatedAt.UTC(), GeneratorURL: a.URL, Labels: a.Labels.Map(),
		Status: wireStatus{InhibitedBy: list(a.InhibitedBy), MutedBy: list(mutedBy), SilencedBy: list(a.SilencedBy), State: "active"},
	}
	maps.Copy(out.Annotations, a.Annotations)
	if len(a.SilencedBy)+len(a.InhibitedBy) > 0 {
		out.Status.State = "suppressed"
	}
	for _, g := range a.Groups {
		if !slices.Contains(out.Receivers, named{g.Receiver}) {
			out.Receivers = append(out.Receivers, named{g.Receiver})
		}
	}
	return out
}

// set writes an empty set, never null.
func set(in map[string]string) map[string]string {
	if in == nil {
		return map[string]string{}
	}
	return in
}

// list writes an empty list, never null.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}
