package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/belaydev/belay/web"
)

func TestTheTokenIsMadeOnceForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", web.TokenName)
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() { got[i], _ = web.LoadOrCreateToken(path) })
	}
	wg.Wait()
	for _, token := range got {
		if token != got[0] || len(token) != 6+64 || !strings.HasPrefix(token, "belay_") {
			t.Fatalf("tokens made at once differ or are none: %q", got)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := web.ReadToken(path)
	if err != nil || again != got[0] {
		t.Errorf("read again: %q, %v", again, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	other, _ := web.LoadOrCreateToken(filepath.Join(t.TempDir(), web.TokenName))
	if other == got[0] {
		t.Error("two tokens are the same")
	}
}

func TestAFileThatIsNoTokenIsNotSent(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "link", web.TokenName)
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file("target/x", token(), 0o600), link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder", web.TokenName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"another name":        file("a/id_rsa", token(), 0o600),
		"readable by others":  file("b/belay.token", token(), 0o644),
		"readable by a group": file("c/belay.token", token(), 0o640),
		"another secret":      file("d/belay.token", "hunter2", 0o600),
		"more than a token":   file("e/belay.token", token()+"\nx", 0o600),
		"upper case":          file("f/belay.token", strings.ToUpper(token()), 0o600),
		"empty":               file("g/belay.token", "", 0o600),
		"a link":              link,
		"a folder":            folder,
		"not there":           filepath.Join(dir, "h", web.TokenName),
		"a relative path":     web.TokenName,
		"a path that climbs":  "/../" + web.TokenName,
	} {
		if got, err := web.ReadToken(path); err == nil || got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got, err := web.ReadToken(file("z/belay.token", token()+"\n", 0o600)); err != nil || got != token() {
		t.Errorf("a good one: %q, %v", got, err)
	}
}
