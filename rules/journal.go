package rules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// A memory is what the journal says of one rule.
type memory struct {
	end    belay.Seq // of the rule's stream
	alerts []belay.Alert
	lost   bool // lost sight of, and not found again
	flaps  map[string]*flaps
}

func (m *memory) fold(ev belay.Event) {
	m.end = ev.Pos
	switch {
	case ev.Kind == belay.KindLostSight:
		m.lost = true
	case ev.Kind == belay.KindFoundSight:
		m.lost = false
	case ev.Kind == belay.KindAlert && ev.Alert != nil:
		a := *ev.Alert
		m.flap(a, ev.At)
		i := slices.IndexFunc(m.alerts, func(b belay.Alert) bool { return b.ID == a.ID })
		switch {
		case a.State == belay.AlertInactive && i >= 0:
			m.alerts = slices.Delete(m.alerts, i, i+1)
		case a.State == belay.AlertInactive:
		case i >= 0:
			m.alerts[i] = a
		default:
			m.alerts = append(m.alerts, a)
		}
	}
}

// remember folds the streams of rules, all of them or one.
func remember(ctx context.Context, j belay.Journal, only string) (map[string]*memory, error) {
	found := map[string]*memory{}
	for ev, err := range j.Read(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("read the journal: %w", err)
		}
		if !strings.HasPrefix(ev.Stream, streamPrefix) || (only != "" && ev.Stream != only) {
			continue
		}
		m := found[ev.Stream]
		if m == nil {
			m = &memory{}
			found[ev.Stream] = m
		}
		m.fold(ev)
	}
	return found, nil
}

// journal makes transitions durable. The rule's alerts may be taken over only
// when it returns nil.
func (g *group) journal(ctx context.Context, st *ruleState, changed []Transition, now time.Time) error {
	if len(changed) == 0 {
		return nil
	}
	events := make([]belay.Event, len(changed))
	for i := range changed {
		events[i] = belay.Event{At: now, Kind: belay.KindAlert, Reason: changed[i].Reason, Alert: &changed[i].Alert}
	}
	err := g.append(ctx, st, events)
	if err == nil || errors.Is(err, belay.ErrConflict) || ctx.Err() != nil {
		return err
	}
	if g.e.options().OnJournalError != nil {
		for _, t := range changed {
			g.e.options().OnJournalError(err, t.Alert)
		}
	}
	return err
}

// append writes to the rule's stream. When another writer was there first, it
// takes over what that one wrote and returns ErrConflict, so that the next
// evaluation decides again.
func (g *group) append(ctx context.Context, st *ruleState, events []belay.Event) error {
	stream := st.rule.Stream()
	end, err := g.e.options().Journal.Append(ctx, stream, st.end, events...)
	if errors.Is(err, belay.ErrConflict) {
		all, readErr := remember(ctx, g.e.options().Journal, stream)
		if readErr != nil {
			return fmt.Errorf("read again what another wrote: %w", readErr)
		}
		if m := all[stream]; m != nil {
			g.locked(func() { st.take(m, events[0].At) })
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("journal %d events of rule %q: %w", len(events), st.rule.Name, err)
	}
	st.end = end
	return nil
}

// forget resolves the alerts of rules that are no longer in the files. It
// returns those streams that could not be written.
func (e *Engine) forget(ctx context.Context, orphans map[string]*memory, now time.Time) map[string]*memory {
	left := map[string]*memory{}
	for stream, m := range orphans {
		if e.plan.Load().has(stream) {
			continue // it has come back meanwhile
		}
		var events []belay.Event
		for _, a := range m.alerts {
			a.State, a.ResolvedAt, a.EvaluatedAt, a.Verdict = belay.AlertInactive, now, now, belay.Absent
			events = append(events, belay.Event{At: now, Kind: belay.KindAlert, Reason: "its rule is no longer in the rule files", Alert: &a})
		}
		if len(events) == 0 {
			continue
		}
		if _, err := e.options().Journal.Append(ctx, stream, m.end, events...); err != nil {
			e.log.Warn("alerts of a rule that is gone could not be resolved", "stream", stream, "error", err)
			if all, readErr := remember(ctx, e.options().Journal, stream); readErr == nil && all[stream] != nil {
				m = all[stream]
			}
			left[stream] = m
		}
	}
	return left
}

// lostAfter is how long a rule may be unknown before people are told.
const lostAfter = time.Hour

// sight journals, once, that a rule has been unknown for an hour, and that it
// is no longer.
func (g *group) sight(ctx context.Context, st *ruleState, quality Quality, why string, now time.Time) {
	var ev belay.Event
	switch {
	case quality != Unknown && st.lost:
		ev = belay.Event{Kind: belay.KindFoundSight, Reason: fmt.Sprintf("rule %q can be judged again", st.rule.Name)}
	case quality == Unknown && !st.lost && !st.unknownSince.IsZero() && now.Sub(st.unknownSince) >= lostAfter:
		ev = belay.Event{Kind: belay.KindLostSight, Reason: fmt.Sprintf("rule %q has been unknown for %s: %s",
			st.rule.Name, now.Sub(st.unknownSince).Round(time.Minute), why)}
	default:
		return
	}
	subject := st.rule.subject()
	subject.EvaluatedAt = now
	ev.At, ev.Alert = now, &subject
	if err := g.append(ctx, st, []belay.Event{ev}); err != nil {
		g.e.log.Warn("sight of a rule could not be journalled", "rule", st.rule.Name, "error", err)
		return
	}
	st.lost = ev.Kind == belay.KindLostSight
}
