// Package alertingtest has a channel in memory with settable faults, for tests
// of everything that tells people.
package alertingtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/belaydev/belay/alerting"
)

// A Post is one message as the channel shows it.
type Post struct {
	Ref     string
	Thread  string // of a reply: the Ref of its parent
	Message alerting.Message
	Edits   int
}

// A Fault decides what becomes of one call of Notify. With post it puts the
// message into the channel; it returns what Notify returns. call counts from 1.
type Fault func(ctx context.Context, call int, m alerting.Message, post func() string) (ref string, err error)

// A Channel is a notifier that remembers. It never recognises a message that
// it has already, unless it is told to look (Retry), as real channels do. The
// zero value is ready.
type Channel struct {
	mu    sync.Mutex
	posts []Post
	calls int
	fault Fault
}

// Fail sets what goes wrong from now on. nil mends the channel.
func (c *Channel) Fail(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// Notify implements alerting.Notifier.
func (c *Channel) Notify(ctx context.Context, m alerting.Message) (string, error) {
	c.mu.Lock()
	c.calls++
	call, fault := c.calls, c.fault
	c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err // a real channel could not be reached any more
	}
	if fault != nil {
		return fault(ctx, call, m, func() string { return c.show(m) })
	}
	if m.Ref != "" && !c.has(m.Ref) {
		return "", fmt.Errorf("no message %s: %w", m.Ref, alerting.ErrPermanent)
	}
	return c.show(m), nil
}

func (c *Channel) has(ref string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.posts, func(p Post) bool { return p.Ref == ref })
}

// show posts or edits.
func (c *Channel) show(m alerting.Message) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.posts {
		p := &c.posts[i]
		switch {
		case m.Ref != "" && p.Ref == m.Ref:
			p.Message = m
			p.Edits++
			return p.Ref
		case m.Ref == "" && m.Retry && p.Message.Key == m.Key:
			return p.Ref
		}
	}
	p := Post{Ref: "ref-" + strconv.Itoa(len(c.posts)+1), Thread: m.Thread, Message: m}
	c.posts = append(c.posts, p)
	return p.Ref
}

// Posts returns what the channel shows, in the order of posting.
func (c *Channel) Posts() []Post {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.posts)
}

// Calls returns how often Notify was called.
func (c *Channel) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Parents returns how many parent messages each key has. Each should be 1.
func (c *Channel) Parents() map[string]int { return c.count(alerting.Parent) }

// Replies returns how many replies each key has. Each should be 1.
func (c *Channel) Replies() map[string]int { return c.count(alerting.Reply) }

func (c *Channel) count(k alerting.Kind) map[string]int {
	n := map[string]int{}
	for _, p := range c.Posts() {
		if p.Message.Kind == k {
			n[p.Message.Key]++
		}
	}
	return n
}

// Once makes a fault that befalls the first n calls after it is set; later
// ones get through.
func Once(n int, f Fault) Fault {
	var mu sync.Mutex
	return func(ctx context.Context, call int, m alerting.Message, post func() string) (string, error) {
		mu.Lock()
		n--
		hit := n >= 0
		mu.Unlock()
		if hit {
			return f(ctx, call, m, post)
		}
		return post(), nil
	}
}

// Refuse makes a fault that posts nothing and returns err.
func Refuse(err error) Fault {
	return func(context.Context, int, alerting.Message, func() string) (string, error) { return "", err }
}

// AcceptThenTimeout posts, but says that it may not have.
func AcceptThenTimeout(_ context.Context, _ int, _ alerting.Message, post func() string) (string, error) {
	post()
	return "", fmt.Errorf("no answer in time: %w", alerting.ErrAmbiguous)
}

// Hang neither posts nor returns before ctx ends.
func Hang(ctx context.Context, _ int, _ alerting.Message, _ func() string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}
