package webhook

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

const secret = "a key of the test"

// A receiver is a small deployment system behind HTTP, as somebody would write
// it to the README.
type receiver struct {
	t testing.TB

	mu        sync.Mutex
	releases  []release
	runs      belay.Content
	version   string
	operation string
	changedAt time.Time
	progress  belay.Progress
	reason    string
	instances int
	note      string
	applied   map[string]belay.Content
	history   []rollbacktest.Change
	slow      bool              // answers 202 with a status URL
	before    func()            // comes between the adapter's reading and the receiver's writing
	lose      bool              // restores are applied, and their answers are lost; net/http asks once more by itself
	refused   int               // requests whose signature did not match
	statuses  map[string]string // operation → what its status URL says
}

type release struct {
	name    string
	content belay.Content
	missing bool
}

func newReceiver(t testing.TB) *receiver {
	return &receiver{t: t, progress: belay.Converged, instances: 1, applied: map[string]belay.Content{}, statuses: map[string]string{}}
}

func (r *receiver) deploy(name, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := belay.Content(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(body))))
	if !slices.ContainsFunc(r.releases, func(x release) bool { return x.content == c }) {
		r.releases = append(r.releases, release{name: name, content: c})
	}
	r.put(c, name, "")
}

func (r *receiver) put(c belay.Content, version, operation string) {
	by := operation
	if by == "" {
		by = rollbacktest.ByDeploy
	}
	if c != r.runs {
		r.history = append(r.history, rollbacktest.Change{At: time.Now(), By: by, From: r.runs, To: c})
		r.operation, r.changedAt = operation, time.Now()
	}
	r.runs, r.version, r.progress, r.reason = c, version, belay.Converged, ""
}

func (r *receiver) stuck(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress, r.reason = belay.Stuck, reason
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = Verify([]byte(secret), req.Header.Get(HeaderTimestamp), req.Header.Get(HeaderSignature), body, time.Now())
	}
	if err != nil {
		r.mu.Lock()
		r.refused++
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	switch {
	case req.Method == http.MethodGet && req.URL.Path == "/deploy/checkout":
		r.state(w)
	case req.Method == http.MethodGet && req.URL.Path == "/deploy/checkout/revisions":
		r.list(w)
	case req.Method == http.MethodPost && req.URL.Path == "/deploy/checkout/restore":
		r.restore(w, req, body)
	case strings.HasPrefix(req.URL.Path, "/status/"):
		r.mu.Lock()
		defer r.mu.Unlock()
		write(w, StatusReport{Status: r.statuses[req.URL.Path]})
		r.statuses[req.URL.Path] = "accepted"
	default:
		http.NotFound(w, req)
	}
}

func (r *receiver) state(w http.ResponseWriter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	write(w, StateReport{Content: string(r.runs), Version: r.version, Progress: r.progress, Reason: r.reason, ChangedAt: &r.changedAt, Operation: r.operation, Token: fmt.Sprint(len(r.history))})
}

func (r *receiver) list(w http.ResponseWriter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []RevisionReport{}
	for _, x := range slices.Backward(r.releases) {
		rep := RevisionReport{Content: string(x.content), Version: x.name, Missing: x.missing}
		if x.missing {
			rep.Detail = "its image was removed"
		}
		out = append(out, rep)
	}
	write(w, out)
}

func (r *receiver) restore(w http.ResponseWriter, req *http.Request, body []byte) {
	var o Order
	if err := json.Unmarshal(body, &o); err != nil || req.Header.Get(HeaderIdempotency) != o.Operation {
		http.Error(w, "bad order", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	before, lose := r.before, r.lose
	r.before = nil
	r.mu.Unlock()
	if before != nil {
		before()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	to, done := r.applied[o.Operation]
	i := slices.IndexFunc(r.releases, func(x release) bool { return x.content == o.To && !x.missing })
	switch {
	case done && to == r.runs:
	case done || r.runs != o.Seen:
		http.Error(w, string(r.runs)+" runs", http.StatusConflict)
		return
	case i < 0:
		http.Error(w, string(o.To)+" is not there", http.StatusUnprocessableEntity)
		return
	default:
		r.applied[o.Operation] = o.To
		r.put(o.To, r.releases[i].name, o.Operation)
	}
	if lose {
		panic(http.ErrAbortHandler) // the connection breaks
	}
	if r.slow {
		r.statuses["/status/"+o.Operation] = "pending"
		w.Header().Set("Location", "/status/"+o.Operation)
		w.WriteHeader(http.StatusAccepted)
	}
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
