package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

// GroupsOptions are what Groups need.
type GroupsOptions struct {
	Journal      belay.Journal
	Routing      *Routing      // nil: nothing is told
	Silences     *Silences     // nil: none
	Destinations []Destination // those without Receivers are told of no group
	// Match names the service whose labels an alert carries. Those alerts
	// belong to incidents and are told there.
	Match   func(labels.Labels) (belay.ServiceID, bool)
	Logger  *slog.Logger        // nil discards
	Metrics *telemetry.Registry // nil records nothing
	Now     func() time.Time    // nil is time.Now
	Attempt time.Duration       // bound of one attempt; 0 is 30 s
}

// Groups tell of the alerts that belong to no incident, as Alertmanager does:
// grouped by route and labels, first after group_wait, with what is new after
// group_interval, again after repeat_interval, and not while silenced,
// inhibited or muted. A group in which an alert ends is told at once, where
// Alertmanager waits for group_interval.
//
// What was told is in the journal, so that a restart tells nothing twice and
// forgets no resolved alert.
type Groups struct {
	opts    GroupsOptions
	tellers []*teller
	wake    chan struct{}

	mu      sync.Mutex
	at      belay.Seq
	alerts  map[string]belay.Alert // those that fire, of services too: they inhibit
	groups  map[string]*group
	entries map[string]*entry // by destination and group
	live    bool              // the journal is replayed
}

// NewGroups returns Groups that have told nothing yet.
func NewGroups(opts GroupsOptions) (*Groups, error) {
	if opts.Journal == nil {
		return nil, errors.New("groups: no journal")
	}
	if opts.Match == nil {
		opts.Match = func(labels.Labels) (belay.ServiceID, bool) { return belay.ServiceID{}, false }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = telemetry.New()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Attempt <= 0 {
		opts.Attempt = 30 * time.Second
	}
	g := &Groups{
		opts: opts, wake: make(chan struct{}, 1),
		alerts: map[string]belay.Alert{}, groups: map[string]*group{}, entries: map[string]*entry{},
	}
	for _, d := range opts.Destinations {
		if len(d.Receivers) > 0 {
			g.tellers = append(g.tellers, newTeller(g, d))
		}
	}
	return g, nil
}

// Run replays the journal and then tells until ctx ends. It returns nil then,
// or an error when the journal could not be read at the start.
func (g *Groups) Run(ctx context.Context) error {
	if g.opts.Routing == nil {
		<-ctx.Done()
		return nil
	}
	ended, err := g.replay(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("groups: %w", err)
	}
	g.begin(ended)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, t := range g.tellers {
		wg.Go(func() { t.run(ctx) })
	}
	wg.Go(func() {
		follow(ctx, g.opts.Journal, g.at, g.opts.Logger, func(ev belay.Event) {
			g.mu.Lock()
			changed := g.apply(ev)
			g.mu.Unlock()
			if changed {
				poke(g.wake)
			}
		})
	})
	for {
		var again <-chan time.Time
		if next := g.flush(); !next.IsZero() {
			again = time.After(next.Sub(g.opts.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		case <-again:
		}
	}
}

// replay reads what fires and what was told. It returns the alerts that have
// ended, of which somebody may not have been told.
func (g *Groups) replay(ctx context.Context) (map[string]belay.Alert, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ended := map[string]belay.Alert{}
	for ev, err := range g.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return nil, err
		}
		g.apply(ev)
		if a := ev.Alert; ev.Kind == belay.KindAlert && a != nil {
			if a.State == belay.AlertFiring {
				delete(ended, a.ID)
			} else {
				ended[a.ID] = *a
			}
		}
	}
	return ended, nil
}

// begin groups what fires, and what has ended and was told as firing.
func (g *Groups) begin(ended map[string]belay.Alert) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = true
	now := g.opts.Now()
	for _, a := range g.alerts {
		g.insert(a, now)
	}
	for _, a := range ended {
		for _, route := range g.routes(a) {
			id := newGroup(route, groupLabels(route, labelSet(a.Labels))).id
			if g.firingAt(id, short(a.ID)) {
				g.group(route, a, now).alerts[a.ID] = a
			}
		}
	}
	for _, gr := range g.groups { // go on in the rhythm of before
		firing, resolved := partition(gr.sorted())
		if len(resolved) > 0 {
			gr.next = now
			continue
		}
		for _, t := range g.tellersOf(gr) {
			if e := g.entries[t.Name+"\n"+gr.id]; e != nil && subset(firing, e.Firing) {
				if at := e.At.Add(gr.route.RouteOpts.GroupInterval); at.After(gr.next) {
					gr.next = at
				}
			}
		}
	}
}

// firingAt says whether any destination was told of an alert and not yet of its end.
func (g *Groups) firingAt(group, alert string) bool {
	for _, t := range g.tellers {
		if e := g.entries[t.Name+"\n"+group]; e != nil && slices.Contains(e.Firing, alert) {
			return true
		}
	}
	return false
}

// apply takes one event in and says whether a group has to be looked at.
func (g *Groups) apply(ev belay.Event) bool {
	if ev.Seq <= g.at {
		return false
	}
	g.at = ev.Seq
	switch {
	case ev.Kind == belay.KindDelivery && ev.Delivery != nil && ev.Delivery.Kind == deliverGroup:
		if !g.live {
			g.recall(*ev.Delivery)
		}
	case ev.Kind == belay.KindAlert && ev.Alert != nil && !ev.Alert.Observe:
		return g.take(*ev.Alert)
	case ev.Kind == belay.KindSilence:
		return true
	}
	return false
}

