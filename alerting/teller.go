package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/alertmanager/dispatch"

	"github.com/belaydev/belay"
)

type routeOf = dispatch.Route

// deliverGroup is the Delivery.Kind of a group. Its Key is the group's id, its
// Ref an entry.
const deliverGroup = "group"

// A teller takes groups to one destination. Of each group only the newest state
// waits.
type teller struct {
	Destination
	groups *Groups
	wake   chan struct{}

	pending map[string]*job // guarded by groups.mu, as is what follows
	order   []string
}

// A job is one group to be told.
type job struct {
	id    string
	at    time.Time
	group Group
	entry entry // what is known once it is told
}

func newTeller(g *Groups, d Destination) *teller {
	return &teller{Destination: d, groups: g, wake: make(chan struct{}, 1), pending: map[string]*job{}}
}

// add queues a job in place of an older one of the same group. The caller holds
// groups.mu.
func (t *teller) add(j *job) {
	if _, waits := t.pending[j.id]; !waits {
		t.order = append(t.order, j.id)
	}
	t.pending[j.id] = j
	poke(t.wake)
}

func (t *teller) run(ctx context.Context) {
	for {
		j := t.head()
		if j == nil {
			select {
			case <-ctx.Done():
				return
			case <-t.wake:
			}
			continue
		}
		if !t.tell(ctx, j) {
			return
		}
	}
}

func (t *teller) head() *job {
	t.groups.mu.Lock()
	defer t.groups.mu.Unlock()
	if len(t.order) == 0 {
		return nil
	}
	return t.pending[t.order[0]]
}

// tell tries until the group is told, can never be, or a newer state of it has
// taken its place. It returns false when ctx has ended.
func (t *teller) tell(ctx context.Context, j *job) bool {
	for try := 1; ; try++ {
		if t.moot(j) {
			t.drop(j)
			return true
		}
		m, e := t.message(ctx, j)
		ref, err := t.attempt(ctx, m)
		switch {
		case err == nil || errors.Is(err, ErrUnchanged):
			if ref != "" {
				e.Ref = ref
			}
			e.At = j.at
			t.done(ctx, j, e, success(m.Retry), nil)
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, ErrPermanent):
			t.groups.opts.Logger.Error("alerts cannot be delivered", "destination", t.Name, "group", j.group.Key, "error", err)
			e.At = j.at
			t.done(ctx, j, e, resultDead, err)
			return true
		}
		t.groups.opts.Logger.Warn("alerts are not delivered yet", "destination", t.Name, "group", j.group.Key, "try", try, "error", err)
		t.count(resultRetry)
		if !pause(ctx, backoff(try, err)) {
			return false
		}
		if newer := t.newer(j); newer != nil {
			j = newer
		}
	}
}

// moot says that a job tells only of the end of alerts that nobody heard of.
func (t *teller) moot(j *job) bool {
	t.groups.mu.Lock()
	defer t.groups.mu.Unlock()
	was := t.groups.entries[t.Name+"\n"+j.id]
	return len(j.entry.Firing) == 0 && (was == nil || len(was.Firing) == 0 && !was.begun)
}

// drop forgets a job, unless another has taken its place.
func (t *teller) drop(j *job) {
	t.groups.mu.Lock()
	defer t.groups.mu.Unlock()
	if t.pending[j.id] == j {
		delete(t.pending, j.id)
		t.order = slices.DeleteFunc(t.order, func(id string) bool { return id == j.id })
	}
}

func (t *teller) newer(j *job) *job {
	t.groups.mu.Lock()
	defer t.groups.mu.Unlock()
	if p := t.pending[j.id]; p != j {
		return p
	}
	return nil
}

// message makes the message for a job. A channel whose messages are edited is
// shown the same one until all alerts have ended; that the first of it is about
// to be sent is journalled, so that after a crash it is looked for.
func (t *teller) message(ctx context.Context, j *job) (Message, entry) {
	e := j.entry
	_, threadless := t.Notifier.(Threadless)
	t.groups.mu.Lock()
	was := t.groups.entries[t.Name+"\n"+j.id]
	retry := false
	switch {
	case was != nil && was.begun:
		e.Message, e.Ref, retry = was.Message, was.Ref, true
	case was != nil && len(was.Firing) > 0:
		e.Message, e.Ref = was.Message, was.Ref
	default:
		e.Message = j.group.Key + "/" + strconv.FormatInt(j.at.UnixNano(), 36)
	}
	t.groups.mu.Unlock()
	g := j.group
	if !t.SendResolved {
		g.Alerts = slices.DeleteFunc(slices.Clone(g.Alerts), func(a belay.Alert) bool { return a.State != belay.AlertFiring })
	}
	m := g.message(e.Message, t.groups.opts.Now().UTC())
	m.Ref, m.Retry = e.Ref, retry
	if !threadless && e.Ref == "" && !retry {
		t.begin(ctx, j, e)
	}
	return m, e
}

func (t *teller) begin(ctx context.Context, j *job, e entry) {
	e.Firing, e.Resolved = nil, nil
	t.record(ctx, j, e, resultBegun, nil)
	e.begun = true
	t.groups.mu.Lock()
	defer t.groups.mu.Unlock()
	if was := t.groups.entries[t.Name+"\n"+j.id]; was != nil {
		e.Firing, e.Resolved, e.At = was.Firing, was.Resolved, was.At
	}
	t.groups.entries[t.Name+"\n"+j.id] = &e
}

// attempt is one call of the notifier. Where the end of alerts is not told and
// nothing else is left, there is nothing to send.
func (t *teller) attempt(ctx context.Context, m Message) (string, error) {
	if len(m.Group.Alerts) == 0 {
		return "", ErrUnchanged
	}
	ctx, cancel := context.WithTimeout(ctx, t.groups.opts.Attempt)
	defer cancel()
	return t.Notifier.Notify(ctx, m)
}

// done notes what was told. The next look at the group asks the note.
func (t *teller) done(ctx context.Context, j *job, e entry, result string, err error) {
	t.record(ctx, j, e, result, err)
	t.count(result)
	t.groups.mu.Lock()
	t.groups.entries[t.Name+"\n"+j.id] = &e
	t.groups.mu.Unlock()
	t.drop(j)
}

func (t *teller) count(result string) {
	t.groups.opts.Metrics.Counter("belay_notifications_total", "Attempts to put a message before people, by receiver and result.",
		"receiver", t.Name, "result", result).Inc()
}

// record journals a delivery. A journal that does not take it makes the group
// be told again after a restart, which is better than not at all.
func (t *teller) record(ctx context.Context, j *job, e entry, result string, err error) {
	d := belay.Delivery{Destination: t.Name, Key: j.id, Kind: deliverGroup, Result: result, Ref: e.text()}
	reason := fmt.Sprintf("%s: %s, %d alerts: %s", t.Name, cut(j.group.Key, 200), len(j.group.Alerts), result)
	if err != nil {
		d.Detail = cut(err.Error(), 500)
		reason += ": " + d.Detail
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	ev := belay.Event{At: t.groups.opts.Now().UTC(), Kind: belay.KindDelivery, Reason: reason, Delivery: &d}
	if _, err := t.groups.opts.Journal.Append(ctx, "delivery/"+t.Name, belay.AnySeq, ev); err != nil {
		t.groups.opts.Logger.Error("delivery cannot be journalled", "destination", t.Name, "error", err)
	}
}
