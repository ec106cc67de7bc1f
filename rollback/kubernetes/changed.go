package kubernetes

import (
	"sync"
	"time"

	"github.com/belaydev/belay"
)

// changes remembers when the content last changed. Kubernetes keeps no such
// time: a ReplicaSet that is used anew keeps the time at which it was made.
type changes struct {
	mu      sync.Mutex
	now     change
	before  change
	last    time.Time // when now was last seen to run
	present string    // UID of the object
	newest  int64     // generation of the object that now was seen in
}

// A change is a content and when it was put in place.
type change struct {
	content belay.Content
	at      time.Time
}

// of returns when the content of what was seen was put in place. Two readers
// may see the object out of order: the older view changes nothing.
func (c *changes) of(s *seen) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid, generation := string(s.Object.GetUID()), s.Object.GetGeneration()
	switch {
	case uid == c.present && generation < c.newest:
		if s.Content == c.before.content {
			return c.before.at
		}
		return s.changedAt()
	case s.Content == c.now.content:
	default:
		at := s.changedAt()
		// The platform's times are whole seconds; what ran a moment ago tells more.
		if within := at.Add(time.Second - time.Millisecond); c.now.content != "" && c.last.After(at) {
			at = earlier(c.last, within)
		}
		c.before, c.now = c.now, change{s.Content, at}
	}
	c.present, c.newest = uid, generation
	if s.At.After(c.last) {
		c.last = s.At
	}
	return c.now.at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// changedAt is the platform's own word, to the second: when the oldest of the
// newest revisions in a row with this content was made, and later than the one
// before them.
func (s *seen) changedAt() time.Time {
	if _, at := s.operation(); !at.IsZero() {
		return at
	}
	var at, before time.Time
	for _, o := range s.Old {
		if o.Content != s.Content {
			if !at.IsZero() {
				before = o.Created
				break
			}
			continue // the controller has not seen the newest template yet, or used an older one anew without a new number
		}
		at = o.Created
	}
	if at.IsZero() || before.After(at) { // not made yet, or made before and used anew
		at = before
		if _, others := writers(s.Object); others.at.After(at) {
			at = others.at
		}
	}
	if made := s.Object.GetCreationTimestamp().Time; at.Before(made) {
		at = made
	}
	return at
}
