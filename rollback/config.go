package rollback

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/strict"
)

// A Policy says when Belay may roll a service back. It is the key `rollback`
// at the top of the configuration, overridden key by key in a service.
type Policy struct {
	Mode              belay.Mode     `yaml:"mode"`               // what Belay may do by itself
	When              []string       `yaml:"when"`               // matchers, all of which must match: which alerts may lead to a rollback
	AttributionWindow model.Duration `yaml:"attribution_window"` // how long before the alert a deployment may have begun to be a suspect
	Veto              model.Duration `yaml:"veto"`               // the countdown of mode auto, once people were told; anyone may say Stop
	Soak              model.Duration `yaml:"soak"`               // a revision is known good after this long, converged and green
	RecoveryHold      model.Duration `yaml:"recovery_hold"`      // the service must stay well this long before recovery is believed
	RecoveryTimeout   model.Duration `yaml:"recovery_timeout"`   // converge, and prove, within this; then people are paged
	Cooldown          model.Duration `yaml:"cooldown"`           // between two rollbacks of a service
	VetoUndelivered   string         `yaml:"veto_undelivered"`   // when nobody could be told of the countdown; one of approve, proceed
	AllowChecked      bool           `yaml:"allow_checked"`      // mode auto also on platforms that compare and then write, not atomically
	Failed            string         `yaml:"failed"`             // K of N judgements on new data must fail before a rollback is considered
	KillSwitchFile    string         `yaml:"kill_switch_file"`   // while this file exists nothing acts; relative to the configuration file
	Budget            Budget         `yaml:"budget"`             // bounds for all services together
	Freeze            []Freeze       `yaml:"freeze"`             // named times in which nothing is rolled back automatically

	matchers  []*amlabels.Matcher
	failures  int // k of
	judgings  int // n
	maxShare  float64
	validated bool
}

// A Budget bounds what Belay does to all services together.
type Budget struct {
	InFlight        int    `yaml:"in_flight"`         // rollbacks at the same time, 1 or more
	PerHour         int    `yaml:"per_hour"`          // rollbacks in one hour, 1 or more
	ShareOfServices string `yaml:"share_of_services"` // of all services, that may be rolled back within an hour
}

// A Freeze is a named time in which nothing is rolled back automatically.
type Freeze struct {
	Name          string                      `yaml:"name"`           // is shown where the freeze says no
	TimeIntervals []timeinterval.TimeInterval `yaml:"time_intervals"` // Alertmanager's, in UTC: times, weekdays, days_of_month, months, years
}

// DefaultPolicy returns the policy of a file that says nothing.
func DefaultPolicy() Policy {
	return Policy{
		Mode:              belay.ModeNotify,
		When:              []string{`severity="critical"`},
		AttributionWindow: model.Duration(30 * time.Minute),
		Veto:              model.Duration(time.Minute),
		Soak:              model.Duration(15 * time.Minute),
		RecoveryHold:      model.Duration(5 * time.Minute),
		RecoveryTimeout:   model.Duration(15 * time.Minute),
		Cooldown:          model.Duration(30 * time.Minute),
		VetoUndelivered:   "approve",
		Failed:            "3 of 3",
		KillSwitchFile:    "data/STOP",
		Budget:            Budget{InFlight: 1, PerHour: 3, ShareOfServices: "10%"},
	}
}

// LoadPolicy reads the policy that stands at a path of the configuration over
// the one it overrides.
func LoadPolicy(doc *strict.Doc, base Policy, path ...any) (Policy, strict.Problems) {
	p := base
	problems := doc.Decode(&p, path...)
	at := func(what, allowed string, key ...any) {
		problems = append(problems, doc.At(what, allowed, append(append([]any{}, path...), key...)...))
	}
	switch p.Mode {
	case belay.ModeOff, belay.ModeNotify, belay.ModeApprove, belay.ModeAuto:
	default:
		at(fmt.Sprintf("unknown mode %q", p.Mode), "off, notify, approve, auto", "mode")
	}
	if p.VetoUndelivered != "approve" && p.VetoUndelivered != "proceed" {
		at(fmt.Sprintf("unknown veto_undelivered %q", p.VetoUndelivered), "approve, proceed", "veto_undelivered")
	}
	p.matchers = nil
	for i, w := range p.When {
		m, err := parse.Matchers(w)
		if err != nil {
			at(fmt.Sprintf("when %q is no matcher: %v", w, err), `a matcher such as severity="critical"`, "when", i)
		}
		p.matchers = append(p.matchers, m...)
	}
	var ok bool
	if p.failures, p.judgings, ok = parseFailed(p.Failed); !ok {
		at(fmt.Sprintf("failed %q is not K of N", p.Failed), `"K of N" with 1 <= K <= N <= 20`, "failed")
	}
	if p.maxShare, ok = parsePercent(p.Budget.ShareOfServices); !ok {
		at(fmt.Sprintf("share_of_services %q is no percentage", p.Budget.ShareOfServices), "0% to 100%", "budget", "share_of_services")
	}
	if p.Budget.InFlight < 1 || p.Budget.PerHour < 1 {
		at("a budget below 1 would never allow a rollback", "1 or more; mode: off to forbid them", "budget")
	}
	for _, d := range []struct {
		key string
		v   model.Duration
	}{{"attribution_window", p.AttributionWindow}, {"soak", p.Soak}, {"recovery_hold", p.RecoveryHold}, {"recovery_timeout", p.RecoveryTimeout}} {
		if d.v <= 0 {
			at(d.key+" must be longer than 0", "a duration such as 15m", d.key)
		}
	}
	p.validated = len(problems) == 0
	return p, problems
}

// Resolve makes the policy's file names relative to the configuration's folder.
func (p Policy) Resolve(dir string) Policy {
	if p.KillSwitchFile != "" && !filepath.IsAbs(p.KillSwitchFile) {
		p.KillSwitchFile = filepath.Join(dir, p.KillSwitchFile)
	}
	return p
}

// Matches says whether an alert with these labels may lead to a rollback.
func (p Policy) Matches(ls labels.Labels) bool {
	for _, m := range p.matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// frozen returns the name of the freeze that covers now.
func (p Policy) frozen(now time.Time) (string, bool) {
	for _, f := range p.Freeze {
		for _, ti := range f.TimeIntervals {
			if ti.ContainsTime(now.UTC()) {
				return f.Name, true
			}
		}
	}
	return "", false
}

func parseFailed(s string) (k, n int, ok bool) {
	a, b, found := strings.Cut(s, " of ")
	k, err1 := strconv.Atoi(strings.TrimSpace(a))
	n, err2 := strconv.Atoi(strings.TrimSpace(b))
	return k, n, found && err1 == nil && err2 == nil && k >= 1 && k <= n && n <= 20
}

func parsePercent(s string) (float64, bool) {
	num, found := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(num, 64)
	return f / 100, found && err == nil && f >= 0 && f <= 100
}
