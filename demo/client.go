package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// A client reads what Belay says of itself. It never writes.
type client struct {
	url  string
	http *http.Client
}

func newClient(addr string) *client {
	return &client{url: "http://" + addr, http: &http.Client{
		Timeout:   3 * time.Second,
		Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 2},
	}}
}

// Ready returns nil when Belay says that it watches.
func (c *client) Ready(ctx context.Context) error {
	_, err := c.get(ctx, "/-/ready")
	return err
}

// Events returns events after a position, oldest first: as many as one page of
// the API holds.
func (c *client) Events(ctx context.Context, after belay.Seq) ([]belay.Event, error) {
	body, err := c.get(ctx, fmt.Sprintf("/api/belay/v1/events?after=%d", after))
	if err != nil {
		return nil, err
	}
	var page struct {
		Events []belay.Event `json:"events"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return page.Events, nil
}

// Delivered says whether every message has left Belay.
func (c *client) Delivered(ctx context.Context) bool {
	body, err := c.get(ctx, "/api/belay/v1/status")
	if err != nil {
		return false
	}
	var status struct {
		Depth *int `json:"outbox_depth"`
	}
	return json.Unmarshal(body, &status) == nil && status.Depth != nil && *status.Depth == 0
}

func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", path, res.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	return body, nil
}
