package forward

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/util/strutil"

	"github.com/belaydev/belay"
)

// resolvedFor is how long a resolved alert is sent again, as Prometheus does,
// so that an Alertmanager that was down hears of it.
const resolvedFor = 15 * time.Minute

// A book holds the alerts that Alertmanagers should know of.
type book struct {
	opts   Options
	alerts map[string]*entry // by the alert's ID
	order  []string
}

type entry struct {
	alert belay.Alert
	sent  time.Time
}

func newBook(opts Options) *book { return &book{opts: opts, alerts: map[string]*entry{}} }

// fold takes over an event. What was only ever pending is nobody's business.
func (b *book) fold(ev belay.Event) {
	if ev.Kind != belay.KindAlert || ev.Alert == nil || ev.Alert.Observe {
		return
	}
	a := *ev.Alert
	known := b.alerts[a.ID]
	switch {
	case a.State == belay.AlertPending || a.FiredAt.IsZero():
		// Fires again only if it lasts: what was sent before ends by itself.
		if known != nil && known.alert.State == belay.AlertFiring {
			b.drop(a.ID)
		}
	case known == nil:
		b.alerts[a.ID] = &entry{alert: a}
		b.order = append(b.order, a.ID)
	default:
		if known.alert.State != a.State {
			known.sent = time.Time{}
		}
		known.alert = a
	}
}

func (b *book) drop(id string) {
	delete(b.alerts, id)
	for i, other := range b.order {
		if other == id {
			b.order = append(b.order[:i], b.order[i+1:]...)
			return
		}
	}
}

// due returns what must be sent at now, and counts it as sent.
func (b *book) due(now time.Time) []*notifier.Alert {
	var out []*notifier.Alert
	for _, id := range append([]string(nil), b.order...) {
		e := b.alerts[id]
		if e.alert.State == belay.AlertInactive && now.Sub(e.alert.ResolvedAt) > resolvedFor {
			b.drop(id)
			continue
		}
		if !e.sent.IsZero() && now.Sub(e.sent) < b.opts.ResendDelay {
			continue
		}
		e.sent = now
		out = append(out, b.message(e.alert, now))
	}
	return out
}

// message is an alert as Alertmanager takes it. A firing one ends by itself
// unless it is sent again in time, with room for three messages that are lost.
func (b *book) message(a belay.Alert, now time.Time) *notifier.Alert {
	n := &notifier.Alert{
		Labels: a.Labels, Annotations: labels.FromMap(a.Annotations), StartsAt: a.FiredAt, EndsAt: a.ResolvedAt,
		GeneratorURL: b.opts.ExternalURL + strutil.TableLinkForExpression(a.Expr),
	}
	if a.State == belay.AlertFiring {
		n.EndsAt = now.Add(4 * max(b.opts.EvaluationInterval, b.opts.ResendDelay))
	}
	return n
}
