package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
)

// RunState is what the supervisor does with the current release.
type RunState string

// The values of RunState.
const (
	Starting RunState = "starting" // started, not yet seen to be well
	Running  RunState = "running"  // runs, and answers its health URL if it has one
	Backoff  RunState = "backoff"  // ended or could not be started; will be started again
	Stopped  RunState = "stopped"  // the supervisor was asked to end
)

// Status is status.json, written by the supervisor.
type Status struct {
	Content  belay.Content `json:"content"`
	Release  string        `json:"release"` // name of its directory
	Version  string        `json:"version"`
	PID      int           `json:"pid"` // of the release's process, 0 if there is none
	State    RunState      `json:"state"`
	Restarts int           `json:"restarts"` // of this content by itself, since it became current
	Crashes  int           `json:"crashes"`  // in a row; a run that stays up ends the row
	Since    time.Time     `json:"since"`    // when State last changed
	LastExit string        `json:"last_exit,omitempty"`
	Detail   string        `json:"detail,omitempty"` // what keeps it from being well
}

// settled is how long a release must have been running to be called converged;
// crashLoop is the number of ends in a row that make it stuck.
const (
	settled   = 300 * time.Millisecond
	crashLoop = 3
)

// ReadStatus returns what the supervisor last wrote.
func (s *Service) ReadStatus() (Status, error) {
	var st Status
	b, err := os.ReadFile(s.Path("status.json"))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("%s: %w", s.Path("status.json"), err)
	}
	return st, nil
}

// State returns what is current, since when, by whom, and whether it runs. It
// is an error when nothing is current. Changes that were cut short, or made by
// hand, get their line in the log.
func (s *Service) State() (command.StateReport, error) {
	if _, err := os.Stat(s.dir); err != nil {
		return command.StateReport{}, fmt.Errorf("there is no service %s: %w", s.name, err)
	}
	unlock, err := s.lock()
	if err != nil {
		return command.StateReport{}, err
	}
	defer unlock()
	r, err := s.report()
	if err != nil {
		return command.StateReport{}, err
	}
	// What a supervisor wrote that has died since is removed by the next one in
	// the moment in which that lives: claim holds the lock as well.
	_, alive := s.supervisor()
	st, err := s.ReadStatus()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return command.StateReport{}, err
	}
	if st.State == Running && errors.Is(syscall.Kill(st.PID, 0), syscall.ESRCH) {
		st.State, st.LastExit = Backoff, "its process is gone"
	}
	r.Progress, r.Reason = progress(belay.Content(r.Content), alive, st, time.Now())
	return r, nil
}

// report is State without progress, under the lock.
func (s *Service) report() (command.StateReport, error) {
	var r command.StateReport
	now, log, err := s.settle()
	if err != nil {
		return r, err
	}
	if now.name == "" {
		return r, fmt.Errorf("service %s has no current release", s.name)
	}
	r.Content, r.Version = string(now.Content), now.Version
	if last, ok := lastChange(log); ok {
		r.ChangedAt = &last.At
		if last.By != ByDeploy && last.By != ByOutside {
			r.Operation = last.By
		}
	}
	changes := 0
	for _, c := range log {
		if !c.Repeat {
			changes++
		}
	}
	r.Token = strconv.Itoa(changes)
	return r, nil
}

// progress judges what the supervisor wrote.
func progress(content belay.Content, alive bool, st Status, now time.Time) (belay.Progress, string) {
	switch {
	case !alive:
		return belay.Stuck, "the supervisor is not running"
	case st.Content != content:
		return belay.Progressing, "the supervisor has not started it yet"
	case st.Crashes >= crashLoop:
		return belay.Stuck, fmt.Sprintf("crash loop: %s, %d restarts", st.LastExit, st.Restarts)
	case st.State == Backoff:
		return belay.Progressing, "it ended: " + st.LastExit
	case st.State != Running:
		if st.Detail != "" {
			return belay.Progressing, st.Detail
		}
		return belay.Progressing, "it is starting"
	case now.Sub(st.Since) < settled:
		return belay.Progressing, "it runs since a moment ago"
	}
	return belay.Converged, ""
}

// supervisor returns the process id of the supervisor and whether it lives.
func (s *Service) supervisor() (pid int, alive bool) {
	f, err := os.Open(s.Path("supervisor.pid"))
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }() // it was only read
	// The lock, not the number, says that it lives: numbers are given out again.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, false
	}
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	pid, err = strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid, err == nil && pid > 0 // 1 is a supervisor in a container of its own
}

// Revisions returns List as the revisions command prints it.
func (s *Service) Revisions() ([]command.RevisionReport, error) {
	revs, err := s.List()
	if err != nil {
		return nil, err
	}
	out := make([]command.RevisionReport, len(revs))
	for i, r := range revs {
		out[i] = command.RevisionReport{
			Content: string(r.Content), Version: r.Version, Created: &r.Created,
			Missing: r.Missing, Detail: r.Detail,
		}
	}
	return out, nil
}
