package pipeline_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	amconfig "github.com/prometheus/alertmanager/config"
	promhttp "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/forward"
	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/collector/probe"
	"github.com/belaydev/belay/pipeline"
	"github.com/belaydev/belay/pipeline/reference"
	"github.com/belaydev/belay/review"
	"github.com/belaydev/belay/rollback"
)

const schemaID = "https://github.com/belaydev/belay/blob/main/docs/belay.schema.json"

// describer describes the configuration as this source has it.
func describer(t *testing.T) *reference.Describer {
	t.Helper()
	opts := pipeline.Described()
	empty, err := pipeline.Parse("belay.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	opts.Module, opts.Dir = "github.com/belaydev/belay", ".."
	opts.Kinds = reference.Upstream()
	opts.Kinds[reflect.TypeFor[probe.Codes]()] = reference.Kind{Words: "number, or list of numbers", Schema: map[string]any{
		"type": []string{"integer", "array"}, "minimum": 100, "maximum": 599,
		"items": map[string]any{"type": "integer", "minimum": 100, "maximum": 599},
	}}
	opts.More = map[reflect.Type]map[string]reflect.Type{
		reflect.TypeFor[promconfig.ScrapeConfig]():       collector.Discoveries(),
		reflect.TypeFor[promconfig.AlertmanagerConfig](): forward.Discoveries(),
	}
	opts.Refused = []string{
		"username_ref", "password_ref", "credentials_ref", "client_secret_ref", "client_certificate_key_ref",
		"ca_ref", "cert_ref", "key_ref", "slo",
	}
	opts.Required[reflect.TypeFor[promconfig.ScrapeConfig]()] = []string{"job_name"}
	opts.Required[reflect.TypeFor[promconfig.RemoteWriteConfig]()] = []string{"url"}
	opts.Required[reflect.TypeFor[amconfig.Receiver]()] = []string{"name"}
	opts.Required[reflect.TypeFor[probe.Probe]()] = []string{"name"}
	opts.Required[reflect.TypeFor[review.Publication]()] = []string{"directory"}
	am := amconfig.DefaultGlobalConfig()
	opts.Defaults = map[reflect.Type]any{
		reflect.TypeFor[pipeline.Global]():               empty.Global,
		reflect.TypeFor[promconfig.GlobalConfig]():       empty.Collector.Global,
		reflect.TypeFor[amconfig.GlobalConfig]():         am,
		reflect.TypeFor[promconfig.ScrapeConfig]():       promconfig.DefaultScrapeConfig,
		reflect.TypeFor[promconfig.RemoteWriteConfig]():  promconfig.DefaultRemoteWriteConfig,
		reflect.TypeFor[promconfig.AlertmanagerConfig](): promconfig.DefaultAlertmanagerConfig,
		reflect.TypeFor[promhttp.HTTPClientConfig]():     promhttp.DefaultHTTPClientConfig,
		reflect.TypeFor[collector.Metrics]():             empty.Collector.Metrics,
		reflect.TypeFor[rollback.Policy]():               empty.Policy,
		reflect.TypeFor[rollback.Budget]():               empty.Policy.Budget,
		reflect.TypeFor[alerting.IncidentsConfig]():      empty.Alerting.Incidents,
		reflect.TypeFor[review.Config]():                 empty.Review,
		reflect.TypeFor[pipeline.JournalConfig]():        empty.Journal,
	}
	for _, pattern := range []string{"testdata/good/every-key.yml", "testdata/good/*.yml", "testdata/prometheus/*.yml", "testdata/alertmanager/*.yml"} {
		for _, file := range glob(t, pattern) {
			opts.Examples = append(opts.Examples, read(t, file))
		}
	}
	d, err := reference.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// golden compares a checked-in file with what it should be; -update writes it.
func golden(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // as every file of the source
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, string(read(t, file))); diff != "" {
		t.Errorf("%s is not what the code says; go test ./pipeline -run Current -update writes it anew:\n%s", file, diff)
	}
}

func TestTheSchemaIsCurrent(t *testing.T) {
	text, err := describer(t).Schema(schemaID, "Belay's configuration")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/belay.schema.json", string(text))
}

const begin, end = "<!-- From here on written by go test ./pipeline -run Current -update, from the comments in the code. -->\n\n", "<!-- As far as here. -->\n"

func TestThePageOfTheConfigurationIsCurrent(t *testing.T) {
	const file = "../docs/configuration.md"
	page := string(read(t, file))
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for what is generated")
	}
	golden(t, file, before+begin+describer(t).Tables()+end+after)
}

func TestEveryKeyOfItsOwnIsExplainedAndShown(t *testing.T) {
	rows := 0
	for line := range strings.Lines(describer(t).Tables()) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) != 7 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") || strings.Contains(cells[1], ".…") {
			continue
		}
		rows++
		meaning := strings.TrimSpace(cells[5])
		if meaning == "" {
			t.Errorf("nothing says what %s means: give its field a comment", cells[1])
		}
		own := meaning != "as in Prometheus" && meaning != "as in Alertmanager"
		if own && strings.TrimSpace(cells[4]) == "" && !strings.Contains(cells[1], "mute_time_intervals") {
			t.Errorf("no example of %s: add it to testdata/good/every-key.yml", cells[1])
		}
	}
	if rows < 100 {
		t.Errorf("%d keys", rows)
	}
}

