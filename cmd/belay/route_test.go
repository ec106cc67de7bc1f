package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay/pipeline"
)

const nobodys = "receivers: [{name: root}, {name: a}, {name: b}, {name: c}, {name: d}, {name: e}]\n"

// routings are five ways to write a tree of routes.
var routings = map[string]string{
	"flat": `
route:
  receiver: root
  routes:
    - {matchers: [severity="critical"], receiver: a}
    - {matchers: [team="shop"], receiver: b}
    - {matchers: ['team=~"pay.*"', severity!="info"], receiver: c}
`,
	"continue": `
route:
  receiver: root
  routes:
    - {matchers: [severity=~"critical|warning"], receiver: a, continue: true}
    - {matchers: [team="shop"], receiver: b, continue: true}
    - {matchers: [env!="production"], receiver: c}
    - {receiver: d}
`,
	"deep": `
route:
  receiver: root
  routes:
    - matchers: [env="production"]
      receiver: a
      routes:
        - matchers: [team="shop"]
          receiver: b
          continue: true
          routes:
            - {matchers: [severity="critical"], receiver: c}
            - {matchers: ['alertname=~"Disk.+"'], receiver: d, continue: true}
            - {matchers: ['alertname=~"DiskFull|CPU"'], receiver: e}
        - {matchers: [severity="critical"], receiver: d}
    - matchers: [env=~"staging|"]
      receiver: e
`,
	"old words": `
route:
  receiver: root
  routes:
    - {match: {team: shop, severity: critical}, receiver: a}
    - {match_re: {team: 'shop|pay.*'}, receiver: b, continue: true}
    - {match: {severity: ""}, receiver: c}
    - {match_re: {env: '(prod|stag).*'}, receiver: d}
`,
	"nothing and everything": `
route:
  receiver: root
  routes:
    - {matchers: ['team!~".+"'], receiver: a, continue: true}
    - {matchers: ['severity=~".*"', 'env!~"dev|test"'], receiver: b, continue: true}
    - {matchers: ['{alertname="CPU",team="shop"}'], receiver: c}
    - {matchers: ['note="a \"quoted\" word"'], receiver: d}
    - {matchers: ['note=~"ü+"'], receiver: e}
`,
}

// values are what the labels of a set are drawn from; "" leaves one out.
var values = map[string][]string{
	"alertname": {"CPU", "DiskFull", "DiskSlow", "Down"},
	"severity":  {"critical", "warning", "info", ""},
	"team":      {"shop", "pay", "payments", "core", ""},
	"env":       {"production", "staging", "dev", ""},
	"note":      {"", "", `a "quoted" word`, "üü"},
}

func drawn(r *rand.Rand) (ls labels.Labels, args []string) {
	set := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name][r.IntN(len(values[name]))]; v != "" {
			set[name] = v
			args = append(args, fmt.Sprintf("%s=%q", name, v))
		}
	}
	return labels.FromMap(set), args
}

