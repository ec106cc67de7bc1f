package command

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
)

func TestParseState(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		in   string
		want belay.State
		err  string
	}{
		"the least":              {`{"content": "a1", "progress": "converged"}`, belay.State{Revision: belay.Revision{Content: "a1"}, Progress: belay.Converged}, ""},
		"everything":             {`{"content": "sha256:0f", "version": "v1", "progress": "stuck", "reason": "a\n b", "changed_at": "2026-01-02T15:04:05Z", "owner": "flux", "operation": "op", "token": "7"}`, belay.State{Revision: belay.Revision{Content: "sha256:0f", Version: "v1"}, Progress: belay.Stuck, Reason: "a b", ChangedAt: at, Owner: "flux", Operation: "op", Token: "7"}, ""},
		"stuck without a reason": {`{"content": "a1", "progress": "stuck"}`, belay.State{Revision: belay.Revision{Content: "a1"}, Progress: belay.Stuck, Reason: "the command gave no reason"}, ""},
		"no content":             {`{"progress": "converged"}`, belay.State{}, `content is ""`},
		"content with a space":   {`{"content": "a b", "progress": "converged"}`, belay.State{}, `content is "a b"`},
		"content too long":       {`{"content": "` + strings.Repeat("a", 201) + `", "progress": "converged"}`, belay.State{}, "not 1 to 200 characters"},
		"a hash that is none":    {`{"content": "sha256:xyz", "progress": "converged"}`, belay.State{}, "lower-case hexadecimal"},
		"no progress":            {`{"content": "a"}`, belay.State{}, `progress is ""`},
		"unknown progress":       {`{"content": "a", "progress": "done"}`, belay.State{}, `progress is "done"`},
		"a version of two lines": {`{"content": "a", "progress": "converged", "version": "a\nb"}`, belay.State{}, "version is"},
		"no time":                {`{"content": "a", "progress": "converged", "changed_at": "yesterday"}`, belay.State{}, "its JSON is wrong"},
		"a list":                 {`[]`, belay.State{}, "JSON that begins with {"},
		"cut short":              {`{"content": "a"`, belay.State{}, "its JSON is wrong: unexpected EOF"},
		"two values":             {`{"content": "a", "progress": "converged"} {}`, belay.State{}, "something follows"},
		"not UTF-8":              {"{\"content\": \"\xff\"}", belay.State{}, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseState([]byte(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRevisions(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []string // versions; "-" before one that is missing
		err  string
	}{
		"none":                             {`[]`, nil, ""},
		"in the order given":               {`[{"content": "b", "version": "2"}, {"content": "a", "version": "1", "missing": true, "detail": "image is gone"}]`, []string{"2", "-1"}, ""},
		"by time where all have one":       {`[{"content": "a", "version": "1", "created": "2026-01-01T00:00:00Z"}, {"content": "b", "version": "2", "created": "2026-01-02T00:00:00Z"}]`, []string{"2", "1"}, ""},
		"one content is one revision":      {`[{"content": "a", "version": "3"}, {"content": "b", "version": "2"}, {"content": "a", "version": "1"}]`, []string{"3", "2"}, ""},
		"the one that can be restored":     {`[{"content": "a", "version": "3", "missing": true}, {"content": "a", "version": "1"}]`, []string{"1"}, ""},
		"an object":                        {`{}`, nil, "JSON that begins with ["},
		"null":                             {`null`, nil, "JSON that begins with ["},
		"the second has no content":        {`[{"content": "a"}, {}]`, nil, "revision 1: content is"},
		"the first has a version too long": {`[{"content": "a", "version": "` + strings.Repeat("v", 201) + `"}]`, nil, "revision 0: version is"},
	} {
		t.Run(name, func(t *testing.T) {
			revs, err := parseRevisions([]byte(tc.in))
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			var got []string
			for _, r := range revs {
				if r.Missing {
					r.Version = "-" + r.Version
				}
				got = append(got, r.Version)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"content": "sha256:0f", "version": "v1", "progress": "stuck", "reason": "why", "changed_at": "2026-01-02T15:04:05Z", "owner": "o", "operation": "op", "token": "t"}`))
	f.Add([]byte(`{"content": "a", "progress": "converged"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, out []byte) {
		st, err := parseState(out)
		if err != nil {
			return
		}
		if !ValidID(string(st.Revision.Content)) {
			t.Errorf("content %q was accepted", st.Revision.Content)
		}
		if st.Progress == belay.Stuck && st.Reason == "" && !strings.Contains(string(out), "reason") {
			t.Error("stuck without a reason was accepted")
		}
		for _, s := range []string{st.Revision.Version, st.Reason, st.Owner, st.Operation, st.Token} {
			if strings.ContainsAny(s, "\n\x00\x1b") || utf8.RuneCountInString(s) > maxText || !utf8.ValidString(s) {
				t.Errorf("%q was accepted", s)
			}
		}
	})
}

func FuzzParseRevisions(f *testing.F) {
	f.Add([]byte(`[{"content": "b", "version": "2", "created": "2026-01-02T15:04:05Z"}, {"content": "a", "missing": true, "detail": "gone"}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, out []byte) {
		revs, err := parseRevisions(out)
		if err != nil {
			return
		}
		seen := map[belay.Content]bool{}
		for _, r := range revs {
			if !ValidID(string(r.Content)) || seen[r.Content] {
				t.Errorf("content %q was accepted, or twice", r.Content)
			}
			seen[r.Content] = true
		}
	})
}
