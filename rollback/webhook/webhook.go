package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// Options are what a Platform needs besides its configuration.
type Options struct {
	Client *http.Client // nil is a client of its own; redirects are never followed
	Log    *slog.Logger
}

// A Platform is a program behind a URL.
type Platform struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger
}

var (
	_ rollback.Platform = (*Platform)(nil)
	_ rollback.Capable  = (*Platform)(nil)
)

// New returns the platform. It touches no network and no file.
func New(cfg Config, opts Options) (*Platform, error) {
	if what := badURL(cfg.URL); what != "" {
		return nil, errors.New("webhook: " + what)
	}
	if cfg.SecretFile == "" {
		return nil, errors.New("webhook: secret_file is required")
	}
	client := http.Client{}
	if opts.Client != nil {
		client = *opts.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Platform{cfg: cfg.withDefaults("."), client: &client, log: opts.Log}, nil
}

// Capabilities returns what the configuration says that the receiver promises.
func (p *Platform) Capabilities() rollback.Capabilities {
	return rollback.Capabilities{CAS: p.cfg.CompareAndSet, Stamped: true}
}

// Watch reads the state every poll and emits what has changed.
func (p *Platform) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	tick := time.NewTicker(p.cfg.Poll)
	defer tick.Stop()
	var last belay.State
	for {
		now, err := p.State(ctx, t)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		read, changed := now.At, now.ChangedAt
		if now.At = last.At; now.ChangedAt.Equal(last.ChangedAt) {
			now.ChangedAt = last.ChangedAt
		}
		if now != last {
			now.At, now.ChangedAt = read, changed
			emit(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// State asks the receiver what runs.
func (p *Platform) State(ctx context.Context, t belay.Target) (belay.State, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	a, err := p.ask(ctx, request{target: t, method: http.MethodGet, url: p.cfg.URL})
	if err != nil {
		return belay.State{}, fmt.Errorf("webhook state: %w", err)
	}
	if a.code != http.StatusOK {
		return belay.State{}, fmt.Errorf("webhook state: %w", a.err())
	}
	st, err := parseState(a.body)
	if err != nil {
		return belay.State{}, fmt.Errorf("webhook state: %s: %w", p.cfg.URL, err)
	}
	st.Target, st.At = t, time.Now()
	return st, nil
}

// Revisions asks the receiver what could run.
func (p *Platform) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	a, err := p.ask(ctx, request{target: t, method: http.MethodGet, url: p.cfg.URL + "/revisions"})
	if err != nil {
		return nil, fmt.Errorf("webhook revisions: %w", err)
	}
	if a.code != http.StatusOK {
		return nil, fmt.Errorf("webhook revisions: %w", a.err())
	}
	revs, err := parseRevisions(a.body)
	if err != nil {
		return nil, fmt.Errorf("webhook revisions: %s/revisions: %w", p.cfg.URL, err)
	}
	return revs, nil
}

// Restore compares, then asks the receiver, which compares once more, and
// follows its status URL until the operation is accepted.
func (p *Platform) Restore(ctx context.Context, op belay.Operation) error {
	if !word(op.ID) || op.ID == "" || op.Seen == "" || op.To.Content == "" || op.Seen == op.To.Content {
		return fmt.Errorf("webhook restore: operation %q from %q to %q changes nothing that can be named", op.ID, op.Seen, op.To.Content)
	}
	st, err := p.State(ctx, op.Target)
	if err != nil {
		return fmt.Errorf("webhook restore: compare: %w", err)
	}
	if st.Revision.Content != op.Seen && st.Revision.Content != op.To.Content {
		return fmt.Errorf("webhook restore: %s runs: %w", st.Revision, belay.ErrSuperseded)
	}
	body, err := json.Marshal(Order{
		Operation: op.ID, Environment: op.Target.Service.Environment, Service: op.Target.Service.Name,
		Seen: op.Seen, To: op.To.Content, Version: op.To.Version, Token: op.Token,
	})
	if err != nil {
		return fmt.Errorf("webhook restore: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	a, err := p.ask(ctx, request{target: op.Target, method: http.MethodPost, url: p.cfg.URL + "/restore", body: body, key: op.ID})
	if err != nil {
		return fmt.Errorf("webhook restore: %w", err)
	}
	switch a.code {
	case http.StatusOK, http.StatusNoContent:
		return nil
	case http.StatusAccepted:
		return p.follow(ctx, op, a)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fmt.Errorf("webhook restore: %w: %w", a.err(), belay.ErrSuperseded)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fmt.Errorf("webhook restore: %w: %w", a.err(), rollback.ErrTryLater)
	}
	return fmt.Errorf("webhook restore: %w", a.err())
}

// follow asks the status URL until the operation is accepted, superseded or
// failed. A 202 without a status URL is an acceptance.
func (p *Platform) follow(ctx context.Context, op belay.Operation, a answer) error {
	status, err := p.statusURL(a)
	if err != nil || status == "" {
		return err
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, p.cfg.Poll) {
		a, err := p.ask(ctx, request{target: op.Target, method: http.MethodGet, url: status})
		if err != nil {
			return fmt.Errorf("webhook restore: status: %w", err)
		}
		if a.code != http.StatusOK && a.code != http.StatusAccepted {
			return fmt.Errorf("webhook restore: status: %w", a.err())
		}
		r, err := parseStatus(a.body)
		switch {
		case err != nil:
			return fmt.Errorf("webhook restore: status: %s: %w", status, err)
		case r.Status == "accepted":
			return nil
		case r.Status == "superseded":
			return fmt.Errorf("webhook restore: %s: %w", firstOf(r.Reason, "the receiver says so"), belay.ErrSuperseded)
		case r.Status == "failed":
			return fmt.Errorf("webhook restore: the receiver failed: %s", firstOf(r.Reason, "it gave no reason"))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("webhook restore: still pending: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// statusURL returns where an answer says its status is, "" if nowhere. Only an
// address of the receiver itself is followed: a signed request goes nowhere else.
func (p *Platform) statusURL(a answer) (string, error) {
	if a.location == "" {
		return "", nil
	}
	base, err := url.Parse(p.cfg.URL + "/restore")
	if err != nil {
		return "", err
	}
	u, err := base.Parse(a.location)
	if err != nil {
		return "", fmt.Errorf("webhook restore: the status address %s cannot be read: %w", excerpt([]byte(a.location)), err)
	}
	if u.Scheme != base.Scheme || u.Host != base.Host || u.User != nil {
		return "", fmt.Errorf("webhook restore: the status address %s://%s is not on %s://%s, and is not followed", u.Scheme, u.Host, base.Scheme, base.Host)
	}
	return u.String(), nil
}

type request struct {
	target      belay.Target
	method, url string
	body        []byte
	key         string // Idempotency-Key
}

type answer struct {
	code     int
	status   string
	body     []byte
	location string
	from     string
}

// err says what an answer that is no success means, in the receiver's words.
func (a answer) err() error {
	if a.code >= 300 && a.code < 400 {
		return fmt.Errorf("%s answered %s; redirects are not followed", a.from, a.status)
	}
	return fmt.Errorf("%s answered %s: %s", a.from, a.status, firstOf(plain(string(a.body[:min(len(a.body), 4*maxText)])), "without a word"))
}

// ask sends one signed request and reads its bounded answer.
func (p *Platform) ask(ctx context.Context, r request) (answer, error) {
	secret, err := os.ReadFile(p.cfg.SecretFile)
	if err != nil {
		return answer{}, fmt.Errorf("secret_file: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 {
		return answer{}, fmt.Errorf("secret_file %s is empty", p.cfg.SecretFile)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	now := time.Now()
	req.Header.Set("Accept", contentTypeJSON)
	req.Header.Set("User-Agent", "belay")
	req.Header.Set(HeaderService, r.target.Service.String())
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(HeaderSignature, Sign(secret, now, r.body))
	if r.body != nil {
		req.Header.Set("Content-Type", contentTypeJSON)
	}
	if r.key != "" {
		req.Header.Set(HeaderIdempotency, r.key)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: the answer broke off: %w", r.method, r.url, err)
	}
	if len(body) > maxResponse {
		return answer{}, fmt.Errorf("%s %s: the answer is longer than %d bytes", r.method, r.url, maxResponse)
	}
	return answer{code: res.StatusCode, status: res.Status, body: body, location: res.Header.Get("Location"), from: r.method + " " + r.url}, nil
}

func firstOf(words ...string) string {
	for _, s := range words {
		if strings.TrimSpace(s) != "" {
			return s
		}
	}
	return ""
}
