package promapi_test

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay/journal"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/web/promapi"
)

// evaluating runs Belay's rules over a storage and returns what the API shows
// of them.
func evaluating(t *testing.T, db *tsdb.DB, files ...string) func() []promapi.Group {
	t.Helper()
	set, problems := rules.Load(files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rules.New(set, rules.Options{
		Journal: store, Queryable: db, Appendable: db, EvaluationInterval: time.Second, ExternalLabels: labels.FromStrings("region", "eu"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() []promapi.Group { return shown(engine.Groups()) }
}

// shown hands what the engine says to the API.
func shown(groups []rules.GroupStatus) []promapi.Group {
	out := make([]promapi.Group, len(groups))
	for i, g := range groups {
		out[i] = promapi.Group{Name: g.Name, File: g.File, Interval: g.Interval, Limit: g.Limit, LastEvaluation: g.LastEvaluation, Duration: g.Duration}
		for _, r := range g.Rules {
			out[i].Rules = append(out[i].Rules, promapi.Rule{
				Name: r.Name, Recording: r.Recording, Query: r.Query, For: r.For, KeepFiringFor: r.KeepFiringFor, Labels: r.Labels,
				Annotations: r.Annotations, Health: r.Health, LastError: r.LastError, State: r.State, LastEvaluation: r.LastEvaluation,
				Duration: r.Duration, Alerts: r.Alerts,
			})
		}
	}
	return out
}

// timeless decodes an answer and takes from it the times of evaluation, which
// no two servers share, and the order of alerts, which Prometheus shuffles.
func timeless(t *testing.T, body []byte) any {
	t.Helper()
	var answer any
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range []string{"evaluationTime", "lastEvaluation", "activeAt", "keepFiringSince"} {
				delete(v, key)
			}
			if alerts, ok := v["alerts"].([]any); ok {
				set := map[string]any{}
				for _, a := range alerts {
					walk(a)
					key, err := json.Marshal(a)
					if err != nil {
						t.Fatal(err)
					}
					set[string(key)] = a
				}
				v["alerts"] = set
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(answer)
	return answer
}

func TestRulesAndAlertsAreShownAsPrometheusDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yml")
	theirs := peers.StartPrometheus(t, "global: {evaluation_interval: 1s, external_labels: {region: eu}}\nrule_files: ["+a+", "+b+"]\n", "--storage.tsdb.path="+w.theirs).URL
	db := openDB(t, w.ours)
	ours := serve(t, promapi.Options{Queryable: db, Rules: evaluating(t, db, b, a)})

	for _, path := range []string{
		"/rules", "/alerts", "/rules?type=alert", "/rules?type=record", "/rules?rule_name[]=Quiet&rule_name[]=PoolLarge", "/rules?rule_group[]=records",
		"/rules?file[]=" + url.QueryEscape(b), "/rules?match[]=%7Bseverity%3D%22page%22%7D", "/rules?match[]=%7Bteam%3D%22core%22%7D&type=alert",
		"/rules?exclude_alerts=true", "/rules?group_limit=1", "/rules?group_limit=100", "/rules?group_limit=0", "/rules?group_limit=x",
		"/rules?group_next_token=x", "/rules?group_limit=1&group_next_token=x", "/rules?exclude_alerts=x", "/rules?rule_name[]=none",
	} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			_, want := ask(t, theirs+"/api/v1"+path, nil)
			_, got := ask(t, ours+"/api/v1"+path, nil)
			wantShown, gotShown := timeless(t, want), timeless(t, got)
			worded(wantShown, gotShown)
			diff := cmp.Diff(wantShown, gotShown)
			if diff == "" && !strings.Contains(string(want), `"health":"unknown"`) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: what Prometheus shows (-) is not what Belay shows (+):\n%s", path, diff)
				break
			}
		}
	}
	_, all := ask(t, ours+"/api/v1/alerts", nil)
	for _, want := range []string{`"alertname":"PoolLarge"`, `"alertname":"PoolWaiting"`, `"alertname":"Missing"`, `"alertname":"RecordedLarge"`, `"state":"pending"`, `"state":"firing"`, `"summary":"10 on 10.0.0.2:80 in eu"`} {
		if !strings.Contains(string(all), want) {
			t.Errorf("no %s among the alerts: %s", want, all)
		}
	}
}

// worded lets errors about a parameter, and about a group's limit, be said in
// other words.
func worded(want, got any) {
	for _, answer := range []any{want, got} {
		a, _ := answer.(map[string]any)
		data, _ := a["data"].(map[string]any)
		groups, _ := data["groups"].([]any)
		for _, g := range groups {
			group, _ := g.(map[string]any)
			list, _ := group["rules"].([]any)
			for _, r := range list {
				if rule, _ := r.(map[string]any); group["limit"] == 1.0 && rule["lastError"] != nil {
					rule["lastError"] = "over the limit"
				}
			}
		}
	}
	w, wok := want.(map[string]any)
	g, gok := got.(map[string]any)
	if !wok || !gok || w["status"] != "error" || g["status"] != "error" {
		return
	}
	for _, m := range []map[string]any{w, g} {
		text, _ := m["error"].(string)
		m["error"], _, _ = strings.Cut(text, ": ")
	}
}

func TestPagesOfRuleGroupsLeadThroughAllOfThem(t *testing.T) {
	t.Parallel()
	var groups []promapi.Group
	for _, name := range []string{"c", "a", "b"} {
		groups = append(groups, promapi.Group{Name: name, File: "x.yml", Rules: []promapi.Rule{{Name: name, Query: "up == 0", Health: "ok", State: "inactive"}}})
	}
	ours := serve(t, promapi.Options{Rules: func() []promapi.Group { return groups }})
	var names []string
	token := ""
	for range 5 {
		_, body := ask(t, ours+"/api/v1/rules?group_limit=1&group_next_token="+token, nil)
		var page struct {
			Data struct {
				Groups         []struct{ Name string }
				GroupNextToken string
			}
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Data.Groups {
			names = append(names, g.Name)
		}
		if token = page.Data.GroupNextToken; token == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Error(diff)
	}
}
