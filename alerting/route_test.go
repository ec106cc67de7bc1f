package alerting_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
)

const routed = `
route:
  receiver: log
  routes:
    - {matchers: [severity="critical"], receiver: page, continue: true}
    - {matchers: [alertname="Disk"], receiver: storage}
receivers:
  - {name: log, webhook_configs: [{url: http://a/}]}
  - {name: page, webhook_configs: [{url: http://b/}]}
  - {name: storage, webhook_configs: [{url: http://c/}]}
`

// A ledger notes who is told of incidents.
type ledger struct {
	mu   sync.Mutex
	told []string
}

type noting struct {
	l    *ledger
	name string
}

func (n noting) Notify(_ context.Context, m alerting.Message) (string, error) {
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	if m.Kind == alerting.Parent && m.Ref == "" {
		n.l.told = append(n.l.told, n.name)
	}
	return "ref", nil
}

// TestAnIncidentGoesToTheReceiversOfTheAlertsThatOpenedIt and to its owners,
// without doubles; what joins later changes nothing of it.
func TestAnIncidentGoesToTheReceiversOfTheAlertsThatOpenedIt(t *testing.T) {
	c, ps := load(t, routed, nil)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	synctest.Test(t, func(t *testing.T) {
		j, l := newMemory(), &ledger{}
		var to []alerting.Destination
		for _, d := range c.Destinations(nil) {
			to = append(to, alerting.Destination{Name: d.Name, Receivers: d.Receivers, Notifier: noting{l, d.Name}})
		}
		owner := func(name string, s belay.ServiceID) alerting.Destination {
			return alerting.Destination{Name: name, Notifier: noting{l, name}, Wants: func(id belay.ServiceID) bool { return id == s }}
		}
		to = append(to, owner("slack:#checkout", checkout), owner("slack:#other", belay.ServiceID{Environment: "production", Name: "other"}))
		o, err := alerting.NewOutbox(alerting.OutboxOptions{Journal: j, Destinations: to, Routing: alerting.NewRouting(c.Upstream)})
		if err != nil {
			t.Fatal(err)
		}
		stops := []func(){start(t, o.Run), start(t, newIncidents(t, j, func(o *alerting.Options) { o.Grouped = true }).Run)}
		fire := func(id, severity string, extra ...string) {
			ls := labels.FromStrings(append([]string{"alertname", id, "severity", severity}, extra...)...)
			appendAlert(t, j, belay.Alert{ID: id, Rule: id, State: belay.AlertFiring, Labels: ls, ActiveAt: time.Now(), FiredAt: time.Now()})
			time.Sleep(time.Second)
		}
		fire("Errors", "critical", "service", "checkout")
		fire("Disk", "warning", "service", "checkout") // joins; its own receiver is not among the first
		fire("Lonely", "critical")                     // nobody's: no incident at all
		for _, stop := range stops {
			stop()
		}
		slices.Sort(l.told)
		if diff := cmp.Diff([]string{"slack:#checkout", "webhook:page/0"}, l.told); diff != "" {
			t.Error(diff)
		}
		for _, ev := range j.events {
			if ev.Incident != nil && ev.Service != checkout {
				t.Errorf("an incident of %s", ev.Service)
			}
		}
	})
}
