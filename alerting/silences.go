package alerting

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
)

// The reasons for which a silence is refused. Any other error means that it is
// not in the journal, and does not hold.
var (
	ErrUnknownSilence = errors.New("no silence has this id")
	ErrInvalidSilence = errors.New("this is no silence")
)

// Bounds of a silence.
const (
	silenceStream   = "silences"
	maxMatchers     = 100
	maxMatcher      = 4096
	silenceRemember = 120 * time.Hour // how long one that has ended is still shown
)

// Silences keeps what people do not want to be told. A silence is in the
// journal before it holds, so that none is lost, and several Belays on one
// journal have the same. It mutes the telling, nothing else.
type Silences struct {
	journal belay.Journal
	log     *slog.Logger
	now     func() time.Time

	mu   sync.Mutex
	at   belay.Seq
	pos  belay.Seq // end of the stream
	byID map[string]*silence
}

type silence struct {
	belay.Silence
	matchers amlabels.Matchers
}

// NewSilences returns Silences that have read nothing yet. log and now may be
// nil.
func NewSilences(j belay.Journal, log *slog.Logger, now func() time.Time) *Silences {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Silences{journal: j, log: log, now: now, byID: map[string]*silence{}}
}

// Load reads the journal up to its present end.
func (s *Silences) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catchUp(ctx)
}

// Run follows what others write, until ctx ends.
func (s *Silences) Run(ctx context.Context) error {
	if err := s.Load(ctx); ctx.Err() == nil && err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	s.mu.Lock()
	after := s.at
	s.mu.Unlock()
	follow(ctx, s.journal, after, s.log, func(ev belay.Event) {
		s.mu.Lock()
		s.apply(ev)
		s.mu.Unlock()
	})
	return nil
}

func (s *Silences) catchUp(ctx context.Context) error {
	for ev, err := range s.journal.Read(ctx, s.at) {
		if err != nil {
			return err
		}
		s.apply(ev)
	}
	return nil
}

func (s *Silences) apply(ev belay.Event) {
	if ev.Seq <= s.at {
		return
	}
	s.at = ev.Seq
	if ev.Kind != belay.KindSilence || ev.Silence == nil {
		return
	}
	s.pos = ev.Pos
	ms, err := parseMatchers(ev.Silence.Matchers)
	if err != nil { // written by a later version
		s.log.Error("a silence of the journal cannot be read", "id", ev.Silence.ID, "error", err)
		return
	}
	s.byID[ev.Silence.ID] = &silence{*ev.Silence, ms}
}

// Set writes a silence and returns its id. One with an id changes the silence
// of that id, in place where nothing of its past would change; otherwise the
// old one ends and a new one takes its place, as in Alertmanager. A start in
// the past is now.
func (s *Silences) Set(ctx context.Context, want belay.Silence) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range maxTries {
		if err := s.catchUp(ctx); err != nil {
			return "", fmt.Errorf("silence: %w", err)
		}
		events, err := s.change(want, s.now().UTC())
		if err != nil {
			return "", err
		}
		switch err := s.append(ctx, events); {
		case errors.Is(err, belay.ErrConflict):
			continue
		case err != nil:
			return "", fmt.Errorf("silence: %w", err)
		}
		return events[len(events)-1].Silence.ID, nil
	}
	return "", fmt.Errorf("silence: %w", belay.ErrConflict)
}

// change returns the events that make what is wanted so.
func (s *Silences) change(want belay.Silence, now time.Time) ([]belay.Event, error) {
	if want.StartsAt.IsZero() {
		want.StartsAt = now
	}
	ms, err := checkSilence(want, now)
	if err != nil {
		return nil, err
	}
	want.Matchers = texts(ms)
	want.UpdatedAt, want.StartsAt, want.EndsAt = now, want.StartsAt.UTC(), want.EndsAt.UTC()
	var events []belay.Event
	if want.ID != "" {
		old := s.byID[want.ID]
		switch {
		case old == nil:
			return nil, fmt.Errorf("silence %s: %w", cut(want.ID, 100), ErrUnknownSilence)
		case inPlace(old.Silence, want, now):
			return []belay.Event{silenceEvent(want, now, want.CreatedBy+" changed a silence of ")}, nil
		case old.State(now) != "expired":
			events = append(events, silenceEvent(endedAt(old.Silence, now), now, want.CreatedBy+" replaced a silence of "))
		}
	}
	if want.StartsAt.Before(now) {
		want.StartsAt = now
	}
	want.ID = newID()
	return append(events, silenceEvent(want, now, want.CreatedBy+" silenced ")), nil
}

