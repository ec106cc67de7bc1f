package rules

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// addYoung finds alerts that are missing only because series have just come
// back: with a single sample in its range, a rate has no value yet. That is
// neither recovery nor absence, so they are held for that scrape.
func (g *group) addYoung(ctx context.Context, st *ruleState, found []Found, at time.Time) ([]Found, error) {
	missing := st.missing(found)
	if len(missing) == 0 {
		return found, nil
	}
	var young []labels.Labels
	for _, in := range st.rule.inputs {
		if in.counts == "" || in.name == "" {
			continue
		}
		vector, err := g.e.vector(ctx, in.counts, at, 0)
		if err != nil {
			return nil, fmt.Errorf("count samples: %w", err)
		}
		for _, smpl := range vector {
			if smpl.F < 2 {
				young = append(young, smpl.Metric)
			}
		}
	}
	for _, a := range missing {
		if !st.rule.agrees(a.Labels, young) {
			continue
		}
		found = append(found, Found{
			ID: a.ID, Labels: a.Labels, Verdict: belay.Unknown, Value: math.NaN(), Condition: a.Condition, DataAt: a.DataAt,
			Why: "its series have just come back and have too few samples to judge",
		})
	}
	return found, nil
}

// missing returns the alerts that an evaluation says nothing of.
func (st *ruleState) missing(found []Found) []belay.Alert {
	if len(st.alerts) == 0 {
		return nil
	}
	seen := make(map[string]bool, len(found))
	for i := range found {
		seen[found[i].ID] = true
	}
	var out []belay.Alert
	for _, a := range st.alerts {
		if !seen[a.ID] {
			out = append(out, a)
		}
	}
	return out
}
