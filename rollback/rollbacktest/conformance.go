package rollbacktest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// A Harness is a platform under test and the hands that people have on it. A
// function that is nil is something that the platform cannot do; the tests
// that need it are skipped.
type Harness struct {
	Platform rollback.Platform
	Target   belay.Target

	// Deploy puts a release in place by the platform's own means. The body
	// alone makes the content: the same body under another name is the same
	// content.
	Deploy func(t testing.TB, name, body string)
	// DeployBroken puts a release in place that never converges.
	DeployBroken func(t testing.TB, name string)
	// Breakages are the ways in which a release can be stuck here, each to be
	// told apart by the platform's own words.
	Breakages []Breakage
	// Restart starts the present content anew.
	Restart func(t testing.TB)
	// Scale runs so many instances of the present content. Instances returns
	// how many the platform is asked to run.
	Scale     func(t testing.TB, n int)
	Instances func(t testing.TB) int
	// EditLabel changes something about the target that is not what runs: a
	// label or an annotation of its own, a comment, a note.
	EditLabel func(t testing.TB)
	// Reapply puts an earlier release back as a controller does that does not
	// know of rollbacks. Default: Deploy.
	Reapply func(t testing.TB, name, body string)
	// Remove makes a release that does not run impossible to restore.
	Remove func(t testing.TB, name string)
	// RestoreLost restores so that the operation is applied and its answer is
	// lost.
	RestoreLost func(ctx context.Context, op belay.Operation) error
	// Race restores, and calls meanwhile after the platform's adapter has read
	// what runs and before it writes.
	Race func(ctx context.Context, op belay.Operation, meanwhile func()) error
	// History returns the changes of content by the platform's own record,
	// oldest first. By is an operation's id where the platform keeps it, and
	// never the id of an operation that did not make the change.
	History func(t testing.TB) []Change

	// Wait is how long the platform may take to converge, or to be seen to be
	// stuck; default 10 s.
	Wait time.Duration
}

// A Breakage is one way in which a release can be stuck.
type Breakage struct {
	Name   string                          // in the field's words: image pull, crash loop, unschedulable, quota
	Deploy func(t testing.TB, name string) // puts such a release in place
	Says   string                          // what the reason must contain, in any case
}

// RunConformance proves that a platform keeps the contract of
// rollback.Platform. Each test gets a harness of its own, on which nothing was
// deployed yet. A test of something that the platform does not have, such as a
// scale, is left out and said to be.
func RunConformance(t *testing.T, newHarness func(t *testing.T) Harness) {
	first := newHarness(t)
	for _, tc := range suite() {
		if tc.absent != nil {
			if why := tc.absent(first); why != "" {
				t.Logf("left out: %s: %s", tc.name, why)
				continue
			}
		}
		t.Run(tc.name, func(t *testing.T) {
			if tc.run == nil {
				breakages(t, newHarness)
				return
			}
			tc.run(newCheck(t, newHarness))
		})
	}
}

// Names returns the names of the suite's tests, in their order.
func Names() []string {
	var out []string
	for _, tc := range suite() {
		out = append(out, tc.name)
	}
	return out
}

type conformance struct {
	name   string
	run    func(*check)
	absent func(Harness) string // why the platform has nothing to test here, "" when it has; nil: every platform has
}

func noRestart(h Harness) string {
	if h.Restart == nil {
		return "the platform knows no restart"
	}
	return ""
}

func noScale(h Harness) string {
	if h.Scale == nil || h.Instances == nil {
		return "the platform knows no scale"
	}
	return ""
}

func noLabels(h Harness) string {
	if h.EditLabel == nil {
		return "the platform knows no labels"
	}
	return ""
}

func noStamps(h Harness) string {
	if !rollback.CapabilitiesOf(h.Platform).Stamped {
		return "the platform keeps no mark of who changed it, and says so"
	}
	return ""
}

