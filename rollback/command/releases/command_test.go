package releases

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belaydev/belay/rollback/command"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func call(t *testing.T, s *Service, stdin string, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(t.Context(), append([]string{"--dir", filepath.Dir(s.dir)}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestTheCommandsFromTheFirstReleaseToARollback(t *testing.T) {
	s := open(t)
	source := func(body string) string {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "body.txt"), body)
		write(t, filepath.Join(dir, ManifestFile), mustJSON(t, Manifest{Version: body, Argv: []string{self(t)}}))
		return dir
	}
	for _, args := range [][]string{
		{"init", "checkout"},
		{"add", "checkout", "r1", source("1.0")},
		{"add", "checkout", "r2", source("2.0")},
		{"deploy", "checkout", "r1"},
		{"deploy", "checkout", "r2"},
	} {
		if code, _, errs := call(t, s, "", args...); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, errs)
		}
	}
	var st command.StateReport
	_, out, _ := call(t, s, "", "state", "checkout")
	must(t, json.Unmarshal([]byte(out), &st))
	var revs []command.RevisionReport
	_, out, _ = call(t, s, "", "list", "checkout")
	must(t, json.Unmarshal([]byte(out), &revs))
	if len(revs) != 2 || st.Version != "2.0" || st.Content != revs[0].Content {
		t.Fatalf("state %+v, list %+v", st, revs)
	}
	order := mustJSON(t, command.Order{Operation: "op", Seen: "sha256:aa", To: "sha256:bb"})
	if code, _, errs := call(t, s, order, "activate", "checkout"); code != command.ExitSuperseded || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q; want 78 and one line", code, errs)
	}
	t.Setenv("BELAY_OPERATION", "op")
	t.Setenv("BELAY_SEEN", st.Content)
	t.Setenv("BELAY_TO", revs[1].Content)
	for _, want := range []string{"changed\n", "already applied\n"} {
		if code, out, errs := call(t, s, "", "activate", "checkout"); code != 0 || out != want {
			t.Errorf("exit code %d, stdout %q, stderr %q; want %q", code, out, errs, want)
		}
	}
}

func TestAWrongCommandLineExitsWithThree(t *testing.T) {
	s := open(t)
	for _, args := range [][]string{
		{},
		{"launch", "checkout"},
		{"state"},
		{"state", "checkout", "more"},
		{"state", "../checkout"},
		{"--no-such-flag", "state", "checkout"},
	} {
		if code, _, errs := call(t, s, "", args...); code != exitUsage || !strings.Contains(errs, "usage:") {
			t.Errorf("%q: exit code %d, stderr %q", args, code, errs)
		}
	}
	if code, out, _ := call(t, s, "", "--help"); code != 0 || !strings.Contains(out, "usage:") {
		t.Errorf("--help: exit code %d, stdout %q", code, out)
	}
}

func TestAFailureIsOneLineThatSaysWhy(t *testing.T) {
	s := open(t)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no such service":    {[]string{"state", "basket"}, "there is no service basket"},
		"nothing deployed":   {[]string{"state", "checkout"}, "service checkout has no current release"},
		"no such release":    {[]string{"deploy", "checkout", "v9"}, "there is no release v9"},
		"no order":           {[]string{"activate", "checkout"}, "neither BELAY_OPERATION nor an order on standard input"},
		"nothing to restart": {[]string{"restart", "checkout"}, "its supervisor is not running"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := call(t, s, "", tc.args...)
			if code != 1 || out != "" || !strings.Contains(errs, tc.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 1 and %q", code, out, errs, tc.want)
			}
		})
	}
}
