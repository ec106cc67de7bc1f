package rollbacktest

import (
	"context"
	"sync"
	"time"

	"github.com/belaydev/belay"
)

// goodThenBad deploys two releases and returns their contents; the second runs.
func (c *check) goodThenBad() (good, bad belay.Content) {
	c.Helper()
	good = c.deploy("v1", "a")
	bad = c.deploy("v2", "b")
	return good, bad
}

func (c *check) deploy(name, body string) belay.Content {
	c.Helper()
	c.Deploy(c, name, body)
	return c.state().Revision.Content
}

func (c *check) state() belay.State {
	c.Helper()
	st, err := c.Platform.State(c.ctx, c.Target)
	if err != nil {
		c.Fatalf("State: %v", err)
	}
	if st.Revision.Content == "" {
		c.Fatal("State returned no content")
	}
	return st
}

func (c *check) revisions() []belay.Revision {
	c.Helper()
	revs, err := c.Platform.Revisions(c.ctx, c.Target)
	if err != nil {
		c.Fatalf("Revisions: %v", err)
	}
	return revs
}

func (c *check) operation(id string, seen, to belay.Content) belay.Operation {
	c.Helper()
	op := belay.Operation{ID: id, Target: c.Target, Seen: seen, To: belay.Revision{Content: to}, Token: c.state().Token}
	for _, r := range c.revisions() {
		if r.Content == to {
			op.To = r
		}
	}
	return op
}

func (c *check) together(ops ...belay.Operation) []error {
	errs := make([]error, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() { errs[i] = c.Platform.Restore(c.ctx, op) })
	}
	wg.Wait()
	return errs
}

// changedBy checks the platform's own record since a number of changes.
func (c *check) changedBy(since int, op string, want int) {
	c.Helper()
	news := c.History(c)[since:]
	if len(news) != want {
		c.Errorf("%d changes of content, want %d: %v", len(news), want, news)
	}
	for _, n := range news {
		if n.By != op {
			c.Errorf("the change was made by %q, want %q", n.By, op)
		}
	}
}

func (c *check) converged(content belay.Content) belay.State {
	c.Helper()
	var last belay.State
	c.eventually("the target did not converge", func() (bool, belay.State) {
		last = c.state()
		return last.Progress == belay.Converged && last.Revision.Content == content, last
	})
	return last
}

func (c *check) eventually(otherwise string, ok func() (bool, belay.State)) {
	c.Helper()
	deadline := time.Now().Add(c.Wait)
	for {
		done, st := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s within %s: %+v", otherwise, c.Wait, st)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *check) next(ctx context.Context, states <-chan belay.State) belay.State {
	c.Helper()
	select {
	case s := <-states:
		return s
	case <-ctx.Done():
		c.Fatalf("Watch told nothing within %s", c.Wait)
		return belay.State{}
	}
}
