package alerting

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// A Group is alerts that belong to no incident and are told together, as
// Alertmanager groups them.
type Group struct {
	Key         string // as Alertmanager writes it
	Receiver    string
	Labels      labels.Labels // by which they are grouped
	RouteLabels labels.Labels
	Reason      string // why it is told now, in Alertmanager's words
	Repeat      time.Duration
	Alerts      []belay.Alert // firing and just resolved
}

// Firing says whether any of its alerts is.
func (g Group) Firing() bool {
	return slices.ContainsFunc(g.Alerts, func(a belay.Alert) bool { return a.State == belay.AlertFiring })
}

// A group is the state of one group of one route.
type group struct {
	id     string // unique, unlike Alertmanager's key
	key    string
	route  *dispatch.Route
	labels model.LabelSet
	alerts map[string]belay.Alert
	next   time.Time // when it is looked at again
}

func newGroup(route *dispatch.Route, ls model.LabelSet) *group {
	return &group{
		id: route.ID() + ":" + ls.String(), key: route.Key() + ":" + ls.String(),
		route: route, labels: ls, alerts: map[string]belay.Alert{},
	}
}

// due returns when a new group is told first: after group_wait, or at once when
// its alert is older than that already.
func (g *group) due(a belay.Alert, now time.Time) time.Time {
	if wait := g.route.RouteOpts.GroupWait; !a.ActiveAt.Add(wait).Before(now) {
		return now.Add(wait)
	}
	return now
}

// sorted returns the group's alerts in Alertmanager's order: by job, by
// instance, then by their labels.
func (g *group) sorted() []belay.Alert {
	out := slices.Collect(maps.Values(g.alerts))
	slices.SortFunc(out, func(a, b belay.Alert) int {
		for _, name := range []string{"job", "instance"} {
			x, y := a.Labels.Get(name), b.Labels.Get(name)
			switch {
			case x == y:
			case x == "":
				return 1
			case y == "":
				return -1
			default:
				return strings.Compare(x, y)
			}
		}
		if c := labels.Compare(a.Labels, b.Labels); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// An entry is what one destination was told last of one group. It lies in the
// journal as the Ref of a delivery.
type entry struct {
	Message  string    `json:"message,omitempty"` // the key of the message that is edited
	Ref      string    `json:"ref,omitempty"`     // the channel's name of it
	Firing   []string  `json:"firing,omitempty"`
	Resolved []string  `json:"resolved,omitempty"`
	At       time.Time `json:"at"` // when it was decided that it is told
	begun    bool      // a first message may have got through
}

// Reasons to tell, in Alertmanager's words.
const (
	reasonFirst       = "first notification"
	reasonNewAlerts   = "new alerts added"
	reasonAllResolved = "all alerts resolved"
	reasonResolved    = "some alerts resolved"
	reasonRepeat      = "repeat interval elapsed"
)

// reasonToTell says why a destination is to be told of these alerts, "" when it
// is not. It is Alertmanager's rule.
func (e *entry) reasonToTell(firing, resolved []string, tellsResolved bool, repeat time.Duration, now time.Time) string {
	switch {
	case e == nil || e.At.IsZero():
		if len(firing) > 0 {
			return reasonFirst
		}
	case !subset(firing, e.Firing):
		if len(e.Firing) == 0 {
			return reasonFirst
		}
		return reasonNewAlerts
	case len(firing) == 0:
		if len(e.Firing) > 0 {
			return reasonAllResolved
		}
	case tellsResolved && !subset(resolved, e.Resolved):
		return reasonResolved
	case !e.At.After(now.Add(-repeat)):
		return reasonRepeat
	}
	return ""
}

func subset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// partition returns the short names of the alerts that fire and of those that
// do not.
func partition(alerts []belay.Alert) (firing, resolved []string) {
	for _, a := range alerts {
		if a.State == belay.AlertFiring {
			firing = append(firing, short(a.ID))
		} else {
			resolved = append(resolved, short(a.ID))
		}
	}
	return firing, resolved
}

// short keeps enough of an alert's ID for telling those of one group apart.
func short(id string) string {
	if len(id) <= 20 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

func (e entry) text() string {
	b, err := json.Marshal(e)
	if err != nil { // strings do not fail
		return ""
	}
	return string(b)
}

func readEntry(text string) entry {
	var e entry
	if json.Unmarshal([]byte(text), &e) != nil {
		return entry{}
	}
	return e
}

// message puts a group before people. Channels that know incidents only are
// given one that stands for it.
func (g Group) message(key string, now time.Time) Message {
	sum := sha256.Sum256([]byte(key))
	title := g.Labels.Get(labels.AlertName)
	if title == "" && len(g.Alerts) > 0 {
		title = g.Alerts[0].Rule
	}
	i := belay.Incident{
		ID: "group-" + hex.EncodeToString(sum[:6]), Service: belay.ServiceID{Environment: noEnvironment, Name: g.Receiver},
		State: belay.Triggered, Title: title, Severity: severity(g.Alerts), Alerts: g.Alerts, OpenedAt: now,
	}
	var ended time.Time
	for _, a := range g.Alerts {
		if a.ActiveAt.Before(i.OpenedAt) {
			i.OpenedAt = a.ActiveAt
		}
		if a.ResolvedAt.After(ended) {
			ended = a.ResolvedAt
		}
	}
	if !g.Firing() {
		i.State, i.ResolvedAt = belay.Resolved, ended
	}
	return Message{
		Kind: Parent, Key: key, At: now, Incident: i, Group: &g,
		Event: belay.Event{At: now, Kind: "alerts.grouped", Reason: g.Reason, Service: i.Service, Incident: &i},
	}
}
