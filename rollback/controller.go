package rollback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/belaydev/belay"
)

// A Service is one service as the controller sees it.
type Service struct {
	ID           belay.ServiceID
	Policy       Policy
	PlatformName string
	Platform     Platform                    // nil: Belay cannot see or restore it, and only tells
	Match        func(ls labels.Labels) bool // whether an alert or judgement is about it
	DependsOn    []belay.ServiceID
}

// Options are what a Controller needs besides its services.
type Options struct {
	Journal    belay.Journal            // required
	Alerts     func() []belay.Alert     // required: the rules' present alerts
	Judgements func() []belay.Judgement // required: the rules' newest judgements
	Lag        func() time.Duration     // how far judging is behind; nil is never
	MaxLag     time.Duration            // beyond this Belay is not well; 0 is 15 s
	StaleAfter time.Duration            // data older than this proves nothing; 0 is 1 m
	Tick       time.Duration            // how often each service is looked at when nothing happens; 0 is 1 s
	Emergency  func(kind, text string)  // tells people when the journal cannot; nil is silence
	// Foreign says why what an alert rests on is not only what Belay itself
	// scraped and judged, as the end of a sentence that begins with the alert's
	// name; "" when it is. nil is as if all were Belay's own.
	Foreign func(a belay.Alert) string
	// Silenced says which silence mutes an alert, as the end of a sentence that
	// begins with the alert's name ("is silenced by …"); "" when none does. nil
	// is as if there were no silences.
	Silenced func(a belay.Alert) string
	Logger   *slog.Logger
}

// A Controller watches the targets of services, keeps the ledger of known-good
// content, and rolls back.
type Controller struct {
	opts     Options
	log      *slog.Logger
	services []Service
	workers  map[belay.ServiceID]*worker

	replayed chan struct{} // closed once the journal was read

	mu     sync.Mutex
	view   *view
	folded chan struct{} // closed and replaced when an event was folded
}

// New returns a controller of the services. It touches neither journal nor
// platforms until Run.
func New(services []Service, opts Options) (*Controller, error) {
	if opts.Journal == nil || opts.Alerts == nil || opts.Judgements == nil {
		return nil, errors.New("rollback: journal, alerts and judgements are required")
	}
	setDefault(&opts.MaxLag, 15*time.Second)
	setDefault(&opts.StaleAfter, time.Minute)
	setDefault(&opts.Tick, time.Second)
	if opts.Lag == nil {
		opts.Lag = func() time.Duration { return 0 }
	}
	if opts.Emergency == nil {
		opts.Emergency = func(string, string) {}
	}
	for _, ask := range []*func(belay.Alert) string{&opts.Foreign, &opts.Silenced} {
		if *ask == nil {
			*ask = func(belay.Alert) string { return "" }
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{opts: opts, log: opts.Logger, services: services, workers: map[belay.ServiceID]*worker{}, replayed: make(chan struct{}), view: newView(), folded: make(chan struct{})}
	for _, s := range services {
		if !s.Policy.validated {
			return nil, fmt.Errorf("rollback: the policy of %s was not loaded", s.ID)
		}
		c.workers[s.ID] = &worker{c: c, svc: s, target: belay.Target{Service: s.ID, Platform: s.PlatformName}, wake: make(chan struct{}, 1)}
	}
	return c, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// Run replays the journal, then watches and steps every service until ctx
// ends. Each service has a worker of its own, so that a platform which hangs
// holds up nothing but its own service.
func (c *Controller) Run(ctx context.Context) error {
	last, err := c.replay(ctx)
	if err != nil {
		return err
	}
	close(c.replayed)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.follow(ctx, last) })
	for _, w := range c.workers {
		g.Go(func() error { w.run(ctx); return nil })
		if w.svc.Platform != nil {
			g.Go(func() error { w.watch(ctx); return nil })
		}
	}
	return g.Wait()
}

func (c *Controller) replay(ctx context.Context) (belay.Seq, error) {
	var last belay.Seq
	for ev, err := range c.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return 0, fmt.Errorf("rollback: replay: %w", err)
		}
		c.fold(ev)
		last = ev.Seq
	}
	return last, nil
}

func (c *Controller) follow(ctx context.Context, after belay.Seq) error {
	for ev, err := range c.opts.Journal.Tail(ctx, after) {
		if err != nil {
			c.log.Error("the journal cannot be read", "err", err)
			continue
		}
		c.fold(ev)
		if ev.Service == (belay.ServiceID{}) {
			c.Wake()
		} else if w := c.workers[ev.Service]; w != nil {
			w.nudge()
		}
	}
	return nil
}