// Expire ends a silence now. One that has ended stays as it is.
func (s *Silences) Expire(ctx context.Context, id, actor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range maxTries {
		if err := s.catchUp(ctx); err != nil {
			return fmt.Errorf("silence: %w", err)
		}
		now := s.now().UTC()
		old := s.byID[id]
		if old == nil {
			return fmt.Errorf("silence %s: %w", cut(id, 100), ErrUnknownSilence)
		}
		if old.State(now) == "expired" {
			return nil
		}
		who := actor
		if who == "" {
			who = "somebody"
		}
		ev := silenceEvent(endedAt(old.Silence, now), now, who+" ended a silence of ")
		ev.Actor = actor
		if err := s.append(ctx, []belay.Event{ev}); !errors.Is(err, belay.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("silence: %w", belay.ErrConflict)
}

func (s *Silences) append(ctx context.Context, events []belay.Event) error {
	if _, err := s.journal.Append(ctx, silenceStream, s.pos, events...); err != nil {
		return err
	}
	return s.catchUp(ctx)
}

// All returns every silence that holds, will hold, or ended not long ago:
// first those that hold, by their end, then those to come, by their start.
func (s *Silences) All() []belay.Silence {
	now := s.now()
	s.mu.Lock()
	var out []belay.Silence
	for _, sil := range s.byID {
		if now.Sub(sil.EndsAt) < silenceRemember {
			out = append(out, sil.Silence)
		}
	}
	s.mu.Unlock()
	order := map[string]int{"active": 0, "pending": 1, "expired": 2}
	slices.SortFunc(out, func(a, b belay.Silence) int {
		x, y := a.State(now), b.State(now)
		switch {
		case x != y:
			return order[x] - order[y]
		case x == "pending" && !a.StartsAt.Equal(b.StartsAt):
			return a.StartsAt.Compare(b.StartsAt)
		case x == "expired" && !a.EndsAt.Equal(b.EndsAt):
			return b.EndsAt.Compare(a.EndsAt)
		case !a.EndsAt.Equal(b.EndsAt):
			return a.EndsAt.Compare(b.EndsAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Muting returns the silences that hold now and match an alert, by id.
func (s *Silences) Muting(ls labels.Labels, now time.Time) []belay.Silence {
	return s.muting(labelSet(ls), now)
}

func (s *Silences) muting(ls model.LabelSet, now time.Time) []belay.Silence {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []belay.Silence
	for _, sil := range s.byID {
		if sil.State(now) == "active" && sil.matchers.Matches(ls) {
			out = append(out, sil.Silence)
		}
	}
	slices.SortFunc(out, func(a, b belay.Silence) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// inPlace says whether a silence may be changed without rewriting its past.
func inPlace(old, want belay.Silence, now time.Time) bool {
	if !slices.Equal(old.Matchers, want.Matchers) {
		return false
	}
	switch old.State(now) {
	case "active":
		return old.StartsAt.Unix() == want.StartsAt.Unix() && !want.EndsAt.Before(now)
	case "pending":
		return !want.StartsAt.Before(now)
	}
	return false
}

func endedAt(s belay.Silence, now time.Time) belay.Silence {
	if s.StartsAt.After(now) {
		s.StartsAt = now
	}
	s.EndsAt, s.UpdatedAt = now, now
	return s
}

func silenceEvent(s belay.Silence, now time.Time, did string) belay.Event {
	reason := cut(did, 200) + cut("{"+strings.Join(s.Matchers, ", ")+"}", 300)
	if s.EndsAt.After(now) {
		reason += " until " + Clock(s.EndsAt, now)
	}
	if s.Comment != "" {
		reason += ": " + cut(s.Comment, 300)
	}
	return belay.Event{At: now, Kind: belay.KindSilence, Reason: reason, Actor: s.CreatedBy, Silence: &s}
}

func checkSilence(s belay.Silence, now time.Time) (amlabels.Matchers, error) {
	bad := func(format string, args ...any) (amlabels.Matchers, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrInvalidSilence}, args...)...)
	}
	ms, err := parseMatchers(s.Matchers)
	switch {
	case err != nil:
		return bad("%w", err)
	case len(ms) == 0:
		return bad("it has no matcher")
	case len(ms) > maxMatchers:
		return bad("%d matchers are too many, at most %d", len(ms), maxMatchers)
	case !slices.ContainsFunc(ms, func(m *amlabels.Matcher) bool { return !m.Matches("") }):
		return bad("every matcher matches what has no such label; at least one must not, or it would mute everything")
	case !s.EndsAt.After(s.StartsAt):
		return bad("it ends at %s, before it starts", s.EndsAt.UTC().Format(time.RFC3339))
	case s.EndsAt.Before(now):
		return bad("it ended already, at %s", s.EndsAt.UTC().Format(time.RFC3339))
	}
	if _, err := words("comment", s.Comment, maxText); err != nil {
		return bad("%w", err)
	}
	if _, err := words("created_by", s.CreatedBy, maxActor); err != nil {
		return bad("%w", err)
	}
	return ms, nil
}

func parseMatchers(in []string) (amlabels.Matchers, error) {
	out := make(amlabels.Matchers, 0, len(in))
	for _, text := range in {
		if len(text) > maxMatcher {
			return nil, fmt.Errorf("a matcher of %d bytes is too long, at most %d", len(text), maxMatcher)
		}
		m, err := parse.Matcher(text)
		if err != nil {
			return nil, fmt.Errorf("matcher %s: %w", text, err)
		}
		if m.Name == "" {
			return nil, fmt.Errorf("matcher %s: the name of its label is empty", text)
		}
		out = append(out, m)
	}
	return out, nil
}

func texts(ms amlabels.Matchers) []string {
	out := make([]string, len(ms))
	for i, m := range ms {
		out[i] = m.String()
	}
	slices.Sort(out)
	return out
}

// newID returns a random UUID of version 4, as clients of Alertmanager expect.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
