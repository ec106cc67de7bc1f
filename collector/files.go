package collector

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/config"

	"github.com/belaydev/belay/strict"
)

// maxConfigFile bounds the size of one file of scrape_config_files.
const maxConfigFile = 8 << 20

// scrapeConfigFiles reads the files that the patterns match. Each has the one
// key scrape_configs, and its relative paths start in its own folder. What
// leads out of the folder of the configuration, be it by .. or by a symbolic
// link, is refused.
func (in *inspector) scrapeConfigFiles(r raw, global config.GlobalConfig, jobs map[string]place, dir string) []*config.ScrapeConfig {
	var patterns []string
	if !in.decode(r, &patterns, "scrape_config_files") {
		return nil
	}
	var out []*config.ScrapeConfig
	var seen []string
	for i, pattern := range patterns {
		for _, name := range in.matches(pattern, dir, i) {
			if slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			text, err := readConfigFile(dir, name)
			if err != nil {
				in.at(err.Error(), "files below the folder of this file", "scrape_config_files", i)
				continue
			}
			more, problems := readScrapeConfigs(name, text, global, jobs)
			out = append(out, more...)
			in.problems = append(in.problems, problems...)
		}
	}
	return out
}

// matches returns the files of a pattern, sorted.
func (in *inspector) matches(pattern, dir string, i int) []string {
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(dir, full)
	}
	names, err := filepath.Glob(full)
	switch {
	case err != nil:
		in.at(fmt.Sprintf("%q: %v", pattern, err), "a path or a pattern such as scrape/*.yml", "scrape_config_files", i)
	case len(names) == 0 && !strings.ContainsAny(pattern, "*?["):
		in.at(fmt.Sprintf("no file %q", pattern), "a file that exists, or a pattern such as scrape/*.yml", "scrape_config_files", i)
	}
	return names
}

// readConfigFile reads a file that is really below dir.
func readConfigFile(dir, name string) ([]byte, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	if real, err = filepath.Abs(real); err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s leads out of the folder of this file", name)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigFile {
		return nil, fmt.Errorf("%s is no file of at most %d MiB", name, maxConfigFile>>20)
	}
	return os.ReadFile(real)
}

// readScrapeConfigs reads one file of scrape_config_files.
func readScrapeConfigs(name string, text []byte, global config.GlobalConfig, jobs map[string]place) ([]*config.ScrapeConfig, strict.Problems) {
	doc, problems := strict.Parse(name, text)
	if len(problems) > 0 {
		return nil, problems
	}
	in, top := inspect(doc)
	for _, key := range doc.Keys() {
		if key != "scrape_configs" {
			in.at("unknown key "+quote(key), "scrape_configs", key)
		}
	}
	out := in.scrapeConfigs(top["scrape_configs"], global, jobs, filepath.Dir(name))
	return out, in.problems
}
