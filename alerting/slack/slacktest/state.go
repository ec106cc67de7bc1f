package slacktest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The one app that ever posts here.
const (
	teamID  = "T0LOCAL"
	botUser = "U0BELAY"
	botID   = "B0BELAY"
	appID   = "A0BELAY"
)

// A Snapshot is everything that the server holds, as JSON for slack.json.
type Snapshot struct {
	Channels []Channel `json:"channels"`
}

// A Channel is a conversation and its messages, oldest first, replies among
// them.
type Channel struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Messages []Message `json:"messages"`
}

// A Message is one message as its channel shows it now.
type Message struct {
	Channel  string          `json:"-"`                         // the channel's id
	TS       string          `json:"ts"`                        // its name in the channel: seconds and microseconds
	ThreadTS string          `json:"thread_ts,omitempty"`       // of the parent, for a reply
	Aloud    bool            `json:"reply_broadcast,omitempty"` // a reply that the channel shows as well
	Text     string          `json:"text"`
	Blocks   json.RawMessage `json:"blocks,omitempty"`
	Metadata *Metadata       `json:"metadata,omitempty"`
	Edits    int             `json:"edits"`           // edits accepted
	Versions int             `json:"versions"`        // how many different contents it has shown, the first included
	Pings    []string        `json:"pings,omitempty"` // whom Slack would have notified, in any version
}

// Metadata is what an app attaches to its message, unseen by people.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// Key returns the payload's "key", by which Belay finds its own message, or "".
func (m Message) Key() string {
	if m.Metadata == nil {
		return ""
	}
	key, _ := m.Metadata.EventPayload["key"].(string)
	return key
}

// A room is a channel as the server keeps it.
type room struct {
	id, name string
	messages []*Message // by ts
}

// find returns the message of that ts, or nil.
func (r *room) find(ts string) *Message {
	for _, m := range r.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// thread returns the replies to a parent, oldest first.
func (r *room) thread(ts string) []*Message {
	var out []*Message
	for _, m := range r.messages {
		if m.ThreadTS == ts {
			out = append(out, m)
		}
	}
	return out
}

// addRoom must be called with the lock held, or before the server is shared.
func (s *Server) addRoom(name string) *room {
	name = strings.TrimPrefix(name, "#")
	sum := sha256.Sum256([]byte(name))
	r := &room{id: "C" + base32.StdEncoding.EncodeToString(sum[:])[:10], name: name}
	s.rooms = append(s.rooms, r)
	return r
}

// byID returns the channel of that id, or nil.
func (s *Server) byID(id string) *room {
	i := slices.IndexFunc(s.rooms, func(r *room) bool { return r.id == id })
	if i < 0 {
		return nil
	}
	return s.rooms[i]
}

// toPostIn returns the channel that a post names by id or name, creating it
// where channels are not a fixed list; nil when there is none.
func (s *Server) toPostIn(ref string) *room {
	if r := s.byID(ref); r != nil {
		return r
	}
	name := strings.TrimPrefix(ref, "#")
	for _, r := range s.rooms {
		if r.name == name {
			return r
		}
	}
	if name == "" || len(s.opts.Channels) > 0 {
		return nil
	}
	return s.addRoom(name)
}

// nextTS returns a ts that is later than all before it.
func (s *Server) nextTS() string {
	s.lastTS = max(s.lastTS+1, s.opts.Now().UnixMicro())
	return fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
}

// Snapshot returns a copy of everything, channels in the order they were made.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := Snapshot{Channels: []Channel{}}
	for _, r := range s.rooms {
		c := Channel{ID: r.id, Name: r.name, Messages: []Message{}}
		for _, m := range r.messages {
			c.Messages = append(c.Messages, m.copy())
		}
		snap.Channels = append(snap.Channels, c)
	}
	return snap
}

func (m *Message) copy() Message {
	out := *m
	out.Blocks = slices.Clone(m.Blocks)
	out.Pings = slices.Clone(m.Pings)
	return out // Metadata is replaced as a whole, never changed
}

// Messages returns a channel's messages, oldest first. The channel is an id
// or a name, with or without "#".
func (s *Server) Messages(channel string) []Message {
	for _, c := range s.Snapshot().Channels {
		if c.ID == channel || c.Name == strings.TrimPrefix(channel, "#") {
			return c.Messages
		}
	}
	return nil
}

// Parents returns the messages of all channels that are not replies.
func (s *Server) Parents() []Message {
	var out []Message
	for _, c := range s.Snapshot().Channels {
		for _, m := range c.Messages {
			if m.ThreadTS == "" {
				out = append(out, m)
			}
		}
	}
	return out
}

// WriteJSON writes the snapshot to a file, whole or not at all.
func (s *Server) WriteJSON(path string) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	text, err := json.MarshalIndent(s.Snapshot(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode slack snapshot: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".slack-*.json")
	if err != nil {
		return fmt.Errorf("write slack snapshot: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(append(text, '\n'))
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write slack snapshot: %w", err)
	}
	return nil
}
