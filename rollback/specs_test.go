package rollback_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

func TestASpecificationComesBackAsItWasKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "specs")
	specs := rollback.NewSpecs(dir)
	if revs, err := specs.List(target); err != nil || len(revs) != 0 {
		t.Errorf("before anything is kept: %v, %v", revs, err)
	}
	for i, r := range []belay.Revision{v1, v2} {
		if err := specs.Keep(target, r, fmt.Appendf(nil, `{"env":["PASSWORD=hunter%d"]}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	other := target
	other.Service.Name = "payments"
	later := rollback.NewSpecs(dir) // another process
	r, spec, err := later.Get(target, v1.Content)
	if err != nil || string(spec) != `{"env":["PASSWORD=hunter0"]}` {
		t.Errorf("got %s, %v", spec, err)
	}
	if diff := cmp.Diff(v1, r); diff != "" {
		t.Error(diff)
	}
	for _, missing := range []struct {
		t belay.Target
		c belay.Content
	}{{target, v3.Content}, {other, v1.Content}} {
		if _, _, err := later.Get(missing.t, missing.c); !errors.Is(err, rollback.ErrNoSpec) {
			t.Errorf("what was never kept: %v, want ErrNoSpec", err)
		}
	}
	if revs, err := later.List(target); err != nil || len(revs) != 2 {
		t.Errorf("listed: %v, %v", revs, err)
	}
}

func TestKeptSpecificationsAreReadableByTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "specs")
	if err := rollback.NewSpecs(dir).Keep(target, v1, []byte("PASSWORD=hunter2")); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			n++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s is %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d files, %v", n, err)
	}
}

func TestAnEditedSpecificationIsNotRestored(t *testing.T) {
	dir := t.TempDir()
	specs := rollback.NewSpecs(dir)
	if err := specs.Keep(target, v1, []byte("one")); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, edited := range map[string][]byte{
		"edited":    bytes.Replace(text, []byte("b25l"), []byte("dHdv"), 1), // base64 of one, two
		"cut short": text[:len(text)/2],
		"empty":     nil,
	} {
		if err := os.WriteFile(files[0], edited, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := specs.Get(target, v1.Content); !errors.Is(err, rollback.ErrNoSpec) {
			t.Errorf("%s: %v, want ErrNoSpec", name, err)
		}
		if revs, err := specs.List(target); err != nil || len(revs) != 0 {
			t.Errorf("%s: listed %v, %v", name, revs, err)
		}
	}
	if err := specs.Keep(target, v1, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := specs.Get(target, v1.Content); err != nil {
		t.Errorf("kept anew: %v", err)
	}
}

func TestOnlyTheSpecificationsThatRanLastAreKept(t *testing.T) {
	specs := rollback.NewSpecs(t.TempDir())
	r := func(i int) belay.Revision { return belay.Revision{Content: belay.Content(fmt.Sprint("sha256:", i))} }
	for i := range 60 {
		if err := specs.Keep(target, r(i), []byte("spec")); err != nil {
			t.Fatal(err)
		}
		if err := specs.Keep(target, r(0), []byte("spec")); err != nil { // 0 runs again and again
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the file system's clock is coarse
	}
	if revs, _ := specs.List(target); len(revs) != 50 {
		t.Errorf("%d are kept, want 50", len(revs))
	}
	if _, _, err := specs.Get(target, r(0).Content); err != nil {
		t.Errorf("the one that ran last is gone: %v", err)
	}
	if _, _, err := specs.Get(target, r(1).Content); !errors.Is(err, rollback.ErrNoSpec) {
		t.Errorf("the oldest is still there: %v", err)
	}
}

func TestASpecificationThatIsTooLargeIsRefused(t *testing.T) {
	specs := rollback.NewSpecs(t.TempDir())
	for name, spec := range map[string][]byte{"too large": make([]byte, rollback.MaxSpec+1), "empty": nil} {
		if err := specs.Keep(target, v1, spec); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	if err := specs.Keep(target, belay.Revision{}, []byte("x")); err == nil {
		t.Error("a revision of unknown content was kept")
	}
}