// TestRoutesAreThoseOfAmtool asks a separate process about 1 000 label sets.
func TestRoutesAreThoseOfAmtool(t *testing.T) {
	amtool, err := exec.LookPath("amtool")
	if err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	type question struct {
		file string
		cfg  *pipeline.Config
		ls   labels.Labels
		args []string
	}
	var questions []question
	r := rand.New(rand.NewPCG(5, 2026)) //nolint:gosec // the same sets each time
	for _, name := range slices.Sorted(maps.Keys(routings)) {
		dir := t.TempDir()
		am := filepath.Join(dir, "alertmanager.yml")
		write(t, am, routings[name]+nobodys)
		write(t, filepath.Join(dir, "belay.yml"), "alertmanager_config: alertmanager.yml\n")
		cfg, err := pipeline.Load(filepath.Join(dir, "belay.yml"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 200 {
			ls, args := drawn(r)
			questions = append(questions, question{am, &cfg, ls, args})
		}
	}
	next := make(chan question)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for q := range next {
				out, err := exec.CommandContext(t.Context(), amtool, append([]string{"config", "routes", "test", "--config.file", q.file}, q.args...)...).Output()
				if err != nil {
					t.Errorf("amtool %v: %v: %s", q.args, err, out)
					continue
				}
				var theirs []string // amtool names a receiver as often as a route leads to it
				for name := range strings.SplitSeq(strings.TrimSpace(string(out)), ",") {
					if !slices.Contains(theirs, name) {
						theirs = append(theirs, name)
					}
				}
				if ours := q.cfg.RouteTest(q.ls, nil, time.Now()).Receivers; !slices.Equal(ours, theirs) {
					t.Errorf("%s %v: amtool says %q, Belay %q", q.file, q.args, theirs, ours)
				}
			}
		})
	}
	for _, q := range questions {
		next <- q
	}
	close(next)
	wg.Wait()
	if len(questions) != 1000 {
		t.Errorf("%d label sets", len(questions))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const quietConfig = `
route:
  receiver: root
  routes:
    - {matchers: [team="office"], receiver: office, active_time_intervals: [office-hours]}
    - {matchers: [team="night"], receiver: night, mute_time_intervals: [weekends, office-hours], continue: true}
    - {matchers: [team="night"], receiver: log}
time_intervals:
  - {name: office-hours, time_intervals: [{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}]}
  - {name: weekends, time_intervals: [{weekdays: [saturday, sunday]}]}
inhibit_rules:
  - {source_matchers: [alertname="ClusterDown"], target_matchers: [severity="warning"], equal: [cluster]}
  - {name: loops, source_matchers: [severity="critical"], target_matchers: ['severity=~"critical|info"'], equal: [cluster]}
receivers: [{name: root}, {name: office}, {name: night}, {name: log}]
services:
  - {name: checkout, match: {service: checkout}}
`

// TestRouteTestSaysWhyNobodyIsTold holds the command against expectations that
// were written by hand.
func TestRouteTestSaysWhyNobodyIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "belay.yml")
	write(t, file, quietConfig)
	const (
		monday   = "2026-11-23T10:00:00Z" // 11:00 in Berlin
		early    = "2026-11-23T07:59:59Z" // 08:59:59 there
		opening  = "2026-11-23T08:00:00Z" // 09:00 there
		closing  = "2026-11-23T16:00:00Z" // 17:00 there, which is outside
		saturday = "2026-11-28T10:00:00Z"
	)
	for name, tc := range map[string]struct {
		args      []string
		receivers string
		told      string
		because   string
	}{
		"in office hours the office hears":        {[]string{"--at", monday, "team=office"}, "office", "office", ""},
		"a second before it does not":             {[]string{"--at", early, "team=office"}, "office", "", "outside its active times office-hours"},
		"from nine on it does":                    {[]string{"--at", opening, "team=office"}, "office", "office", ""},
		"at five it is over":                      {[]string{"--at", closing, "team=office"}, "office", "", "outside its active times office-hours"},
		"on Saturday neither":                     {[]string{"--at", saturday, "team=office"}, "office", "", "outside its active times office-hours"},
		"the night is muted by day, the log not":  {[]string{"--at", monday, "team=night"}, "night log", "log", "within its mute times office-hours"},
		"the night is muted on weekends":          {[]string{"--at", saturday, "team=night"}, "night log", "log", "within its mute times weekends"},
		"the night is told in the evening":        {[]string{"--at", closing, "team=night"}, "night log", "night log", ""},
		"a warning of a cluster that is down":     {[]string{"--firing", "alertname=ClusterDown,cluster=eu", "severity=warning", "cluster=eu"}, "root", "", `inhibited by {alertname="ClusterDown", cluster="eu"} (rule inhibit_rules[0])`},
		"a warning of another cluster":            {[]string{"--firing", "alertname=ClusterDown,cluster=eu", "severity=warning", "cluster=us"}, "root", "root", ""},
		"a missing label equals a missing label":  {[]string{"--firing", "alertname=ClusterDown", "severity=warning"}, "root", "", "inhibited by"},
		"who is on both sides inhibits nobody so": {[]string{"--firing", "severity=critical,cluster=eu,n=1", "severity=critical", "cluster=eu", "n=2"}, "root", "root", ""},
		"but does inhibit who is on one":          {[]string{"--firing", "severity=critical,cluster=eu,n=1", "severity=info", "cluster=eu"}, "root", "", "(rule loops)"},
		"a service's alert joins its incident":    {[]string{"service=checkout"}, "root", "root", "it belongs to production/checkout"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, bad bytes.Buffer
			env := &environment{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, getenv: func(string) string { return "" }}
			if code := run(t.Context(), append([]string{"route", "test", "--config", file, "-o", "json"}, tc.args...), env); code != 0 {
				t.Fatalf("exit code %d: %s", code, bad.String())
			}
			var got pipeline.RouteTest
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v", out.String(), err)
			}
			if r, told := strings.Join(got.Receivers, " "), strings.Join(got.Told, " "); r != tc.receivers || told != tc.told {
				t.Errorf("receivers %q, told %q; want %q, %q", r, told, tc.receivers, tc.told)
			}
			if why := strings.Join(got.Because, "\n"); !strings.Contains(why, tc.because) {
				t.Errorf("%q does not say %q", why, tc.because)
			}
			if (got.Muted == "") != (tc.told != "") {
				t.Errorf("muted: %q", got.Muted)
			}
		})
	}
}

func TestRouteTestRefusesWhatItCannotRead(t *testing.T) {
	for _, args := range [][]string{{"severity"}, {"=x"}, {"--at", "noon", "--config", "x.yml"}, {"--at", "2026-11-23T10:00:00Z", "a=b"}} {
		var out, bad bytes.Buffer
		env := &environment{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, getenv: func(string) string { return "" }}
		if code := run(t.Context(), append([]string{"route", "test"}, args...), env); code != exitUsage || bad.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, bad.String())
		}
	}
}
