package releases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// A Supervisor keeps a service's current release running: it starts it, starts
// it anew when the link leads elsewhere or on SIGHUP, and after it has ended,
// later and later. There is one for each service.
type Supervisor struct {
	Dir     string
	Service string
	Stdout  *os.File     // of the release's process; nil discards
	Stderr  *os.File     // of the release's process; nil discards
	Logger  *slog.Logger // nil discards
}

// Times of the supervisor.
const (
	poll        = 100 * time.Millisecond // how often the link is read
	stopGrace   = 2 * time.Second        // between SIGTERM and SIGKILL
	firstWait   = 250 * time.Millisecond // before the first new start after an end
	longestWait = 2 * time.Second        // the wait doubles up to this
	stable      = 10 * time.Second       // a run this long ends a row of crashes
	fresh       = 250 * time.Millisecond // a SIGHUP so soon after a start is answered by that start
	unwell      = 3                      // failed health checks in a row that count
)

// Run supervises until ctx ends, then ends the release's process group and
// returns nil. It returns an error at once when another supervisor lives.
// While it runs, SIGHUP to this process means: start the release anew.
func (s Supervisor) Run(ctx context.Context) error {
	svc, err := Open(s.Dir, s.Service)
	if err != nil {
		return err
	}
	if err := svc.Init(); err != nil {
		return err
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	claim, err := svc.claim(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = claim.Close() }() // closing it gives up the lock

	// The kernel ends the child with the thread that has started it (where it
	// knows how), so that thread must be this one and must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := &watch{Supervisor: s, svc: svc}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		w.step(time.Now())
		select {
		case <-ctx.Done():
			w.stop()
			w.set(Stopped, "")
			return nil
		case <-hup:
			w.hangup(time.Now())
		case err := <-w.done():
			w.ended(err, time.Now())
		case problem := <-w.checks():
			w.checked(problem)
		case <-tick.C:
		}
	}
}

// claim takes the lock that says that the supervisor lives.
func (s *Service) claim(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(s.Path("supervisor.pid"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	// Somebody who only asks whether we live holds it for a moment. A change
	// that is under way is waited for.
	for tries := 0; tries < 50; time.Sleep(10 * time.Millisecond) {
		if err = s.live(f); err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, errBusy) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("supervise %s: %w", s.name, err), f.Close())
		}
		if !errors.Is(err, errBusy) {
			tries++
		}
	}
	return nil, errors.Join(fmt.Errorf("supervise %s: another supervisor is running: %w", s.name, err), f.Close())
}

