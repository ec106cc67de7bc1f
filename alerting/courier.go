package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/belaydev/belay"
)

// A courier takes the turns of its queue to one destination, in order.
type courier struct {
	Destination
	box        *Outbox
	log        *slog.Logger
	threadless bool
	wake       chan struct{}

	queue []turn // guarded by box.mu; the first one is being told

	// What follows belongs to Run until the courier runs, then to its own
	// goroutine.
	cursor    belay.Seq // as the journal has it
	done      belay.Seq // everything up to here is told
	posts     map[string]*post
	held      map[string]turn // by incident: what is muted and was never told
	unwritten []belay.Event   // deliveries that the journal has not taken yet
}

// A post is what is known of one message at a destination.
type post struct {
	begun bool      // an attempt may have got through
	sent  bool      // it is there
	dead  bool      // it can never be
	ref   string    // the channel's name of it
	tells belay.Seq // the newest event that was told with it
}

func newCourier(o *Outbox, d Destination) *courier {
	_, threadless := d.Notifier.(Threadless)
	return &courier{
		Destination: d, box: o, threadless: threadless,
		log:  o.opts.Logger.With("destination", d.Name),
		wake: make(chan struct{}, 1), posts: map[string]*post{}, held: map[string]turn{},
	}
}

func (c *courier) post(key string) *post {
	p := c.posts[key]
	if p == nil {
		p = &post{}
		c.posts[key] = p
	}
	return p
}

// recall takes in a delivery of an earlier run.
func (c *courier) recall(d belay.Delivery) {
	if d.Destination != c.Name || d.Kind == deliverGroup || d.Kind == deliverReply && d.Tells <= c.cursor {
		return
	}
	p := c.post(d.Key)
	switch d.Result {
	case resultBegun:
		p.begun = true
	case resultSent, resultAdopted:
		p.begun, p.sent, p.tells = false, true, max(p.tells, d.Tells)
		if d.Ref != "" {
			p.ref = d.Ref
		}
	case resultDead:
		p.begun, p.dead = false, true
	}
}

// begin settles what is left to tell after a replay. A destination that is new
// to the journal is told of open incidents, as they are now.
func (c *courier) begin() {
	c.done = c.cursor
	if c.cursor > 0 || len(c.posts) > 0 {
		c.holdUntold()
		return
	}
	var now []turn
	for _, t := range slices.Backward(c.queue) {
		known := slices.ContainsFunc(now, func(n turn) bool { return n.incident == t.incident })
		if !known && c.box.byID[t.incident].incident.State != belay.Resolved {
			t.reply = false
			now = append(now, t)
		}
	}
	slices.Reverse(now)
	c.queue, c.done = now, c.box.at
	if len(now) > 0 {
		c.done = now[0].event.Seq - 1
	}
}

// run tells until ctx ends.
func (c *courier) run(ctx context.Context) {
	for wait := minBackoff; ; {
		settled := c.settle(ctx)
		if t, ok := c.head(); ok {
			if !c.tell(ctx, t) {
				return
			}
			c.pop(t)
			continue
		}
		var again <-chan time.Time
		switch held := c.release(); {
		case held != nil:
			if !c.tell(ctx, *held) {
				return
			}
			continue
		case settled && len(c.held) > 0:
			again = time.After(heldEvery)
		case settled:
			wait = minBackoff
		default:
			again = time.After(wait)
			wait = min(2*wait, maxBackoff)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-again:
		}
	}
}

func (c *courier) head() (turn, bool) {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	if len(c.queue) == 0 {
		return turn{}, false
	}
	return c.queue[0], true
}

// pop ends a turn: its reply is never asked for again.
func (c *courier) pop(t turn) {
	c.done = max(c.done, t.event.Seq)
	delete(c.posts, t.key())
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	c.queue = c.queue[1:]
}

// tell brings one turn before people: the parent message first where there is
// none yet, then the reply, then the parent's edit, unless a later state has
// been shown already. It returns false when ctx has ended.
func (c *courier) tell(ctx context.Context, t turn) bool {
	parent := c.post(t.incident)
	muted := c.muted(t)
	if !parent.sent && !parent.begun && muted {
		t.reply = false
		c.held[t.incident] = t
		return true
	}
	delete(c.held, t.incident)
	if !parent.sent && !c.deliver(ctx, t, parent, c.parent) {
		return false
	}
	if reply := c.post(t.key()); t.reply && !muted && parent.sent && !c.threadless && !reply.sent {
		build := func(t turn) (Message, belay.Seq) { return c.reply(t, parent.ref) }
		if !c.deliver(ctx, t, reply, build) {
			return false
		}
	}
	if parent.sent && parent.tells < t.event.Seq {
		return c.deliver(ctx, t, parent, c.parent)
	}
	return true
}

// parent builds the incident's message as it is now, whatever turn it is for:
// what waits behind this turn is told along with it.
func (c *courier) parent(t turn) (Message, belay.Seq) {
	m := c.box.message(t.incident)
	m.Ref = c.post(t.incident).ref
	return m, m.Event.Seq
}

func (c *courier) reply(t turn, thread string) (Message, belay.Seq) {
	m := c.box.message(t.incident)
	m.Kind, m.Key, m.Thread, m.Event = Reply, t.key(), thread, t.event
	if draw := c.box.opts.Picture; t.picture && draw != nil {
		m.Picture = func(ctx context.Context) ([]byte, error) { return draw(ctx, t.incident) }
	}
	return m, t.event.Seq
}

