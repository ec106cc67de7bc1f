package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADirectoryWithForeignFilesIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(mine, []byte("three years"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := prepareDirectory(dir)
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("err = %v, want one that says it is not empty", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the directory was touched: %v", entries)
	}
}

func TestADirectoryOfAnEarlierDemoIsTakenAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "demo")
	first, err := prepareDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
	if _, err := prepareDirectory(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second demo in the same directory: err = %v", err)
	}
	for _, name := range []string{journalFile, "notes.txt", "reviews/i-1.md"} {
		if err := writeFile(first.file(name), []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	first.release()
	second, err := prepareDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.release()
	for name, want := range map[string]bool{journalFile: false, reviewsDir: false, "notes.txt": true} {
		if _, err := os.Stat(second.file(name)); (err == nil) != want {
			t.Errorf("%s: exists %v, want %v", name, err == nil, want)
		}
	}
}

func TestWithoutADirectoryANewOneIsMade(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := prepareDirectory("")
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
}
