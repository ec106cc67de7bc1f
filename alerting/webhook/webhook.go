// Package webhook tells other systems of incidents in Alertmanager's own JSON,
// so that whatever understands Alertmanager understands Belay.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	promconfig "github.com/prometheus/common/config"

	"github.com/belaydev/belay/alerting"
)

// Options are what a Notifier may be given.
type Options struct {
	Receiver    string           // the field "receiver" of what is sent
	ExternalURL string           // the field "externalURL": where Belay's pages are
	Now         func() time.Time // nil is time.Now
}

// A Notifier posts incidents to one address. It has no threads.
type Notifier struct {
	cfg    alerting.Webhook
	url    string // "" when it is read from a file each time
	opts   Options
	client *http.Client
}

var (
	_ alerting.Notifier   = (*Notifier)(nil)
	_ alerting.Threadless = (*Notifier)(nil)
)

// defaultTimeout bounds one request.
const defaultTimeout = 10 * time.Second

// New returns a notifier for one entry of webhook_configs. It sends nothing.
func New(cfg alerting.Webhook, opts Options) (*Notifier, error) {
	address, err := cfg.URL.Value()
	if err != nil {
		return nil, fmt.Errorf("webhook url: %w", err)
	}
	if address == "" && cfg.URLFile == "" {
		return nil, errors.New("webhook: neither url nor url_file")
	}
	hc := promconfig.DefaultHTTPClientConfig
	if cfg.HTTPConfig != nil {
		hc = *cfg.HTTPConfig
	}
	client, err := promconfig.NewClientFromConfig(hc, "webhook")
	if err != nil {
		return nil, fmt.Errorf("webhook http_config: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Notifier{cfg: cfg, url: address, opts: opts, client: client}, nil
}

// Threadless implements alerting.Threadless.
func (n *Notifier) Threadless() {}

// Close gives up connections that are kept for a next message. A message that
// is sent after it opens its own.
func (n *Notifier) Close() { n.client.CloseIdleConnections() }

// Notify sends the incident's alerts when they differ from those that were
// sent last, which Ref remembers by their hash. It returns the new hash, or
// ErrUnchanged.
func (n *Notifier) Notify(ctx context.Context, m alerting.Message) (string, error) {
	if m.Kind != alerting.Parent {
		return "", alerting.ErrUnchanged
	}
	p := payloadOf(m, n.opts, n.cfg.MaxAlerts)
	hash := fingerprint(p)
	if m.Group != nil { // Groups knows what is to be told, and again
		m.Ref = ""
		hash += "-" + strconv.FormatInt(m.At.UnixNano(), 36)
	}
	if hash == m.Ref || p.Status == resolved && n.cfg.SendResolved != nil && !*n.cfg.SendResolved {
		return "", alerting.ErrUnchanged
	}
	body, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("webhook payload: %w: %w", err, alerting.ErrPermanent)
	}
	if err := n.send(ctx, m.Key+"/"+hash, body); err != nil {
		return "", err
	}
	return hash, nil
}

func (n *Notifier) send(ctx context.Context, key string, body []byte) error {
	address, err := n.address()
	if err != nil {
		return err
	}
	timeout := time.Duration(n.cfg.Timeout)
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { wrote.Store(true) }, // from here on, the other side may have heard
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook: the address cannot be used: %w", alerting.ErrPermanent)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Belay")
	req.Header.Set("Idempotency-Key", key)
	resp, err := n.client.Do(req)
	if err != nil {
		err = fmt.Errorf("webhook: %s", withoutAddress(err))
		if wrote.Load() {
			return fmt.Errorf("%w: %w", err, alerting.ErrAmbiguous)
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return n.judge(resp, strings.TrimSpace(string(said)))
}

// judge says what an answer means.
func (n *Notifier) judge(resp *http.Response, said string) error {
	code := resp.StatusCode
	if code/100 == 2 {
		return nil
	}
	err := fmt.Errorf("webhook: answered %s", resp.Status)
	if said != "" {
		err = fmt.Errorf("%w: %q", err, said)
	}
	switch after, asked := retryAfter(resp.Header.Get("Retry-After"), n.opts.Now()); {
	case code != http.StatusTooManyRequests && code != http.StatusRequestTimeout && code/100 != 5:
		return fmt.Errorf("%w: %w", err, alerting.ErrPermanent)
	case asked:
		return &alerting.RetryAfterError{After: after, Err: err}
	}
	return err
}

// maxRetryAfter bounds what a receiver may ask for, so that one bad header does
// not silence it for days.
const maxRetryAfter = time.Hour

// retryAfter reads the header in both of its forms, seconds and a date.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	header = strings.TrimSpace(header)
	if s, err := strconv.ParseUint(header, 10, 63); err == nil {
		if s > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		return time.Duration(s) * time.Second, true
	}
	if t, err := http.ParseTime(header); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter), true
	}
	return 0, false
}

func (n *Notifier) address() (string, error) {
	if n.url != "" {
		return n.url, nil
	}
	b, err := os.ReadFile(n.cfg.URLFile)
	if err != nil {
		return "", fmt.Errorf("webhook url_file: %w", err)
	}
	address := strings.TrimSpace(string(b))
	if address == "" {
		return "", fmt.Errorf("webhook url_file %s: it is empty", n.cfg.URLFile)
	}
	return address, nil
}

// withoutAddress keeps the address, which may hold a secret, out of an error.
func withoutAddress(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "broken off"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// fingerprint names the set of alerts and their states.
func fingerprint(p payload) string {
	b := fmt.Appendln(nil, p.Status, p.TruncatedAlerts)
	for _, a := range p.Alerts {
		b = fmt.Appendln(b, a.Fingerprint, a.Status, a.StartsAt.UnixNano())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
