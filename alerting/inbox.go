package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/belaydev/belay"
)

// ErrInvalidAlert marks alerts that were sent in and that are none.
var ErrInvalidAlert = errors.New("not an alert")

const (
	inboxStream = "inbox"
	inboxPrefix = "in-"
	// ResolveTimeout is how long an alert fires that was sent in without an
	// end, where the configuration names nothing else.
	ResolveTimeout = 5 * time.Minute
)

// InboxOptions are what an Inbox may be given.
type InboxOptions struct {
	ResolveTimeout time.Duration    // 0 is the constant of that name
	Logger         *slog.Logger     // nil discards
	Now            func() time.Time // nil is time.Now
}

// An Inbox takes alerts that others have found: a Prometheus, amtool, a script.
// They carry the name of who sent them, and become alerts like Belay's own,
// except that Belay did not judge them. Each change is in the journal before it
// counts; that an alert was merely sent again is not.
type Inbox struct {
	journal belay.Journal
	opts    InboxOptions

	mu   sync.Mutex
	at   belay.Seq
	open map[string]*received // by alert ID; firing
	wake chan struct{}
}

type received struct {
	belay.Alert
	until time.Time // resolves by then unless it is sent again
}

// An Incoming is one alert as Alertmanager's API takes it. A zero time is one
// that was not given.
type Incoming struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	URL                 string
}

