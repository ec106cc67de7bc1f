// Package rollbacktest holds the conformance suite that every platform passes,
// and a fake platform whose faults can be set.
package rollbacktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// Who made a change of a Fake, when it was not an operation.
const (
	ByDeploy     = "deploy"     // Deploy, or a concurrent deployment
	ByController = "controller" // a controller that put its own wish back
)

// A Change is one effective change of content.
type Change struct {
	At       time.Time
	By       string // an operation's id, ByDeploy or ByController
	From, To belay.Content
}

// A Fault is what goes wrong with one call of Restore.
type Fault struct {
	// Before is done first, as if by somebody else: a concurrent deployment.
	Before func(*Fake)
	// Refuse is returned in place of doing anything.
	Refuse error
	// Hang waits for the end of the context, and does nothing.
	Hang bool
	// Stuck applies the operation, but the target never converges, with this
	// as the platform's words.
	Stuck string
	// Lose applies the operation, if it may be, and returns this error instead
	// of success: the answer was lost on its way.
	Lose error
	// After is done last, as if by somebody else, before the call returns.
	After func(*Fake)
}

// ErrLost is an error for Fault.Lose.
var ErrLost = fmt.Errorf("no answer: %w", context.DeadlineExceeded)

// Conflict refuses as if something else ran.
func Conflict() Fault { return Fault{Refuse: belay.ErrSuperseded} }

// TimeoutButApplied applies and loses the answer.
func TimeoutButApplied() Fault { return Fault{Lose: ErrLost} }

// TimeoutNotApplied loses the request.
func TimeoutNotApplied() Fault { return Fault{Refuse: ErrLost} }

// PartialApply applies, and never converges.
func PartialApply(reason string) Fault { return Fault{Stuck: reason} }

// ConcurrentDeploy puts another revision in place right before the operation
// is looked at.
func ConcurrentDeploy(r belay.Revision) Fault {
	return Fault{Before: func(f *Fake) { f.put(r, ByDeploy) }}
}

// Reapply has a controller put a revision back right after the operation.
func Reapply(r belay.Revision) Fault {
	return Fault{After: func(f *Fake) { f.put(r, ByController) }}
}

// Vanish removes a revision right before the operation is looked at.
func Vanish(c belay.Content) Fault {
	return Fault{Before: func(f *Fake) { f.vanish(c) }}
}

// HangUntilDone does nothing until the context ends.
func HangUntilDone() Fault { return Fault{Hang: true} }

// Meanwhile calls somebody else's hands between reading and writing. They may
// use the platform as anybody does.
func Meanwhile(do func()) Fault {
	return Fault{Before: func(f *Fake) { f.mu.Unlock(); do(); f.mu.Lock() }}
}

// Times repeats a fault, for Inject.
func Times(n int, f Fault) []Fault { return slices.Repeat([]Fault{f}, n) }

// A Fake is a platform of one target, in memory. All methods may be called
// from any goroutine.
type Fake struct {
	target belay.Target
	caps   rollback.Capabilities

	mu        sync.Mutex
	state     belay.State
	revisions []belay.Revision // oldest first
	applied   map[string]belay.Content
	history   []Change
	faults    []Fault
	readErrs  []error
	restores  int
	instances int
	watchers  map[chan struct{}]bool
}

var (
	_ rollback.Platform = (*Fake)(nil)
	_ rollback.Capable  = (*Fake)(nil)
)

// NewFake returns a platform on which nothing runs yet.
func NewFake(t belay.Target, cas rollback.CAS) *Fake {
	return &Fake{
		target: t, instances: 1,
		caps:     rollback.Capabilities{CAS: cas, Stamped: true},
		applied:  map[string]belay.Content{},
		watchers: map[chan struct{}]bool{},
	}
}

// Capabilities returns what NewFake was told.
func (f *Fake) Capabilities() rollback.Capabilities { return f.caps }

// Deploy puts a revision in place, as a person or a pipeline does. It is
// converged at once; SetProgress says otherwise.
func (f *Fake) Deploy(r belay.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(r, ByDeploy)
}

// Reapply puts a revision back, as a controller does.
func (f *Fake) Reapply(r belay.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(r, ByController)
}

// Restart starts the same content anew.
func (f *Fake) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell()
}

// Scale runs so many instances of the same content.
func (f *Fake) Scale(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = n
	f.tell()
}

// Instances returns how many instances run.
func (f *Fake) Instances() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.instances
}

// SetProgress says how the present content fares.
func (f *Fake) SetProgress(p belay.Progress, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Progress, f.state.Reason = p, reason
	f.tell()
}

// SetOwner says who else would undo a change.
func (f *Fake) SetOwner(owner string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Owner = owner
	f.tell()
}

