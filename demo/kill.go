package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command/releases"
)

// A moment is a stretch of an incident's life in which Belay is killed.
type moment struct {
	name    string
	reached func(w *watcher) bool
	spread  func(t tempo) time.Duration // killed at random within this after reached
	sharp   bool                        // looked for every millisecond once the countdown is over, to be there at once
	asks    bool                        // and Belay must be asked to know
}

// moments are all stretches of a life, in their order.
var moments = []moment{
	{name: "starting", reached: func(*watcher) bool { return true }, spread: fixedSpread(800 * time.Millisecond)},
	{name: "soaking", reached: func(w *watcher) bool { return w.next > 0 }, spread: func(t tempo) time.Duration { return t.Soak }},
	{name: "pending", reached: func(w *watcher) bool { return !w.Fault.IsZero() }, spread: func(t tempo) time.Duration { return t.For + t.Scrape }},
	{name: "alerting", reached: func(w *watcher) bool { return !w.AlertAt.IsZero() }, spread: fixedSpread(150 * time.Millisecond)},
	{name: "incident open", reached: func(w *watcher) bool { return w.Incident.ID != "" }, spread: fixedSpread(400 * time.Millisecond)},
	{name: "countdown", reached: func(w *watcher) bool { return !w.Rollback.VetoUntil.IsZero() }, spread: func(t tempo) time.Duration { return t.Veto }},
	{name: "deciding again", reached: func(w *watcher) bool { return w.vetoOver(0) }, spread: fixedSpread(600 * time.Millisecond)},
	{name: "intended", reached: func(w *watcher) bool { return !w.Rollback.IntentAt.IsZero() }, spread: fixedSpread(150 * time.Millisecond), sharp: true, asks: true},
	{name: "changed", reached: func(w *watcher) bool { return w.vetoOver(50*time.Millisecond) && w.changed() }, spread: fixedSpread(12 * time.Millisecond), sharp: true},
	{name: "converging", reached: func(w *watcher) bool { return !w.Change.At.IsZero() }, spread: fixedSpread(time.Second)},
	{name: "proving", reached: func(w *watcher) bool { return !w.Rollback.ConvergedAt.IsZero() }, spread: func(t tempo) time.Duration { return 3*t.Scrape + t.RecoveryHold }},
	{name: "closing", reached: func(w *watcher) bool { return w.over() }, spread: fixedSpread(300 * time.Millisecond)},
}

// over says whether the rollback has proved itself, or the incident has ended.
func (w *watcher) over() bool {
	return w.Rollback.State == belay.RollbackRecovered || w.Incident.State == belay.Resolved
}

func fixedSpread(d time.Duration) func(tempo) time.Duration {
	return func(tempo) time.Duration { return d }
}

// vetoOver says whether the countdown is over, or will be within early.
func (w *watcher) vetoOver(early time.Duration) bool {
	return !w.Rollback.VetoUntil.IsZero() && time.Now().After(w.Rollback.VetoUntil.Add(-early))
}

// changed asks the platform's log itself whether an operation changed the
// content.
func (w *watcher) changed() bool {
	changes, err := w.scene.platform.Changes()
	return err == nil && count(changes, byOperation) > 0
}

// A kill is planned before its round begins, so that a seed gives the same plan.
type kill struct {
	moment moment
	delay  time.Duration // after the moment was reached
	again  time.Duration // once more so long after the restart; 0 is not
	fault  Fault
}

func (k kill) String() string {
	s := fmt.Sprintf("%s +%s", k.moment.name, k.delay.Round(time.Millisecond))
	if k.again > 0 {
		s += ", again +" + k.again.Round(time.Millisecond).String()
	}
	if k.fault != FaultErrors {
		s += " (" + string(k.fault) + ")"
	}
	return s
}

// plan spreads the kills of n rounds over all moments, each about as often as
// any other, in random order.
func plan(n int, t tempo, random *rand.Rand) []kill {
	order := make([]int, 0, n+len(moments))
	for len(order) < n {
		order = append(order, random.Perm(len(moments))...)
	}
	kills := make([]kill, n)
	for i := range kills {
		m := moments[order[i]]
		kills[i] = kill{moment: m, delay: time.Duration(random.Int64N(int64(m.spread(t)))), fault: FaultErrors}
		if random.IntN(4) == 0 {
			kills[i].fault = FaultCrash
		}
		if random.IntN(3) == 0 {
			kills[i].again = time.Duration(random.Int64N(int64(2500*time.Millisecond))) + time.Millisecond
		}
	}
	return kills
}

