package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// Options are what Incidents need.
type Options struct {
	Journal belay.Journal
	// Match names the service whose labels an alert carries. It is asked once
	// for each change of an alert. nil claims nothing.
	Match func(labels.Labels) (belay.ServiceID, bool)
	// Grouped says that alerts which no service claims are told in Groups. They
	// then open no incident; otherwise they share one, of Unassigned.
	Grouped bool
	// Reopen is how long after its end an incident that ended by itself goes on
	// when something fires again, unless another release went out meanwhile.
	// 0 is never.
	Reopen time.Duration
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
	// Tell reaches people when the journal cannot be written; see Emergency.
	// nil tells nobody.
	Tell func(ctx context.Context, kind, text string)
}

// The reasons for which a person's wish is refused.
var (
	ErrUnknownIncident = errors.New("no incident has this id")
	ErrResolved        = errors.New("the incident is resolved already")
	ErrRollbackPending = errors.New("a rollback of this incident is under way: stop it or wait for its end")
)

// Incidents keeps one open incident for each service that has firing alerts.
// All it knows is in the journal. Its methods may be called from any
// goroutine, also while Run does not run.
type Incidents struct {
	opts Options

	mu sync.Mutex // guards the fold below
	fold
}

// New returns Incidents that have read nothing yet.
func New(opts Options) (*Incidents, error) {
	if opts.Journal == nil {
		return nil, errors.New("incidents: no journal")
	}
	if opts.Match == nil {
		opts.Match = func(labels.Labels) (belay.ServiceID, bool) { return belay.ServiceID{}, false }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Tell == nil {
		opts.Tell = func(context.Context, string, string) {}
	}
	c := &Incidents{opts: opts, fold: newFold(opts.Match)}
	c.grouped = opts.Grouped
	return c, nil
}

// Run replays the journal, brings every incident up to the present, and keeps
// it there until ctx ends. It returns nil then, or an error when the journal
// could not be read at the start.
func (c *Incidents) Run(ctx context.Context) error {
	c.mu.Lock()
	err := c.catchUp(ctx)
	after := c.at
	c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("incidents: %w", err)
	}
	wake := make(chan struct{}, 1)
	var tail sync.WaitGroup
	defer tail.Wait()
	tail.Go(func() {
		follow(ctx, c.opts.Journal, after, c.opts.Logger, func(belay.Event) { poke(wake) })
	})
	wait := minBackoff
	for {
		var again <-chan time.Time
		if err := c.settle(ctx); err != nil && ctx.Err() == nil {
			c.opts.Logger.Error("incidents are not up to date", "error", err)
			c.opts.Tell(ctx, "journal", "incidents cannot be written, so nothing will be rolled back: "+err.Error())
			again = time.After(wait)
			wait = min(2*wait, maxBackoff)
		} else {
			wait = minBackoff
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-again:
		}
	}
}

// catchUp folds what the journal has gained.
func (c *Incidents) catchUp(ctx context.Context) error {
	for ev, err := range c.opts.Journal.Read(ctx, c.at) {
		if err != nil {
			return err
		}
		c.apply(ev)
	}
	return nil
}

// settle decides for each service of which something has changed.
func (c *Incidents) settle(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.catchUp(ctx); err != nil {
		return err
	}
	var errs []error
	for s := range c.dirty {
		if err := c.settleService(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ServiceName(s), err))
			continue
		}
		delete(c.dirty, s)
		c.prune(s)
	}
	return errors.Join(errs...)
}

// settleService decides until there is nothing left to decide. A conflict
// means that another has written: what it wrote is read, and all is decided
// again.
func (c *Incidents) settleService(ctx context.Context, s belay.ServiceID) error {
	for range maxTries {
		now := c.situation(s)
		now.reopen = c.opts.Reopen
		events := decide(now, c.opts.Now().UTC())
		if len(events) == 0 {
			return nil
		}
		if err := c.append(ctx, s, events...); err != nil && !errors.Is(err, belay.ErrConflict) {
			return err
		}
		if err := c.catchUp(ctx); err != nil {
			return err
		}
	}
	return errors.New("the incident keeps changing under us")
}

