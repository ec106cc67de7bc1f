package rules

import (
	"slices"

	"github.com/belaydev/belay"
)

// Reads returns the names of the metrics that the rule behind an alert reads,
// directly or through recording rules, sorted. The empty name is among them
// when it may read any. known is false when no rule of the set makes such
// alerts. Where several rules share a group and a name, it is what they all read.
func (e *Engine) Reads(a belay.Alert) (names []string, known bool) {
	for _, g := range e.plan.Load().groups {
		for _, r := range g.def.Rules {
			if r.Recording || r.Name != a.Rule || r.Group != a.Group {
				continue
			}
			known = true
			for _, source := range append([]*Rule{r}, r.depends...) {
				for _, s := range source.selectors {
					names = append(names, s.origin())
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), known
}

// origin is the name that a selector reads. What ALERTS says may rest on
// anything that any rule reads.
func (s selector) origin() string {
	if s.name == alertsMetric || s.name == alertsForStateMetric {
		return ""
	}
	return s.name
}
