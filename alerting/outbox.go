package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

// A Destination is one place where people, or machines, are told.
type Destination struct {
	// Name keeps its cursor and its deliveries apart from others, over
	// restarts: "slack:#checkout-oncall", "webhook:ops/0".
	Name     string
	Notifier Notifier
	// Wants says of which services all incidents are told here. nil is of
	// every one, or of none where Receivers are named.
	Wants func(belay.ServiceID) bool

	Receivers    []string // of the routing, what routes to them is told here
	SendResolved bool     // Groups tells of the end of alerts, too
}

// wants says whether an incident is told here. What it was when it opened
// decides, so that the places where it is told stay the same.
func (d Destination) wants(opened belay.Incident, r *Routing) bool {
	if len(d.Receivers) == 0 {
		return d.Wants == nil || d.Wants(opened.Service)
	}
	return d.Wants != nil && d.Wants(opened.Service) || slices.ContainsFunc(opened.Alerts, func(a belay.Alert) bool {
		return slices.ContainsFunc(r.Receivers(a.Labels), func(name string) bool { return slices.Contains(d.Receivers, name) })
	})
}

// OutboxOptions are what an Outbox needs.
type OutboxOptions struct {
	Journal      belay.Journal
	Destinations []Destination
	Routing      *Routing                   // leads incidents to the Receivers of Destinations
	Links        func(belay.Incident) Links // nil leaves links out
	Picture      Picture                    // nil draws none
	// Muted says why an incident is not told now at a destination with these
	// receivers, "" when it is; nil: always. What Belay does to a deployment is
	// told nevertheless.
	Muted   func(i belay.Incident, receivers []string, now time.Time) string
	Logger  *slog.Logger        // nil discards
	Metrics *telemetry.Registry // nil records nothing
	Now     func() time.Time    // nil is time.Now
	Attempt time.Duration       // bound of one attempt; 0 is 30 s
	// Tell reaches people when the journal cannot be written; see Emergency.
	// nil tells nobody.
	Tell func(ctx context.Context, kind, text string)
}

// A Picture draws an incident as it is now, as a PNG.
type Picture func(ctx context.Context, incident string) ([]byte, error)

// An Outbox tells destinations what happens to incidents: one message for each
// incident, edited in place to show the present truth, with the story in its
// thread. Each destination goes at its own pace.
//
// Every message is told once: an attempt to post a new one is in the journal
// before it is made, so that after a crash the channel is searched for it. A
// destination that the journal has never heard of begins with the incidents
// that are open, and is not told of the past.
type Outbox struct {
	opts     OutboxOptions
	couriers []*courier

	mu sync.Mutex // guards what follows, and the queues of the couriers
	at belay.Seq
	stories
}

// NewOutbox returns an Outbox that has told nothing yet. Two destinations of
// the same name are an error.
func NewOutbox(opts OutboxOptions) (*Outbox, error) {
	if opts.Journal == nil {
		return nil, errors.New("outbox: no journal")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Attempt <= 0 {
		opts.Attempt = 30 * time.Second
	}
	if opts.Links == nil {
		opts.Links = func(belay.Incident) Links { return Links{} }
	}
	if opts.Muted == nil {
		opts.Muted = func(belay.Incident, []string, time.Time) string { return "" }
	}
	if opts.Metrics == nil {
		opts.Metrics = telemetry.New()
	}
	if opts.Tell == nil {
		opts.Tell = func(context.Context, string, string) {}
	}
	o := &Outbox{opts: opts, stories: newStories()}
	names := map[string]bool{}
	for _, d := range opts.Destinations {
		if d.Name == "" || d.Notifier == nil {
			return nil, fmt.Errorf("outbox: destination %q needs a name and a notifier", d.Name)
		}
		if names[d.Name] {
			return nil, fmt.Errorf("outbox: two destinations are named %q", d.Name)
		}
		names[d.Name] = true
		o.couriers = append(o.couriers, newCourier(o, d))
	}
	return o, nil
}

// Run replays the journal and then tells until ctx ends. It returns nil then,
// or an error when the journal could not be read at the start.
func (o *Outbox) Run(ctx context.Context) error {
	if err := o.replay(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("outbox: %w", err)
	}
	for _, c := range o.couriers {
		c.begin()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range o.couriers {
		wg.Go(func() { c.run(ctx) })
	}
	follow(ctx, o.opts.Journal, o.at, o.opts.Logger, func(ev belay.Event) { o.take(ev, false) })
	return nil
}

// replay reads what is told and what is not.
func (o *Outbox) replay(ctx context.Context) error {
	for _, c := range o.couriers {
		cursor, err := o.opts.Journal.Cursor(ctx, c.Name)
		if err != nil {
			return err
		}
		c.cursor = cursor
	}
	for ev, err := range o.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return err
		}
		o.take(ev, true)
	}
	return nil
}

// take folds one event and queues it where it is to be told. While the journal
// is replayed the couriers also learn what they have delivered.
func (o *Outbox) take(ev belay.Event, replay bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ev.Seq <= o.at {
		return
	}
	o.at = ev.Seq
	if ev.Kind == belay.KindDelivery {
		if replay && ev.Delivery != nil {
			for _, c := range o.couriers {
				c.recall(*ev.Delivery)
			}
		}
		return
	}
	t, told := o.apply(ev)
	if !told {
		return
	}
	opened := o.byID[t.incident].opened
	for _, c := range o.couriers {
		if c.wants(opened, o.opts.Routing) && (!replay || ev.Seq > c.cursor) {
			c.queue = append(c.queue, t)
			poke(c.wake)
		}
	}
}

// message returns the message about an incident as it is now. Its event is the
// newest of the incident.
func (o *Outbox) message(id string) Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := o.byID[id]
	return Message{
		Kind: Parent, Key: id, At: o.opts.Now().UTC(), Event: st.last,
		Incident: st.incident, Rollback: st.rollback, Review: st.review,
		Links: o.opts.Links(st.incident),
	}
}

// Depth returns how many turns wait to be told, over all destinations.
func (o *Outbox) Depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, c := range o.couriers {
		n += len(c.queue)
	}
	return n
}

// OldestAge returns how long the oldest of them has waited, 0 when none does.
func (o *Outbox) OldestAge() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	var age time.Duration
	now := o.opts.Now()
	for _, c := range o.couriers {
		if len(c.queue) > 0 {
			age = max(age, now.Sub(c.queue[0].event.At))
		}
	}
	return age
}

func replyKey(incident string, seq belay.Seq) string {
	return incident + "/" + strconv.FormatInt(int64(seq), 10)
}
