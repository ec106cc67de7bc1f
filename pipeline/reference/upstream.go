package reference

import (
	"reflect"
	"time"

	"github.com/alecthomas/units"
	amconfig "github.com/prometheus/alertmanager/config"
	amcommon "github.com/prometheus/alertmanager/config/common"
	"github.com/prometheus/alertmanager/notify/jira"
	"github.com/prometheus/alertmanager/timeinterval"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

func text(words string) Kind { return Kind{words, scalar()} }

func choice(words string, values ...string) Kind {
	return Kind{words, map[string]any{"enum": values}}
}

// Upstream returns the types of Prometheus and Alertmanager that read
// themselves.
func Upstream() map[reflect.Type]Kind {
	label := map[string]any{"type": []string{"object", "null"}, "additionalProperties": scalar()}
	strings := map[string]any{"type": []string{"array", "null"}, "items": map[string]any{"type": "string"}}
	out := map[reflect.Type]Kind{
		reflect.TypeFor[model.Duration](): {"duration", map[string]any{
			"type": []string{"string", "integer"}, "maximum": 0, "minimum": 0,
			"pattern": `^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$|^\$\{.*\}$`,
		}},
		reflect.TypeFor[time.Duration]():          {"duration", map[string]any{"type": []string{"string", "integer"}, "pattern": `^[+-]?(([0-9]*\.)?[0-9]+(ns|us|µs|ms|s|m|h))+$|^0$`}},
		reflect.TypeFor[units.Base2Bytes]():       {"size", map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9.]+([KMGTPE]i?)?B?$`}},
		reflect.TypeFor[model.ValidationScheme](): choice("`utf8` or `legacy`", "utf8", "legacy"),
		reflect.TypeFor[relabel.Regexp]():         text("regular expression"),
		reflect.TypeFor[amcommon.Regexp]():        text("regular expression"),
		reflect.TypeFor[promconfig.URL]():         text("URL"),
		reflect.TypeFor[amcommon.URL]():           text("URL"),
		reflect.TypeFor[amcommon.SecretURL]():     text("URL, secret"),
		reflect.TypeFor[promconfig.Secret]():      text("secret"),
		reflect.TypeFor[amconfig.HostPort]():      text("host:port"),
		reflect.TypeFor[jira.JiraFieldConfig]():   {"string or mapping", map[string]any{}},
		reflect.TypeFor[labels.Labels]():          {"mapping to string", label},
		reflect.TypeFor[model.LabelSet]():         {"mapping to string", label},
		reflect.TypeFor[amcommon.Matchers]():      {"list of matchers", strings},
		reflect.TypeFor[timeinterval.Location]():  text("time zone"),
		reflect.TypeFor[timeinterval.TimeRange](): {"`start_time` and `end_time`", map[string]any{
			"type": "object", "additionalProperties": false, "required": []string{"start_time", "end_time"},
			"properties": map[string]any{"start_time": scalar(), "end_time": scalar()},
		}},
		reflect.TypeFor[targetgroup.Group](): {"`targets` and `labels`", map[string]any{
			"type": []string{"object", "null"}, "additionalProperties": false, "properties": map[string]any{
				"targets": strings, "labels": label,
			},
		}},
		reflect.TypeFor[config.AlertmanagerAPIVersion](): choice("`v2`", "v2"),
		reflect.TypeFor[config.ScrapeProtocol](): choice("name of a format",
			"PrometheusProto", "PrometheusText0.0.4", "PrometheusText1.0.0", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0"),
		reflect.TypeFor[kubernetes.Role](): choice("role", "node", "pod", "service", "endpoints", "endpointslice", "ingress"),
		reflect.TypeFor[relabel.Action](): choice("action",
			"replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"),
		reflect.TypeFor[promconfig.TLSVersion](): choice("version of TLS", "TLS10", "TLS11", "TLS12", "TLS13"),
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[timeinterval.WeekdayRange](), reflect.TypeFor[timeinterval.DayOfMonthRange](),
		reflect.TypeFor[timeinterval.MonthRange](), reflect.TypeFor[timeinterval.YearRange](),
	} {
		out[t] = text("range such as 1:5")
	}
	return out
}
