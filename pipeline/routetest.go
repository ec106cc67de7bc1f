package pipeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

// A RouteTest says which receivers an alert with these labels reaches, and why
// somebody is or is not told.
type RouteTest struct {
	Labels    labels.Labels        `json:"labels"`
	Receivers []string             `json:"receivers"`         // that its routes lead to, each once
	Told      []string             `json:"told"`              // those of them that would be told now
	Service   string               `json:"service,omitempty"` // whose incident it would join
	Muted     string               `json:"muted,omitempty"`   // why nobody is told, "" when somebody is
	Because   []string             `json:"because"`           // every reason, a sentence each
	Answer    alerting.Explanation `json:"answer"`
}

// RouteTest says what would become of an alert with these labels. firing are
// others that fire at the same time. Silences are not known without a server.
func (c *Config) RouteTest(ls labels.Labels, firing []labels.Labels, now time.Time) RouteTest {
	t := alerting.Telling{Routing: alerting.NewRouting(c.Alerting.Upstream), Alerts: func() []belay.Alert {
		var out []belay.Alert
		for _, f := range firing {
			out = append(out, belay.Alert{Labels: f, State: belay.AlertFiring})
		}
		return out
	}}
	p := parts{cfg: *c}
	return routeTest(t, p.service, ls, now)
}

func routeTest(t alerting.Telling, service func(labels.Labels) (belay.ServiceID, bool), ls labels.Labels, now time.Time) RouteTest {
	x := t.Explain(ls, now)
	out := RouteTest{Labels: ls, Receivers: x.Receivers(), Told: []string{}, Answer: x}
	say := func(format string, args ...any) { out.Because = append(out.Because, fmt.Sprintf(format, args...)) }
	if len(x.Routes) == 0 {
		say("the configuration has no route")
	}
	for _, r := range x.Routes {
		path := strings.Join(r.Path[1:], " → ")
		if path == "" {
			path = "no route below the root claims it"
		}
		say("%s: %s; grouped by %s, group_wait %s, group_interval %s, repeat_interval %s", r.Receiver, path, r.GroupLabels, r.GroupWait, r.GroupInterval, r.RepeatInterval)
		if r.Why != "" {
			say("%s is not told now: its route is %s", r.Receiver, r.Why)
		}
	}
	for _, s := range x.Silences {
		say("silenced by %s of %s until %s: %s", s.ID, s.CreatedBy, alerting.Clock(s.EndsAt, now), s.Comment)
	}
	if x.Inhibited != nil {
		say("inhibited by %s (rule %s)", x.Inhibited.Source, x.Inhibited.Rule)
	}
	for _, name := range out.Receivers {
		if x.Muted([]string{name}) == "" {
			out.Told = append(out.Told, name)
		}
	}
	if len(out.Told) == 0 {
		out.Muted = x.Muted(out.Receivers)
	}
	if id, ok := service(ls); ok {
		out.Service = id.String()
		say("it belongs to %s, so it is told in that service's incident, at once", id)
	}
	return out
}