// NewInbox returns an Inbox that has read nothing yet.
func NewInbox(j belay.Journal, opts InboxOptions) *Inbox {
	if opts.ResolveTimeout <= 0 {
		opts.ResolveTimeout = ResolveTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Inbox{journal: j, opts: opts, open: map[string]*received{}, wake: make(chan struct{}, 1)}
}

// Load reads the journal up to its present end. What fired then is given as
// long to be sent again as if it had been sent just now.
func (in *Inbox) Load(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.catchUp(ctx)
}

func (in *Inbox) catchUp(ctx context.Context) error {
	now := in.opts.Now()
	for ev, err := range in.journal.Read(ctx, in.at) {
		if err != nil {
			return err
		}
		in.at = ev.Seq
		if ev.Kind != belay.KindAlert || ev.Alert == nil || ev.Stream != inboxStream {
			continue
		}
		if ev.Alert.State == belay.AlertFiring {
			in.open[ev.Alert.ID] = &received{*ev.Alert, now.Add(in.opts.ResolveTimeout)}
		} else {
			delete(in.open, ev.Alert.ID)
		}
	}
	return nil
}

// SetResolveTimeout changes how long an alert fires that is sent without an end
// from now on.
func (in *Inbox) SetResolveTimeout(d time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.opts.ResolveTimeout = d
}

// Run resolves alerts that nobody has sent again in time, until ctx ends.
func (in *Inbox) Run(ctx context.Context) error {
	wait := minBackoff
	for {
		next, err := in.expire(ctx)
		var again <-chan time.Time
		switch {
		case err != nil && ctx.Err() == nil:
			in.opts.Logger.Error("alerts that were sent in cannot be resolved", "error", err)
			again = time.After(wait)
			wait = min(2*wait, maxBackoff)
		case !next.IsZero():
			wait = minBackoff
			again = time.After(next.Sub(in.opts.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-in.wake:
		case <-again:
		}
	}
}

// expire ends what is over and returns when the next one will be.
func (in *Inbox) expire(ctx context.Context) (next time.Time, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.opts.Now().UTC()
	var events []belay.Event
	for _, id := range slices.Sorted(maps.Keys(in.open)) {
		r := in.open[id]
		if r.until.After(now) {
			if next.IsZero() || r.until.Before(next) {
				next = r.until
			}
			continue
		}
		events = append(events, sentEvent(endedBy(r.Alert, r.until.UTC(), now), now, r.Rule+" was not sent again by "+r.Source))
	}
	return next, in.write(ctx, events)
}

// Active returns the alerts that fire, by id.
func (in *Inbox) Active() []belay.Alert {
	in.mu.Lock()
	defer in.mu.Unlock()
	out := make([]belay.Alert, 0, len(in.open))
	for _, id := range slices.Sorted(maps.Keys(in.open)) {
		out = append(out, in.open[id].Alert)
	}
	return out
}

// Until returns when an alert ends unless it is sent again, zero for others.
func (in *Inbox) Until(id string) time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	if r := in.open[id]; r != nil {
		return r.until
	}
	return time.Time{}
}

// Post takes what somebody has sent. Those that are alerts count even where
// others are not; the error then Is ErrInvalidAlert and says what is wrong with
// each. Any other error means that nothing was journalled, and nothing counts.
func (in *Inbox) Post(ctx context.Context, alerts []Incoming, source string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.catchUp(ctx); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	now := in.opts.Now().UTC()
	var (
		events []belay.Event
		bad    []error
		again  = map[string]received{}
	)
	for _, sent := range alerts {
		a, until, err := in.read(sent, source, now)
		if err != nil {
			bad = append(bad, fmt.Errorf("%w: %w", ErrInvalidAlert, err))
			continue
		}
		if ev, ok := in.change(a, now); ok {
			events = append(events, ev)
		}
		if a.State == belay.AlertFiring {
			again[a.ID] = received{a, until}
		}
	}
	if err := in.write(ctx, events); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	for id, r := range again {
		if open := in.open[id]; open != nil {
			open.until, open.EvaluatedAt, open.DataAt = r.until, now, now
			open.Failed = min(open.Failed+1, 100)
		}
	}
	poke(in.wake)
	return errors.Join(bad...)
}

func (in *Inbox) write(ctx context.Context, events []belay.Event) error {
	if len(events) == 0 {
		return nil
	}
	if _, err := in.journal.Append(ctx, inboxStream, belay.AnySeq, events...); err != nil {
		return err
	}
	return in.catchUp(ctx)
}

// read makes an alert of what was sent, with Alertmanager's own rules for
// times that were not given.
func (in *Inbox) read(sent Incoming, source string, now time.Time) (a belay.Alert, until time.Time, err error) {
	checked := amalert.Alert{Alert: model.Alert{
		Labels: withoutEmpty(sent.Labels), Annotations: withoutEmpty(sent.Annotations), StartsAt: sent.StartsAt, EndsAt: sent.EndsAt,
	}}
	if checked.StartsAt.IsZero() {
		checked.StartsAt = now
		if !checked.EndsAt.IsZero() && checked.EndsAt.Before(now) {
			checked.StartsAt = checked.EndsAt
		}
	}
	if checked.EndsAt.IsZero() {
		checked.EndsAt = now.Add(in.opts.ResolveTimeout)
	}
	if err := checked.Validate(); err != nil {
		return a, until, err
	}
	if u, err := url.Parse(sent.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		sent.URL = ""
	}
	a = belay.Alert{
		ID: inboxPrefix + checked.Labels.Fingerprint().String(), Rule: string(checked.Labels[model.AlertNameLabel]),
		Labels: plain(checked.Labels), Annotations: map[string]string{}, State: belay.AlertFiring, Verdict: belay.Fail,
		ActiveAt: checked.StartsAt.UTC(), FiredAt: checked.StartsAt.UTC(), EvaluatedAt: now, DataAt: now, Failed: 1,
		Source: source, URL: cut(sent.URL, 4096),
	}
	if a.Rule == "" {
		a.Rule = "alert without a name"
	}
	for name, value := range checked.Annotations {
		a.Annotations[string(name)] = string(value)
	}
	if !checked.EndsAt.After(now) {
		return endedBy(a, checked.EndsAt.UTC(), now), checked.EndsAt, nil
	}
	return a, checked.EndsAt, nil
}

// change returns the event for what is new in an alert, if anything is.
func (in *Inbox) change(a belay.Alert, now time.Time) (belay.Event, bool) {
	was := in.open[a.ID]
	switch {
	case was == nil && a.State == belay.AlertFiring:
		return sentEvent(a, now, a.Rule+" fires, says "+a.Source), true
	case was == nil:
		return belay.Event{}, false
	case a.State != belay.AlertFiring:
		a.ActiveAt, a.FiredAt = was.ActiveAt, was.FiredAt
		return sentEvent(a, now, a.Rule+" has ended, says "+a.Source), true
	}
	if was.ActiveAt.Before(a.ActiveAt) {
		a.ActiveAt, a.FiredAt = was.ActiveAt, was.FiredAt
	}
	if maps.Equal(a.Annotations, was.Annotations) && a.ActiveAt.Equal(was.ActiveAt) && a.URL == was.URL {
		return belay.Event{}, false
	}
	return sentEvent(a, now, a.Rule+" has changed, says "+a.Source), true
}

func endedBy(a belay.Alert, at, now time.Time) belay.Alert {
	a.State, a.ResolvedAt, a.EvaluatedAt, a.Verdict = belay.AlertInactive, at, now, belay.Pass
	return a
}

func sentEvent(a belay.Alert, now time.Time, reason string) belay.Event {
	return belay.Event{At: now, Kind: belay.KindAlert, Reason: cut(reason, 500), Alert: &a}
}

func withoutEmpty(in map[string]string) model.LabelSet {
	out := model.LabelSet{}
	for name, value := range in {
		if value = strings.ToValidUTF8(value, "�"); value != "" {
			out[model.LabelName(name)] = model.LabelValue(value)
		}
	}
	return out
}
