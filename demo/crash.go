package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CrashOptions say how often Belay is killed.
type CrashOptions struct {
	N        int    // rounds
	Seed     uint64 // of the moments; 0 chooses one
	Platform string // one of Platforms; "" is PlatformCommand
	Binary   string // this program, which can run, releases and demo shop
	Out      io.Writer
}

// Crash plays the incident N times in short times and kills Belay with SIGKILL
// at a random moment of each, sometimes twice, starting it again at once. It
// tells one line for each round and the counts at the end, and returns an error
// when a loop did not close, when the platform's content was changed other than
// once, or when people were told other than once. The directory of a round that
// went wrong stays.
func Crash(ctx context.Context, opts CrashOptions) error {
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64N(1_000_000) + 1
	}
	base, err := os.MkdirTemp("", "belay-crash-")
	if err != nil {
		return err
	}
	s := newStory(opts.Out, describeTerminal(opts.Out, os.Getenv), time.Now())
	s.paragraph("%d rounds, seed %d: each plays the incident and kills Belay at a random moment.", opts.N, opts.Seed)
	var sum tally
	for i, k := range plan(opts.N, drill, rand.New(rand.NewPCG(opts.Seed, 0))) {
		s.wait(fmt.Sprintf("round %d of %d: %s", i+1, opts.N, k), 0)
		r, err := runRound(ctx, opts, filepath.Join(base, fmt.Sprintf("round-%03d", i+1)), &killer{kill: k})
		s.settle()
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), os.RemoveAll(base))
		}
		if err != nil && i == 0 { // and so it would go on
			return errors.Join(fmt.Errorf("crash: %w", err), os.RemoveAll(base))
		}
		if err != nil {
			r.bad = append(r.bad, err.Error())
		}
		sum.add(r)
		s.write(r.line(i+1, k))
		if len(r.bad) == 0 {
			if err := os.RemoveAll(r.dir); err != nil {
				return err
			}
		}
	}
	_ = os.Remove(base) // stays when a round's directory is in it
	s.write(sum.String() + "\n")
	if sum.violations > 0 {
		return fmt.Errorf("crash: %d violations; see %s", sum.violations, base)
	}
	return nil
}

// A round is what became of one incident.
type round struct {
	dir     string
	kills   int
	found   string // what Belay was at when it was killed
	changes int    // of content, by operations
	repeats string
	took    time.Duration // from the fault to the review
	bad     []string
}

func (r round) line(i int, k kill) string {
	verdict := fmt.Sprintf("closed in %4.1fs  killed %s%s", r.took.Seconds(), r.found, r.repeats)
	if len(r.bad) > 0 {
		verdict = "VIOLATION: " + strings.Join(r.bad, "; ") + "; see " + r.dir
	}
	return fmt.Sprintf("%3d  %s  %s\n", i, pad(k.String(), 46), verdict)
}

// A tally adds rounds up.
type tally struct{ kills, expected, seen, violations int }

func (t *tally) add(r round) {
	t.kills += r.kills
	t.expected++
	t.seen += r.changes
	t.violations += len(r.bad)
}

// String is the last line of make crash.
func (t tally) String() string {
	return fmt.Sprintf("%d kills, %d restores expected, %d seen, %d violations", t.kills, t.expected, t.seen, t.violations)
}

// runRound plays one incident with one kill in it, or two. An error means that
// the scene could not be set.
func runRound(ctx context.Context, opts CrashOptions, dir string, k *killer) (round, error) {
	r := round{dir: dir}
	s, err := newScene(ctx, sceneOptions{Dir: dir, Listen: "127.0.0.1:0", Binary: opts.Binary, Platform: opts.Platform, Fault: k.fault, Tempo: drill, Rate: requestRate})
	if err != nil {
		return r, err
	}
	w := &watcher{scene: s, witness: witness{fault: k.fault}}
	w.after = func() error { return k.look(ctx, w) }
	if err := s.Start(ctx); err != nil {
		return r, errors.Join(err, s.Close(ctx))
	}
	err = playRound(ctx, s, w, k)
	if closed := s.Close(ctx); err == nil {
		err = closed
	}
	if err != nil {
		r.bad = append(r.bad, err.Error())
	}
	r.bad = append(r.bad, s.violations(&w.witness)...)
	r.kills, r.found, r.repeats, r.took = len(k.at), k.found(&w.witness), s.repeats(), w.ReviewAt.Sub(w.Fault)
	if changes, err := s.platform.Changes(); err == nil {
		r.changes = count(changes, byOperation)
	}
	return r, nil
}

func playRound(ctx context.Context, s *scene, w *watcher, k *killer) error {
	known := func() bool { return !w.Good[goodVersion].IsZero() }
	if err := w.until(ctx, goodVersion+" becomes known good", time.Minute, known); err != nil {
		return err
	}
	if err := s.Release(ctx, nextVersion); err != nil {
		return err
	}
	closed := func() bool { return w.done() && k.done() }
	if err := w.until(ctx, "the loop closes", 90*time.Second, closed); err != nil {
		return err
	}
	return w.until(ctx, "every message is delivered", 30*time.Second, func() bool { return s.api.Delivered(ctx) })
}
