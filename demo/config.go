package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// Names of the incident that the demo plays.
const (
	serviceName = "checkout"
	channelName = "checkout-oncall"
	goodVersion = "1.41.3"
	nextVersion = "1.42.0"
	slackToken  = "xoxb-local-demo"

	slackAppToken = "xapp-local-demo"
	slackVisitor  = "U0YOU" // who presses the buttons of the demo's Slack page
)

// A tempo is how fast an incident runs: what takes minutes or hours in
// production takes seconds here.
type tempo struct {
	Scrape       time.Duration // between two scrapes
	Gap          time.Duration // at least this between two evaluations
	Window       time.Duration // over which the rule looks that a crash loop trips: longer than one turn of the loop
	For          time.Duration // how long a finding must last to fire
	Soak         time.Duration // until a version is known good
	Veto         time.Duration // in which a person could stop the rollback
	RecoveryHold time.Duration // how long the symptom must stay clear
	Poll         time.Duration // between two looks at the platform
}

// short is the window over which the rule looks that errors trip: one scrape
// may fail within it.
func (t tempo) short() time.Duration { return 3 * t.Scrape }

// The tempo that people watch, and the one that Crash repeats.
var (
	stage = tempo{
		Scrape: time.Second, Gap: 500 * time.Millisecond, Window: 5 * time.Second, For: 2 * time.Second,
		Soak: 12 * time.Second, Veto: 5 * time.Second, RecoveryHold: 8 * time.Second, Poll: 500 * time.Millisecond,
	}
	drill = tempo{
		Scrape: 250 * time.Millisecond, Gap: 100 * time.Millisecond, Window: 4 * time.Second, For: 500 * time.Millisecond,
		Soak: 3 * time.Second, Veto: time.Second, RecoveryHold: 3 * time.Second, Poll: 500 * time.Millisecond,
	}
)

// addresses are where the processes of one scene listen.
type addresses struct{ Shop, Gateway, Belay, Slack string }

// writeConfig writes what `belay run` reads: the configuration, its rules, the
// token for Slack.
func writeConfig(d *directory, f Fault, t tempo, at addresses, w wiring) error {
	values := map[string]any{
		"T": t, "Short": t.short(), "At": at, "W": w, "Service": serviceName, "Channel": channelName,
		"TokenFile": tokenFile, "AppTokenFile": appTokenFile, "You": slackVisitor, "Rules": rulesFile,
		"Learned": f == FaultLeak, "Timed": f == FaultLeak || f == FaultLatency, "Metrics": metricsDir, "Journal": journalFile, "Reviews": reviewsDir, "Kill": killFile,
	}
	for _, f := range []struct {
		name string
		text *template.Template
	}{{configFile, configText}, {rulesFile, rulesText}} {
		var b bytes.Buffer
		if err := f.text.Execute(&b, values); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := writeFile(d.file(f.name), b.Bytes()); err != nil {
			return err
		}
	}
	return errors.Join(
		writeFile(d.file(tokenFile), []byte(slackToken+"\n")),
		writeFile(d.file(appTokenFile), []byte(slackAppToken+"\n")),
	)
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func parse(name, text string) *template.Template {
	return template.Must(template.New(name).Delims("<<", ">>").Funcs(template.FuncMap{
		"d": func(d time.Duration) string { return model.Duration(d).String() },
		"q": func(s string) (string, error) {
			b, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Value: s, Style: yaml.DoubleQuotedStyle})
			return string(bytes.TrimSpace(b)), err
		},
	}).Parse(text))
}

