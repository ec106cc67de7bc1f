package releases

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
)

func TestHashTellsReleasesApartByWhatTheyHold(t *testing.T) {
	tree := func(change func(dir string)) belay.Content {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "conf"), 0o755))
		write(t, filepath.Join(dir, "app"), "one")
		write(t, filepath.Join(dir, "conf", "a"), "two")
		must(t, os.Symlink("a", filepath.Join(dir, "conf", "link")))
		change(dir)
		c, err := Hash(dir)
		must(t, err)
		return c
	}
	base := tree(func(string) {})
	for name, tc := range map[string]struct {
		change func(dir string)
		same   bool
	}{
		"the same files in another place": {func(string) {}, true},
		"another time of change":          {func(d string) { must(t, os.Chtimes(filepath.Join(d, "app"), time.Time{}, time.Unix(1, 0))) }, true},
		"another byte":                    {func(d string) { write(t, filepath.Join(d, "app"), "one!") }, false},
		"another mode":                    {func(d string) { must(t, os.Chmod(filepath.Join(d, "app"), 0o700)) }, false},
		"another name":                    {func(d string) { must(t, os.Rename(filepath.Join(d, "app"), filepath.Join(d, "bpp"))) }, false},
		"another place of the same file":  {func(d string) { must(t, os.Rename(filepath.Join(d, "app"), filepath.Join(d, "conf", "app"))) }, false},
		"an empty file more":              {func(d string) { write(t, filepath.Join(d, "more"), "") }, false},
		"an empty directory more":         {func(d string) { must(t, os.Mkdir(filepath.Join(d, "more"), 0o755)) }, false},
		"a link that leads elsewhere":     {func(d string) { relink(t, "b", filepath.Join(d, "conf", "link")) }, false},
		"a file with the text of the link": {func(d string) {
			unlink(t, filepath.Join(d, "conf", "link"))
			write(t, filepath.Join(d, "conf", "link"), "a")
		}, false},
		"a file name that looks like a row": {func(d string) { write(t, filepath.Join(d, "x\" 0 600 \"\n\"y"), "") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tree(tc.change); (got == base) != tc.same {
				t.Errorf("same content is %v, want %v", got == base, tc.same)
			}
		})
	}
}