func suite() []conformance {
	return []conformance{
		{"it declares its compare-and-set", (*check).declaresCAS, nil},
		{"content is what runs, not what it is called", (*check).contentIsIdentity, nil},
		{"it sees a deployment", (*check).seesDeployment, nil},
		{"a restart is no deployment", (*check).restartIsNoDeployment, noRestart},
		{"a change of scale is no deployment", (*check).scaleIsNoDeployment, noScale},
		{"an edited label is no deployment", (*check).labelIsNoDeployment, noLabels},
		{"its own rollback is told from a deployment", (*check).knowsItsOwn, noStamps},
		{"it restores a known content", (*check).restores, nil},
		{"a rollback leaves the scale as it is", (*check).restoreKeepsScale, noScale},
		{"it refuses when something else runs, and changes nothing", (*check).refusesSuperseded, nil},
		{"the same operation twice is one change", (*check).twiceIsOnce, nil},
		{"the same operation from two callers at once is one change", (*check).concurrentTwiceIsOnce, nil},
		{"an operation is spent even when the bad content comes back", (*check).spentForEver, nil},
		{"who puts the bad content back is seen, and not fought", (*check).fought, nil},
		{"nothing is changed that moved on between reading and writing", (*check).honestCAS, nil},
		{"deployments and operations that race are each seen for what they are", (*check).racingDeployments, nil},
		{"of two operations that have seen the same, one wins", (*check).oneWins, nil},
		{"an operation whose answer was lost can be repeated", (*check).lostAnswer, nil},
		{"it says that it is stuck, and why", (*check).stuck, nil},
		{"it names what it is stuck on", nil, nil}, // see breakages
		{"a revision that has vanished is reported, and nothing is changed", (*check).vanished, nil},
		{"it ends soon after its context has ended", (*check).endsWithContext, nil},
	}
}

func newCheck(t *testing.T, newHarness func(t *testing.T) Harness) *check {
	t.Helper()
	h := newHarness(t)
	if h.Wait == 0 {
		h.Wait = 10 * time.Second
	}
	if h.Reapply == nil {
		h.Reapply = h.Deploy
	}
	return &check{TB: t, Harness: h, ctx: t.Context()}
}

// A check is one test's harness with the words that tests are told in.
type check struct {
	testing.TB
	Harness
	ctx context.Context
}

func (c *check) declaresCAS() {
	capable, ok := c.Platform.(rollback.Capable)
	if !ok {
		c.Fatal("the platform declares nothing: it needs the method Capabilities")
	}
	if cas := capable.Capabilities().CAS; !slices.Contains([]rollback.CAS{rollback.Atomic, rollback.Checked, rollback.None}, cas) {
		c.Errorf("CAS is %q, which is not one of atomic, checked, none", cas)
	}
}

func (c *check) contentIsIdentity() {
	a := c.deploy("v1", "a")
	b := c.deploy("v2", "b")
	again := c.deploy("v3", "a")
	if a == b {
		c.Errorf("two bodies have the same content %s", a)
	}
	if a != again {
		c.Errorf("the same body has the content %s as v1 and %s as v3", a, again)
	}
	seen := 0
	for _, r := range c.revisions() {
		if r.Content == a {
			seen++
		}
	}
	if seen != 1 {
		c.Errorf("Revisions names the content of v1 and v3 %d times, want once", seen)
	}
}

