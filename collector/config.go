package collector

import (
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay/collector/source"
	"github.com/belaydev/belay/strict"
)

// Limits that hold where neither `global` nor the scrape configuration says
// otherwise. A 0 written in `global` means no limit, as in Prometheus. What is
// beyond a limit fails the scrape of that one target, with the reason.
const (
	DefaultBodySizeLimit         = 64 * units.MiB // uncompressed bytes of a page
	DefaultSampleLimit           = 100_000        // samples of a page, after metric relabelling
	DefaultLabelLimit            = 64             // labels of a sample
	DefaultLabelNameLengthLimit  = 256            // bytes
	DefaultLabelValueLengthLimit = 4096           // bytes
	DefaultTargetLimit           = 10_000         // targets of a scrape configuration
)

// Where samples are kept and for how long, unless `metrics` says otherwise.
const (
	DefaultPath      = "data/metrics"
	DefaultRetention = model.Duration(15 * 24 * time.Hour)
	KeepAll          = "all"    // every sample
	KeepNeeded       = "needed" // the samples of series that something can read
)

// Config is what the collector reads of Belay's configuration file. Use Load
// or Default: the zero value has no limits, no path and no retention.
type Config struct {
	// Global holds Prometheus's own keys of `global`, with defaults filled in.
	Global config.GlobalConfig
	// ScrapeConfigs are validated and complete, their relative paths joined with
	// the folder of the configuration file.
	ScrapeConfigs []*config.ScrapeConfig
	// RemoteWrite are the destinations that every stored sample is sent to.
	RemoteWrite []*config.RemoteWriteConfig
	Metrics     Metrics
}

// Metrics says where and how long samples are kept.
type Metrics struct {
	Path      string         `yaml:"path"`      // folder of the database; relative to the configuration file
	Retention model.Duration `yaml:"retention"` // older samples are deleted
	Keep      string         `yaml:"keep"`      // every sample, or only what a rule, a review or a dashboard can read; one of all, needed

	// Source is a Prometheus, Thanos, Mimir or VictoriaMetrics that is asked
	// instead of the embedded database.
	Source *source.Config `yaml:"source"`

	// Names, unless nil, are all metrics that something can read. With
	// KeepNeeded, what scrapes bring of others is dropped before its labels are
	// remembered. It is not a key of the file.
	Names []string `yaml:"-"`
}

// Default returns what an empty configuration file in the folder dir means.
func Default(dir string) Config {
	return Config{
		Global:  defaultGlobal(nil),
		Metrics: Metrics{Path: filepath.Join(dir, DefaultPath), Retention: DefaultRetention, Keep: KeepAll},
	}
}

// Load reads `global`, `scrape_configs`, `scrape_config_files`, `remote_write`
// and `metrics` of the file. It touches no network, and of the disk only the
// scrape_config_files. All problems are found at once; with problems, the Config
// holds what could be read and is not fit for New.
//
// Keys of `global` that belong to other parts of Belay are left alone.
func Load(doc *strict.Doc) (Config, strict.Problems) {
	dir := filepath.Dir(doc.File)
	cfg := Default(dir)
	in, top := inspect(doc)
	cfg.Global = in.global(top["global"], dir)
	jobs := map[string]place{}
	cfg.ScrapeConfigs = in.scrapeConfigs(top["scrape_configs"], cfg.Global, jobs, dir)
	cfg.ScrapeConfigs = append(cfg.ScrapeConfigs, in.scrapeConfigFiles(top["scrape_config_files"], cfg.Global, jobs, dir)...)
	cfg.RemoteWrite = in.remoteWrites(top["remote_write"], cfg.Global, dir)
	in.metrics(top["metrics"], &cfg.Metrics, dir)
	return cfg, in.problems
}

// globalKeys are those of upstream and those that other parts of Belay read.
func globalKeys() map[string]field {
	known := keysOf(reflect.TypeFor[config.GlobalConfig]())
	for _, key := range []string{"evaluation", "min_interval", "external_url"} {
		known[key] = field{}
	}
	return known
}

