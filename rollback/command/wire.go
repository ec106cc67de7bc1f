package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/belaydev/belay"
)

// Exit codes of a command. Any code that is not listed means that it failed;
// the last line on standard error is the reason people are shown.
const (
	ExitDone       = 0
	ExitTryLater   = 75 // nothing was changed, asking again is sensible (EX_TEMPFAIL)
	ExitSuperseded = 78 // restore only: something else than the operation has seen runs; nothing was changed
)

// StateReport is what the state command prints: one JSON object.
type StateReport struct {
	Content   string         `json:"content"`              // required: identifies what runs, best "sha256:<hex>"
	Version   string         `json:"version,omitempty"`    // what people call it
	Progress  belay.Progress `json:"progress"`             // required
	Reason    string         `json:"reason,omitempty"`     // why it is not converged
	ChangedAt *time.Time     `json:"changed_at,omitempty"` // when the content last changed
	Owner     string         `json:"owner,omitempty"`      // who else would undo a change
	Operation string         `json:"operation,omitempty"`  // the operation that put this content here
	Token     string         `json:"token,omitempty"`      // handed back as BELAY_TOKEN
}

// RevisionReport is one element of the JSON array that the revisions command
// prints.
type RevisionReport struct {
	Content string     `json:"content"` // required
	Version string     `json:"version,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	Missing bool       `json:"missing,omitempty"` // it is known, but cannot be restored
	Detail  string     `json:"detail,omitempty"`  // why not
}

// An Order is what the restore command reads on standard input, the same as in
// its environment.
type Order struct {
	Operation   string        `json:"operation"`   // BELAY_OPERATION
	Seen        belay.Content `json:"seen"`        // BELAY_SEEN
	To          belay.Content `json:"to"`          // BELAY_TO
	Token       string        `json:"token"`       // BELAY_TOKEN
	Service     string        `json:"service"`     // BELAY_SERVICE
	Environment string        `json:"environment"` // BELAY_ENVIRONMENT
	Version     string        `json:"version"`     // BELAY_VERSION
}

// maxName bounds what identifies something, maxText what explains it, both in
// runes; maxOutput bounds what a command may print, in bytes.
const (
	maxName   = 200
	maxText   = 500
	maxOutput = 1 << 20
)

// ValidID says whether a text can name content or an operation: not empty, at
// most 200 characters, no spaces, no control characters.
func ValidID(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
}

// parseState reads what the state command printed.
func parseState(out []byte) (belay.State, error) {
	var r StateReport
	if err := strictJSON(out, '{', &r); err != nil {
		return belay.State{}, err
	}
	switch r.Progress {
	case belay.Converged, belay.Progressing:
	case belay.Stuck:
		if r.Reason == "" {
			r.Reason = "the command gave no reason"
		}
	default:
		return belay.State{}, fmt.Errorf("progress is %q, not converged, progressing or stuck", r.Progress)
	}
	err := errors.Join(
		checkContent(r.Content),
		checkName("version", r.Version),
		checkName("owner", r.Owner),
		checkName("operation", r.Operation),
		checkName("token", r.Token),
	)
	if err != nil {
		return belay.State{}, err
	}
	return belay.State{
		Revision:  belay.Revision{Content: belay.Content(r.Content), Version: r.Version},
		Token:     r.Token,
		Progress:  r.Progress,
		Reason:    plainText(r.Reason),
		Owner:     r.Owner,
		Operation: r.Operation,
		ChangedAt: deref(r.ChangedAt),
	}, nil
}

// parseRevisions reads what the revisions command printed. The order is kept,
// unless every revision has its time and the times say otherwise. Of several
// with the same content one that can be restored is kept.
func parseRevisions(out []byte) ([]belay.Revision, error) {
	var rs []RevisionReport
	if err := strictJSON(out, '[', &rs); err != nil {
		return nil, err
	}
	revs := make([]belay.Revision, 0, len(rs))
	place := make(map[belay.Content]int, len(rs))
	dated := true
	for i, r := range rs {
		if err := errors.Join(checkContent(r.Content), checkName("version", r.Version)); err != nil {
			return nil, fmt.Errorf("revision %d: %w", i, err)
		}
		rev := belay.Revision{
			Content: belay.Content(r.Content), Version: r.Version, Created: deref(r.Created),
			Missing: r.Missing, Detail: plainText(r.Detail),
		}
		dated = dated && !rev.Created.IsZero()
		if at, double := place[rev.Content]; !double {
			place[rev.Content] = len(revs)
			revs = append(revs, rev)
		} else if revs[at].Missing && !rev.Missing {
			revs[at] = rev
		}
	}
	if dated {
		slices.SortStableFunc(revs, func(a, b belay.Revision) int { return b.Created.Compare(a.Created) })
	}
	return revs, nil
}

// strictJSON decodes exactly one value that begins with open. Unknown keys,
// anything after the value, and text that is not UTF-8 are errors.
func strictJSON(out []byte, open byte, into any) error {
	out = bytes.TrimSpace(out)
	switch {
	case len(out) == 0:
		return errors.New("it printed nothing")
	case !utf8.Valid(out):
		return errors.New("it did not print UTF-8")
	case out[0] != open:
		return fmt.Errorf("it printed something else than JSON that begins with %c", open)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("its JSON is wrong: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its JSON")
	}
	return nil
}

func checkContent(s string) error {
	if !ValidID(s) {
		return fmt.Errorf("content is %s, not 1 to %d characters without spaces", quoted([]byte(s)), maxName)
	}
	if hex, ok := strings.CutPrefix(s, "sha256:"); ok && strings.Trim(hex, "0123456789abcdef") != "" || s == "sha256:" {
		return fmt.Errorf("content is %s, not sha256: and lower-case hexadecimal digits", quoted([]byte(s)))
	}
	return nil
}

// checkName lets through what may be empty but must fit on a line.
func checkName(key, s string) error {
	if utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s is %s, not at most %d characters on one line", key, quoted([]byte(s)), maxName)
	}
	return nil
}

// plainText makes one bounded line of what a command says to people.
func plainText(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText-1]) + "…"
	}
	return s
}

// quoted returns the first 200 bytes, quoted, so that rubbish can be shown.
func quoted(out []byte) string {
	if len(out) > 200 {
		return fmt.Sprintf("%q… (%d bytes)", out[:200], len(out))
	}
	return fmt.Sprintf("%q", out)
}

func deref(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