func TestThePlatformsThatAreBuiltInAreDescribed(t *testing.T) {
	_, err := pipeline.Parse("belay.yml", []byte("services: [{name: a, platform: {nosuch: {}}}]"))
	_, builtIn, ok := strings.Cut(err.Error(), "allowed: ")
	if want := strings.Join(pipeline.PlatformKeys(), ", "); !ok || builtIn != want {
		t.Errorf("built in are %s, described are %s: add what is missing to platformKeys in services.go", builtIn, want)
	}
}

// compiled is the checked-in schema, in the hands of a real validator.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(read(t, "../docs/belay.schema.json"))))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds a YAML file against the schema, as an editor does.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if v == nil {
		v = map[string]any{}
	}
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(asJSON)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

func TestEveryFileThatLoadsFitsTheSchema(t *testing.T) {
	s := compiled(t)
	for _, pattern := range []string{
		"testdata/good/belay.yml", "testdata/good/every-key.yml", "testdata/good/from-alertmanager.yml",
		"testdata/prometheus/*.yml", "testdata/alertmanager/*.yml", "../deploy/demo/belay.yml",
	} {
		for _, file := range glob(t, pattern) {
			if _, err := pipeline.Load(file); err != nil {
				t.Error(err)
			}
			if err := validate(t, s, read(t, file)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

func TestTheSchemaSeesWhatAnEditorCanSee(t *testing.T) {
	s := compiled(t)
	for name, text := range map[string]string{
		"an unknown key at the top":       "servces: []",
		"an unknown key of a service":     "services: [{nam: checkout}]",
		"a service without a name":        "services: [{environment: production}]",
		"an unknown mode":                 "rollback: {mode: automatic}",
		"an unknown mode of a service":    "services: [{name: a, rollback: {mode: automatic}}]",
		"a duration that is none":         "rollback: {soak: fifteen minutes}",
		"a platform that is not there":    "services: [{name: a, platform: {magic: {}}}]",
		"a key of no platform":            "services: [{name: a, platform: {command: {shell: true}}}]",
		"a list that is a word":           "rule_files: rules.yml",
		"a number that is a word":         "rollback: {budget: {in_flight: one}}",
		"a switch that is a word":         "rollback: {allow_checked: perhaps}",
		"an unknown key of Prometheus":    "scrape_configs: [{job_name: a, intervall: 5s}]",
		"a job without a name":            "scrape_configs: [{scrape_interval: 5s}]",
		"a discovery that is not here":    "scrape_configs: [{job_name: a, azure_sd_configs: []}]",
		"an unknown action":               "scrape_configs: [{job_name: a, relabel_configs: [{action: keeep}]}]",
		"an unknown key of a receiver":    "receivers: [{name: a, webhook_configs: [{addr: x}]}]",
		"an unknown key of a route":       "route: {receiver: a, routes: [{to: b}]}",
		"an unknown keep":                 "metrics: {keep: some}",
		"an unknown evaluation":           "global: {evaluation: sometimes}",
		"a secret manager that is absent": "scrape_configs: [{job_name: a, basic_auth: {password_ref: x}}]",
		"a status that is none":           "probes: [{name: a, http: {expect_status: 99}}]",
	} {
		if err := validate(t, s, []byte(text)); err == nil {
			t.Errorf("%s fits: %s", name, text)
		}
		if _, err := pipeline.Parse("belay.yml", []byte(text)); err == nil {
			t.Errorf("%s loads: %s", name, text)
		}
	}
}

// TestTheChoicesAreThoseOfTheCode holds each list of values that a comment
// names against what is taken.
func TestTheChoicesAreThoseOfTheCode(t *testing.T) {
	for _, c := range []struct {
		format string
		values []string
	}{
		{"rollback: {mode: X}", []string{"off", "notify", "approve", "auto"}},
		{"rollback: {veto_undelivered: X}", []string{"approve", "proceed"}},
		{"global: {evaluation: X}", []string{"on_scrape", "interval"}},
		{"metrics: {keep: X}", []string{"all", "needed"}},
		{"probes: [{name: a, dns: {server: a, query_name: b, transport: X}}]", []string{"udp", "tcp"}},
	} {
		s := compiled(t)
		for _, v := range append(slices.Clone(c.values), "nonsense") {
			text := []byte(strings.ReplaceAll(c.format, "X", v))
			_, err := pipeline.Parse("belay.yml", text)
			if taken, fits := err == nil, validate(t, s, text) == nil; taken != fits || taken != (v != "nonsense") {
				t.Errorf("%s: taken %v, fits the schema %v: %v", text, taken, fits, err)
			}
		}
	}
}