// global reads the keys one by one, since upstream's strict reading would
// refuse those of the other parts.
func (in *inspector) global(r raw, dir string) config.GlobalConfig {
	before := len(in.problems)
	known := globalKeys()
	keys, faults, ok := r.fields(known)
	in.faults(faults, known, []any{"global"})
	if !ok {
		in.decode(r, new(map[string]raw), "global")
		return defaultGlobal(nil)
	}
	var read config.GlobalConfig
	for _, key := range sorted(keys) {
		if f := known[key]; f.typ != nil {
			in.decode(keys[key], reflect.ValueOf(&read).Elem().FieldByIndex(f.path).Addr().Interface(), "global", key)
		}
	}
	in.protocols(read.ScrapeProtocols, []any{"global", "scrape_protocols"})
	in.durations(keys, config.DefaultGlobalConfig.ScrapeInterval, "global")
	in.externalLabels(&read)
	if len(in.problems) > before {
		return defaultGlobal(keys)
	}
	limits(&read, keys)
	gc := config.GlobalConfig{}
	// Upstream validates and fills in defaults only while it reads, so it is
	// given what has been read already.
	err := gc.UnmarshalYAML(func(out any) error {
		v := reflect.ValueOf(out).Elem()
		v.Set(reflect.ValueOf(read).Convert(v.Type()))
		return nil
	})
	if err != nil {
		in.blame(err, known, []any{"global"})
		return defaultGlobal(keys)
	}
	gc.SetDirectory(dir)
	gc.ExternalLabels = expand(gc.ExternalLabels)
	return gc
}

// defaultGlobal is what holds without a `global`; given tells which keys were
// written, though perhaps wrongly.
func defaultGlobal(given map[string]raw) config.GlobalConfig {
	gc := config.DefaultGlobalConfig
	limits(&gc, given)
	return gc
}

// limits fills in the limits that were not given.
func limits(gc *config.GlobalConfig, given map[string]raw) {
	for _, l := range []struct {
		key   string
		limit *uint
		value uint
	}{
		{"sample_limit", &gc.SampleLimit, DefaultSampleLimit},
		{"label_limit", &gc.LabelLimit, DefaultLabelLimit},
		{"label_name_length_limit", &gc.LabelNameLengthLimit, DefaultLabelNameLengthLimit},
		{"label_value_length_limit", &gc.LabelValueLengthLimit, DefaultLabelValueLengthLimit},
		{"target_limit", &gc.TargetLimit, DefaultTargetLimit},
	} {
		if given[l.key].absent() {
			*l.limit = l.value
		}
	}
	if given["body_size_limit"].absent() {
		gc.BodySizeLimit = DefaultBodySizeLimit
	}
}

// externalLabels are checked here because upstream's error names no line.
func (in *inspector) externalLabels(gc *config.GlobalConfig) {
	scheme := gc.MetricNameValidationScheme
	if scheme == model.UnsetValidation {
		scheme = config.DefaultGlobalConfig.MetricNameValidationScheme
	}
	names := "text that is not empty"
	if scheme == model.LegacyValidation {
		names = "letters, digits and _, not starting with a digit"
	}
	gc.ExternalLabels.Range(func(l labels.Label) {
		if !scheme.IsValidLabelName(l.Name) {
			in.at("external_labels: "+quote(l.Name)+" is not a label name", names, "global", "external_labels", l.Name)
		}
		if !model.LabelValue(l.Value).IsValid() {
			in.at("external_labels: the value of "+quote(l.Name)+" is not UTF-8", "", "global", "external_labels", l.Name)
		}
	})
}

// expand replaces $NAME and ${NAME} in the values by the environment, $$ by $,
// as Prometheus does.
func expand(ls labels.Labels) labels.Labels {
	b := labels.NewScratchBuilder(ls.Len())
	ls.Range(func(l labels.Label) {
		b.Add(l.Name, os.Expand(l.Value, func(name string) string {
			if name == "$" {
				return "$"
			}
			return os.Getenv(name)
		}))
	})
	return b.Labels()
}

func (in *inspector) metrics(r raw, m *Metrics, dir string) {
	read := Metrics{Path: DefaultPath, Retention: DefaultRetention, Keep: KeepAll}
	if !in.decode(r, &read, "metrics") {
		return
	}
	switch read.Keep {
	case KeepAll, KeepNeeded:
	default:
		in.at("keep: unknown value "+quote(read.Keep), KeepAll+", "+KeepNeeded, "metrics", "keep")
	}
	if read.Source != nil {
		in.source(read.Source, dir)
	}
	if read.Retention <= 0 {
		in.at("retention: samples that are kept for no time cannot be judged", "a duration above 0, such as 15d", "metrics", "retention")
	}
	if read.Path == "" {
		in.at("path: empty", "a folder, relative to this file or absolute", "metrics", "path")
	}
	if !filepath.IsAbs(read.Path) {
		read.Path = filepath.Join(dir, read.Path)
	}
	*m = read
}

func (in *inspector) source(src *source.Config, dir string) {
	if err := src.Validate(); err != nil {
		in.blame(err, keysOf(reflect.TypeFor[source.Config]()), []any{"metrics", "source"})
	}
	in.secretRefs([]any{"metrics", "source"})
	src.HTTPClientConfig.SetDirectory(dir)
}
