package amapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web/amapi"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// world is what stands behind the API in these tests.
func world() amapi.Options {
	alert := func(name, team string, silenced, inhibited []string) amapi.Alert {
		return amapi.Alert{
			Alert:       belay.Alert{Labels: labels.FromStrings("alertname", name, "team", team), ActiveAt: noon, EvaluatedAt: noon},
			Fingerprint: "f" + name, EndsAt: noon.Add(time.Minute), SilencedBy: silenced, InhibitedBy: inhibited,
			Groups: []amapi.GroupOf{{Key: "k" + team, Receiver: team + "-page", Labels: map[string]string{"team": team}}},
		}
	}
	return amapi.Options{
		Now: func() time.Time { return noon }, Receivers: []string{"shop-page", "pay-page"},
		Alerts: func() []amapi.Alert {
			return []amapi.Alert{alert("A", "shop", nil, nil), alert("B", "shop", []string{"s1"}, nil), alert("C", "pay", nil, []string{"fA"})}
		},
		Silences: func() []belay.Silence {
			return []belay.Silence{
				{ID: "s1", Matchers: []string{`alertname="B"`}, StartsAt: noon, EndsAt: noon.Add(time.Hour)},
				{ID: "s2", Matchers: []string{`team!~"x|y"`}, StartsAt: noon.Add(-2 * time.Hour), EndsAt: noon.Add(-time.Hour)},
			}
		},
		SetSilence: func(_ context.Context, s belay.Silence) (string, error) {
			switch s.Comment {
			case "full":
				return "", errors.New("database or disk is full")
			case "unknown":
				return "", fmt.Errorf("%w: no such id", amapi.ErrNotFound)
			}
			return strings.Join(s.Matchers, ","), nil
		},
		Expire: func(_ context.Context, id, _ string) error {
			if id == "full" {
				return errors.New("database or disk is full")
			}
			return nil
		},
		Post: func(_ context.Context, sent []amapi.Incoming, _ string) error {
			for _, s := range sent {
				switch s.Labels["alertname"] {
				case "":
					return fmt.Errorf("%w: no labels", amapi.ErrInvalid)
				case "full":
					return errors.New("database or disk is full")
				}
			}
			return nil
		},
	}
}

func ask(t *testing.T, method, path, body string) (code int, answer string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	amapi.New(world()).ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(b)
}

func TestAlertsAreFiltered(t *testing.T) {
	for query, want := range map[string]string{
		"": "A B C", "?silenced=false": "A C", "?inhibited=false": "A B", "?active=false": "B C",
		"?filter=team%3D%22shop%22": "A B", "?filter=team!%3Dshop&inhibited=true": "C", "?receiver=pay-.*": "C", "?receiver=pay": "",
	} {
		code, body := ask(t, "GET", "/api/v2/alerts"+query, "")
		var alerts []struct {
			Labels map[string]string
			Status struct{ State string }
		}
		if err := json.Unmarshal([]byte(body), &alerts); code != 200 || err != nil {
			t.Fatalf("%s: %d, %v, %s", query, code, err, body)
		}
		var got []string
		for _, a := range alerts {
			got = append(got, a.Labels["alertname"])
			if (a.Status.State == "active") != (a.Labels["alertname"] == "A") {
				t.Errorf("%s is %s", a.Labels["alertname"], a.Status.State)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	_, body := ask(t, "GET", "/api/v2/alerts/groups?silenced=false", "")
	if strings.Count(body, `"receiver":`) != 2 || strings.Contains(body, "null") {
		t.Error(body)
	}
}

// TestCodesSayWhatBecameOfIt holds the one promise that clients build on: what
// was not journalled is never answered with 200.
func TestCodesSayWhatBecameOfIt(t *testing.T) {
	silence := func(comment string) string {
		return `{"matchers":[{"name":"a","value":"b.*","isRegex":true,"isEqual":false}],"startsAt":"2026-11-23T12:00:00Z","endsAt":"2026-11-23T13:00:00Z","createdBy":"ann","comment":"` + comment + `"}`
	}
	for name, tc := range map[string]struct {
		method, path, body string
		code               int
		says               string
	}{
		"a silence":                       {"POST", "/silences", silence(""), 200, `{"silenceID":"a!~\"b.*\""}`},
		"a silence on a full disk":        {"POST", "/silences", silence("full"), 503, "disk is full"},
		"a silence of an unknown id":      {"POST", "/silences", silence("unknown"), 404, "no such id"},
		"a silence without JSON":          {"POST", "/silences", "{", 400, "invalid"},
		"a silence with a broken matcher": {"POST", "/silences", `{"matchers":[{"name":"a","value":"(","isRegex":true}]}`, 400, "invalid"},
		"an end on a full disk":           {"DELETE", "/silence/full", "", 503, "disk is full"},
		"an end":                          {"DELETE", "/silence/s1", "", 200, ""},
		"one silence":                     {"GET", "/silence/s1", "", 200, `"state":"active"`},
		"no such silence":                 {"GET", "/silence/s9", "", 404, "no silence"},
		"silences, the holding":           {"GET", "/silences?expired=false", "", 200, `"id":"s1"`},
		"an alert":                        {"POST", "/alerts", `[{"labels":{"alertname":"A"}}]`, 200, ""},
		"an alert on a full disk":         {"POST", "/alerts", `[{"labels":{"alertname":"full"}}]`, 503, "disk is full"},
		"an alert without labels":         {"POST", "/alerts", `[{}]`, 400, "no labels"},
		"a filter that is none":           {"GET", "/alerts?filter=(", "", 400, "invalid"},
		"a flag that is none":             {"GET", "/alerts?active=maybe", "", 400, "allowed: true, false"},
		"a receiver that is no regex":     {"GET", "/alerts?receiver=(", "", 400, "receiver"},
		"receivers":                       {"GET", "/receivers", "", 200, `[{"name":"shop-page"},{"name":"pay-page"}]`},
		"nothing":                         {"GET", "/nothing", "", 404, "nothing at"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := ask(t, tc.method, "/api/v2"+tc.path, tc.body)
			if code != tc.code || !strings.Contains(body, tc.says) {
				t.Errorf("%d %s; want %d, %q", code, body, tc.code, tc.says)
			}
		})
	}
}

func TestABrowsersFormIsNoRequest(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v2/alerts", strings.NewReader(`[{"labels":{"alertname":"A"}}]`))
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	amapi.New(world()).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
}
