package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// grace is how long a killed or ended command's pipes may stay open.
const grace = time.Second

// errTooMuch is the cause of killing a command that prints without end.
var errTooMuch = fmt.Errorf("it printed more than %d bytes", maxOutput)

// A process is one run of a command, in a process group of its own: the group
// is killed as one when the time is up, and a signal that ends Belay does not
// reach it.
type process struct {
	what    string // state, revisions, restore
	argv    []string
	dir     string
	env     []string // added to Belay's own environment, less what begins with BELAY_
	timeout time.Duration
}

// String names the command in errors.
func (p process) String() string {
	return fmt.Sprintf("command %s (%s)", p.what, plainText(strings.Join(p.argv, " ")))
}

// read runs a command that changes nothing and returns what it printed. What
// it leaves running in its group is killed.
func (p process) read(ctx context.Context) ([]byte, error) {
	timed, cancel := p.deadline(ctx)
	defer cancel(nil)
	cmd := p.command(timed)
	out := &bounded{max: maxOutput, full: func() { cancel(errTooMuch) }}
	said := &bounded{max: maxOutput, full: func() { cancel(errTooMuch) }}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		return nil, p.startError(err)
	}
	err := cmd.Wait()
	_ = killGroup(cmd.Process.Pid) // the leader is gone; this is for what it left behind
	if err = p.explain(timed, cmd, err, said.bytes()); err != nil {
		return nil, err
	}
	return out.bytes(), nil
}

// act runs a command that changes something. It reads and writes files that
// have no name, never pipes, so that it can finish its work when Belay is gone.
// What it leaves running after a good end is left alone.
func (p process) act(ctx context.Context, stdin []byte) error {
	in, err := nameless(stdin)
	if err != nil {
		return fmt.Errorf("%s was not started: %w", p, err)
	}
	defer func() { _ = in.Close() }()
	said, err := nameless(nil)
	if err != nil {
		return fmt.Errorf("%s was not started: %w", p, err)
	}
	defer func() { _ = said.Close() }()

	timed, cancel := p.deadline(ctx)
	defer cancel(nil)
	cmd := p.command(timed)
	cmd.Stdin, cmd.Stderr = in, said
	if err := cmd.Start(); err != nil {
		return p.startError(err)
	}
	stop := make(chan struct{})
	var cut []byte
	var wg sync.WaitGroup
	wg.Go(func() { cut = keepShort(said, stop) })
	err = cmd.Wait()
	close(stop)
	wg.Wait()
	return p.explain(timed, cmd, err, append(cut, tail(said)...))
}

func (p process) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Dir = p.dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "BELAY_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = grace
	return cmd
}

// deadline returns a context that ends with a cause after the timeout.
func (p process) deadline(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timed, stop := context.WithTimeoutCause(ctx, p.timeout,
		fmt.Errorf("it did not end within %s: %w", p.timeout, context.DeadlineExceeded))
	return timed, func(cause error) { cancel(cause); stop() }
}

func (p process) startError(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) && pe.Op == "fork/exec" {
		return fmt.Errorf("%s could not be started in the directory %s: %w", p, p.dir, err)
	}
	return fmt.Errorf("%s could not be started: %w", p, err)
}

// An exitError is a command's own word that it did not succeed.
type exitError struct {
	code   int
	reason string
}

func (e *exitError) Error() string { return e.reason }

// explain turns the end of a command into nil, an *exitError for a code that
// the command chose, or an error for everything else.
func (p process) explain(ctx context.Context, cmd *exec.Cmd, err error, stderr []byte) error {
	var exit *exec.ExitError
	switch {
	case errors.Is(context.Cause(ctx), errTooMuch):
		return fmt.Errorf("%s was killed: %w", p, errTooMuch)
	case ctx.Err() != nil && !cmd.ProcessState.Exited():
		return fmt.Errorf("%s was killed with its process group: %w", p, context.Cause(ctx))
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("%s: %w", p, err)
	case !exit.Exited():
		return fmt.Errorf("%s died: %s%s", p, exit.ProcessState, because(stderr))
	}
	return fmt.Errorf("%s: %w", p, &exitError{
		code:   exit.ExitCode(),
		reason: exit.String() + because(stderr),
	})
}

// because returns ": " and the last line that is not empty.
func because(stderr []byte) string {
	stderr = bytes.ToValidUTF8(bytes.TrimSpace(stderr), []byte("\uFFFD"))
	line := plainText(string(stderr[bytes.LastIndexByte(stderr, '\n')+1:]))
	if line == "" {
		return ""
	}
	return ": " + line
}

func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return nil
}

// A bounded buffer calls full, once or more often, for what does not fit.
type bounded struct {
	mu   sync.Mutex
	buf  []byte
	max  int
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.buf)+len(p) > b.max {
		b.full()
		return 0, errTooMuch
	}
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *bounded) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf
}

// nameless returns an open file that no directory lists, holding the text.
func nameless(text []byte) (*os.File, error) {
	named, err := os.CreateTemp("", "belay-command-*")
	if err != nil {
		return nil, err
	}
	_, err = named.Write(text)
	if err = errors.Join(err, named.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(named.Name()))
	}
	// Appending writers go on at the end after keepShort has cut the file.
	f, err := os.OpenFile(named.Name(), os.O_RDWR|os.O_APPEND, 0)
	return f, errors.Join(err, os.Remove(named.Name()))
}

// keepShort cuts the file when it grows beyond what is read of it, so that a
// talkative command neither fills the disk nor has to be killed for it. It
// returns the end of what it cut last.
func keepShort(f *os.File, stop <-chan struct{}) (cut []byte) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return cut
		case <-tick.C:
			if info, err := f.Stat(); err == nil && info.Size() > maxOutput {
				cut = tail(f)
				_ = f.Truncate(0)
			}
		}
	}
}

// tail returns the end of a file.
func tail(f *os.File) []byte {
	const enough = 8 << 10
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-enough), enough))
	if err != nil {
		return nil
	}
	return b
}