func TestActivateActsOnlyOnWhatWasSeenAndOnce(t *testing.T) {
	type call struct {
		op       string
		seen, to string // names of releases
		want     Result
		err      error // nil with want "" means any error
	}
	for name, tc := range map[string]struct {
		calls []call
		log   []string // after "deploy v1" and "deploy v2"
	}{
		"what was seen runs":         {[]call{{"op", "v2", "v1", Changed, nil}}, []string{"op v2 → v1"}},
		"twice":                      {[]call{{"op", "v2", "v1", Changed, nil}, {"op", "v2", "v1", AlreadyApplied, nil}}, []string{"op v2 → v1", "op already applied v1"}},
		"something else was seen":    {[]call{{"op", "v3", "v1", "", belay.ErrSuperseded}}, nil},
		"it runs by another's hand":  {[]call{{"op", "v3", "v2", "", belay.ErrSuperseded}}, nil},
		"spent, then another's turn": {[]call{{"op", "v2", "v1", Changed, nil}, {"two", "v1", "v2", Changed, nil}, {"op", "v2", "v1", "", belay.ErrSuperseded}}, []string{"op v2 → v1", "two v1 → v2"}},
		"no change of content":       {[]call{{"op", "v2", "v2", "", nil}}, nil},
		"no operation id":            {[]call{{"", "v2", "v1", "", nil}}, nil},
		"an id with a space":         {[]call{{"a b", "v2", "v1", "", nil}}, nil},
		"an id that the log uses":    {[]call{{ByDeploy, "v2", "v1", "", nil}}, nil},
		"content that is not there":  {[]call{{"op", "v2", "none", "", nil}}, nil},
		"a release that cannot run":  {[]call{{"op", "v2", "bare", "", nil}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			contents := map[string]belay.Content{"none": "sha256:00"}
			for _, v := range []string{"v1", "v2", "v3"} {
				contents[v] = add(t, s, v, v, Manifest{Version: v})
			}
			must(t, os.Mkdir(s.Path("releases", "bare"), 0o755))
			contents["bare"] = s.revision("bare").Content
			deploy(t, s, "v1")
			deploy(t, s, "v2")
			for _, c := range tc.calls {
				got, err := s.Activate(Op{ID: c.op, Seen: contents[c.seen], To: contents[c.to]})
				switch {
				case got != c.want:
					t.Errorf("%+v: got %q, %v", c, got, err)
				case (err != nil) != (c.want == ""):
					t.Errorf("%+v: error %v", c, err)
				case errors.Is(err, belay.ErrSuperseded) != errors.Is(c.err, belay.ErrSuperseded):
					t.Errorf("%+v: error %v", c, err)
				}
			}
			if diff := cmp.Diff(append([]string{"deploy - → v1", "deploy v1 → v2"}, tc.log...), lines(t, s)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAChangeThatIsUnderWayElsewhereIsWorthATryLater(t *testing.T) {
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{})
	two := add(t, s, "v2", "b", Manifest{})
	deploy(t, s, "v1")
	unlock, err := s.lock()
	must(t, err)
	s.patience = 20 * time.Millisecond
	_, err = s.Activate(Op{ID: "op", Seen: one, To: two})
	if code := exitCode(err); code != command.ExitTryLater {
		t.Errorf("Activate returned %v, exit code %d, want %d", err, code, command.ExitTryLater)
	}
	unlock()
	if _, err := s.Activate(Op{ID: "op", Seen: one, To: two}); err != nil {
		t.Errorf("Activate returned %v after the lock was given up", err)
	}
}

func TestTheSameContentUnderAnotherNameIsNoChange(t *testing.T) {
	s := open(t)
	add(t, s, "v1", "a", Manifest{Version: "1"})
	add(t, s, "v1-again", "a", Manifest{Version: "1"})
	deploy(t, s, "v1")
	before := state(t, s)
	changed, err := s.Deploy("v1-again")
	if changed || err != nil {
		t.Errorf("Deploy: %v, %v; want no change", changed, err)
	}
	if diff := cmp.Diff(before, state(t, s)); diff != "" {
		t.Errorf("the state is another (-before +after):\n%s", diff)
	}
	if name, _ := s.currentName(); name != "v1-again" {
		t.Errorf("the link leads to %q, want v1-again", name)
	}
}

func TestAChangeMadeByHandIsLoggedOnce(t *testing.T) {
	for name, hand := range map[string]func(t *testing.T, s *Service) string{
		"the link is moved": func(t *testing.T, s *Service) string {
			relink(t, "releases/v2", s.Path("current"))
			return "outside v1 → v2"
		},
		"a file is changed in place": func(t *testing.T, s *Service) string {
			write(t, s.Path("current", "body.txt"), "hotfix")
			return "outside v1 → v1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			first := add(t, s, "v1", "a", Manifest{})
			second := add(t, s, "v2", "b", Manifest{})
			deploy(t, s, "v1")
			before := state(t, s)
			line := hand(t, s)
			after := state(t, s)
			if after.Content == before.Content || !after.ChangedAt.After(*before.ChangedAt) || after.Token == before.Token {
				t.Errorf("the state does not tell of the change: %+v, then %+v", before, after)
			}
			if _, err := s.Activate(Op{ID: "op", Seen: first, To: second}); !errors.Is(err, belay.ErrSuperseded) {
				t.Errorf("Activate returned %v, want ErrSuperseded", err)
			}
			if diff := cmp.Diff([]string{"deploy - → v1", line}, lines(t, s)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATornEndOfTheLogIsCutOff(t *testing.T) {
	s := open(t)
	one := add(t, s, "v1", "a", Manifest{})
	two := add(t, s, "v2", "b", Manifest{})
	deploy(t, s, "v1")
	deploy(t, s, "v2")
	f, err := os.OpenFile(s.LogFile(), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("2026-01-02T15:04:05.0")
	must(t, errors.Join(err, f.Close()))
	if _, err := s.Activate(Op{ID: "op", Seen: two, To: one}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deploy - → v1", "deploy v1 → v2", "op v2 → v1"}, lines(t, s)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestAReleaseIsAddedWholeAndNeverChanged(t *testing.T) {
	s := open(t)
	add(t, s, "v1", "a", Manifest{})
	add(t, s, "v1", "a", Manifest{}) // the same again is fine
	source := t.TempDir()
	write(t, filepath.Join(source, ManifestFile), `{"version": "1", "argv": ["true"]}`)
	if _, err := s.Add("v1", source); err == nil || !strings.Contains(err.Error(), "exists with other content") {
		t.Errorf("Add over another content returned %v", err)
	}
	if _, err := s.Add("../v1", source); err == nil {
		t.Error("a name that leads elsewhere was accepted")
	}
	write(t, filepath.Join(source, ManifestFile), `{"argv": []}`)
	if _, err := s.Add("v2", source); err == nil {
		t.Error("a release without a program was added")
	}
	entries, err := os.ReadDir(s.Path("releases"))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d entries, want v1 only: %v", len(entries), entries)
	}
}

func TestListMarksWhatCannotRun(t *testing.T) {
	s := open(t)
	add(t, s, "v1", "a", Manifest{Version: "1.0"})
	must(t, os.Mkdir(s.Path("releases", "v2"), 0o755))
	write(t, s.Path("releases", "v2", ManifestFile), `{"version": "2.0", "argv": ["./nothing"]}`)
	must(t, os.Chtimes(s.Path("releases", "v2"), time.Time{}, time.Now().Add(-time.Hour)))
	must(t, os.Mkdir(s.Path("releases", ".adding-v3"), 0o755))
	revs, err := s.List()
	must(t, err)
	var got []string
	for _, r := range revs {
		got = append(got, r.Version)
		if r.Missing != (r.Version == "2.0") || r.Missing != (r.Detail != "") {
			t.Errorf("%+v", r)
		}
	}
	if diff := cmp.Diff([]string{"1.0", "2.0"}, got); diff != "" {
		t.Errorf("newest first (-want +got):\n%s", diff)
	}
}

func TestProgressIsWhatTheSupervisorSees(t *testing.T) {
	now := time.Unix(1000, 0)
	long := now.Add(-time.Minute)
	for name, tc := range map[string]struct {
		alive  bool
		st     Status
		want   belay.Progress
		reason string
	}{
		"no supervisor":                  {false, Status{Content: "c", State: Running, Since: long}, belay.Stuck, "the supervisor is not running"},
		"another content still runs":     {true, Status{Content: "b", State: Running, Since: long}, belay.Progressing, "the supervisor has not started it yet"},
		"started, health unknown":        {true, Status{Content: "c", State: Starting, Since: long, Detail: "503"}, belay.Progressing, "503"},
		"runs since a moment ago":        {true, Status{Content: "c", State: Running, Since: now.Add(-299 * time.Millisecond)}, belay.Progressing, "it runs since a moment ago"},
		"runs":                           {true, Status{Content: "c", State: Running, Since: now.Add(-300 * time.Millisecond)}, belay.Converged, ""},
		"runs after one crash":           {true, Status{Content: "c", State: Running, Since: long, Crashes: 1}, belay.Converged, ""},
		"waits after one crash":          {true, Status{Content: "c", State: Backoff, Since: long, Crashes: 1, LastExit: "exit status 2"}, belay.Progressing, "it ended: exit status 2"},
		"third crash in a row":           {true, Status{Content: "c", State: Backoff, Since: long, Crashes: 3, Restarts: 5, LastExit: "exit status 2"}, belay.Stuck, "crash loop: exit status 2, 5 restarts"},
		"runs again between two crashes": {true, Status{Content: "c", State: Running, Since: long, Crashes: 4, Restarts: 4, LastExit: "signal: killed"}, belay.Stuck, "crash loop: signal: killed, 4 restarts"},
	} {
		t.Run(name, func(t *testing.T) {
			got, reason := progress("c", tc.alive, tc.st, now)
			if got != tc.want || reason != tc.reason {
				t.Errorf("got %s, %q; want %s, %q", got, reason, tc.want, tc.reason)
			}
		})
	}
}

func FuzzParseChange(f *testing.F) {
	f.Add("2026-01-02T15:04:05.123456789Z deploy v1@0123456789ab → v2@ba9876543210")
	f.Add("2026-01-02T15:04:09.000000000Z 5f2c already applied: v1@0123456789ab")
	f.Add("2026-01-02T15:04:05Z x - → v1@0")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseChange(line)
		if err != nil {
			return
		}
		again, err := ParseChange(c.String())
		if err != nil {
			t.Fatalf("%q is written as %q, which cannot be read: %v", line, c, err)
		}
		if !again.At.Equal(c.At) {
			t.Fatalf("%s, read again %s", c.At, again.At)
		}
		again.At = c.At
		if again != c {
			t.Fatalf("%+v, read again %+v", c, again)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"version": "1", "argv": ["./app", "-v"], "env": {"A": "b"}, "health": "http://127.0.0.1:1/"}`))
	f.Add([]byte(`{"argv": []}`))
	f.Add([]byte(`{"argv": ["a"]} {}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err == nil && (len(m.Argv) == 0 || m.Argv[0] == "") {
			t.Fatalf("%q was accepted without a program", b)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func unlink(t testing.TB, file string) {
	t.Helper()
	must(t, os.Remove(file))
}

func relink(t testing.TB, to, file string) {
	t.Helper()
	unlink(t, file)
	must(t, os.Symlink(to, file))
}
