package review

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FileBase returns the name, without its ending, of the files of an incident's
// review. Ids that would not be safe as a file name are changed, and keep apart
// by a hash.
func FileBase(incidentID string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, incidentID)
	safe = strings.TrimLeft(safe, ".-")
	if safe == incidentID && safe != "" && len(safe) <= 120 {
		return safe
	}
	return strings.Trim(safe[:min(len(safe), 60)]+"-"+sum([]byte(incidentID))[:8], "-")
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// publish puts one file into a directory as one whole. A file of that name
// with other bytes holds a person's words, since the same incident always gives
// the same bytes: it is moved aside, not lost. It returns the name it was moved
// to, "" if there was none.
func publish(dir, name string, content []byte) (aside string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of reviews: %w", err)
	}
	target := filepath.Join(dir, name)
	have, err := os.ReadFile(target)
	switch {
	case err == nil && bytes.Equal(have, content):
		return "", nil
	case err == nil:
		ext := filepath.Ext(name)
		aside = strings.TrimSuffix(name, ext) + "." + sum(have)[:8] + ext
		if err := os.Rename(target, filepath.Join(dir, aside)); err != nil {
			return "", fmt.Errorf("keep an edited review: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("look for a review: %w", err)
	}
	return aside, replace(target, content)
}

// overwrite is publish where what is there is Belay's own and out of date.
func overwrite(dir, name string, content []byte) (aside string, err error) {
	return "", replace(filepath.Join(dir, name), content)
}

// unedited says that a file is as it was written.
func unedited(dir, name, written string) bool {
	have, err := os.ReadFile(filepath.Join(dir, name))
	return err == nil && sum(have) == written
}

// replace writes a file beside its place and renames it there once it is on
// the disk.
func replace(target string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(target), ".review-*")
	if err != nil {
		return fmt.Errorf("write a review: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("write a review: %w", err)
	}
	if dir, e := os.Open(filepath.Dir(target)); e == nil {
		_ = dir.Sync() // the rename itself; some systems cannot, and the file is whole either way
		_ = dir.Close()
	}
	return nil
}
