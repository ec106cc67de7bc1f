package rollback

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// MaxSpec is how many bytes of specification are kept of one revision; what a
// Kubernetes object or a Swarm service may be is below it.
const MaxSpec = 2 << 20

// specsKept is how many revisions of a target keep their specification; those
// that ran least lately go first.
const specsKept = 50

// ErrNoSpec says that the specification of a content was never kept, or is not
// kept any more.
var ErrNoSpec = errors.New("no specification of this content is kept")

// Specs keeps what a platform needs to put a content in place once more, where
// the platform itself forgets it: a pod template, a Swarm service's Spec, the
// effective service of a Compose project. A platform that needs it calls Keep
// whenever it sees what runs, and List and Get when it is asked what can be
// restored.
//
// Specifications hold environment variables, and those hold secrets. So they
// never enter the journal, a message or a page: each is one file, readable by
// its owner alone, in a folder of its own beside the journal. All methods may
// be called from any goroutine, and from several Belays on one folder.
type Specs struct{ dir string }

// NewSpecs keeps specifications below a folder. It touches nothing until Keep.
func NewSpecs(dir string) *Specs { return &Specs{dir: dir} }

// kept is one file.
type kept struct {
	Target   belay.Target   `json:"target"`
	Revision belay.Revision `json:"revision"`
	Sum      string         `json:"sum"` // SHA-256 of Spec: a file that was cut short, or edited, is not restored
	Spec     []byte         `json:"spec"`
}

// Keep remembers how to put a revision in place. The same content again costs
// one look at a file, unless its specification or its name has changed. It
// returns once the file has reached the disk.
func (s *Specs) Keep(t belay.Target, r belay.Revision, spec []byte) error {
	if r.Content == "" || len(spec) == 0 || len(spec) > MaxSpec {
		return fmt.Errorf("keep the specification of %s: %d bytes of content %q; 1 to %d bytes are kept, of a known content", t.Service, len(spec), r.Content, MaxSpec)
	}
	file := s.file(t, r.Content)
	now := time.Now()
	if have, err := read(file); err == nil && have.Sum == sum(spec) && have.Revision.Version == r.Version {
		return os.Chtimes(file, now, now) // it ran lately
	}
	text, err := json.Marshal(kept{Target: t, Revision: r, Sum: sum(spec), Spec: spec})
	if err != nil {
		return fmt.Errorf("keep the specification of %s: %w", t.Service, err)
	}
	if err := writeSynced(file, text); err != nil {
		return fmt.Errorf("keep the specification of %s: %w", t.Service, err)
	}
	return s.forget(t)
}

// Get returns a revision and its specification. The error is ErrNoSpec when
// there is none, or when what is there is not what was kept.
func (s *Specs) Get(t belay.Target, c belay.Content) (belay.Revision, []byte, error) {
	k, err := read(s.file(t, c))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return belay.Revision{}, nil, ErrNoSpec
	case err != nil:
		return belay.Revision{}, nil, fmt.Errorf("%w: %w", ErrNoSpec, err)
	case k.Target != t || k.Revision.Content != c:
		return belay.Revision{}, nil, fmt.Errorf("%w: the file of %s is of %s on %s", ErrNoSpec, c.Short(), k.Revision.Content.Short(), k.Target.Service)
	}
	return k.Revision, k.Spec, nil
}

// List returns the revisions of a target whose specification is kept, the one
// that ran last first. A file that cannot be read is left out.
func (s *Specs) List(t belay.Target) ([]belay.Revision, error) {
	files, err := s.files(t)
	if err != nil {
		return nil, fmt.Errorf("list the kept specifications of %s: %w", t.Service, err)
	}
	var out []belay.Revision
	for _, f := range files {
		if k, err := read(f); err == nil && k.Target == t {
			out = append(out, k.Revision)
		}
	}
	return out, nil
}

// forget removes the oldest files beyond specsKept.
func (s *Specs) forget(t belay.Target) error {
	files, err := s.files(t)
	if err != nil || len(files) <= specsKept {
		return err
	}
	for _, f := range files[specsKept:] {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// files returns the files of a target, the one touched last first.
func (s *Specs) files(t belay.Target) ([]string, error) {
	entries, err := os.ReadDir(s.folder(t))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var all []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			all = append(all, aged{filepath.Join(s.folder(t), e.Name()), info.ModTime()})
		}
	}
	slices.SortStableFunc(all, func(a, b aged) int { return b.at.Compare(a.at) })
	out := make([]string, len(all))
	for i, a := range all {
		out[i] = a.name
	}
	return out, nil
}

// folder and file are hashes: neither a service's name nor a platform's idea of
// content is trusted to be a file name.
func (s *Specs) folder(t belay.Target) string {
	return filepath.Join(s.dir, sum([]byte(t.Platform + "\x00" + t.Service.String()))[:24])
}

func (s *Specs) file(t belay.Target, c belay.Content) string {
	return filepath.Join(s.folder(t), sum([]byte(c))[:48]+".json")
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func read(file string) (kept, error) {
	var k kept
	text, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, fmt.Errorf("%s: %w", file, err)
	}
	if k.Sum != sum(k.Spec) {
		return k, fmt.Errorf("%s was changed since it was written", file)
	}
	return k, nil
}

// writeSynced puts a file in place whole or not at all, on disk before it
// returns.
func writeSynced(file string, text []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
