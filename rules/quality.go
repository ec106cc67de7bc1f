package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// A Target is one place where samples come from, as discovery names it now.
type Target struct {
	Labels     labels.Labels
	Healthy    bool // the last scrape succeeded
	Scraped    bool // there has been a scrape
	Error      string
	LastScrape time.Time
	Interval   time.Duration // 0: not known
	// Exposes reports whether the target's last good scrape had series of this
	// metric name. Nil means that there has been no good scrape yet, so that
	// it may expose anything.
	Exposes func(name string) bool
}

// A sight is what one evaluation knows of the targets.
type sight struct {
	targets []Target
	known   bool // discovery has named its targets
}

func (e *Engine) sight(now time.Time) sight {
	if e.options().Targets == nil {
		return sight{known: true}
	}
	targets := e.options().Targets()
	return sight{targets: targets, known: len(targets) > 0 || now.Sub(e.started) >= startupGrace}
}

// trustIn says how far an evaluation of the rule can be believed: no further
// than its targets answer, and no further than the recording rules that it
// reads could be believed when they were last evaluated.
func (p *plan) trustIn(r *Rule, in sight) trust {
	t := r.judgeTargets(in.targets)
	if !in.known && len(r.inputs) > 0 {
		t.quality, t.why, t.early = Unknown, "discovery has not named any target yet", true
	}
	for _, dep := range r.depends {
		st := p.states[dep]
		st.g.locked(func() {
			t.silent = append(t.silent, st.silent...)
			if st.quality > t.quality {
				t.quality, t.why = st.quality, fmt.Sprintf("it reads the recorded %s: %s", dep.Name, st.why)
			}
		})
	}
	return t
}

// A trust says how far an evaluation can be believed.
type trust struct {
	quality Quality
	why     string          // when quality is not Good
	early   bool            // Unknown only because nothing has been scraped yet
	silent  []labels.Labels // of the targets that should answer and do not
}

// doubts reports whether a finding with these labels may be missing, or look
// well, only because a target is silent. With Partial quality it is sure of
// those whose labels say that they come from elsewhere.
func (t trust) doubts(r *Rule, finding labels.Labels) bool {
	return t.quality == Unknown || t.quality == Partial && r.agrees(finding, t.silent)
}

// agrees reports whether one of the label sets may stand behind a finding: the
// two have the same value for every label that both have and that the rule
// does not make itself.
func (r *Rule) agrees(finding labels.Labels, origins []labels.Labels) bool {
	for _, origin := range origins {
		agree := true
		finding.Range(func(l labels.Label) {
			if v := origin.Get(l.Name); v != "" && v != l.Value && !r.makes[l.Name] {
				agree = false
			}
		})
		if agree {
			return true
		}
	}
	return false
}

// judgeTargets derives from the targets that a rule reads how far an
// evaluation can be believed, and why not.
func (r *Rule) judgeTargets(targets []Target) (out trust) {
	relevant, answered := 0, 0
	var first *Target
	peers := r.jobs(targets)
	for i := range targets {
		t := &targets[i]
		reads, fails := r.reads(t)
		if other, known := peers[t.Labels.Get("job")]; !t.Scraped && known && !other {
			reads = false // its peers have nothing that the rule reads
		}
		if !reads {
			continue
		}
		relevant++
		if t.Scraped {
			answered++
		}
		if fails {
			out.silent = append(out.silent, t.Labels)
			if first == nil {
				first = t
			}
		}
	}
	out.early = relevant > 0 && answered == 0
	switch silent := len(out.silent); {
	case silent == 0:
	case silent < relevant:
		out.quality, out.why = Partial, fmt.Sprintf("%d of the %d targets that it reads do not answer: %s", silent, relevant, first.complaint())
	case relevant == 1:
		out.quality, out.why = Unknown, "the target that it reads does not answer: "+first.complaint()
	default:
		out.quality, out.why = Unknown, fmt.Sprintf("none of the %d targets that it reads answers: %s", relevant, first.complaint())
	}
	return out
}

// jobs tells for each job of which a target has been scraped whether the rule
// reads one of those.
func (r *Rule) jobs(targets []Target) map[string]bool {
	out := map[string]bool{}
	for i := range targets {
		if t := &targets[i]; t.Scraped {
			reads, _ := r.reads(t)
			job := t.Labels.Get("job")
			out[job] = out[job] || reads
		}
	}
	return out
}

// reads reports whether one of the rule's selectors could read a series of the
// target, and whether such a series is missing because the target is silent.
func (r *Rule) reads(t *Target) (reads, fails bool) {
	for _, s := range r.inputs {
		if contradicts(s.matchers, t.Labels) {
			continue
		}
		switch {
		case !t.Scraped:
			return true, true
		case alwaysWritten(s.name):
			reads = true
		case t.Exposes == nil || s.name == "" || t.Exposes(s.name):
			reads = true
			fails = fails || !t.Healthy
		}
	}
	return reads, fails
}

// contradicts compares only labels that the target has: the others may come
// with its samples.
func contradicts(matchers []*labels.Matcher, target labels.Labels) bool {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		if v := target.Get(m.Name); v != "" && !m.Matches(v) {
			return true
		}
	}
	return false
}

// alwaysWritten tells series that scraping itself writes, also when the target
// is silent, and those that rules write.
func alwaysWritten(name string) bool {
	return name == "up" || strings.HasPrefix(name, "scrape_") || name == alertsMetric || name == alertsForStateMetric
}

func (t *Target) complaint() string {
	who := t.Labels.Get("instance")
	if job := t.Labels.Get("job"); job != "" {
		who = job + " " + who
	}
	switch {
	case !t.Scraped:
		return who + " has not been scraped yet"
	case t.Error != "":
		return who + ": " + t.Error
	}
	return who
}