func (g *Groups) recall(d belay.Delivery) {
	name := d.Destination + "\n" + d.Key
	switch d.Result {
	case resultBegun:
		e := readEntry(d.Ref)
		if was := g.entries[name]; was != nil {
			e.Firing, e.Resolved, e.At = was.Firing, was.Resolved, was.At
		}
		e.begun = true
		g.entries[name] = &e
	case resultSent, resultAdopted, resultDead:
		e := readEntry(d.Ref)
		g.entries[name] = &e
	}
}

func (g *Groups) take(a belay.Alert) bool {
	if a.State == belay.AlertFiring {
		g.alerts[a.ID] = a
		if g.live {
			g.insert(a, g.opts.Now())
		}
		return g.live
	}
	delete(g.alerts, a.ID)
	changed := false
	for _, gr := range g.groups {
		if _, ok := gr.alerts[a.ID]; !ok {
			continue
		}
		if a.ResolvedAt.IsZero() {
			a.State, a.ResolvedAt = belay.AlertInactive, a.EvaluatedAt
		}
		gr.alerts[a.ID] = a
		if changed = true; g.told(gr, short(a.ID)) {
			gr.next = g.opts.Now() // a resolve goes out at once
		}
	}
	return changed
}

// told says whether somebody knows, or is about to know, that an alert fires.
func (g *Groups) told(gr *group, alert string) bool {
	for _, t := range g.tellersOf(gr) {
		if e := g.entries[t.Name+"\n"+gr.id]; e != nil && slices.Contains(e.Firing, alert) {
			return true
		}
		if j := t.pending[gr.id]; j != nil && slices.Contains(j.entry.Firing, alert) {
			return true
		}
	}
	return false
}

func (g *Groups) insert(a belay.Alert, now time.Time) {
	for _, route := range g.routes(a) {
		g.group(route, a, now).alerts[a.ID] = a
	}
}

// group returns the group of an alert on a route, a new one where there is none.
func (g *Groups) group(route *routeOf, a belay.Alert, now time.Time) *group {
	gr := newGroup(route, groupLabels(route, labelSet(a.Labels)))
	if was := g.groups[gr.id]; was != nil {
		return was
	}
	gr.next = gr.due(a, now)
	g.groups[gr.id] = gr
	return gr
}

// routes are those of an alert that belongs to no incident.
func (g *Groups) routes(a belay.Alert) []*routeOf {
	if _, of := g.opts.Match(a.Labels); of {
		return nil
	}
	return g.opts.Routing.match(labelSet(a.Labels))
}

func (g *Groups) tellersOf(gr *group) []*teller {
	var out []*teller
	for _, t := range g.tellers {
		if slices.Contains(t.Receivers, gr.route.RouteOpts.Receiver) {
			out = append(out, t)
		}
	}
	return out
}

// flush hands every group that is due to its tellers, and returns when the next
// one is, zero when there is none.
func (g *Groups) flush() (next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.opts.Now()
	var inhibited *inhibitions
	for id, gr := range g.groups {
		if !gr.next.After(now) {
			if inhibited == nil {
				in := g.opts.Routing.inhibitions(g.firingSets())
				inhibited = &in
			}
			g.flushGroup(gr, *inhibited, now)
			gr.next = now.Add(max(gr.route.RouteOpts.GroupInterval, minInterval))
		}
		if len(gr.alerts) == 0 {
			delete(g.groups, id)
			continue
		}
		if next.IsZero() || gr.next.Before(next) {
			next = gr.next
		}
	}
	return next
}

// minInterval keeps a group_interval of nothing from becoming a busy loop.
const minInterval = 10 * time.Millisecond

func (g *Groups) firingSets() []model.LabelSet {
	out := make([]model.LabelSet, 0, len(g.alerts))
	for _, a := range g.alerts {
		out = append(out, labelSet(a.Labels))
	}
	return out
}

func (g *Groups) flushGroup(gr *group, in inhibitions, now time.Time) {
	all := gr.sorted()
	defer func() {
		for _, a := range all {
			if a.State != belay.AlertFiring {
				delete(gr.alerts, a.ID)
			}
		}
	}()
	if _, why := g.opts.Routing.muted(gr.route, now); why != "" {
		return
	}
	alerts := slices.DeleteFunc(slices.Clone(all), func(a belay.Alert) bool {
		set := labelSet(a.Labels)
		_, inhibited := in.of(set)
		return inhibited || len(g.opts.Silences.muting(set, now)) > 0
	})
	if len(alerts) == 0 {
		return
	}
	firing, resolved := partition(alerts)
	o := gr.route.RouteOpts
	for _, t := range g.tellersOf(gr) {
		was := g.entries[t.Name+"\n"+gr.id]
		if j := t.pending[gr.id]; j != nil {
			alerts = withEnded(alerts, j.group.Alerts)
			firing, resolved = partition(alerts)
			was = &entry{Firing: j.entry.Firing, Resolved: j.entry.Resolved, At: j.at} // as if it had got through
		}
		reason := was.reasonToTell(firing, resolved, t.SendResolved, o.RepeatInterval, now)
		if reason == "" {
			continue
		}
		t.add(&job{
			id: gr.id, at: now, entry: entry{Firing: firing, Resolved: resolved},
			group: Group{
				Key: gr.key, Receiver: o.Receiver, Labels: plain(gr.labels), RouteLabels: plain(o.Labels), Reason: reason, Repeat: o.RepeatInterval, Alerts: alerts,
			},
		})
	}
}

// withEnded adds the alerts that had ended when a message was made that has not
// got through yet, so that the one in its place tells of them.
func withEnded(alerts, before []belay.Alert) []belay.Alert {
	out := slices.Clone(alerts)
	for _, a := range before {
		known := slices.ContainsFunc(alerts, func(b belay.Alert) bool { return b.ID == a.ID })
		if a.State != belay.AlertFiring && !known {
			out = append(out, a)
		}
	}
	return out
}