func (c *check) seesDeployment() {
	before := c.deploy("v1", "a")
	c.converged(before)
	ctx, stop := context.WithTimeout(c.ctx, c.Wait)
	defer stop()
	states := make(chan belay.State, 1000)
	done := make(chan error, 1)
	go func() { done <- c.Platform.Watch(ctx, c.Target, func(s belay.State) { states <- s }) }()
	if first := c.next(ctx, states); first.Revision.Content != before {
		c.Fatalf("Watch begins with %s, want what runs: %s", first.Revision.Content, before)
	}
	was := c.state().ChangedAt
	after := c.deploy("v2", "b")
	for {
		s := c.next(ctx, states)
		if s.Revision.Content == before {
			continue
		}
		if s.Revision.Content != after {
			c.Errorf("Watch tells of %s, want %s", s.Revision.Content, after)
		}
		if !s.ChangedAt.After(was) {
			c.Errorf("the content changed at %s, want later than the change before, %s", s.ChangedAt, was)
		}
		if s.Operation != "" {
			c.Errorf("a person's deployment carries the operation %q", s.Operation)
		}
		if s.Target != c.Target {
			c.Errorf("the state is of %v, want %v", s.Target, c.Target)
		}
		break
	}
	stop()
	if err := <-done; err != nil {
		c.Errorf("Watch returned %v after its context had ended, want nil", err)
	}
}

func (c *check) restartIsNoDeployment() {
	content := c.deploy("v1", "a")
	before := c.converged(content)
	changes := len(c.History(c))
	c.Restart(c)
	after := c.converged(content)
	if !after.ChangedAt.Equal(before.ChangedAt) {
		c.Errorf("after a restart the content has changed at %s, want %s as before", after.ChangedAt, before.ChangedAt)
	}
	if got := len(c.History(c)); got != changes {
		c.Errorf("a restart made %d changes of content", got-changes)
	}
}

func (c *check) restores() {
	good, bad := c.goodThenBad()
	op := c.operation("op-restore", bad, good)
	changes := len(c.History(c))
	if err := c.Platform.Restore(c.ctx, op); err != nil {
		c.Fatalf("Restore: %v", err)
	}
	st := c.converged(good)
	if rollback.CapabilitiesOf(c.Platform).Stamped && st.Operation != op.ID {
		c.Errorf("the state carries the operation %q, want %q", st.Operation, op.ID)
	}
	c.changedBy(changes, op.ID, 1)
}

func (c *check) refusesSuperseded() {
	good, bad := c.goodThenBad()
	other := c.deploy("v3", "c")
	changes := len(c.History(c))
	err := c.Platform.Restore(c.ctx, c.operation("op-late", bad, good))
	if !errors.Is(err, belay.ErrSuperseded) {
		c.Errorf("Restore returned %v, want ErrSuperseded", err)
	}
	if now := c.state().Revision.Content; now != other {
		c.Errorf("%s runs, want %s as before", now, other)
	}
	c.changedBy(changes, "op-late", 0)
}

func (c *check) twiceIsOnce() {
	good, bad := c.goodThenBad()
	op := c.operation("op-twice", bad, good)
	changes := len(c.History(c))
	for range 3 {
		if err := c.Platform.Restore(c.ctx, op); err != nil {
			c.Fatalf("Restore: %v", err)
		}
	}
	c.converged(good)
	c.changedBy(changes, op.ID, 1)
}

func (c *check) concurrentTwiceIsOnce() {
	good, bad := c.goodThenBad()
	op := c.operation("op-both", bad, good)
	changes := len(c.History(c))
	for _, err := range c.together(op, op) {
		if err != nil {
			c.Errorf("Restore: %v", err)
		}
	}
	c.converged(good)
	c.changedBy(changes, op.ID, 1)
}

func (c *check) spentForEver() {
	good, bad := c.goodThenBad()
	op := c.operation("op-spent", bad, good)
	if err := c.Platform.Restore(c.ctx, op); err != nil {
		c.Fatalf("Restore: %v", err)
	}
	c.converged(good)
	c.deploy("v2", "b") // somebody insists
	changes := len(c.History(c))
	if err := c.Platform.Restore(c.ctx, op); !errors.Is(err, belay.ErrSuperseded) {
		c.Errorf("Restore returned %v, want ErrSuperseded: this operation has done its work", err)
	}
	if now := c.state().Revision.Content; now != bad {
		c.Errorf("%s runs, want %s, which somebody has put there", now, bad)
	}
	c.changedBy(changes, op.ID, 0)
}