var configText = parse(configFile, `# Written by belay demo. What takes minutes in production takes seconds here;
# apart from that it is an ordinary configuration.
global:
  scrape_interval: <<d .T.Scrape>>
  evaluation: on_scrape
  evaluation_interval: <<d .T.Scrape>>
  min_interval: <<d .T.Gap>>
  external_url: http://<<.At.Belay>>

scrape_configs:
<<.W.Scrape>>
  - job_name: gateway # stands before the shop, and sees what the shop cannot count: answers that it never gave
    static_configs:
      - targets: ["<<.At.Gateway>>"]
        labels: {service: <<.Service>>}

rule_files: [<<.Rules>>]

metrics: {path: <<.Metrics>>}

services:
  - name: <<.Service>>
    match: {service: <<.Service>>}
    revision_label: version
    platform:
<<.W.Platform>>
    owners: {slack_channel: "#<<.Channel>>", approvers: [you]}

rollback:
  mode: auto
<<if .W.Unfenced>>  allow_checked: true # the platform of this demo compares and then writes; one Belay watches it
<<end>>  when: ['severity="critical"']
  attribution_window: 5m
  failed: 3 of 3
  soak: <<d .T.Soak>>
  veto: <<d .T.Veto>>
  recovery_hold: <<d .T.RecoveryHold>>
  kill_switch_file: <<.Kill>>
  budget: {in_flight: 1, per_hour: 3, share_of_services: 100%} # the shop is the only service

slack:
  api_url: http://<<.At.Slack>>/api/
  bot_token_file: <<.TokenFile>>
  app_token_file: <<.AppTokenFile>> # buttons come over Socket Mode: no port needs to be open

people:
  - {name: you, slack: <<.You>>}

review: {publish: [{directory: <<.Reviews>>}]}
journal: {path: <<.Journal>>}
web: {listen: "<<.At.Belay>>"}
`)

var rulesText = parse(rulesFile, `# Written by belay demo. A Prometheus rule file<<if .Learned>>, but for the rule that learns what is usual<<else>>; it loads there unchanged<<end>>.
groups:
  - name: <<.Service>>
    rules:
      - alert: CheckoutErrors
        expr: |
          sum by (service) (rate(gateway_requests_total{service="<<.Service>>", code="500"}[<<d .Short>>]))
            / sum by (service) (rate(gateway_requests_total{service="<<.Service>>"}[<<d .Short>>])) > 0.005
        for: <<d .T.For>>
        labels: {severity: critical}
        annotations:
          summary: '{{ $value | humanizePercentage }} of requests fail; the limit is 0.5%'
      - alert: CheckoutUnavailable
        expr: |
          sum by (service) (rate(gateway_requests_total{service="<<.Service>>", code=~"50[234]"}[<<d .T.Window>>]))
            / sum by (service) (rate(gateway_requests_total{service="<<.Service>>"}[<<d .T.Window>>])) > 0.001
        for: <<d .T.For>>
        labels: {severity: critical}
        annotations:
          summary: '{{ $value | humanizePercentage }} of requests find no shop that answers; the limit is 0.1%'
<<if .Timed>>      - alert: CheckoutSlow
        expr: |
          sum by (service) (rate(gateway_request_duration_seconds_sum{service="<<.Service>>"}[<<d .Short>>]))
            / sum by (service) (rate(gateway_request_duration_seconds_count{service="<<.Service>>"}[<<d .Short>>])) > 0.1
        for: <<d .T.For>>
        labels: {severity: critical}
        annotations:
          summary: 'an answer takes {{ $value | humanizeDuration }} on average; the limit is 100ms'
<<end>>      - alert: CheckoutNotScraped
        expr: up{service="<<.Service>>"} == 0
        for: 30s
        labels: {severity: warning}
        annotations:
          summary: '{{ $labels.job }} of checkout does not answer its scrapes'
<<if .Learned>>
  - name: <<.Service>>-learned
    interval: <<d .T.Scrape>> # an anomaly rule judges once in each interval
    rules:
      - alert: CheckoutSlower
        anomaly:
          expr: |
            sum by (service) (rate(gateway_request_duration_seconds_sum{service="<<.Service>>"}[<<d .Short>>]))
              / sum by (service) (rate(gateway_request_duration_seconds_count{service="<<.Service>>"}[<<d .Short>>]))
          direction: up
          sensitivity: low
          season: none # a minute of history has no days
          min_samples: 20
        for: <<d .T.For>>
        labels: {severity: critical}
        annotations:
          summary: 'an answer takes {{ $value | humanizeDuration }} on average where {{ $anomaly.Expected | humanizeDuration }} is usual: {{ $anomaly.Why }}'
<<end>>`)