// maxTries bounds how often a decision is taken again in one go.
const maxTries = 20

func (c *Incidents) append(ctx context.Context, s belay.ServiceID, events ...belay.Event) error {
	stream := belay.IncidentStream(s)
	_, err := c.opts.Journal.Append(ctx, stream, c.pos[stream], events...)
	return err
}

// Ack records that a person has taken the incident on. Doing so again changes
// nothing; another person takes it over.
func (c *Incidents) Ack(ctx context.Context, id, actor string) error {
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		if i.AcknowledgedBy == actor {
			return belay.Event{}, nil
		}
		reason := actor + " is on it"
		if i.AcknowledgedBy != "" {
			reason = actor + " takes over from " + i.AcknowledgedBy
		} else {
			i.AcknowledgedAt = now
		}
		i.AcknowledgedBy = actor
		if i.State == belay.Triggered {
			i.State = belay.Acknowledged
		}
		return event(belay.KindAcked, reason, i, now), nil
	})
}

// Note adds a person's words, up to 2 000 characters, to the story of an open
// incident.
func (c *Incidents) Note(ctx context.Context, id, actor, text string) error {
	text, err := words("note", text, maxText)
	if err == nil && text == "" {
		err = errors.New("note: it is empty")
	}
	if err != nil {
		return err
	}
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		return event(belay.KindNoted, text, i, now), nil
	})
}

// Resolve closes an incident on a person's word, whatever its alerts say. The
// alerts that fire at that time open no new incident until they have ended.
// The reason may be empty.
func (c *Incidents) Resolve(ctx context.Context, id, actor, reason string) error {
	reason, err := words("reason", reason, maxText)
	if err != nil {
		return err
	}
	return c.change(ctx, id, actor, func(i belay.Incident, now time.Time) (belay.Event, error) {
		if busy(c.rollbacks[i.ID]) {
			return belay.Event{}, ErrRollbackPending
		}
		i.State, i.ResolvedAt = belay.Resolved, now
		text := actor + " resolved it after " + Span(now.Sub(i.OpenedAt))
		if reason != "" {
			text += ": " + reason
		}
		return event(belay.KindResolved, text, i, now), nil
	})
}

// change appends what a person wants of an open incident. An event without a
// kind means that it is so already.
func (c *Incidents) change(ctx context.Context, id, actor string, want func(belay.Incident, time.Time) (belay.Event, error)) error {
	actor, err := named(actor)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for range maxTries {
		if err := c.catchUp(ctx); err != nil {
			return fmt.Errorf("incident %s: %w", id, err)
		}
		i, err := c.opened(id)
		if err != nil {
			return err
		}
		ev, err := want(*i, c.opts.Now().UTC())
		if err != nil || ev.Kind == "" {
			return err
		}
		ev.Actor = actor
		err = c.append(ctx, i.Service, ev)
		if errors.Is(err, belay.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("incident %s: %w", id, err)
		}
		return nil
	}
	return fmt.Errorf("incident %s: %w", id, belay.ErrConflict)
}

// opened returns an incident that is open.
func (c *Incidents) opened(id string) (*belay.Incident, error) {
	s, ok := c.known[id]
	if !ok {
		return nil, fmt.Errorf("incident %s: %w", id, ErrUnknownIncident)
	}
	i := c.open[s]
	if i == nil || i.ID != id {
		return nil, fmt.Errorf("incident %s: %w", id, ErrResolved)
	}
	return i, nil
}

// Bounds of what people may write, in characters.
const (
	maxText  = 2000
	maxActor = 100
)

// named returns the name of whoever acts.
func named(actor string) (string, error) {
	actor, err := words("actor", actor, maxActor)
	if err == nil && actor == "" {
		err = errors.New("actor: nobody is named")
	}
	return actor, err
}

func words(what, s string, limit int) (string, error) {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "�"))
	if n := utf8.RuneCountInString(s); n > limit {
		return "", fmt.Errorf("%s: %d characters are too many, at most %d", what, n, limit)
	}
	return s, nil
}