func (c *check) oneWins() {
	if rollback.CapabilitiesOf(c.Platform).CAS != rollback.Atomic {
		c.declaresCAS() // a platform without an atomic compare-and-set promises nothing here
		return
	}
	first, bad := c.goodThenBad()
	second := c.deploy("v3", "c")
	c.deploy("v2", "b")
	changes := len(c.History(c))
	won := 0
	for _, err := range c.together(c.operation("op-one", bad, first), c.operation("op-two", bad, second)) {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, belay.ErrSuperseded):
			c.Errorf("Restore: %v", err)
		}
	}
	if won != 1 {
		c.Errorf("%d operations won, want one", won)
	}
	if got := len(c.History(c)) - changes; got != 1 {
		c.Errorf("%d changes of content, want one", got)
	}
}

func (c *check) lostAnswer() {
	if c.RestoreLost == nil {
		c.Skip("the harness cannot lose an answer")
	}
	good, bad := c.goodThenBad()
	op := c.operation("op-lost", bad, good)
	changes := len(c.History(c))
	err := c.RestoreLost(c.ctx, op)
	if err == nil || errors.Is(err, belay.ErrSuperseded) || errors.Is(err, rollback.ErrTryLater) {
		c.Errorf("Restore returned %v, want an error that leaves open what happened", err)
	}
	if now := c.state().Revision.Content; now != good {
		c.Errorf("%s runs, want %s: the operation was applied", now, good)
	}
	if err := c.Platform.Restore(c.ctx, op); err != nil {
		c.Errorf("the repetition returned %v, want nil", err)
	}
	c.converged(good)
	c.changedBy(changes, op.ID, 1)
}

func (c *check) stuck() {
	if c.DeployBroken == nil {
		c.Skip("the harness cannot break a release")
	}
	c.converged(c.deploy("v1", "a"))
	c.DeployBroken(c, "v2")
	c.eventually("the platform never said that it is stuck", func() (bool, belay.State) {
		st := c.state()
		if st.Progress == belay.Stuck && st.Reason == "" {
			c.Error("it is stuck, and gives no reason")
		}
		return st.Progress == belay.Stuck, st
	})
}

func (c *check) vanished() {
	if c.Remove == nil {
		c.Skip("the harness cannot remove a release")
	}
	good, bad := c.goodThenBad()
	c.Remove(c, "v1")
	for _, r := range c.revisions() {
		if r.Content == good && (!r.Missing || r.Detail == "") {
			c.Errorf("Revisions lists %+v, which was removed: want it missing, with the reason", r)
		}
	}
	changes := len(c.History(c))
	for id, to := range map[string]belay.Content{"op-vanished": good, "op-never-was": "sha256:00"} {
		err := c.Platform.Restore(c.ctx, c.operation(id, bad, to))
		if err == nil || errors.Is(err, belay.ErrSuperseded) {
			c.Errorf("Restore to %s, which is not there, returned %v, want an error that says so", to, err)
		}
		c.changedBy(changes, id, 0)
	}
	if now := c.state().Revision.Content; now != bad {
		c.Errorf("%s runs, want %s as before", now, bad)
	}
}

func (c *check) endsWithContext() {
	good, bad := c.goodThenBad()
	changes := len(c.History(c))
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	if _, err := c.Platform.State(ctx, c.Target); err == nil {
		c.Error("State returned no error after its context had ended")
	}
	if err := c.Platform.Watch(ctx, c.Target, func(belay.State) {}); err != nil {
		c.Errorf("Watch returned %v after its context had ended, want nil", err)
	}
	if err := c.Platform.Restore(ctx, c.operation("op-cancelled", bad, good)); err == nil {
		c.Error("Restore returned no error after its context had ended")
	}
	c.changedBy(changes, "op-cancelled", 0)
}
