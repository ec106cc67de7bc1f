package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belaydev/belay"
)

// look is how often a scene is looked at.
const look = 50 * time.Millisecond

// A watcher looks at a scene from outside, again and again, and tells what it
// sees.
type watcher struct {
	scene *scene
	witness
	tell  func(turn)   // each line worth telling, in order of time; nil for none
	after func() error // called after each look; nil for none
	next  belay.Seq    // newest event that was read
}

// until looks until ok says yes. It returns an error when ctx ends, when the
// time is over, when the loop can never close any more, or when something that
// must run has ended. A Belay that does not answer is waited for.
func (w *watcher) until(ctx context.Context, what string, limit time.Duration, ok func() bool) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		unread := w.look(ctx)
		if w.after != nil {
			if err := w.after(); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ok():
			return nil
		case w.hopeless() != "":
			return errors.New(w.hopeless())
		case time.Now().After(deadline) && unread != nil:
			return fmt.Errorf("%s: not within %s, and belay does not answer: %w", what, limit, unread)
		case time.Now().After(deadline):
			return fmt.Errorf("%s: not within %s", what, limit)
		}
		select {
		case err := <-w.scene.failed:
			return err
		case <-w.scene.belay.Ended():
			return w.scene.belay.Why()
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look takes in what can be seen now. It returns an error when Belay could not
// be asked; the rest is seen nevertheless.
func (w *watcher) look(ctx context.Context) error {
	o := observation{Stints: w.scene.load.Stints(), Parents: w.scene.slack.Parents()}
	changes, err := w.scene.platform.Changes()
	if err != nil {
		return err
	}
	o.Changes = changes
	o.Events, err = w.scene.api.Events(ctx, w.next)
	for _, e := range o.Events {
		w.next = max(w.next, e.Seq)
	}
	for _, t := range w.see(o) {
		w.scene.diary.Info("told", "seen_at", t.At, "who", t.Who, "text", t.Text)
		if w.tell != nil {
			w.tell(t)
		}
	}
	return err
}
