package rollbacktest

import (
	"errors"
	"strings"
	"testing"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// The tests of this file are about telling things apart: a deployment from
// what only looks like one, Belay's own work from other people's, one reason
// for being stuck from another.

func (c *check) scaleIsNoDeployment() {
	content := c.deploy("v1", "a")
	c.noDeployment("a change of scale", content, func() { c.Scale(c, 2) })
}

func (c *check) labelIsNoDeployment() {
	content := c.deploy("v1", "a")
	c.noDeployment("an edited label", content, func() { c.EditLabel(c) })
}

// noDeployment checks that something which people do leaves content, time of
// change and history as they were.
func (c *check) noDeployment(what string, content belay.Content, do func()) {
	c.Helper()
	before := c.converged(content)
	changes := len(c.History(c))
	do()
	after := c.converged(content)
	if !after.ChangedAt.Equal(before.ChangedAt) {
		c.Errorf("after %s the content has changed at %s, want %s as before", what, after.ChangedAt, before.ChangedAt)
	}
	if after.Operation != before.Operation {
		c.Errorf("after %s the content was put there by %q, want %q as before", what, after.Operation, before.Operation)
	}
	if got := len(c.History(c)); got != changes {
		c.Errorf("%s made %d changes of content", what, got-changes)
	}
}

// knowsItsOwn: the mark of an operation is on what it put there, survives what
// is no deployment, and is gone with the next one.
func (c *check) knowsItsOwn() {
	good, bad := c.goodThenBad()
	if st := c.converged(bad); st.Operation != "" {
		c.Errorf("a person's deployment carries the operation %q", st.Operation)
	}
	op := c.operation("op-own", bad, good)
	if err := c.Platform.Restore(c.ctx, op); err != nil {
		c.Fatalf("Restore: %v", err)
	}
	if st := c.converged(good); st.Operation != op.ID {
		c.Errorf("Belay's rollback carries the operation %q, want %q", st.Operation, op.ID)
	}
	if c.Restart != nil {
		c.Restart(c)
		if st := c.converged(good); st.Operation != op.ID {
			c.Errorf("after a restart the rollback carries the operation %q, want %q", st.Operation, op.ID)
		}
	}
	if st := c.converged(c.deploy("v3", "c")); st.Operation != "" {
		c.Errorf("the deployment after the rollback carries the operation %q, want none", st.Operation)
	}
	if st := c.converged(c.deploy("v1", "a")); st.Operation != "" {
		c.Errorf("a person who deploys what Belay had restored is taken for operation %q", st.Operation)
	}
}

func (c *check) restoreKeepsScale() {
	good, bad := c.goodThenBad()
	c.Scale(c, 3) // an autoscaler, while the bad one runs
	c.converged(bad)
	if err := c.Platform.Restore(c.ctx, c.operation("op-scaled", bad, good)); err != nil {
		c.Fatalf("Restore: %v", err)
	}
	c.converged(good)
	if n := c.Instances(c); n != 3 {
		c.Errorf("after the rollback %d instances are asked for, want the 3 of the moment before", n)
	}
}

func (c *check) fought() {
	good, bad := c.goodThenBad()
	op := c.operation("op-fought", bad, good)
	if err := c.Platform.Restore(c.ctx, op); err != nil {
		c.Fatalf("Restore: %v", err)
	}
	c.converged(good)
	c.Reapply(c, "v2", "b")
	changes := len(c.History(c))
	st := c.state()
	if st.Revision.Content != bad {
		c.Fatalf("%s runs, want %s, which was put back", st.Revision.Content, bad)
	}
	if st.Operation != "" {
		c.Errorf("what was put back carries the operation %q: the fight cannot be seen", st.Operation)
	}
	for range 3 {
		if err := c.Platform.Restore(c.ctx, op); !errors.Is(err, belay.ErrSuperseded) {
			c.Errorf("Restore returned %v, want ErrSuperseded", err)
		}
	}
	c.changedBy(changes, op.ID, 0)
}

// honestCAS: a platform that says atomic refuses what was based on a reading
// that is no longer true. One that says checked or none has a race left, which
// its README names; what it must not do is say more than it keeps.
func (c *check) honestCAS() {
	if c.Race == nil {
		c.Skip("the harness cannot come between reading and writing")
	}
	good, bad := c.goodThenBad()
	op := c.operation("op-race", bad, good)
	var other belay.Content
	changes := 0
	err := c.Race(c.ctx, op, func() {
		other = c.deploy("v3", "c")
		changes = len(c.History(c))
	})
	if other == "" {
		c.Fatal("the harness did not come between reading and writing")
	}
	runs := c.state().Revision.Content
	switch cas := rollback.CapabilitiesOf(c.Platform).CAS; {
	case runs == other && errors.Is(err, belay.ErrSuperseded):
		c.changedBy(changes, op.ID, 0)
	case cas == rollback.Atomic:
		c.Errorf("it says atomic, but after a deployment between reading and writing Restore returned %v and %s runs, want ErrSuperseded and %s", err, runs, other)
	default:
		c.Logf("it says %s, and the race is there: Restore returned %v and %s runs", cas, err, runs)
	}
}

// racingDeployments has people deploy while operations run: whoever wins, the
// platform's own record shows each operation at most once, and on an atomic
// platform only in place of what it had seen.
func (c *check) racingDeployments() {
	atomic := rollback.CapabilitiesOf(c.Platform).CAS == rollback.Atomic
	good, bad := c.goodThenBad()
	changes := len(c.History(c))
	for _, id := range []string{"op-race-1", "op-race-2", "op-race-3"} {
		op := c.operation(id, bad, good)
		done := make(chan error, 1)
		go func() { done <- c.Platform.Restore(c.ctx, op) }()
		c.Deploy(c, "v3", "c")
		if err := <-done; err != nil && !errors.Is(err, belay.ErrSuperseded) && !errors.Is(err, rollback.ErrTryLater) {
			c.Errorf("Restore: %v", err)
		}
		c.deploy("v2", "b")
	}
	times := map[string]int{}
	for _, ch := range c.History(c)[changes:] {
		if !strings.HasPrefix(ch.By, "op-race-") {
			continue
		}
		if times[ch.By]++; times[ch.By] > 1 {
			c.Errorf("operation %s changed the content %d times", ch.By, times[ch.By])
		}
		if atomic && ch.From != bad {
			c.Errorf("operation %s replaced %s, but had seen %s", ch.By, ch.From, bad)
		}
	}
}

// breakages runs each way of being stuck on a harness of its own.
func breakages(t *testing.T, newHarness func(t *testing.T) Harness) {
	t.Helper()
	list := newHarness(t).Breakages
	if len(list) == 0 {
		t.Skip("the harness knows no reasons to be stuck")
	}
	for i, b := range list {
		t.Run(b.Name, func(t *testing.T) {
			c := newCheck(t, newHarness)
			b := c.Breakages[i]
			c.converged(c.deploy("v1", "a"))
			b.Deploy(c, "v2")
			c.eventually("the platform never said that it is stuck", func() (bool, belay.State) {
				st := c.state()
				return st.Progress == belay.Stuck, st
			})
			if st := c.state(); !strings.Contains(strings.ToLower(st.Reason), strings.ToLower(b.Says)) {
				c.Errorf("it is stuck because %q, want something with %q", st.Reason, b.Says)
			}
		})
	}
}