// deliver tries until the message is there, or can never be. It returns false
// when ctx has ended before that.
func (c *courier) deliver(ctx context.Context, t turn, p *post, build func(turn) (Message, belay.Seq)) bool {
	for try := 1; ; try++ {
		m, tells := build(t)
		d := belay.Delivery{Destination: c.Name, Incident: t.incident, Key: m.Key, Kind: c.kind(m, p), Tells: tells, Tries: try}
		if c.threadless {
			d.Tells = 0 // an Alertmanager payload tells nobody of a plan
		}
		m.Retry = p.begun
		if !p.sent && !p.begun {
			p.begun = true
			c.record(ctx, t, d, resultBegun, nil)
		}
		looked := m.Retry
		ref, err := c.attempt(ctx, m)
		switch {
		case err == nil:
			*p = post{sent: true, ref: ref, tells: tells}
			d.Ref = ref
			c.record(ctx, t, d, success(looked), nil)
			return true
		case errors.Is(err, ErrUnchanged):
			p.begun, p.sent, p.tells = false, true, tells
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, ErrPermanent):
			p.begun, p.tells = false, tells
			c.log.Error("message cannot be delivered", "key", m.Key, "error", err)
			c.record(ctx, t, d, resultDead, err)
			return true
		}
		switch {
		case ambiguous(err): // also an edit, which may have become a new post on its way
			p.begun = true
		case !looked:
			p.begun = false
		}
		c.log.Warn("message is not delivered yet", "key", m.Key, "try", try, "error", err)
		c.record(ctx, t, d, resultRetry, err)
		if !pause(ctx, backoff(try, err)) {
			return false
		}
	}
}

// attempt is one call of the notifier. One that runs out of time may have got
// through.
func (c *courier) attempt(ctx context.Context, m Message) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.box.opts.Attempt)
	defer cancel()
	ref, err := c.Notifier.Notify(ctx, m)
	if err == nil && ref == "" {
		ref = m.Ref
	}
	return ref, err
}

func ambiguous(err error) bool {
	return errors.Is(err, ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded)
}

// backoff returns the pause after a failed try: it doubles from a quarter
// second to half a minute, a quarter of it by chance, and is never shorter
// than the channel asks for.
func backoff(try int, err error) time.Duration {
	d := maxBackoff
	if try < 8 {
		d = min(minBackoff<<(try-1), maxBackoff)
	}
	d = d*3/4 + rand.N(d/4+1)
	var asked *RetryAfterError
	if errors.As(err, &asked) {
		d = max(d, asked.After)
	}
	return d
}

// The values of Delivery.Kind and Delivery.Result.
const (
	deliverParent  = "parent"
	deliverUpdate  = "update"
	deliverReply   = "reply"
	deliverWebhook = "webhook"

	resultBegun   = "begun"
	resultSent    = "sent"
	resultAdopted = "adopted" // there, after the channel was searched for an earlier attempt
	resultRetry   = "retry"
	resultDead    = "dead"
)

func success(looked bool) string {
	if looked {
		return resultAdopted
	}
	return resultSent
}

func (c *courier) kind(m Message, p *post) string {
	switch {
	case c.threadless:
		return deliverWebhook
	case m.Kind == Reply:
		return deliverReply
	case p.sent:
		return deliverUpdate
	}
	return deliverParent
}

// record journals one step of a delivery. Steps that the journal does not take
// are kept and written later, so that the message itself need not wait.
func (c *courier) record(ctx context.Context, t turn, d belay.Delivery, result string, err error) {
	d.Result = result
	reason := fmt.Sprintf("%s: the %s of %s is %s", c.Name, d.Kind, t.incident, result)
	if err != nil {
		d.Detail = cut(err.Error(), 500)
		reason += ": " + d.Detail
	}
	if result != resultBegun {
		c.box.opts.Metrics.Counter("belay_notifications_total", "Attempts to put a message before people, by receiver and result.",
			"receiver", c.Name, "result", result).Inc()
	}
	c.unwritten = append(c.unwritten, belay.Event{
		At: c.box.opts.Now().UTC(), Kind: belay.KindDelivery, Reason: reason,
		Service: t.event.Service, Delivery: &d,
	})
	if !c.write(ctx) { // what only mattered before the end is not worth keeping
		c.unwritten = slices.DeleteFunc(c.unwritten, func(ev belay.Event) bool {
			return ev.Delivery.Result == resultRetry || ev.Delivery.Result == resultBegun
		})
	}
}

// write hands the journal what it has not taken yet. It also does so when ctx
// has just ended: a message that is out should be known to be.
func (c *courier) write(ctx context.Context) bool {
	if len(c.unwritten) == 0 {
		return true
	}
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := c.box.opts.Journal.Append(wctx, "delivery/"+c.Name, belay.AnySeq, c.unwritten...); err != nil {
		c.log.Error("delivery cannot be journalled", "error", err)
		c.box.opts.Tell(ctx, "journal", "deliveries cannot be journalled, and nothing will be rolled back: "+err.Error())
		return false
	}
	c.unwritten = nil
	return true
}

// settle writes what is unwritten and moves the cursor up to what is told. It
// returns false when that has to be tried again.
func (c *courier) settle(ctx context.Context) bool {
	if !c.write(ctx) {
		return false
	}
	if c.done <= c.cursor {
		return true
	}
	if err := c.box.opts.Journal.Advance(ctx, c.Name, c.done); err != nil {
		if ctx.Err() == nil {
			c.log.Error("cursor cannot be moved", "error", err)
		}
		return false
	}
	c.cursor = c.done
	return true
}
