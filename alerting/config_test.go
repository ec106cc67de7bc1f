package alerting_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/strict"
)

var owners = []alerting.ServiceOwner{
	{ID: checkout, SlackChannel: "#checkout-oncall"},
	{ID: belay.ServiceID{Environment: "production", Name: "payments"}, SlackChannel: "ops"},
	{ID: belay.ServiceID{Environment: "staging", Name: "checkout"}, SlackChannel: "checkout-oncall"},
	{ID: belay.ServiceID{Environment: "production", Name: "quiet"}},
}

const goodConfig = `
services: [{name: checkout, owners: {slack_channel: "#checkout-oncall"}}]
slack: {api_url: "http://127.0.0.1:1/api/", bot_token_file: secrets/slack}
route: {receiver: ops}
receivers:
  - name: unused
    webhook_configs: [{url: "http://127.0.0.1:9/unused"}]
  - name: ops
    webhook_configs:
      - url: "http://127.0.0.1:9/hook"
        max_alerts: 5
        http_config: {authorization: {credentials_file: secrets/hook}}
      - {url_file: secrets/url, send_resolved: false, timeout: 3s}
    slack_configs: [{channel: "#ops", send_resolved: true}]
`

func load(t *testing.T, text string, services []alerting.ServiceOwner) (alerting.Config, strict.Problems) {
	t.Helper()
	doc, ps := strict.Parse("/etc/belay/belay.yml", []byte(text))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return alerting.Load(doc, services)
}

func TestAConfigurationBecomesDestinationsWithoutDoubles(t *testing.T) {
	c, ps := load(t, goodConfig, owners)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	var got []string
	for _, d := range c.Destinations(owners) {
		got = append(got, fmt.Sprint(d.Name, " ", d.Services))
	}
	want := []string{
		"webhook:ops/0 []", "webhook:ops/1 []", "slack:#ops [production/payments]",
		"slack:#checkout-oncall [production/checkout staging/checkout]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	d := c.Destinations(owners)
	if quiet := owners[3].ID; d[2].Owned(quiet) || d[3].Owned(quiet) || !d[3].Owned(checkout) || !slices.Equal(d[2].Receivers, []string{"ops"}) {
		t.Error("the receiver is led to by routes, owners want their services")
	}
	w := d[1].Webhook
	if w.URLFile != "/etc/belay/secrets/url" || c.Slack.BotTokenFile != "/etc/belay/secrets/slack" {
		t.Errorf("paths %q, %q are not relative to the file", w.URLFile, c.Slack.BotTokenFile)
	}
	if f := d[0].Webhook.HTTPConfig.Authorization.CredentialsFile; f != "/etc/belay/secrets/hook" {
		t.Errorf("credentials_file %q", f)
	}
}

func names(all []alerting.DestinationConfig) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.Name)
	}
	return out
}

func TestNothingConfiguredTellsNobody(t *testing.T) {
	c, ps := load(t, "global: {}\n", nil)
	if len(ps) > 0 || len(c.Destinations(nil)) > 0 {
		t.Errorf("%v, %v", ps, c.Destinations(nil))
	}
}

func TestABadConfigurationIsNamedWithItsLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown receiver":          {"route: {receiver: opps}\nreceivers:\n  - name: ops\n  - name: dev\n", "1: no receiver is named \"opps\"; allowed: ops, dev"},
		"no receivers at all":          {"route: {receiver: ops}\n", "1: no receiver is named \"ops\"; allowed: a name under receivers, where there is none yet"},
		"receivers without a route":    {"receivers:\n  - name: ops\n", "1: the route names no receiver; allowed: ops"},
		"a routing tree":               {"route:\n  receiver: ops\n  routes: [{receiver: dev}]\nreceivers: [{name: ops}]\n", "3: undefined receiver \"dev\" used in route; allowed: a name under receivers"},
		"grouping":                     {"route:\n  receiver: a\n  group_by: ['...', job]\nreceivers: [{name: a}]\n", "2: cannot have wildcard group_by (`...`) and other labels at the same time; allowed: what Alertmanager takes"},
		"a misspelt key":               {"route:\n  reciver: ops\n", "2: unknown key \"reciver\"; allowed: active_time_intervals, continue, group_by, group_interval, group_wait, labels, match, match_re, matchers, mute_time_intervals, receiver, repeat_interval, routes"},
		"another kind of receiver":     {"route: {receiver: ops}\nreceivers:\n  - name: ops\n    email_configs: [{to: a@b}]\n", "4: no global SMTP smarthost set; allowed: the value in the receiver, or in global"},
		"a receiver without a name":    {"receivers:\n  - webhook_configs: [{url: http://a/}]\nroute: {receiver: x}\n", "2: missing name in receiver; allowed: the value in the receiver, or in global"},
		"two of one name":              {"route: {receiver: a}\nreceivers:\n  - name: a\n  - name: a\n", "4: notification config name \"a\" is not unique; allowed: a name of its own"},
		"receivers that are no list":   {"receivers: {name: a}\n", "1: a mapping stands where a list belongs; allowed: a list: [a, b], or a line with - for each element"},
		"an empty url":                 {"route: {receiver: a}\nreceivers:\n  - name: a\n    webhook_configs:\n      - url: ''\n", "5: one of url or url_file must be configured; allowed: one of them"},
		"url and url_file":             {"route: {receiver: a}\nreceivers:\n  - name: a\n    webhook_configs:\n      - url: http://a/\n        url_file: b\n", "5: at most one of url & url_file must be configured; allowed: one of them"},
		"a url that is none":           {"route: {receiver: a}\nreceivers:\n  - name: a\n    webhook_configs:\n      - max_alerts: -1\n        url: hooks.example.org\n", "6: invalid URL: unsupported scheme \"\" for URL; allowed: what Alertmanager takes"},
		"slack without a token":        {"route: {receiver: a}\nreceivers:\n  - name: a\n    slack_configs:\n      - channel: '#a'\n", "4: no Slack API URL nor App token set either inline or in a file; allowed: slack: {bot_token_file: FILE} at the top of the file"},
		"a slack incoming webhook":     {"receivers:\n  - name: a\n    slack_configs:\n      - api_url: https://hooks.slack.com/x\n", "1: the route names no receiver; allowed: a"},
		"two slack tokens":             {"slack:\n  bot_token: x\n  bot_token_file: y\n", "3: both bot_token and bot_token_file are given; allowed: one of them"},
		"a slack address that is none": {"slack:\n  api_url: slack.com\n", "2: \"slack.com\" is not a web address; allowed: http:// or https:// and a host"},
		"a bad duration":               {"receivers:\n  - name: a\n    webhook_configs: [{url: http://a/, timeout: soon}]\n", "3: \"soon\" is not a duration; allowed: a duration such as 30s, 5m or 1h30m"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := load(t, tc.text, nil)
			got := strings.ReplaceAll(ps.Error(), "/etc/belay/belay.yml:", "")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsValidAndNotActedOnIsAWarningWithItsLine(t *testing.T) {
	const pasted = `route:
  receiver: ops
  group_by: [job]
  routes: [{receiver: dev, routes: [{receiver: ops, matchers: [severity="page"]}]}]
receivers:
  - name: ops
    pagerduty_configs: [{routing_key: abc}]
    slack_configs: [{api_url: "https://hooks.slack.com/x", channel: "#ops", send_resolved: false}]
  - name: dev
    webhook_configs: [{url: "http://127.0.0.1:9/"}]
inhibit_rules: [{source_matchers: [a=b], target_matchers: [c=d], equal: [e]}]
`
	c, ps := load(t, pasted, nil)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := []string{
		`8: NOT DELIVERED: the receiver "ops" posts to Slack, and Belay has no token for it; give slack: {bot_token_file: FILE} at the top of Belay's file`,
		"8: send_resolved: false has no meaning in Slack, where one message is edited from first to last",
	}
	for i := range want {
		want[i] = "/etc/belay/belay.yml:" + want[i]
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
	if got := names(c.Destinations(nil)); !slices.Equal(got, []string{"pagerduty:ops/0", "webhook:dev/0"}) {
		t.Error(got)
	}
	c, ps = load(t, "slack: {bot_token: x}\n"+pasted, nil)
	if got := names(c.Destinations(nil)); len(ps) > 0 || !slices.Equal(got, []string{"slack:#ops", "pagerduty:ops/0", "webhook:dev/0"}) {
		t.Errorf("with a token: %v, %v", ps, got)
	}
	c, _ = load(t, "route: {receiver: nobody}\nreceivers: [{name: nobody}, {name: unused, webhook_configs: [{url: 'http://a/'}]}]\n", nil)
	if want := `/etc/belay/belay.yml:2: NOBODY IS TOLD by the receiver "nobody", to which a route leads`; !slices.Equal(c.Warnings, []string{want}) || len(c.Destinations(nil)) != 0 {
		t.Error(c.Warnings, c.Destinations(nil))
	}
}

func TestAlertmanagersFileCanStayWhereItIs(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(text string) (alerting.Config, strict.Problems) {
		doc, _ := strict.Parse(put("belay.yml", text), []byte(text))
		return alerting.Load(doc, nil)
	}
	am := put("am.yml", "global: {slack_app_token: xoxb-1, http_config: {proxy_url: 'http://127.0.0.1:3'}}\nroute: {receiver: a}\nreceivers: [{name: a, slack_configs: [{channel: '#a'}], webhook_configs: [{url_file: hook}]}]\n")
	c, ps := read("alertmanager_config: am.yml\n")
	if len(ps) > 0 || len(c.Destinations(nil)) != 2 {
		t.Fatalf("%v, %v", ps, c.Destinations(nil))
	}
	if token, err := c.Slack.Token(); token != "xoxb-1" || err != nil {
		t.Errorf("token %q, %v", token, err)
	}
	w := c.Destinations(nil)[0].Webhook
	if w.URLFile != filepath.Join(dir, "hook") || w.HTTPConfig == nil || w.HTTPConfig.ProxyURL.String() != "http://127.0.0.1:3" {
		t.Errorf("%+v", w)
	}
	for name, tc := range map[string]struct{ am, belay, want string }{
		"both places":       {"route: {receiver: a}\nreceivers: [{name: a}]\n", "alertmanager_config: am.yml\nroute: {receiver: a}\n", "belay.yml:2: route stands here, and alertmanager_config names a file that has it, too; allowed: one of them"},
		"a wrong key there": {"route:\n  receiver: a\n  grp: x\nreceivers: [{name: a}]\nscrape_configs: []\nglobal: {scrape_interval: 1s}\n", "alertmanager_config: am.yml\n", "am.yml:3: unknown key \"grp\""},
		"no such file":      {"", "alertmanager_config: none.yml\n", "no such file or directory; allowed: an alertmanager.yml that can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(am, []byte(tc.am), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, ps := read(tc.belay); !strings.Contains(ps.Error(), tc.want) {
				t.Errorf("got %v, want %s", ps, tc.want)
			}
		})
	}
}

