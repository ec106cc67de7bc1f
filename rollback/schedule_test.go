package rollback_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

// schedules is how many schedules an ordinary run plays, the same each time.
// BELAY_SCHEDULES=N plays N new ones, BELAY_SEED=S plays one of them again.
const schedules = 10

// Random people, platforms, disks and rules for half an hour, and then peace:
// whatever they did, the invariants hold and the rollback has come to an end.
func TestRandomSchedulesKeepTheInvariants(t *testing.T) {
	n, seed := schedules, uint64(1)
	if s, err := strconv.Atoi(os.Getenv("BELAY_SCHEDULES")); err == nil {
		n, seed = s, rand.Uint64()
	}
	if s, err := strconv.ParseUint(os.Getenv("BELAY_SEED"), 10, 64); err == nil {
		n, seed = 1, s
	}
	for i := range n {
		seed := seed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, autoPolicy, store(t, i))
				s.platform.Deploy(v1)
				s.start()
				time.Sleep(2 * time.Minute)
				a := &anarchist{scene: s, dice: rand.New(rand.NewPCG(seed, 7))}
				go a.guard(t.Context())
				for range 60 {
					a.act()
					time.Sleep(time.Duration(a.dice.IntN(30_000)) * time.Millisecond)
				}
				a.peace()
				time.Sleep(40 * time.Minute)
				a.check()
				s.stop()
			})
		})
	}
}

// store is the real journal for the first schedule, and memory for the rest.
func store(t *testing.T, i int) belay.Journal {
	if i == 0 {
		return onDisk(t)
	}
	return newMemory()
}

// An anarchist does what it likes to a scene, and remembers.
type anarchist struct {
	*scene
	dice   *rand.Rand
	broken bool
	blind  []span // times in which the rule was unknown
	killed []span // times in which the kill switch was set
}

type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool { return t.After(s.from) && (s.to.IsZero() || t.Before(s.to)) }

// guard ends a run in which Belay talks to itself without end: with a clock
// that stands still while anything runs, the test would never end.
func (a *anarchist) guard(ctx context.Context) {
	n := 0
	for ev, err := range a.store.Tail(ctx, 0) {
		if n++; err == nil && n > 3000 {
			println(ev.At.Format("15:04:05.000"), string(ev.Kind), ev.Reason)
		}
		if n > 3020 {
			a.t.Errorf("an endless story")
			panic("an endless story")
		}
	}
}

func (a *anarchist) act() {
	deploy := []belay.Revision{v1, v2, v2, v3}[a.dice.IntN(4)]
	faults := []rollbacktest.Fault{
		rollbacktest.Conflict(), rollbacktest.TimeoutButApplied(), rollbacktest.TimeoutNotApplied(), rollbacktest.PartialApply("stuck"),
		rollbacktest.ConcurrentDeploy(v3), rollbacktest.Reapply(v2),
	}
	switch a.dice.IntN(13) {
	case 0, 1, 2:
		a.platform.Deploy(deploy)
	case 3, 4, 5:
		a.rupture()
	case 6:
		a.heal()
	case 7, 8:
		a.platform.Inject(faults[a.dice.IntN(len(faults))])
	case 9:
		a.restart()
	case 10:
		a.mu.Lock()
		a.failing, a.deaf = a.dice.IntN(3) == 0, a.dice.IntN(3) == 0
		a.mu.Unlock()
	case 11:
		a.toggleSight()
	case 12:
		a.toggleKill()
	}
}

func (a *anarchist) rupture() {
	if !a.broken && !a.isBlind() {
		a.broken = true
		a.breaks()
	}
}

func (a *anarchist) heal() {
	if a.broken && !a.isBlind() {
		a.broken = false
		a.mends()
		a.resolveIncident()
	}
}

func (a *anarchist) isBlind() bool {
	n := len(a.blind)
	return n > 0 && a.blind[n-1].to.IsZero()
}

func (a *anarchist) toggleSight() {
	if n := len(a.blind); a.isBlind() {
		a.blind[n-1].to = time.Now()
		verdict := belay.Pass
		if a.broken {
			verdict = belay.Fail
		}
		a.setVerdict("CheckoutErrors", verdict)
		return
	}
	a.setVerdict("CheckoutErrors", belay.Unknown)
	a.blind = append(a.blind, span{from: time.Now()})
}

func (a *anarchist) toggleKill() {
	if n := len(a.killed); n > 0 && a.killed[n-1].to.IsZero() {
		a.killed[n-1].to = time.Now()
		_ = os.Remove(a.killFile)
		return
	}
	if err := os.WriteFile(a.killFile, nil, 0o600); err != nil {
		a.t.Error(err)
	}
	a.killed = append(a.killed, span{from: time.Now()})
}

// peace ends whatever still disturbs.
func (a *anarchist) peace() {
	a.mu.Lock()
	a.failing, a.deaf = false, false
	a.mu.Unlock()
	if a.isBlind() {
		a.toggleSight()
	}
	if n := len(a.killed); n > 0 && a.killed[n-1].to.IsZero() {
		a.toggleKill()
	}
	a.heal()
}

func (a *anarchist) check() {
	a.t.Helper()
	a.expectIntentFirst() // I4
	intents, fought := map[string]belay.Event{}, map[belay.Content]time.Time{}
	for _, ev := range a.events() {
		switch {
		case ev.Kind == belay.KindIntent:
			if _, earlier := intents[ev.Rollback.ID]; !earlier {
				intents[ev.Rollback.ID] = ev
			}
		case ev.Rollback != nil && ev.Rollback.State == belay.RollbackFought:
			fought[ev.Rollback.From.Content] = ev.At
		}
	}
	perOperation, perContent := map[string]int{}, map[belay.Content]int{}
	history := a.platform.History()
	for i, c := range history {
		if !byOperation(c) {
			continue
		}
		perOperation[c.By]++
		perContent[c.From]++
		if i > 0 && byOperation(history[i-1]) {
			a.t.Errorf("I3: operation %s took back what operation %s had put there", c.By, history[i-1].By)
		}
		if in := intents[c.By]; in.Rollback != nil && in.Rollback.From.Content != c.From {
			a.t.Errorf("I2: %s was judged, %s was changed", in.Rollback.From, c.From.Short())
		}
		if at, ok := fought[c.From]; ok && c.At.After(at) {
			a.t.Errorf("I9: %s was written again after a fight", c.From.Short())
		}
		for _, k := range a.killed {
			if k.holds(c.At) {
				a.t.Errorf("I6: operation %s acted while the kill switch was set", c.By)
			}
		}
		for _, b := range a.blind {
			if b.holds(intents[c.By].At) {
				a.t.Errorf("I7: operation %s was intended while the rule was unknown", c.By)
			}
		}
	}
	for op, n := range perOperation {
		if n > 1 {
			a.t.Errorf("I1: operation %s changed the platform %d times", op, n)
		}
	}
	for content, n := range perContent {
		if n > 1 {
			a.t.Errorf("I1: %s was taken back %d times", content.Short(), n)
		}
	}
	if rb := a.newest(); rb.ID != "" && !rb.State.Terminal() && rb.State != belay.RollbackRefused {
		a.t.Errorf("I5: in the end the rollback is %s: %s", rb.State, rb.Reason)
	}
}

func byOperation(c rollbacktest.Change) bool {
	return c.By != rollbacktest.ByDeploy && c.By != rollbacktest.ByController
}
