package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// Options are what a Platform needs beside its configuration.
type Options struct {
	Logger *slog.Logger // nil discards
	Dir    string       // base of Config.Dir where Decode has not set it; "" is the current directory
}

// A Platform asks and changes one target through commands.
type Platform struct {
	cfg Config
	log *slog.Logger
}

var (
	_ rollback.Platform = (*Platform)(nil)
	_ rollback.Capable  = (*Platform)(nil)
)

// New returns a platform. It runs nothing.
func New(cfg Config, opts Options) (*Platform, error) {
	for what, argv := range map[string][]string{"state": cfg.State, "revisions": cfg.Revisions, "restore": cfg.Restore} {
		if len(argv) == 0 || argv[0] == "" {
			return nil, fmt.Errorf("command platform: %s names no program", what)
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Dir == "" {
		opts.Dir = "."
	}
	return &Platform{cfg: cfg.withDefaults(opts.Dir), log: opts.Logger}, nil
}

// Capabilities returns Checked: Belay reads the state and compares right
// before it runs the restore command, and the command is told what was seen so
// that it can compare again.
func (p *Platform) Capabilities() rollback.Capabilities {
	return rollback.Capabilities{CAS: rollback.Checked, Stamped: true}
}

// Watch runs the state command every poll interval and emits what has changed.
// It returns the first error: what runs is not known any more.
func (p *Platform) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	tick := time.NewTicker(p.cfg.Poll)
	defer tick.Stop()
	var last belay.State
	for {
		now, err := p.State(ctx, t)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !same(last, now) {
			emit(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// same compares two states without the time at which they were read.
func same(a, b belay.State) bool {
	sameTimes := a.ChangedAt.Equal(b.ChangedAt)
	a.At, b.At, a.ChangedAt, b.ChangedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b && sameTimes
}

// State runs the state command.
func (p *Platform) State(ctx context.Context, t belay.Target) (belay.State, error) {
	run := p.process("state", p.cfg.State, t)
	out, err := run.read(ctx)
	if err != nil {
		return belay.State{}, answer(err, false)
	}
	st, err := parseState(out)
	if err != nil {
		return belay.State{}, fmt.Errorf("%s: %w; it printed %s", run, err, quoted(out))
	}
	st.Target, st.At = t, time.Now()
	return st, nil
}

// Revisions runs the revisions command.
func (p *Platform) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	run := p.process("revisions", p.cfg.Revisions, t)
	out, err := run.read(ctx)
	if err != nil {
		return nil, answer(err, false)
	}
	revs, err := parseRevisions(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it printed %s", run, err, quoted(out))
	}
	return revs, nil
}

// Restore reads the state, and runs the restore command if what the operation
// has seen still runs, or what it wants runs already: then the command says
// whether this operation did that.
func (p *Platform) Restore(ctx context.Context, op belay.Operation) error {
	if !ValidID(op.ID) || !ValidID(string(op.Seen)) || !ValidID(string(op.To.Content)) || op.Seen == op.To.Content {
		return fmt.Errorf("command restore was not started: the operation %q from %q to %q makes no sense", op.ID, op.Seen, op.To.Content)
	}
	st, err := p.State(ctx, op.Target)
	if err != nil {
		return fmt.Errorf("nothing was restored, since what runs is unknown: %w", err)
	}
	if c := st.Revision.Content; c != op.Seen && c != op.To.Content {
		return fmt.Errorf("%s runs, not %s: %w", st.Revision, op.Seen.Short(), belay.ErrSuperseded)
	}
	order := Order{
		Operation: op.ID, Seen: op.Seen, To: op.To.Content, Token: op.Token,
		Service: op.Target.Service.Name, Environment: op.Target.Service.Environment, Version: op.To.Version,
	}
	stdin, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("command restore was not started: %w", err)
	}
	run := p.process("restore", p.cfg.Restore, op.Target)
	run.env = append(run.env,
		"BELAY_OPERATION="+order.Operation,
		"BELAY_SEEN="+string(order.Seen),
		"BELAY_TO="+string(order.To),
		"BELAY_TOKEN="+order.Token,
		"BELAY_VERSION="+order.Version,
	)
	p.log.Info("running the restore command", "service", op.Target.Service.String(), "operation", op.ID, "to", op.To.String())
	return answer(run.act(ctx, append(stdin, '\n')), true)
}

func (p *Platform) process(what string, argv []string, t belay.Target) process {
	return process{
		what: what, argv: argv, dir: p.cfg.Dir, timeout: p.cfg.Timeout,
		env: []string{"BELAY_SERVICE=" + t.Service.Name, "BELAY_ENVIRONMENT=" + t.Service.Environment},
	}
}

// answer gives the exit codes their meaning.
func answer(err error, restore bool) error {
	var exit *exitError
	if !errors.As(err, &exit) {
		return err
	}
	switch {
	case exit.code == ExitTryLater:
		return fmt.Errorf("%w: %w", err, rollback.ErrTryLater)
	case exit.code == ExitSuperseded && restore:
		return fmt.Errorf("%w: %w", err, belay.ErrSuperseded)
	}
	return err
}
