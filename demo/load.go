package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// load sends real requests to the shop at a steady rate, whatever the answers,
// and remembers how each version answered.
type load struct {
	url    string // of the gateway, without a path
	rate   int    // requests a second
	client *http.Client

	mu     sync.Mutex
	stints []Stint
	next   string // the version that takes over, or has; "" where never two run at once
	gap    int    // requests that failed before any version had answered
	notify func(stint int, what string, at time.Time)
}

// A Stint is the time during which one version answered, as the load saw it. A
// request that nobody answered counts as a bad answer of the version that
// answered last.
type Stint struct {
	Version     string    `json:"version"`
	First       time.Time `json:"first_answer"`
	Last        time.Time `json:"last_answer"`
	FirstBad    time.Time `json:"first_bad_answer,omitzero"`
	LastBad     time.Time `json:"last_bad_answer,omitzero"`
	FirstSlow   time.Time `json:"first_slow_answer,omitzero"`
	LastSlow    time.Time `json:"last_slow_answer,omitzero"`
	Good        int       `json:"good"`
	Errors      int       `json:"errors"`      // answered with 5xx
	Unreachable int       `json:"unreachable"` // nobody answered: refused, reset, timed out
	Slow        int       `json:"slow"`        // good answers that took slowAnswer or longer
}

// Bad counts everything but good answers.
func (s Stint) Bad() int { return s.Errors + s.Unreachable }

// slowAnswer is what customers call slow.
const slowAnswer = 200 * time.Millisecond

// What the load tells its observer, once per stint.
const (
	firstAnswer     = "first_answer"
	firstBadAnswer  = "first_bad_answer"
	firstSlowAnswer = "first_slow_answer"
	firstGood       = "first_good_answer"
)

func newLoad(url string, rate int) *load {
	return &load{
		url: url, rate: rate,
		client: &http.Client{
			Timeout:   4 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, Proxy: nil},
		},
		notify: func(int, string, time.Time) {},
	}
}

// Run sends requests until ctx ends and the last of them is answered.
func (l *load) Run(ctx context.Context) {
	var flying sync.WaitGroup
	defer flying.Wait()
	defer l.client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	seats := make(chan struct{}, 256)
	for cart := 1; ; cart++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case seats <- struct{}{}:
			flying.Go(func() { l.send(ctx, cart); <-seats })
		default: // the shop hangs; more requests would not tell more
		}
	}
}

func (l *load) send(ctx context.Context, cart int) {
	path := "/checkout"
	if cart%brokenCart == brokenCart/2 { // so that a twelfth of all requests can fail
		path = "/cart"
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, fmt.Sprintf("%s%s?cart=%d", l.url, path, cart), nil)
	if err != nil {
		return
	}
	start := time.Now()
	res, err := l.client.Do(req)
	if err != nil {
		l.record("", 0, time.Now(), 0)
		return
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	_ = res.Body.Close()
	if err != nil {
		l.record("", 0, time.Now(), 0)
		return
	}
	if res.StatusCode == http.StatusBadGateway { // the gateway's word: nobody answered
		l.record("", 0, time.Now(), 0)
		return
	}
	l.record(res.Header.Get(versionHeader), res.StatusCode, time.Now(), time.Since(start))
}

// record counts one outcome; an empty version says that nobody answered.
func (l *load) record(version string, code int, at time.Time, took time.Duration) {
	l.mu.Lock()
	var told []string
	n := l.stintOf(version)
	if n == len(l.stints) && version != "" {
		l.stints = append(l.stints, Stint{Version: version, First: at})
		told = append(told, firstAnswer)
	}
	if len(l.stints) == 0 {
		l.gap++
		l.mu.Unlock()
		return
	}
	s := &l.stints[n]
	if version != "" {
		s.Last = at
	}
	switch {
	case version != "" && code < 500:
		s.Good++
		if s.Good == 1 {
			told = append(told, firstGood)
		}
		if took >= slowAnswer {
			s.Slow++
			s.LastSlow = at
			if s.FirstSlow.IsZero() {
				s.FirstSlow = at
				told = append(told, firstSlowAnswer)
			}
		}
	case version != "":
		s.Errors++
	default:
		s.Unreachable++
	}
	if version == "" || code >= 500 {
		s.LastBad = at
		if s.FirstBad.IsZero() {
			s.FirstBad = at
			told = append(told, firstBadAnswer)
		}
	}
	l.mu.Unlock()
	for _, what := range told {
		l.notify(n, what, at)
	}
}

// stintOf says which stint an answer of a version belongs to; the one after the
// last begins with it. While one version takes over, the one before still
// answers now and then, which is its old stint. l.mu is held.
func (l *load) stintOf(version string) int {
	last := len(l.stints) - 1
	if version == "" {
		return max(last, 0)
	}
	if last >= 0 && l.stints[last].Version != version && l.next != "" && l.next != version {
		for i := last; i >= 0; i-- {
			if l.stints[i].Version == version {
				return i
			}
		}
	}
	if last >= 0 && l.stints[last].Version == version {
		return last
	}
	return last + 1
}

// takesUp says that a version begins to take over from the one before, while
// both answer.
func (l *load) takesUp(version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = version
}

// Stints returns what was seen so far, oldest first.
func (l *load) Stints() []Stint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Stint(nil), l.stints...)
}

// stint returns the nth stint, zero if it has not begun.
func (l *load) stint(n int) Stint {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= len(l.stints) {
		return Stint{}
	}
	return l.stints[n]
}
