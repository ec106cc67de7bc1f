package rules

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

const (
	keptEvaluations = 20 // of each rule
	keptValues      = 10 // of each evaluation
)

// An Evaluation is what one evaluation of a rule saw. A rule keeps its last 20.
type Evaluation struct {
	At       time.Time             `json:"at"`
	Duration time.Duration         `json:"duration"`
	Values   []Seen                `json:"values,omitempty"` // the first 10: those that break the rule, then the others
	Found    int                   `json:"found"`            // label sets, of which Values are the first
	Verdicts map[belay.Verdict]int `json:"verdicts,omitempty"`
	Series   int                   `json:"series"` // that had samples to read
	Quality  string                `json:"quality"`
	Error    string                `json:"error,omitempty"`
	Query    string                `json:"query"` // repeats it: path and parameters of the query API
}

// Seen is the value of one label set.
type Seen struct {
	Labels  labels.Labels `json:"labels"`
	Value   belay.Value   `json:"value"`
	Verdict belay.Verdict `json:"verdict,omitempty"` // "" of a recorded series
}

// note keeps an evaluation.
func (g *group) note(st *ruleState, o observation, ts, start time.Time) {
	ev := Evaluation{
		At: ts, Duration: time.Since(start), Found: len(o.found), Series: o.series, Quality: o.quality.String(),
		Query: queryPath(st.rule.query, ts.Add(-g.def.QueryOffset)), Verdicts: map[belay.Verdict]int{},
	}
	if o.err != nil {
		ev.Error = o.err.Error()
	}
	for _, first := range []bool{true, false} {
		for _, f := range o.found {
			if (f.Verdict == belay.Fail) == first && len(ev.Values) < keptValues {
				ev.Values = append(ev.Values, Seen{f.Labels, belay.Value(f.Value), f.Verdict})
			}
		}
	}
	g.locked(func() {
		if !st.rule.Recording {
			for _, j := range st.judged {
				ev.Verdicts[j.j.Verdict]++
			}
		}
		if over := len(st.evaluations) + 1 - keptEvaluations; over > 0 {
			st.evaluations = slices.Delete(st.evaluations, 0, over)
		}
		st.evaluations = append(st.evaluations, ev)
	})
}

// queryPath is the request that evaluates an expression as it was evaluated.
func queryPath(query string, at time.Time) string {
	seconds := strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', -1, 64)
	return "/api/v1/query?" + url.Values{"query": {query}, "time": {seconds}}.Encode()
}
