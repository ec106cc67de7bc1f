// Package releases is a deployment system for one host, small enough to read
// in one sitting: directories of releases, a symbolic link `current`, and a
// supervisor that keeps the current release running. Its commands are what the
// command platform runs, and the reference for writing others.
//
//	DIR/SERVICE/releases/NAME/…   one directory for each release, never changed
//	DIR/SERVICE/current           → releases/NAME
//	DIR/SERVICE/platform.log      one line for each change of content
//	DIR/SERVICE/pending.json      exists while a change is under way
//	DIR/SERVICE/lock              held by whoever changes or reads the above
//	DIR/SERVICE/status.json       what the supervisor does
//	DIR/SERVICE/supervisor.pid    locked by the supervisor while it lives
//
// What runs is identified by a hash over the release's files, so that the same
// files under two names are the same content, and a file changed in place is
// another.
package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// A Manifest is a release's release.json: how it is run.
type Manifest struct {
	Version string            `json:"version"`          // what people call it
	Argv    []string          `json:"argv"`             // program and arguments; started in the release's directory
	Env     map[string]string `json:"env,omitempty"`    // added to the supervisor's environment
	Health  string            `json:"health,omitempty"` // URL that answers 200 when the release is well
}

// ManifestFile is the name of the manifest in a release's directory.
const ManifestFile = "release.json"

// A Service is one service's folder. Its methods may be called by several
// processes at once.
type Service struct {
	dir, name string
	patience  time.Duration // for the lock

	// at is told each step of a change before it is done. Tests die there.
	at func(step string)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Open names a service's folder below dir. It touches nothing.
func Open(dir, service string) (*Service, error) {
	if !validName.MatchString(service) {
		return nil, fmt.Errorf("service %q: not a name of letters, digits, dots, dashes and underscores", service)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", service, err)
	}
	return &Service{dir: filepath.Join(abs, service), name: service, patience: 10 * time.Second, at: func(string) {}}, nil
}

// Path returns the path of a file in the service's folder.
func (s *Service) Path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// LogFile is where the service's changes of content are written.
func (s *Service) LogFile() string { return s.Path("platform.log") }

// Init makes the folders. Doing it again changes nothing.
func (s *Service) Init() error {
	if err := os.MkdirAll(s.Path("releases"), 0o755); err != nil {
		return fmt.Errorf("init %s: %w", s.name, err)
	}
	return nil
}

// Add copies the source directory as a new release of that name, which is not
// activated. A release that exists with the same content is left alone, with
// other content it is an error: releases do not change.
func (s *Service) Add(name, source string) (belay.Revision, error) {
	if !validName.MatchString(name) {
		return belay.Revision{}, fmt.Errorf("release %q: not a name of letters, digits, dots, dashes and underscores", name)
	}
	if err := s.Init(); err != nil {
		return belay.Revision{}, err
	}
	unlock, err := s.lock()
	if err != nil {
		return belay.Revision{}, err
	}
	defer unlock()
	rev, err := s.add(name, source)
	if err != nil {
		return belay.Revision{}, fmt.Errorf("add release %s of %s: %w", name, s.name, err)
	}
	return rev, nil
}

func (s *Service) add(name, source string) (belay.Revision, error) {
	want, err := Hash(source)
	if err != nil {
		return belay.Revision{}, err
	}
	if _, err := readManifest(source); err != nil {
		return belay.Revision{}, err
	}
	final := s.Path("releases", name)
	if have, err := Hash(final); err == nil {
		if have != want {
			return belay.Revision{}, fmt.Errorf("it exists with other content (%s, not %s)", have.Short(), want.Short())
		}
		return s.revision(name), nil
	}
	// A name with a leading dot is no release: a copy that is cut short is never seen.
	tmp := s.Path("releases", ".adding-"+name)
	if err := os.RemoveAll(tmp); err != nil {
		return belay.Revision{}, err
	}
	if err := copyTree(source, tmp); err != nil {
		return belay.Revision{}, errors.Join(err, os.RemoveAll(tmp))
	}
	if have, err := Hash(tmp); err != nil || have != want {
		return belay.Revision{}, errors.Join(errors.New("the source changed while it was copied"), err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, final); err != nil {
		return belay.Revision{}, err
	}
	return s.revision(name), syncDir(s.Path("releases"))
}

// copyTree copies files, directories and links with their permissions.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case os.ModeDir:
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm()|0o300)
		case os.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case 0:
			return copyFile(path, target, info.Mode().Perm())
		}
		return fmt.Errorf("%s is neither file, directory nor link", path)
	})
}

