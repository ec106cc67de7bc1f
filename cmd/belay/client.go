package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/belaydev/belay/web"
)

const (
	defaultURL = "http://" + web.DefaultListen
	apiPath    = "/api/belay/v1"

	// A plan asks the platform, which has its own time-out below this one.
	clientPatience = 60 * time.Second
	maxAnswer      = 64 << 20
)

// A client asks a running Belay. Its errors are exitErrors.
type client struct {
	base *url.URL
	env  *environment
	http *http.Client
}

// newClient returns a client of the server that BELAY_URL names.
func newClient(env *environment) (*client, error) {
	text := env.getenv("BELAY_URL")
	if text == "" {
		text = defaultURL
	}
	base, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, usage("BELAY_URL is %q; want something like %s", text, defaultURL)
	}
	return &client{base: base, env: env, http: &http.Client{
		Timeout: clientPatience,
		// Belay redirects nobody; whoever does must not be told the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// usage makes the error of a command that was called wrongly.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// get reads from the API and returns the answer as it came, decoded into into.
func (c *client) get(ctx context.Context, path string, into any) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// post asks for something to be done. into may be nil.
func (c *client) post(ctx context.Context, path string, body, into any) ([]byte, error) {
	return c.do(ctx, http.MethodPost, path, body, into)
}

func (c *client) do(ctx context.Context, method, path string, body, into any) ([]byte, error) {
	var err error
	token := c.env.getenv("BELAY_TOKEN")
	if token == "" && method != http.MethodGet {
		if token, err = c.localToken(ctx); err != nil {
			return nil, err
		}
	}
	code, raw, err := c.send(ctx, method, path, token, body)
	if code == http.StatusUnauthorized && token == "" { // reading is not free there
		if token, err = c.localToken(ctx); err != nil {
			return nil, err
		}
		_, raw, err = c.send(ctx, method, path, token, body)
	}
	if err != nil {
		return nil, err
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, usage("%s does not answer like Belay: %w", c.base.Redacted(), err)
		}
	}
	return raw, nil
}

// send makes one request. Any answer but 200 is an error.
func (c *client) send(ctx context.Context, method, path, token string, body any) (code int, raw []byte, err error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, usage("%w", err)
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+apiPath+path, text)
	if err != nil {
		return 0, nil, usage("%w", err)
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil, c.refusal(res, raw)
	}
	return res.StatusCode, raw, nil
}

// localToken returns the admin token that lies in a file which only the present
// user can read, once the server on this host has said where, and has shown
// that it knows the token already: anyone on this host may listen on the port
// of a Belay that is down.
func (c *client) localToken(ctx context.Context) (string, error) {
	if !onThisHost(c.base.Hostname()) {
		return "", usage("%s is on another host: set BELAY_TOKEN to a token that it knows", c.base.Redacted())
	}
	nonce := rand.Text()
	var said web.TokenPlace
	_, raw, err := c.send(ctx, http.MethodGet, "/token?nonce="+nonce, "", nil)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return "", usage("%s does not answer like Belay: %w", c.base.Redacted(), err)
	}
	if said.File == "" {
		return "", usage("%s does not say where its admin token lies: set BELAY_TOKEN", c.base.Redacted())
	}
	token, err := web.ReadToken(said.File)
	if err != nil {
		return "", usage("%w; run this as the user who runs Belay, or set BELAY_TOKEN", err)
	}
	if !hmac.Equal([]byte(said.Proof), []byte(web.Proof(token, nonce))) {
		return "", usage("what answers at %s is not the Belay whose token this is: it is not told the token", c.base.Redacted())
	}
	return token, nil
}

// onThisHost reports whether a server of that name can only be this host: a
// local token is for no other.
func onThisHost(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || (ip != nil && ip.IsLoopback())
}

func (c *client) unreachable(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	return usage("cannot reach Belay at %s: %w; is it running? BELAY_URL says where", c.base.Redacted(), err)
}

// refusal turns an answer that is not 200 into the error of the command.
func (c *client) refusal(res *http.Response, raw []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Error == "" {
		return usage("%s does not answer like Belay: %s", c.base.Redacted(), res.Status)
	}
	reason := errors.New(plain(said.Error))
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest:
		return &exitError{code: exitUsage, err: reason}
	}
	return &exitError{code: exitRefused, err: reason}
}

// servicePath returns the part of an address that names a service.
func servicePath(service string) string {
	env, name, ok := strings.Cut(service, "/")
	if !ok {
		env, name = "production", service
	}
	return url.PathEscape(env) + "/" + url.PathEscape(name)
}
