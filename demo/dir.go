package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// marker is the file by which the demo knows a directory as its own.
const marker = ".belay-demo"

// Names in the directory that a demo leaves behind.
const (
	configFile   = "belay.yml"
	rulesFile    = "rules/checkout.yml"
	tokenFile    = "slack-token"
	appTokenFile = "slack-app-token"
	journalFile  = "belay.db"
	metricsDir   = "metrics"
	releasesDir  = "releases"
	planeDir     = "kubernetes"
	targetsFile  = "targets.json"
	reviewsDir   = "reviews"
	belayLog     = "belay.log"
	demoLog      = "demo.log"
	platformLog  = "platform.log"
	slackFile    = "slack.json"
	shopLog      = "shop.log"
	killFile     = "STOP"
	adminToken   = "belay.token"
	lockedByText = "this directory belongs to `belay demo`, which replaces its files when it starts again\n"
)

// ErrUsage marks what the caller asked for and cannot have: a directory with
// other people's files, an address that is taken.
var ErrUsage = errors.New("wrong usage")

// usage returns an error that Is ErrUsage and says only what is wrong.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

type usageError struct{ error }

// Is implements the interface of errors.Is.
func (usageError) Is(target error) bool { return target == ErrUsage }

// A directory is where one demo lives. It stays locked until released.
type directory struct {
	Path string
	lock *os.File
}

// prepareDirectory makes path ready for a demo. An empty path means a new
// directory among the temporary ones. A directory that is not empty is taken
// only when an earlier demo has marked it; what that left is then removed.
func prepareDirectory(path string) (*directory, error) {
	path, err := makeDirectory(path)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, marker), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, usage("%s is in use by another demo; choose another --dir", path)
	}
	d := &directory{Path: path, lock: lock}
	if err := d.empty(); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func makeDirectory(path string) (string, error) {
	if path == "" {
		return os.MkdirTemp("", "belay-demo-") // 0700
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return path, os.MkdirAll(path, 0o700)
	case err != nil:
		return "", err
	case len(entries) == 0:
		return path, nil
	}
	if _, err := os.Stat(filepath.Join(path, marker)); err != nil {
		return "", usage("%s is not empty and is not from an earlier demo; choose a new or an empty --dir", path)
	}
	return path, nil
}

// empty removes what an earlier demo left. Files that no demo makes stay.
func (d *directory) empty() error {
	for _, name := range []string{
		configFile, "rules", tokenFile, appTokenFile, journalFile, journalFile + "-wal", journalFile + "-shm", metricsDir, releasesDir, planeDir,
		reviewsDir, belayLog, demoLog, platformLog, slackFile, shopLog, killFile, adminToken, targetsFile,
	} {
		if err := os.RemoveAll(d.file(name)); err != nil {
			return err
		}
	}
	_, err := d.lock.WriteAt([]byte(lockedByText), 0)
	return err
}

// file returns the path of a name in the directory.
func (d *directory) file(name string) string { return filepath.Join(d.Path, name) }

// release gives up the lock. The files stay.
func (d *directory) release() { _ = d.lock.Close() }
