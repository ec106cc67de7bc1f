package collector

import (
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay/telemetry"
)

// A Tally says what became of samples since the start.
type Tally struct {
	Stored  uint64 // all that was appended, by whomever
	LeftOut uint64 // not stored, since nothing can read their series; with keep: needed also what metric_relabel_configs drop
}

// Tally returns how many samples were stored and how many left out.
func (c *Collector) Tally() Tally {
	return Tally{Stored: c.filter.stored.Load(), LeftOut: c.filter.left.Load()}
}

// SetNeeded replaces Options.Needed, as when rules were reloaded. It holds from
// the next sample on.
func (c *Collector) SetNeeded(needed func(labels.Labels) bool) { c.filter.need(needed) }

// GCPercent is the setting of the garbage collector that suits a configuration;
// see debug.SetGCPercent. docs/benchmarks/collecting.txt has what it does.
func GCPercent(cfg Config) int {
	if cfg.Metrics.Keep == KeepNeeded {
		return 40
	}
	return 75 // as Prometheus
}

// NamesOf returns the names of the metrics that the selectors read, nil when
// one of them may read any; see Metrics.Names.
func NamesOf(selectors [][]*labels.Matcher) []string {
	names := []string{}
next:
	for _, selector := range selectors {
		for _, m := range selector {
			if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && m.Value != "" {
				names = append(names, m.Value)
				continue next
			}
		}
		return nil
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// only returns the scrape configurations with a rule that drops at once what
// has none of the names. Unlike what is left out later, it costs no memory for
// labels.
func only(names []string, all []*config.ScrapeConfig) []*config.ScrapeConfig {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	out := make([]*config.ScrapeConfig, len(all))
	for i, sc := range all {
		limited := *sc
		rule := &relabel.Config{
			SourceLabels: model.LabelNames{model.MetricNameLabel}, Regex: relabel.MustNewRegexp(strings.Join(quoted, "|")),
			Action: relabel.Keep, NameValidationScheme: sc.MetricNameValidationScheme,
		}
		limited.MetricRelabelConfigs = append(slices.Clone(sc.MetricRelabelConfigs), rule)
		out[i] = &limited
	}
	return out
}

// NeededBy tells which series any of the selectors can read. Selectors without
// an exact metric name are tried one by one, so they should be few.
func NeededBy(selectors [][]*labels.Matcher) func(labels.Labels) bool {
	byName := map[string][][]*labels.Matcher{}
	var anyName [][]*labels.Matcher
next:
	for _, selector := range selectors {
		for i, m := range selector {
			if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && m.Value != "" {
				rest := append(append([]*labels.Matcher{}, selector[:i]...), selector[i+1:]...)
				byName[m.Value] = append(byName[m.Value], rest)
				continue next
			}
		}
		anyName = append(anyName, selector)
	}
	return func(ls labels.Labels) bool {
		return matchesAny(byName[ls.Get(model.MetricNameLabel)], ls) || matchesAny(anyName, ls)
	}
}

func matchesAny(selectors [][]*labels.Matcher, ls labels.Labels) bool {
next:
	for _, selector := range selectors {
		for _, m := range selector {
			if !m.Matches(ls.Get(m.Name)) {
				continue next
			}
		}
		return true
	}
	return false
}

// A filter decides what is stored. It tells scrapes what it left out by a
// reference of its own, so that the next scrape need not ask again.
type filter struct {
	rule         atomic.Pointer[need]
	stored, left atomic.Uint64
	count        telemetry.Counter
}

// A need never changes once it is made.
type need struct {
	needed func(labels.Labels) bool // nil: everything
	on     bool
	skip   storage.SeriesRef // stands for series that are not needed
}

// skipped is set in the references that stand for series left out; the
// storage's own count up from 1.
const skipped = storage.SeriesRef(1 << 63)

func (f *filter) set(needed func(labels.Labels) bool, on bool) {
	for {
		old := f.rule.Load()
		next := &need{needed: needed, on: on, skip: skipped | 1}
		if old != nil {
			next.skip = old.skip + 1
		}
		if f.rule.CompareAndSwap(old, next) {
			return
		}
	}
}

func (f *filter) keep(on bool) {
	if old := f.rule.Load(); old.on != on {
		f.set(old.needed, on)
	}
}

func (f *filter) need(needed func(labels.Labels) bool) { f.set(needed, f.rule.Load().on) }

// active returns the rule, nil when all is stored.
func (f *filter) active() *need {
	if n := f.rule.Load(); n.on && n.needed != nil {
		return n
	}
	return nil
}

// leavesOut reports whether the series is not needed, judging by the reference
// where it can.
func (n *need) leavesOut(ref storage.SeriesRef, ls labels.Labels) bool {
	return ref == n.skip || !n.needed(ls) && !reports(ls.Get(model.MetricNameLabel))
}
