package webhook

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

const (
	firing   = string(model.AlertFiring)
	resolved = string(model.AlertResolved)
)

// A payload is version 4 of what Alertmanager posts. An incident is its group.
type payload struct {
	*template.Data

	Version         string `json:"version"`
	GroupKey        string `json:"groupKey"`
	TruncatedAlerts int    `json:"truncatedAlerts"`
}

// payloadOf carries at most limit alerts; 0 is no bound. The alerts are in the
// order in which they joined the incident.
func payloadOf(m alerting.Message, opts Options, limit int) payload {
	if m.Group != nil {
		return payloadOfGroup(m, opts, limit)
	}
	i := m.Incident
	p := payload{Version: "4", Data: &template.Data{
		Receiver: opts.Receiver, Status: resolved, Alerts: template.Alerts{}, ExternalURL: opts.ExternalURL,
		GroupLabels: template.KV{"incident": i.ID, "service": i.Service.Name, "environment": i.Service.Environment},
		RouteLabels: template.KV{},
	}}
	p.GroupKey = groupKey(p.GroupLabels)
	for _, a := range i.Alerts {
		out := alertOf(i, a, m.Links.Incident)
		if out.Status == firing {
			p.Status = firing
		}
		p.Alerts = append(p.Alerts, out)
	}
	return p.bounded(limit)
}

// payloadOfGroup is what Alertmanager itself sends of a group.
func payloadOfGroup(m alerting.Message, opts Options, limit int) payload {
	g := m.Group
	p := payload{Version: "4", GroupKey: g.Key, Data: &template.Data{
		Receiver: opts.Receiver, Status: resolved, Alerts: template.Alerts{}, ExternalURL: opts.ExternalURL,
		GroupLabels: template.KV(g.Labels.Map()), RouteLabels: template.KV(g.RouteLabels.Map()), NotificationReason: g.Reason,
	}}
	if g.Firing() {
		p.Status = firing
	}
	for _, a := range g.Alerts {
		p.Alerts = append(p.Alerts, alertOf(belay.Incident{}, a, cmp.Or(a.URL, opts.ExternalURL)))
	}
	return p.bounded(limit)
}

func (p payload) bounded(limit int) payload {
	p.CommonLabels = common(p.Alerts, func(a template.Alert) template.KV { return a.Labels })
	p.CommonAnnotations = common(p.Alerts, func(a template.Alert) template.KV { return a.Annotations })
	if limit > 0 && len(p.Alerts) > limit {
		p.TruncatedAlerts = len(p.Alerts) - limit
		p.Alerts = p.Alerts[:limit]
	}
	return p
}

// alertOf gives an alert Alertmanager's shape. What is no longer firing, or
// belongs to an incident that a person has closed, is resolved.
func alertOf(i belay.Incident, a belay.Alert, link string) template.Alert {
	set := model.LabelSet{}
	kv := template.KV{}
	a.Labels.Range(func(l labels.Label) {
		set[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		kv[l.Name] = l.Value
	})
	out := template.Alert{
		Status: firing, Labels: kv, Annotations: template.KV{}, StartsAt: a.ActiveAt.UTC(),
		GeneratorURL: link, Fingerprint: set.Fingerprint().String(),
	}
	maps.Copy(out.Annotations, a.Annotations)
	if a.State != belay.AlertFiring || i.State == belay.Resolved {
		out.Status, out.EndsAt = resolved, firstSet(a.ResolvedAt, i.ResolvedAt, a.EvaluatedAt).UTC()
	}
	return out
}

func firstSet(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// groupKey names the incident, in the form in which Alertmanager names groups.
func groupKey(kv template.KV) string {
	pairs := make([]string, 0, len(kv))
	for _, name := range slices.Sorted(maps.Keys(kv)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, kv[name]))
	}
	return "{}:{" + strings.Join(pairs, ", ") + "}"
}

// common returns what all alerts have alike.
func common(alerts template.Alerts, of func(template.Alert) template.KV) template.KV {
	if len(alerts) == 0 {
		return template.KV{}
	}
	out := maps.Clone(of(alerts[0]))
	for _, a := range alerts[1:] {
		kv := of(a)
		maps.DeleteFunc(out, func(k, v string) bool { got, ok := kv[k]; return !ok || got != v })
	}
	return out
}
