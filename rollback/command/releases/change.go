package releases

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
)

// An Op asks for a release to be activated if, and only if, another one runs.
type Op struct {
	ID      string        // the same id acts once, ever
	Seen    belay.Content // what must be current
	To      belay.Content // what shall be
	Version string        // prefers a name or version among releases of the same content
}

// A Result says what activating did.
type Result string

// The values of Result.
const (
	Changed        Result = "changed"
	AlreadyApplied Result = "already applied" // by the same operation, earlier; it still is in place
)

// Activate makes op.To current if op.Seen is. It returns an error that Is
// belay.ErrSuperseded when something else is current, or when the operation
// was applied before and somebody has changed the content since: then, as with
// every other error that comes before the link is moved, nothing was changed.
// Killed at any point it leaves either nothing changed, or the change made and
// its line in the log as soon as anybody looks.
func (s *Service) Activate(op Op) (Result, error) {
	if !command.ValidID(op.ID) || op.ID == ByDeploy || op.ID == ByOutside {
		return "", fmt.Errorf("activate: %q is no operation id", op.ID)
	}
	if !command.ValidID(string(op.Seen)) || !command.ValidID(string(op.To)) || op.Seen == op.To {
		return "", fmt.Errorf("activate: from %q to %q is no change of content", op.Seen, op.To)
	}
	unlock, err := s.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	now, log, err := s.settle()
	if err != nil {
		return "", err
	}
	switch {
	case applied(log, op.ID) && now.Content == op.To:
		return AlreadyApplied, s.appendLog(Change{At: time.Now(), By: op.ID, To: now.tag(), Repeat: true})
	case applied(log, op.ID):
		return "", fmt.Errorf("operation %s was applied before, and %s runs since: %w", op.ID, now.tag(), belay.ErrSuperseded)
	case now.Content != op.Seen:
		return "", fmt.Errorf("%s runs, not %s: %w", now.tag(), op.Seen.Short(), belay.ErrSuperseded)
	}
	to, err := s.find(op)
	if err != nil {
		return "", err
	}
	return Changed, s.swap(now, to, op.ID)
}

// Deploy makes the release of that name current, whatever runs now. It returns
// false when the content was current before, perhaps under another name: then
// the log gets no line.
func (s *Service) Deploy(name string) (changed bool, err error) {
	if err := s.Init(); err != nil {
		return false, err
	}
	unlock, err := s.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	now, _, err := s.settle()
	if err != nil && !errors.Is(err, errUnreadable) {
		return false, err // a current release that cannot be read is a reason to deploy another
	}
	if !validName.MatchString(name) {
		return false, fmt.Errorf("deploy: release %q is not a name of letters, digits, dots, dashes and underscores", name)
	}
	to := namedRevision{name, s.revision(name)}
	switch {
	case to.Content == "":
		return false, fmt.Errorf("deploy: there is no release %s of %s", name, s.name)
	case to.Missing:
		return false, fmt.Errorf("deploy: release %s cannot be run: %s", name, to.Detail)
	case to.Content == now.Content && to.name == now.name:
		return false, nil
	case to.Content == now.Content:
		return false, s.link(to.name)
	}
	return true, s.swap(now, to, ByDeploy)
}

// find looks for a release with the content that is wanted and can be run.
func (s *Service) find(op Op) (namedRevision, error) {
	all, err := s.list()
	if err != nil {
		return namedRevision{}, err
	}
	var found namedRevision
	for _, r := range all {
		if r.Content != op.To {
			continue
		}
		if found.name == "" || r.name == op.Version {
			found = r
		}
	}
	switch {
	case found.name == "":
		return found, fmt.Errorf("activate: no release of %s has the content %s any more", s.name, op.To)
	case found.Missing:
		return found, fmt.Errorf("activate: release %s cannot be run: %s", found.name, found.Detail)
	}
	return found, nil
}

// settle brings the log up to date with what is current, and returns both: a
// change that was cut short gets its line, and so does one that was made by
// hand. The caller holds the lock.
func (s *Service) settle() (namedRevision, []Change, error) {
	if err := s.repair(); err != nil {
		return namedRevision{}, nil, fmt.Errorf("repair %s: %w", s.name, err)
	}
	now, err := s.current()
	if err != nil {
		return namedRevision{}, nil, err
	}
	log, err := s.Log()
	if err != nil || now.name == "" {
		return now, log, err
	}
	last, ok := lastChange(log)
	lastName, lastHash := splitTag(last.To)
	if ok && lastHash == now.Content.Short() {
		return now, log, nil
	}
	c := Change{At: time.Now(), By: ByOutside, From: "-", To: now.tag()}
	if ok {
		c.From = last.To
	}
	if t := s.linkTime(); now.name != lastName && t.After(last.At) && t.Before(c.At) {
		c.At = t
	}
	return now, append(log, c), s.appendLog(c)
}

// swap moves the link and writes the line. The order is what makes it safe to
// be killed anywhere: marker, link, line, marker gone. The caller holds the
// lock and has settled.
func (s *Service) swap(from, to namedRevision, by string) error {
	p := pending{
		Name: to.name, Content: to.Content,
		Change: Change{At: time.Now().UTC(), By: by, From: from.tag(), To: to.tag()},
	}
	s.at("mark")
	if err := s.writePending(p); err != nil {
		return fmt.Errorf("change to %s: %w", to.tag(), err)
	}
	s.at("link")
	if err := s.link(to.name); err != nil {
		return fmt.Errorf("change to %s: %w", to.tag(), err)
	}
	s.at("log")
	if err := s.appendLog(p.Change); err != nil {
		return fmt.Errorf("changed to %s, but not logged yet: %w", to.tag(), err)
	}
	s.at("unmark")
	if err := s.removePending(); err != nil {
		return fmt.Errorf("changed to %s: %w", to.tag(), err)
	}
	s.at("signal")
	s.wake(to)
	s.at("done")
	return nil
}

// link replaces the link as a whole.
func (s *Service) link(name string) error {
	tmp := s.Path("current.new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink("releases/"+name, tmp); err != nil {
		return err
	}
	s.at("rename")
	if err := os.Rename(tmp, s.Path("current")); err != nil {
		return err
	}
	s.at("sync")
	return syncDir(s.dir)
}

// wake tells a living supervisor to look now; it would look by itself within
// its poll interval. One that has seen the change already is left alone.
func (s *Service) wake(to namedRevision) {
	if st, err := s.ReadStatus(); err == nil && st.Release == to.name {
		return
	}
	if pid, alive := s.supervisor(); alive {
		_ = syscall.Kill(pid, syscall.SIGHUP)
	}
}

// Restart asks the supervisor to start the current release anew.
func (s *Service) Restart() error {
	pid, alive := s.supervisor()
	if !alive {
		return fmt.Errorf("restart %s: its supervisor is not running", s.name)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("restart %s: %w", s.name, err)
	}
	return nil
}
