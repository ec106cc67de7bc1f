package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/belaydev/belay"
)

// Headers of a request.
const (
	HeaderTimestamp   = "Belay-Timestamp"  // Unix seconds
	HeaderSignature   = "Belay-Signature"  // see Sign
	HeaderIdempotency = "Idempotency-Key"  // of a restore: the operation's id
	HeaderService     = "Belay-Service"    // environment/name
	signatureVersion  = "sha256="          //
	maxResponse       = 1 << 20            // bytes of a response that are read
	maxName, maxText  = 200, 500           // characters of what identifies, and of what explains
	maxSkew           = 5 * time.Minute    // what Verify allows between two clocks
	contentTypeJSON   = "application/json" //
)

// StateReport is the answer to GET url: what runs.
type StateReport struct {
	Content   string         `json:"content"`              // required: identifies what runs, best "sha256:<hex>"
	Version   string         `json:"version,omitempty"`    // what people call it
	Progress  belay.Progress `json:"progress"`             // required
	Reason    string         `json:"reason,omitempty"`     // why it is not converged
	ChangedAt *time.Time     `json:"changed_at,omitempty"` // when the content last changed
	Owner     string         `json:"owner,omitempty"`      // who else would undo a change
	Operation string         `json:"operation,omitempty"`  // the operation that put this content here
	Token     string         `json:"token,omitempty"`      // handed back in a restore
}

// RevisionReport is one element of the answer to GET url/revisions.
type RevisionReport struct {
	Content string     `json:"content"` // required
	Version string     `json:"version,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	Missing bool       `json:"missing,omitempty"` // it is known, but cannot be restored
	Detail  string     `json:"detail,omitempty"`  // why not
}

// An Order is the body of POST url/restore.
type Order struct {
	Operation   string        `json:"operation"` // the same id must act once, ever
	Environment string        `json:"environment"`
	Service     string        `json:"service"`
	Seen        belay.Content `json:"seen"`              // what must run now, otherwise 409
	To          belay.Content `json:"to"`                // what shall run
	Version     string        `json:"version,omitempty"` // what people call that
	Token       string        `json:"token,omitempty"`   // what the state said when the decision was made
}

// A StatusReport is the answer to GET of a status URL.
type StatusReport struct {
	Status string `json:"status"`           // pending, accepted, superseded or failed
	Reason string `json:"reason,omitempty"` // why it failed
}

// Sign returns the value of Belay-Signature for a body that is sent at a time:
// "sha256=" and the hexadecimal HMAC-SHA256 of the timestamp in Unix seconds, a
// full stop, and the raw body.
func Sign(secret []byte, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%d.", at.Unix())
	mac.Write(body)
	return signatureVersion + hex.EncodeToString(mac.Sum(nil))
}

// Verify says whether a request was signed with the secret, and not longer ago
// than five minutes. It is what a receiver written in Go may use.
func Verify(secret []byte, timestamp, signature string, body []byte, now time.Time) error {
	sec, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no time in Unix seconds: %w", HeaderTimestamp, err)
	}
	at := time.Unix(sec, 0)
	if d := now.Sub(at).Abs(); d > maxSkew {
		return fmt.Errorf("the request is %s away from this clock; at most %s is allowed", d.Round(time.Second), maxSkew)
	}
	if !hmac.Equal([]byte(Sign(secret, at, body)), []byte(signature)) {
		return errors.New("the signature does not match")
	}
	return nil
}

// parseState reads the answer to GET url.
func parseState(body []byte) (belay.State, error) {
	var r StateReport
	if err := strictJSON(body, '{', &r); err != nil {
		return belay.State{}, err
	}
	switch r.Progress {
	case belay.Converged, belay.Progressing, belay.Stuck:
	default:
		return belay.State{}, fmt.Errorf("progress is %q, not converged, progressing or stuck", r.Progress)
	}
	if r.Progress == belay.Stuck && plain(r.Reason) == "" {
		r.Reason = "the receiver gave no reason"
	}
	err := errors.Join(content(r.Content), name("version", r.Version), name("owner", r.Owner), name("operation", r.Operation), name("token", r.Token))
	if err != nil {
		return belay.State{}, err
	}
	st := belay.State{
		Revision: belay.Revision{Content: belay.Content(r.Content), Version: r.Version},
		Token:    r.Token, Progress: r.Progress, Reason: plain(r.Reason), Owner: r.Owner, Operation: r.Operation,
	}
	if r.ChangedAt != nil {
		st.ChangedAt = *r.ChangedAt
	}
	return st, nil
}

// parseRevisions reads the answer to GET url/revisions. The order is kept,
// unless every revision has its time and the times say otherwise. Of several
// with the same content, one that can be restored is kept.
func parseRevisions(body []byte) ([]belay.Revision, error) {
	var rs []RevisionReport
	if err := strictJSON(body, '[', &rs); err != nil {
		return nil, err
	}
	var out []belay.Revision
	dated := true
	for i, r := range rs {
		if err := errors.Join(content(r.Content), name("version", r.Version)); err != nil {
			return nil, fmt.Errorf("revision %d: %w", i, err)
		}
		rev := belay.Revision{Content: belay.Content(r.Content), Version: r.Version, Missing: r.Missing, Detail: plain(r.Detail)}
		if r.Created != nil {
			rev.Created = *r.Created
		}
		dated = dated && !rev.Created.IsZero()
		at := slices.IndexFunc(out, func(o belay.Revision) bool { return o.Content == rev.Content })
		switch {
		case at < 0:
			out = append(out, rev)
		case out[at].Missing && !rev.Missing:
			out[at] = rev
		}
	}
	if dated {
		slices.SortStableFunc(out, func(a, b belay.Revision) int { return b.Created.Compare(a.Created) })
	}
	return out, nil
}

// parseStatus reads the answer to GET of a status URL.
func parseStatus(body []byte) (StatusReport, error) {
	var r StatusReport
	if err := strictJSON(body, '{', &r); err != nil {
		return r, err
	}
	if !slices.Contains([]string{"pending", "accepted", "superseded", "failed"}, r.Status) {
		return r, fmt.Errorf("status is %q, not pending, accepted, superseded or failed", r.Status)
	}
	r.Reason = plain(r.Reason)
	return r, nil
}

// strictJSON decodes exactly one value that begins with open. Unknown keys, and
// anything after the value, are errors: a misspelt key is never taken for an
// empty one.
func strictJSON(body []byte, open byte, into any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return errors.New("the answer is empty")
	}
	if body[0] != open {
		return fmt.Errorf("the answer does not begin with %q: %s", open, excerpt(body))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the answer cannot be read: %w: %s", err, excerpt(body))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("there is more after the answer's JSON: %s", excerpt(body))
	}
	return nil
}

func content(s string) error {
	if s == "" || !word(s) {
		return fmt.Errorf("content is %s: a word of 1 to %d characters without spaces is needed", excerpt([]byte(s)), maxName)
	}
	return nil
}

// word says whether a text can identify something.
func word(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
}

func name(key, s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s is longer than %d characters, or holds control characters", key, maxName)
	}
	return nil
}

// plain makes one bounded line of a text that people will read.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)), " ")
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}

func excerpt(b []byte) string {
	if len(b) > maxName {
		return fmt.Sprintf("%q… (%d bytes)", b[:maxName], len(b))
	}
	return fmt.Sprintf("%q", b)
}
