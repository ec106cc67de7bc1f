// Package builder builds programs of other people's Go modules once and keeps
// them in the user's cache folder: one folder for each version, compiler and way
// of building. Processes that want the same programs at the same time wait for
// one another, and half a build is never found.
package builder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ErrNotBuilt says that the programs are not in the cache.
var ErrNotBuilt = errors.New("not built yet")

// A Recipe says what is built from a module that lies under peers/.
type Recipe struct {
	Module   string            // name of the folder under peers/ that holds its go.mod
	Names    string            // the required module whose version names the build: k8s.io/kubernetes
	Tags     string            // build tags, separated by commas
	Programs map[string]string // file name → import path
	Gentle   bool              // last in line, so that other people can work meanwhile
}

// Find returns the folder of the programs, or an error that Is ErrNotBuilt and
// names the folder they would be in. It builds nothing.
func (r Recipe) Find() (string, error) {
	module, err := moduleDir(r.Module)
	if err != nil {
		return "", err
	}
	dir, err := r.dir(module)
	if err != nil {
		return "", err
	}
	for name := range r.Programs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s: %w", filepath.Join(dir, name), ErrNotBuilt)
		}
	}
	return dir, nil
}

// Build returns the folder of the programs after building what is missing. It
// calls announce, which may be nil, with the folder before it builds.
func (r Recipe) Build(ctx context.Context, announce func(dir string)) (string, error) {
	if dir, err := r.Find(); !errors.Is(err, ErrNotBuilt) {
		return dir, err
	}
	module, err := moduleDir(r.Module)
	if err != nil {
		return "", err
	}
	dir, err := r.dir(module)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if dir, err := r.Find(); err == nil {
		return dir, nil // by another process, while this one waited
	}
	if announce != nil {
		announce(dir)
	}
	return dir, r.build(ctx, module, dir)
}

// build makes the programs in a folder of their own and then puts it in place
// at one stroke.
func (r Recipe) build(ctx context.Context, module, dir string) error {
	work, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for name, pkg := range r.Programs {
		args := append(r.command(), "-C", module, "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w")
		args = append(args, "-tags="+r.Tags, "-o", filepath.Join(work, name), pkg)
		gobuild := exec.CommandContext(ctx, args[0], args[1:]...)
		gobuild.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if said, err := gobuild.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, said[max(0, len(said)-2000):])
		}
	}
	return os.Rename(work, dir)
}

func (r Recipe) command() []string {
	if !r.Gentle {
		return []string{"go", "build"}
	}
	if nice, err := exec.LookPath("nice"); err == nil {
		return []string{nice, "-n", "10", "go", "build"}
	}
	return []string{"go", "build"}
}

// dir names what is built, by which compiler and how.
func (r Recipe) dir(module string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	gomod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	version := "unknown"
	for line := range strings.Lines(string(gomod)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == r.Names {
			version = f[1]
		}
	}
	made := slices.Concat(gomod, []byte(r.Tags))
	ours, err := filepath.Glob(filepath.Join(module, "*", "*.go"))
	if err != nil {
		return "", err
	}
	for _, name := range ours { // programs of the module itself
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		made = append(made, text...)
	}
	sum := sha256.Sum256(made)
	return filepath.Join(cache, "belay", "peers", fmt.Sprintf("%s-%s-%s-%x", r.Module, version, runtime.Version(), sum[:4])), nil
}

// moduleDir finds a module under peers/, upwards from where the process runs.
func moduleDir(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		module := filepath.Join(dir, "peers", name)
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no peers/%s/go.mod in any folder above this one: this works inside Belay's sources only", name)
		}
		dir = parent
	}
}
