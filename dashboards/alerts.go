package dashboards

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// runbooks is where the pages lie that alerts point to, one for each alert.
const runbooks = "https://github.com/belaydev/belay/tree/main/docs/runbooks"

// A ruleFile is a rule file of Prometheus.
type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// An alarm is an alert about Belay itself.
type alarm struct {
	name, severity, wait string
	expr                 string
	summary, description string
}

// ownRules are the rules by which a Prometheus watches Belay: whoever watches
// must be watched by somebody else.
func ownRules() ruleFile {
	records := ruleGroup{Name: "belay-records", Rules: []rule{
		p99("belay:journal_append_duration_seconds:p99_5m", "belay_journal_append_duration_seconds"),
		p99("belay:rule_evaluation_lag_seconds:p99_5m", "belay_rule_evaluation_lag_seconds"),
		p99("belay:detection_delay_seconds:p99_5m", "belay_detection_delay_seconds"),
	}}
	alerts := ruleGroup{Name: "belay-alerts"}
	for _, a := range append(blindness(), failures()...) {
		alerts.Rules = append(alerts.Rules, rule{
			Alert: a.name, Expr: a.expr, For: a.wait,
			Labels: map[string]string{"severity": a.severity},
			Annotations: map[string]string{
				"summary": a.summary, "description": a.description,
				"runbook_url":   "https://github.com/belaydev/belay/blob/main/docs/runbooks/" + a.name + ".md",
				"dashboard_url": "/d/" + FleetUID,
			},
		})
	}
	return ruleFile{Groups: []ruleGroup{records, alerts}}
}

func p99(record, histogram string) rule {
	return rule{Record: record, Expr: "histogram_quantile(0.99, sum by (job, instance, le) (rate(" + histogram + "_bucket[5m])))"}
}

// blindness are the alerts that say that Belay does not see, or not in time.
func blindness() []alarm {
	return []alarm{
		{
			"BelayDown", "critical", "1m", `up{job="belay"} == 0 or absent(up{job="belay"})`,
			"Belay does not answer its scrapes.", "Nothing is watched and nothing is rolled back while {{ $labels.instance }} is down.",
		},
		{
			"BelayScrapesNothing", "critical", "2m", `sum by (job, instance) (rate(belay_scrape_duration_seconds_count[5m])) == 0`,
			"Belay runs and scrapes nothing.", "{{ $labels.instance }} has finished no scrape for five minutes. Without samples nothing can be judged.",
		},
		{
			"BelayRulesLag", "warning", "5m", `belay:rule_evaluation_lag_seconds:p99_5m > 5`,
			"Rules are judged late.", "On {{ $labels.instance }} one evaluation in a hundred begins {{ $value | humanizeDuration }} or more after its samples arrived.",
		},
		{
			"BelayServiceUnknown", "warning", "1h", `belay_service_state{state="unknown"} == 1`,
			"Belay has lost sight of a service.", "For an hour Belay could not tell whether {{ $labels.service }} in {{ $labels.environment }} is well. It does not act on what it cannot see.",
		},
	}
}

// failures are the alerts that say that something Belay does goes wrong.
func failures() []alarm {
	return []alarm{
		{
			"BelayJournalSlow", "warning", "5m", `belay:journal_append_duration_seconds:p99_5m > 0.5`,
			"The journal is slow to write.", "On {{ $labels.instance }} one append in a hundred takes {{ $value | humanizeDuration }} or more. Belay acts only on what the journal holds.",
		},
		{
			"BelayOutboxStuck", "warning", "1m", `belay_outbox_oldest_seconds > 300`,
			"Messages do not reach people.", "On {{ $labels.instance }} the oldest message has waited for {{ $value | humanizeDuration }}.",
		},
		{
			"BelayRollbackFailed", "critical", "", `sum by (job, instance, environment, service, result) (increase(belay_rollbacks_total{result=~"failed|not_recovered|fought"}[10m])) > 0`,
			"A rollback did not help.", "The rollback of {{ $labels.service }} in {{ $labels.environment }} ended as {{ $labels.result }}. People must look at the service now.",
		},
		{
			"BelayRollbackStuck", "critical", "30m", `belay_service_state{state="rolling_back"} == 1`,
			"A rollback does not end.", "{{ $labels.service }} in {{ $labels.environment }} has been rolling back for half an hour.",
		},
		{
			"BelayServiceRolledBack", "info", "24h", `belay_rolled_back == 1`,
			"A service has run a rolled-back revision for a day.", "{{ $labels.service }} in {{ $labels.environment }} still runs what a rollback put there. A repaired release is due.",
		},
	}
}

func (f ruleFile) marshal() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(generated)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(f); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}