// A killer carries out one kill while a watcher looks.
type killer struct {
	kill
	reached bool
	due     time.Time   // of the next kill, once reached
	at      []time.Time // of the kills so far
}

// done says whether all kills were carried out.
func (k *killer) done() bool {
	if k.again > 0 {
		return len(k.at) == 2
	}
	return len(k.at) == 1
}

// look is called after each look of the watcher; it kills and restarts when the
// moment has come. Whatever the moment, the end is late enough.
func (k *killer) look(ctx context.Context, w *watcher) error {
	if k.done() {
		return nil
	}
	if !k.reached {
		if k.moment.sharp && w.vetoOver(2*look) {
			k.waitSharply(ctx, w)
		}
		if !k.moment.reached(w) && !w.done() {
			return nil
		}
		k.reached, k.due = true, time.Now().Add(k.delay)
	}
	if left := time.Until(k.due); left > look {
		return nil
	} else if left > 0 {
		time.Sleep(left)
	}
	k.at = append(k.at, time.Now())
	w.scene.KillBelay()
	k.due = time.Now().Add(k.again)
	return w.scene.StartBelay(ctx)
}

// waitSharply looks for the moment without a pause, for two seconds at most.
func (k *killer) waitSharply(ctx context.Context, w *watcher) {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline) && !k.moment.reached(w); {
		if k.moment.asks {
			_ = w.look(ctx) // a Belay that does not answer is the next look's concern
		}
		time.Sleep(time.Millisecond)
	}
}

// found says what Belay was at when it was killed, by its own journal.
func (k *killer) found(w *witness) string {
	var at []string
	for _, t := range k.at {
		at = append(at, w.stateAt(t))
	}
	return strings.Join(at, ", ")
}

func byOperation(c releases.Change) bool {
	return !c.Repeat && c.By != releases.ByDeploy && c.By != releases.ByOutside
}

func count(changes []releases.Change, ok func(releases.Change) bool) (n int) {
	for _, c := range changes {
		if ok(c) {
			n++
		}
	}
	return n
}

// violations says what is wrong with a scene in which everything has ended, by
// the platform's log, by Slack and by the files alone.
func (s *scene) violations(w *witness) []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	changes, err := s.platform.Changes()
	if err != nil {
		say("the platform's log cannot be read: %v", err)
	}
	if n := count(changes, byOperation); n != 1 {
		say("%d content changes by operations, want 1", n)
	}
	if n := count(changes, func(c releases.Change) bool { return c.By == releases.ByDeploy }); n != 2 {
		say("%d deployments, want 2", n)
	}
	if n := count(changes, func(c releases.Change) bool { return c.By == releases.ByOutside }); n != 0 {
		say("%d content changes that nobody announced", n)
	}
	if n := len(changes); n > 0 && nameOf(changes[n-1].To) != goodVersion {
		say("%s runs at the end", nameOf(changes[n-1].To))
	}
	for _, name := range w.Review.Files {
		if info, err := os.Stat(s.dir.file(filepath.Join(reviewsDir, name))); err != nil || info.Size() == 0 {
			say("the review's file %s is missing or empty", name)
		}
	}
	posts := map[string]int{}
	for _, m := range s.slack.Parents() {
		posts[m.Key()]++
	}
	for key, n := range posts {
		if n > 1 {
			say("%d messages for %s", n, key)
		}
	}
	if len(posts) != len(w.Incidents) || len(w.Incidents) != 1 {
		say("%d incidents, %d told in Slack, want 1 each", len(w.Incidents), len(posts))
	}
	return bad
}

// repeats describes how often operations came again.
func (s *scene) repeats() string {
	changes, err := s.platform.Changes()
	n := count(changes, func(c releases.Change) bool { return c.Repeat })
	if err != nil || n == 0 {
		return ""
	}
	return fmt.Sprintf(", already applied ×%d", n)
}