func copyFile(from, to string, perm os.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(perm); err != nil {
		return err
	}
	return out.Sync()
}

// List returns every release, newest first; those that cannot be run are
// marked Missing, with the reason.
func (s *Service) List() ([]belay.Revision, error) {
	named, err := s.list()
	if err != nil {
		return nil, err
	}
	revs := make([]belay.Revision, len(named))
	for i, n := range named {
		revs[i] = n.Revision
	}
	return revs, nil
}

// namedRevision is a revision and the name of its directory.
type namedRevision struct {
	name string
	belay.Revision
}

func (s *Service) list() ([]namedRevision, error) {
	entries, err := os.ReadDir(s.Path("releases"))
	if err != nil {
		return nil, fmt.Errorf("list releases of %s: %w", s.name, err)
	}
	var revs []namedRevision
	for _, e := range entries {
		if !e.IsDir() || !validName.MatchString(e.Name()) {
			continue
		}
		if r := s.revision(e.Name()); r.Content != "" {
			revs = append(revs, namedRevision{e.Name(), r})
		}
	}
	slices.SortStableFunc(revs, func(a, b namedRevision) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(b.name, a.name)
	})
	return revs, nil
}

// revision describes a release by name. Its Content is empty when it cannot
// be read at all.
func (s *Service) revision(name string) belay.Revision {
	dir := s.Path("releases", name)
	r := belay.Revision{Version: name}
	info, err := os.Stat(dir)
	if err != nil {
		return r
	}
	r.Created = info.ModTime()
	if r.Content, err = Hash(dir); err != nil {
		return r
	}
	m, err := readManifest(dir)
	if err == nil {
		err = m.runnable(dir)
	}
	if err != nil {
		r.Missing, r.Detail = true, err.Error()
	}
	if m.Version != "" {
		r.Version = m.Version
	}
	return r
}

// readManifest reads and checks a release's manifest.
func readManifest(dir string) (Manifest, error) {
	var m Manifest
	b, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return m, err
	}
	if m, err = parseManifest(b); err != nil {
		return m, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	return m, nil
}

func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("something follows its JSON")
	}
	if len(m.Argv) == 0 || m.Argv[0] == "" {
		return m, errors.New("argv names no program")
	}
	if len(m.Version) > 100 || strings.ContainsFunc(m.Version, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return m, errors.New("version is not at most 100 bytes on one line")
	}
	if m.Health != "" && !strings.HasPrefix(m.Health, "http://") && !strings.HasPrefix(m.Health, "https://") {
		return m, errors.New("health is not an http URL")
	}
	return m, nil
}

// runnable says why a release cannot be started at all.
func (m Manifest) runnable(dir string) error {
	program := m.Argv[0]
	if strings.ContainsRune(program, '/') && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("its program cannot be run: %w", err)
	}
	return nil
}

// current returns the name and revision of the active release. A name of ""
// means that there is none.
func (s *Service) current() (namedRevision, error) {
	name, err := s.currentName()
	if err != nil || name == "" {
		return namedRevision{}, err
	}
	r := namedRevision{name, s.revision(name)}
	if r.Content == "" {
		return r, fmt.Errorf("%w: %s of %s", errUnreadable, name, s.name)
	}
	return r, nil
}

// errUnreadable is returned when the link leads to what is no release.
var errUnreadable = errors.New("the current release cannot be read")

// currentName reads the link.
func (s *Service) currentName() (string, error) {
	link, err := os.Readlink(s.Path("current"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(link, "releases/")
	if !ok || !validName.MatchString(name) {
		return "", fmt.Errorf("%w: the link leads to %q, not to releases/NAME", errUnreadable, link)
	}
	return name, nil
}

// linkTime is when the link was made.
func (s *Service) linkTime() time.Time {
	info, err := os.Lstat(s.Path("current"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
