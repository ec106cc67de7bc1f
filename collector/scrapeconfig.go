package collector

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
)

// scrapeConfigs reads each element by itself, so that one bad one does not hide
// the next. jobs holds where each name was given before.
func (in *inspector) scrapeConfigs(r raw, global config.GlobalConfig, jobs map[string]place, dir string) []*config.ScrapeConfig {
	var list []raw
	in.decode(r, &list, "scrape_configs")
	out := make([]*config.ScrapeConfig, 0, len(list))
	for i, elem := range list {
		path := []any{"scrape_configs", i}
		if elem.absent() {
			in.at("an empty scrape configuration", "a mapping with job_name", path...)
			continue
		}
		if sc := in.scrapeConfig(elem, global, jobs, path); sc != nil {
			sc.SetDirectory(dir)
			out = append(out, sc)
		}
	}
	return out
}

// scrapeConfig returns nil when it found problems.
func (in *inspector) scrapeConfig(r raw, global config.GlobalConfig, jobs map[string]place, path []any) *config.ScrapeConfig {
	before := len(in.problems)
	known := keysOf(reflect.TypeFor[config.ScrapeConfig]())
	keys, faults, _ := r.fields(known)
	in.jobName(keys["job_name"], jobs, path)
	in.durations(keys, global.ScrapeInterval, path...)
	sc := &config.ScrapeConfig{}
	if r.read(sc) != nil {
		in.search(r, reflect.TypeFor[config.ScrapeConfig](), path)
		return nil
	}
	in.faults(faults, known, path) // discovery that upstream knows because something else linked it in
	in.protocols(sc.ScrapeProtocols, below(path, "scrape_protocols"))
	if sc.ScrapeFallbackProtocol != "" {
		in.protocols([]config.ScrapeProtocol{sc.ScrapeFallbackProtocol}, below(path, "fallback_scrape_protocol"))
	}
	if sc.Scheme != "http" && sc.Scheme != "https" {
		in.at("scheme: unknown value "+quote(sc.Scheme), "http, https", below(path, "scheme")...)
	}
	in.secretRefs(path)
	in.fileDiscovery(sc, path)
	in.relabelling(sc.RelabelConfigs, sc.MetricNameValidationScheme, global, below(path, "relabel_configs"))
	in.relabelling(sc.MetricRelabelConfigs, sc.MetricNameValidationScheme, global, below(path, "metric_relabel_configs"))
	if len(in.problems) > before {
		return nil
	}
	if err := sc.Validate(global); err != nil {
		in.blame(err, known, path)
		return nil
	}
	return sc
}

// A place is where a job was named.
type place struct {
	file string
	line int
}

// from says where the place is, seen from a file.
func (p place) from(file string) string {
	if p.file == file {
		return fmt.Sprintf("line %d", p.line)
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// jobName remembers the line of each name and refuses a second one.
func (in *inspector) jobName(r raw, seen map[string]place, path []any) {
	var name string
	if r.absent() || r.read(&name) != nil || name == "" {
		return
	}
	path = below(path, "job_name")
	if first, ok := seen[name]; ok {
		in.at(fmt.Sprintf("job_name: %q is taken by the job in %s", name, first.from(in.doc.File)), "a name that no other job has", path...)
		return
	}
	seen[name] = place{in.doc.File, in.doc.Line(path...)}
}

// durations checks what upstream would silently replace, or report without a
// line. The interval is the one that holds unless the keys have their own.
func (in *inspector) durations(keys map[string]raw, interval model.Duration, path ...any) {
	for _, key := range []string{"scrape_interval", "scrape_timeout", "evaluation_interval"} {
		var d model.Duration
		if r := keys[key]; r.absent() || r.read(&d) != nil {
			continue
		}
		switch {
		case d == 0:
			in.at(key+": 0 is not a time to wait", "a duration above 0, such as 15s", below(path, key)...)
		case key == "scrape_interval":
			interval = d
		case key == "scrape_timeout" && d > interval:
			in.at(fmt.Sprintf("scrape_timeout: %s is longer than the scrape_interval, %s", d, interval), "at most "+interval.String(), below(path, key)...)
		}
	}
}

func (in *inspector) protocols(used []config.ScrapeProtocol, path []any) {
	var all []string
	for p := range config.ScrapeProtocolsHeaders {
		all = append(all, string(p))
	}
	slices.Sort(all)
	for _, p := range used {
		if p.Validate() != nil {
			in.at(named(path, "unknown value "+quote(string(p))), strings.Join(all, ", "), path...)
		}
	}
}

func (in *inspector) relabelling(rules []*relabel.Config, scheme model.ValidationScheme, global config.GlobalConfig, path []any) {
	if scheme == model.UnsetValidation {
		scheme = global.MetricNameValidationScheme
	}
	for i, rule := range rules {
		if rule == nil {
			in.at("an empty relabelling rule", "a mapping with action", below(path, i)...)
			continue
		}
		if err := rule.Validate(scheme); err != nil {
			in.blame(err, keysOf(reflect.TypeFor[relabel.Config]()), below(path, i))
		}
	}
}

// addresses names the static targets that are no addresses. Upstream says so
// of the scrape configuration as a whole.
func (in *inspector) addresses(r raw, path []any) bool {
	before := len(in.problems)
	scs, _, _ := r.fields(keysOf(reflect.TypeFor[config.ScrapeConfig]()))
	var groups []raw
	if list := scs["static_configs"]; list.absent() || list.read(&groups) != nil {
		return false
	}
	for i, group := range groups {
		var targets []string
		keys, _, _ := group.fields(keysOf(reflect.TypeFor[targetgroup.Group]()))
		if t := keys["targets"]; t.absent() || t.read(&targets) != nil {
			continue
		}
		for k, target := range targets {
			if config.CheckTargetAddress(model.LabelValue(target)) != nil {
				at := append(slices.Clip(path), "static_configs", i, "targets", k)
				in.at("targets: "+quote(target)+" is not an address", "host:port; the path goes into metrics_path, the scheme into scheme", at...)
			}
		}
	}
	return len(in.problems) > before
}