// live takes the lock of the supervisor's file and takes away what the one
// before has left, so that nobody sees the one without the other.
func (s *Service) live(f *os.File) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if err := os.Remove(s.Path("status.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// watch is a supervisor at work. Only Run's goroutine touches it.
type watch struct {
	Supervisor
	svc   *Service
	st    Status
	child *child
	wait  time.Duration // before the next start after an end
	next  time.Time     // no start before
	sick  int           // failed health checks in a row
}

// A child is one run of a release.
type child struct {
	pid     int
	started time.Time
	done    chan error
	checks  chan error // answers of the health URL; nil if it has none
	end     context.CancelFunc
}

func (w *watch) done() <-chan error {
	if w.child == nil {
		return nil
	}
	return w.child.done
}

func (w *watch) checks() <-chan error {
	if w.child == nil {
		return nil
	}
	return w.child.checks
}

// step does what the link and the time ask for.
func (w *watch) step(now time.Time) {
	name, err := w.svc.currentName()
	if err != nil || name == "" {
		// Without a link that makes sense, what runs is left running.
		return
	}
	if name != w.st.Release {
		w.stop()
		w.st = Status{Release: name}
		w.wait, w.next = firstWait, now
	}
	switch {
	case w.child == nil && !now.Before(w.next):
		w.start(now)
	case w.child != nil && w.st.Crashes > 0 && now.Sub(w.child.started) >= stable:
		w.st.Crashes, w.wait = 0, firstWait
		w.set(w.st.State, w.st.Detail)
	}
}

// hangup starts the release anew, unless it was started just now: then the
// signal came from the change that has been seen already.
func (w *watch) hangup(now time.Time) {
	if w.child != nil && now.Sub(w.child.started) < fresh {
		return
	}
	w.stop()
	w.st.Crashes, w.wait, w.next = 0, firstWait, now
}

func (w *watch) start(now time.Time) {
	dir := w.svc.Path("releases", w.st.Release)
	content, err := Hash(dir)
	if err != nil {
		w.crashed("it cannot be read: "+err.Error(), now)
		return
	}
	m, err := readManifest(dir)
	if err != nil {
		w.crashed(err.Error(), now)
		return
	}
	w.st.Content, w.st.Version = content, m.Version
	w.set(Starting, "")
	// Its end is asked for by stop, step by step, not by a context.
	cmd := exec.CommandContext(context.Background(), m.Argv[0], m.Argv[1:]...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	for k, v := range m.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if w.Stdout != nil {
		cmd.Stdout = w.Stdout
	}
	if w.Stderr != nil {
		cmd.Stderr = w.Stderr
	}
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		w.crashed("it cannot be started: "+err.Error(), now)
		return
	}
	ctx, end := context.WithCancel(context.Background())
	c := &child{pid: cmd.Process.Pid, started: now, done: make(chan error, 1), end: end}
	go func() { c.done <- cmd.Wait() }()
	w.child, w.st.PID, w.sick = c, c.pid, 0
	w.Logger.Info("release started", "service", w.Service, "release", w.st.Release, "pid", w.st.PID)
	if m.Health == "" {
		w.set(Running, "")
		return
	}
	c.checks = make(chan error)
	go checkHealth(ctx, m.Health, c.checks)
	w.set(Starting, "it does not answer its health check yet")
}

// ended notes that the release's process is gone, and what it left behind goes
// after it.
func (w *watch) ended(err error, now time.Time) {
	why := "exit status 0"
	if err != nil {
		why = err.Error()
	}
	_ = syscall.Kill(-w.child.pid, syscall.SIGKILL)
	w.child.end()
	if now.Sub(w.child.started) >= stable {
		w.st.Crashes, w.wait = 0, firstWait
	}
	w.child = nil
	w.crashed(why, now)
}

// crashed plans the next start.
func (w *watch) crashed(why string, now time.Time) {
	w.st.PID = 0
	w.st.Crashes++
	w.st.Restarts++
	w.st.LastExit = why
	w.next = now.Add(w.wait)
	w.wait = min(2*w.wait, longestWait)
	w.set(Backoff, "")
	w.Logger.Warn("release ended", "service", w.Service, "release", w.st.Release, "why", why, "crashes", w.st.Crashes)
}

// checked takes one answer of the health URL.
func (w *watch) checked(problem error) {
	switch {
	case problem == nil:
		w.sick = 0
		if w.st.State != Running {
			w.set(Running, "")
		}
	case w.st.State == Running:
		if w.sick++; w.sick >= unwell {
			w.set(Starting, "its health check fails: "+problem.Error())
		}
	default:
		if detail := "its health check fails: " + problem.Error(); detail != w.st.Detail {
			w.set(Starting, detail)
		}
	}
}

// stop ends the release's process group, if there is one, and waits for it.
func (w *watch) stop() {
	c := w.child
	if c == nil {
		return
	}
	c.end()
	_ = syscall.Kill(-c.pid, syscall.SIGTERM)
	var how error
	select {
	case how = <-c.done:
	case <-time.After(stopGrace):
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
		how = <-c.done
	}
	w.Logger.Info("release stopped", "service", w.Service, "release", w.st.Release, "pid", c.pid, "how", how)
	_ = syscall.Kill(-c.pid, syscall.SIGKILL) // what its leader left behind
	w.child, w.st.PID = nil, 0
}

// set writes the status. That it cannot be written is logged, and what reads
// it will see that it does not fit what is current.
func (w *watch) set(state RunState, detail string) {
	if state != w.st.State {
		w.st.Since = time.Now()
	}
	w.st.State, w.st.Detail = state, detail
	b, err := json.Marshal(w.st)
	if err == nil {
		err = replaceFile(w.svc.Path("status.json"), append(b, '\n'), false)
	}
	if err != nil {
		w.Logger.Error("status not written", "service", w.Service, "err", err)
	}
}

// checkHealth asks the URL often until it answers, then now and then, and
// tells each answer until ctx ends.
func checkHealth(ctx context.Context, url string, tell chan<- error) {
	client := &http.Client{
		Timeout:       time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for {
		err := ask(ctx, client, url)
		pause := poll
		if err == nil {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case tell <- err:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
