package releases

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/belaydev/belay"
)

// Hash returns the content of a release: "sha256:" and the hash over the
// relative paths, kinds, permissions and bytes of everything in the directory,
// in the order of their paths. Times, owners and the directory's own name do
// not matter.
func Hash(dir string) (belay.Content, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	sum := sha256.New()
	// WalkDir goes in lexical order.
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return hashEntry(sum, path, filepath.ToSlash(rel), d)
	})
	if err != nil {
		return "", err
	}
	return belay.Content("sha256:" + hex.EncodeToString(sum.Sum(nil))), nil
}

// hashEntry writes one entry so that no two different trees write the same:
// each part that can have any length goes in by its own hash or length.
func hashEntry(w io.Writer, path, rel string, d os.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	body := ""
	switch info.Mode().Type() {
	case os.ModeDir:
	case os.ModeSymlink:
		if body, err = os.Readlink(path); err != nil {
			return err
		}
	case 0:
		if body, err = hashFile(path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither file, directory nor link", path)
	}
	perm := info.Mode().Perm()
	switch info.Mode().Type() {
	case os.ModeSymlink:
		perm = 0 // links have no permissions of their own
	case os.ModeDir:
		perm |= 0o300 // a copy's directories can always be written by their owner
	}
	_, err = fmt.Fprintf(w, "%q %v %o %q\n", rel, info.Mode().Type(), perm, body)
	return err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