func TestOwnersInSlackNeedAToken(t *testing.T) {
	_, ps := load(t, "services:\n  - name: checkout\n    owners:\n      slack_channel: '#checkout-oncall'\n", owners[:1])
	want := "/etc/belay/belay.yml:4: owners of production/checkout are told in Slack, but Belay has no token for it; allowed: slack: {bot_token_file: FILE} at the top of the file"
	if diff := cmp.Diff(want, ps.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Setenv("BELAY_TEST_TOKEN", "hidden")
	s := alerting.Secret("xoxb-${BELAY_TEST_TOKEN}")
	c := alerting.Config{Slack: alerting.Slack{BotToken: s}}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s", c, c, c, s), string(asJSON), string(asYAML)} {
		if strings.Contains(printed, "xoxb") || strings.Contains(printed, "hidden") {
			t.Errorf("shows it: %s", printed)
		}
	}
	if got, err := s.Value(); err != nil || got != "xoxb-hidden" {
		t.Errorf("value %q, %v", got, err)
	}
	if _, err := alerting.Secret("${BELAY_TEST_NO_SUCH}").Value(); err == nil || !strings.Contains(err.Error(), "BELAY_TEST_NO_SUCH is not set") {
		t.Errorf("a variable that is not set: %v", err)
	}
}

func TestTheTokenComesFromItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if _, err := (alerting.Slack{BotTokenFile: file}).Token(); err == nil {
		t.Error("no file, no error")
	}
	for _, want := range []string{"xoxb-1", ""} {
		text := " " + want + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := alerting.Slack{BotTokenFile: file}.Token()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("file %q: %q, %v", text, got, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(goodConfig)
	f.Add("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://[::1'}]}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc, ps := strict.Parse("belay.yml", []byte(text))
		if len(ps) > 0 {
			return
		}
		c, ps := alerting.Load(doc, owners)
		for _, p := range ps {
			if p.What == "" {
				t.Errorf("a problem without words: %+v", p)
			}
		}
		names := map[string]bool{}
		for _, d := range c.Destinations(owners) {
			if names[d.Name] {
				t.Errorf("two destinations are named %q", d.Name)
			}
			names[d.Name] = true
		}
	})
}