// Vanish makes a revision impossible to restore.
func (f *Fake) Vanish(c belay.Content) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vanish(c)
}

// Inject adds faults for the next calls of Restore, one for each call.
func (f *Fake) Inject(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, faults...)
}

// FailReads makes the next n calls of State and Revisions fail, those that
// Watch makes included.
func (f *Fake) FailReads(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readErrs = append(f.readErrs, slices.Repeat([]error{err}, n)...)
	f.tell()
}

// History returns every effective change of content, oldest first.
func (f *Fake) History() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.history)
}

// Restores returns how often Restore was called.
func (f *Fake) Restores() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.restores
}

// Watch tells the present state at once and each change of it.
func (f *Fake) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	changed := make(chan struct{}, 1)
	f.mu.Lock()
	f.watchers[changed] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, changed)
		f.mu.Unlock()
	}()
	var last belay.State
	for {
		now, err := f.State(ctx, t)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		at := now.At
		if now.At = last.At; now != last {
			now.At = at
			emit(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// State returns what runs.
func (f *Fake) State(ctx context.Context, t belay.Target) (belay.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readable(ctx, t); err != nil {
		return belay.State{}, err
	}
	if f.state.Revision.Content == "" {
		return belay.State{}, errors.New("nothing runs")
	}
	st := f.state
	st.Target, st.At = t, time.Now()
	return st, nil
}

// Revisions returns everything that was ever deployed, newest first.
func (f *Fake) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readable(ctx, t); err != nil {
		return nil, err
	}
	revs := slices.Clone(f.revisions)
	slices.Reverse(revs)
	return revs, nil
}

// Restore keeps the contract, but for the faults.
func (f *Fake) Restore(ctx context.Context, op belay.Operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restores++
	if op.Target != f.target {
		return fmt.Errorf("restore: there is no target %s", op.Target.Service)
	}
	var fault Fault
	if len(f.faults) > 0 {
		fault, f.faults = f.faults[0], f.faults[1:]
	}
	if fault.Before != nil {
		fault.Before(f)
	}
	if fault.Hang {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return fmt.Errorf("restore: %w", context.Cause(ctx))
	}
	if fault.Refuse != nil {
		return fault.Refuse
	}
	err := f.apply(ctx, op, fault.Stuck)
	if fault.After != nil {
		fault.After(f)
	}
	if fault.Lose != nil {
		return fault.Lose
	}
	return err
}

func (f *Fake) apply(ctx context.Context, op belay.Operation, stuck string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := f.state.Revision.Content
	if to, done := f.applied[op.ID]; done {
		if to == now {
			return nil
		}
		return belay.ErrSuperseded
	}
	if now != op.Seen {
		return belay.ErrSuperseded
	}
	i := slices.IndexFunc(f.revisions, func(r belay.Revision) bool { return r.Content == op.To.Content })
	if i < 0 || f.revisions[i].Missing {
		return fmt.Errorf("restore: %s is not there any more", op.To)
	}
	f.applied[op.ID] = op.To.Content
	f.put(f.revisions[i], op.ID)
	if stuck != "" {
		f.state.Progress, f.state.Reason = belay.Stuck, stuck
		f.tell()
	}
	return nil
}

func (f *Fake) readable(ctx context.Context, t belay.Target) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t != f.target {
		return fmt.Errorf("there is no target %s", t.Service)
	}
	if len(f.readErrs) > 0 {
		err := f.readErrs[0]
		f.readErrs = f.readErrs[1:]
		return err
	}
	return nil
}

// put makes a revision the present one. Content that is present already is no
// change of content.
func (f *Fake) put(r belay.Revision, by string) {
	defer f.tell()
	now := time.Now()
	if r.Created.IsZero() {
		r.Created = now
	}
	old := f.state.Revision
	if i := slices.IndexFunc(f.revisions, func(have belay.Revision) bool { return have.Content == r.Content }); i < 0 {
		f.revisions = append(f.revisions, r)
	} else {
		f.revisions[i].Missing, f.revisions[i].Detail = false, ""
	}
	f.state.Revision = r
	if old.Content == r.Content {
		return
	}
	f.history = append(f.history, Change{At: now, By: by, From: old.Content, To: r.Content})
	f.state.Progress, f.state.Reason = belay.Converged, ""
	f.state.ChangedAt, f.state.Token = now, fmt.Sprint(len(f.history))
	f.state.Operation = ""
	if by != ByDeploy && by != ByController {
		f.state.Operation = by
	}
}

func (f *Fake) vanish(c belay.Content) {
	for i := range f.revisions {
		if f.revisions[i].Content == c {
			f.revisions[i].Missing, f.revisions[i].Detail = true, "it was removed"
		}
	}
	f.tell()
}

// tell wakes whoever watches.
func (f *Fake) tell() {
	for w := range f.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}