func (c *Controller) fold(ev belay.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.apply(ev)
	close(c.folded)
	c.folded = make(chan struct{})
}

// Wake makes every service look again: something was judged.
func (c *Controller) Wake() {
	for _, w := range c.workers {
		w.nudge()
	}
}

// snapshot returns a copy of what the journal says of a service that stays
// true while the caller works with it.
func (c *Controller) snapshot(id belay.ServiceID) serviceView {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := *c.view.service(id)
	s.ledger, s.planned, s.told, s.open = maps.Clone(s.ledger), maps.Clone(s.planned), maps.Clone(c.view.told), maps.Clone(c.view.open)
	s.ends = map[string]belay.Seq{}
	for _, stream := range []string{belay.TargetStream(id), belay.RollbackStream(id)} {
		s.ends[stream] = c.view.pos[stream]
	}
	return s
}

func (c *Controller) waitFolded(ctx context.Context, stream string, pos belay.Seq) error {
	for {
		c.mu.Lock()
		done, next := c.view.pos[stream] >= pos, c.folded
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Killed says whether the kill switch of a policy is set. A file that cannot
// be looked at counts as set.
func Killed(p Policy) bool {
	if p.KillSwitchFile == "" {
		return false
	}
	_, err := os.Lstat(p.KillSwitchFile)
	return !errors.Is(err, os.ErrNotExist)
}

// worker steps one service.
type worker struct {
	c      *Controller
	svc    Service
	target belay.Target
	wake   chan struct{}
	orders sync.Mutex // a person's order and the worker's step never interleave

	mu       sync.Mutex
	state    belay.State // newest that the platform told
	stateErr error
	seen     bool

	ends    map[string]belay.Seq // of the service's streams, when look was called last
	soak    soakClock
	history judgings
	retry   backoff
	refused map[string]time.Time // guard → when its refusal was last told
}

// look returns what the journal says of the service. What is decided on it is
// written by append, and only if nobody has written anything since.
func (w *worker) look() serviceView {
	v := w.c.snapshot(w.svc.ID)
	w.ends = maps.Clone(v.ends)
	return v
}

// append writes what was decided after look, and waits until the controller
// itself has read it back, so that the next step decides on what this one
// wrote. On a conflict another writer was faster, whether or not the controller
// knows of it by now: the caller leaves, and looks again.
func (w *worker) append(ctx context.Context, stream string, events ...belay.Event) error {
	c := w.c
	end, err := c.opts.Journal.Append(ctx, stream, w.ends[stream], events...)
	switch {
	case err == nil:
		w.ends[stream] = end
		return c.waitFolded(ctx, stream, end)
	case errors.Is(err, belay.ErrConflict) || ctx.Err() != nil:
		return err
	}
	c.log.Error("the journal cannot be written: nothing acts", "stream", stream, "err", err)
	c.opts.Emergency("journal", fmt.Sprintf("Belay cannot write its journal (%v). It keeps watching, but it will not roll anything back until it can. It wanted to record: %s", err, events[0].Reason))
	return err
}

// obey does what a person asked for, while the worker does nothing. Where
// another Belay has written meanwhile, all is looked at and done again.
func (w *worker) obey(ctx context.Context, do func() error) error {
	w.orders.Lock()
	defer w.orders.Unlock()
	for {
		w.c.mu.Lock()
		next := w.c.folded
		w.c.mu.Unlock()
		err := do()
		if !errors.Is(err, belay.ErrConflict) {
			return err
		}
		select {
		case <-next: // what the other wrote comes, or came already
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) {
	tick := time.NewTicker(w.c.opts.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-tick.C:
		}
		w.orders.Lock()
		err := w.step(ctx, time.Now())
		w.orders.Unlock()
		if err != nil && ctx.Err() == nil && !errors.Is(err, belay.ErrConflict) {
			w.c.log.Error("step", "service", w.svc.ID.String(), "err", err)
		}
	}
}

// watch keeps the newest state that the platform tells.
func (w *worker) watch(ctx context.Context) {
	for wait := 250 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
		err := w.svc.Platform.Watch(ctx, w.target, func(st belay.State) {
			wait = 250 * time.Millisecond
			w.saw(st, nil)
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.saw(belay.State{}, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (w *worker) saw(st belay.State, err error) {
	w.mu.Lock()
	if err == nil {
		w.state, w.seen = st, true
	} else if w.stateErr == nil {
		w.c.log.Warn("lost sight of the target", "service", w.svc.ID.String(), "err", err)
	}
	w.stateErr = err
	w.mu.Unlock()
	w.nudge()
}

func (w *worker) watched() (belay.State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.seen && w.stateErr == nil
}
