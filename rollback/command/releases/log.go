package releases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/belaydev/belay"
)

// Who made a change, when it was not an operation of Belay.
const (
	ByDeploy  = "deploy"  // a person or a pipeline, through the deploy command
	ByOutside = "outside" // somebody moved the link or changed files by hand; noticed, not done, by this package
)

// A Change is one line of the log. From and To look like NAME@HASH with the
// first 12 digits of the hash; From is "-" for the first release.
type Change struct {
	At       time.Time
	By       string // an operation's id, ByDeploy or ByOutside
	From, To string
	Repeat   bool // an operation came again and changed nothing
}

// String returns the line without its end:
//
//	2026-01-02T15:04:05.123456789Z deploy v1@0123456789ab → v2@ba9876543210
//	2026-01-02T15:04:09.000000000Z 5f2c… already applied: v1@0123456789ab
func (c Change) String() string {
	at := c.At.UTC().Format(logTime)
	if c.Repeat {
		return fmt.Sprintf("%s %s already applied: %s", at, c.By, c.To)
	}
	return fmt.Sprintf("%s %s %s → %s", at, c.By, c.From, c.To)
}

// logTime is RFC 3339 with all nine digits, so that lines align.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// ParseChange reads a line that String has written.
func ParseChange(line string) (Change, error) {
	f := strings.Fields(line)
	if len(f) != 5 {
		return Change{}, fmt.Errorf("log line %q: not five words", line)
	}
	at, err := time.Parse(time.RFC3339Nano, f[0])
	if err != nil {
		return Change{}, fmt.Errorf("log line %q: %w", line, err)
	}
	switch {
	case f[2] == "already" && f[3] == "applied:":
		return Change{At: at, By: f[1], To: f[4], Repeat: true}, nil
	case f[3] == "→":
		return Change{At: at, By: f[1], From: f[2], To: f[4]}, nil
	}
	return Change{}, fmt.Errorf("log line %q: neither a change nor a repetition", line)
}

// ReadLog returns the lines of a log, oldest first. A log that does not exist
// is empty; a last line without its end is left out.
func ReadLog(file string) ([]Change, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var changes []Change
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		c, err := ParseChange(string(line))
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Log returns the changes and repetitions of the service, oldest first.
func (s *Service) Log() ([]Change, error) { return ReadLog(s.LogFile()) }

// tag is how the log writes a release.
func (r namedRevision) tag() string {
	if r.name == "" {
		return "-"
	}
	return r.name + "@" + r.Content.Short()
}

// splitTag is the inverse of tag.
func splitTag(tag string) (name, hash string) {
	if at := strings.LastIndexByte(tag, '@'); at >= 0 {
		return tag[:at], tag[at+1:]
	}
	return "", ""
}

// lastChange returns the last change of content and whether there was one.
func lastChange(log []Change) (Change, bool) {
	for i := len(log) - 1; i >= 0; i-- {
		if !log[i].Repeat {
			return log[i], true
		}
	}
	return Change{}, false
}

// applied says whether an operation has ever changed something.
func applied(log []Change, op string) bool {
	for _, c := range log {
		if c.By == op && !c.Repeat {
			return true
		}
	}
	return false
}

// appendLog adds a line and waits for the disk. A torn end that a power cut
// left is cut off first.
func (s *Service) appendLog(c Change) (err error) {
	f, err := os.OpenFile(s.LogFile(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err
	}
	whole := int64(bytes.LastIndexByte(b, '\n') + 1)
	if err := f.Truncate(whole); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(c.String()+"\n"), whole); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if whole == 0 {
		return syncDir(s.dir)
	}
	return nil
}

// A pending change has been begun. Its marker is on the disk before the link
// is moved, and goes when the log has its line.
type pending struct {
	Name    string        `json:"name"`    // of the release that the link will lead to
	Content belay.Content `json:"content"` //
	Change  Change        `json:"change"`  // the line to write
}

func (s *Service) pendingFile() string { return s.Path("pending.json") }

func (s *Service) writePending(p pending) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return replaceFile(s.pendingFile(), b, true)
}

func (s *Service) removePending() error {
	if err := os.Remove(s.pendingFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(s.dir)
}

// repair finishes the books of a change that was cut short: when the link was
// moved, the log gets its line, once; when it was not, nothing has happened.
// The caller holds the lock.
func (s *Service) repair() error {
	b, err := os.ReadFile(s.pendingFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p pending
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("%s: %w", s.pendingFile(), err)
	}
	name, err := s.currentName()
	if err != nil {
		return err
	}
	log, err := s.Log()
	if err != nil {
		return err
	}
	written := len(log) > 0 && log[len(log)-1].String() == p.Change.String()
	if name == p.Name && !written {
		if err := s.appendLog(p.Change); err != nil {
			return err
		}
	}
	return s.removePending()
}

// lock waits until nobody else changes the service, as long as
// its patience lasts.
func (s *Service) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.Path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.name, err)
	}
	for deadline := time.Now().Add(s.patience); ; time.Sleep(5 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock service %s: %w", s.name, err), f.Close())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("service %s: %w", s.name, errBusy), f.Close())
		}
	}
}

// errBusy is returned when another process holds the lock for too long.
var errBusy = errors.New("another change is under way")

// replaceFile puts a file in place as a whole, and on the disk if durable.
func replaceFile(file string, text []byte, durable bool) (err error) {
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil || !durable {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}
