package releases

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
)

// exitUsage is the exit code for a wrong command line.
const exitUsage = 3

const usage = `usage: releases [--dir DIR] COMMAND SERVICE …

  init SERVICE                  make the folders
  add SERVICE RELEASE SOURCE    copy the directory SOURCE as a new release
  deploy SERVICE RELEASE        make a release current
  state SERVICE                 print what runs, as JSON
  list SERVICE                  print what could run, newest first, as JSON
  activate SERVICE              do what BELAY_* in the environment, or JSON on standard input, asks for
  restart SERVICE               start the current release anew
  supervise SERVICE             keep the current release running
`

// errUsage marks a wrong command line.
var errUsage = errors.New("wrong usage")

// Main runs one command of this package and returns its exit code: 0 done, 75
// try later, 78 superseded, 3 wrong usage, 1 failed with the reason as the
// last line on stderr. supervise returns when ctx ends; its release writes to
// stdout and stderr if those are files.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := run(ctx, args, stdin, stdout, stderr)
	switch {
	case err == nil:
		return command.ExitDone
	case errors.Is(err, flag.ErrHelp):
		if _, err := io.WriteString(stdout, usage); err != nil {
			return 1
		}
		return command.ExitDone
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(stderr, "%s\n%s\n", usage, err)
		return exitUsage
	}
	_, _ = fmt.Fprintln(stderr, err)
	return exitCode(err)
}

// exitCode is the contract of the command platform.
func exitCode(err error) int {
	switch {
	case errors.Is(err, belay.ErrSuperseded):
		return command.ExitSuperseded
	case errors.Is(err, errBusy):
		return command.ExitTryLater
	}
	return 1
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("releases", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", ".", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	args = flags.Args()
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	wanted := map[string]int{
		"init": 2, "add": 4, "deploy": 3, "state": 2, "list": 2, "activate": 2, "restart": 2, "supervise": 2,
	}
	if n, known := wanted[args[0]]; !known || len(args) != n {
		return fmt.Errorf("%w: %q", errUsage, args)
	}
	svc, err := Open(*dir, args[1])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	switch args[0] {
	case "init":
		return svc.Init()
	case "add":
		rev, err := svc.Add(args[2], args[3])
		return printf(err, stdout, "%s@%s added\n", args[2], rev.Content.Short())
	case "deploy":
		changed, err := svc.Deploy(args[2])
		if !changed {
			return printf(err, stdout, "%s is current; the content was so before\n", args[2])
		}
		return printf(err, stdout, "%s is current\n", args[2])
	case "state":
		st, err := svc.State()
		return printJSON(err, stdout, st)
	case "list":
		revs, err := svc.Revisions()
		return printJSON(err, stdout, revs)
	case "activate":
		return activate(svc, stdin, stdout)
	case "restart":
		return svc.Restart()
	}
	return supervise(ctx, *dir, args[1], stdout, stderr)
}

func activate(svc *Service, stdin io.Reader, stdout io.Writer) error {
	op := Op{
		ID:      os.Getenv("BELAY_OPERATION"),
		Seen:    belay.Content(os.Getenv("BELAY_SEEN")),
		To:      belay.Content(os.Getenv("BELAY_TO")),
		Version: os.Getenv("BELAY_VERSION"),
	}
	if op.ID == "" {
		var order command.Order
		if err := json.NewDecoder(io.LimitReader(stdin, 64<<10)).Decode(&order); err != nil {
			return fmt.Errorf("activate: neither BELAY_OPERATION nor an order on standard input: %w", err)
		}
		op = Op{ID: order.Operation, Seen: order.Seen, To: order.To, Version: order.Version}
	}
	result, err := svc.Activate(op)
	return printf(err, stdout, "%s\n", result)
}

func supervise(ctx context.Context, dir, service string, stdout, stderr io.Writer) error {
	s := Supervisor{Dir: dir, Service: service, Logger: slog.New(slog.NewTextHandler(stderr, nil))}
	s.Stdout, _ = stdout.(*os.File)
	s.Stderr, _ = stderr.(*os.File)
	return s.Run(ctx)
}

// printf writes when there is no error to return.
func printf(err error, w io.Writer, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, format, args...)
	return err
}

func printJSON(err error, w io.Writer, v any) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(v)
}
