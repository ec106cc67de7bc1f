package slacktest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// sockets are the Socket Mode connections of the app. Each interaction goes to
// one of them, as in Slack.
type sockets struct {
	mu   sync.Mutex
	open []*socket
	next int
	ever int
}

type socket struct {
	conn  *websocket.Conn
	write sync.Mutex
	acks  chan string
}

// ackTime is how long Slack waits for an acknowledgement.
const ackTime = 3 * time.Second

// send hands a payload to one of the connections and waits until it is
// acknowledged. It returns false when there is no connection.
func (s *sockets) send(payload []byte) (bool, error) {
	s.mu.Lock()
	if len(s.open) == 0 {
		s.mu.Unlock()
		return false, nil
	}
	s.next++
	c := s.open[s.next%len(s.open)]
	s.mu.Unlock()
	id := rand.Text()
	err := c.writeJSON(map[string]any{"type": "interactive", "envelope_id": id, "accepts_response_payload": true, "payload": json.RawMessage(payload)})
	if err != nil {
		return true, err
	}
	timeout := time.After(ackTime)
	for {
		select {
		case got, ok := <-c.acks:
			if !ok {
				return true, errors.New("the connection ended before the acknowledgement")
			}
			if got == id {
				return true, nil
			}
		case <-timeout:
			return true, errors.New("no acknowledgement within three seconds")
		}
	}
}

func (c *socket) writeJSON(v any) error {
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(ackTime)); err != nil {
		return err
	}
	return c.conn.WriteJSON(v)
}

// Connections is how many Socket Mode connections are open.
func (s *Server) Connections() int {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	return len(s.sockets.open)
}

// Connected is how many there ever were.
func (s *Server) Connected() int {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	return s.sockets.ever
}

// Drop ends all Socket Mode connections without a word, as a network does.
func (s *Server) Drop() {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	for _, c := range s.sockets.open {
		_ = c.conn.NetConn().Close()
	}
}

// serveSocket is the address that apps.connections.open hands out.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ticket := r.URL.Query().Get("ticket")
	known := s.tickets[ticket]
	delete(s.tickets, ticket)
	s.mu.Unlock()
	if !known {
		http.Error(w, "unknown ticket", http.StatusForbidden)
		return
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }} // slack-go names Slack's own origin
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	conn.SetReadLimit(maxBody)
	c := &socket{conn: conn, acks: make(chan string, 16)}
	if c.writeJSON(map[string]any{"type": "hello", "num_connections": 1, "connection_info": map[string]any{"app_id": appID}}) != nil {
		_ = conn.Close()
		return
	}
	s.sockets.add(c)
	defer s.sockets.drop(c)
	for {
		var ack struct {
			EnvelopeID string `json:"envelope_id"`
		}
		if err := conn.ReadJSON(&ack); err != nil {
			return
		}
		select {
		case c.acks <- ack.EnvelopeID:
		default: // nobody waits for so many
		}
	}
}

func (s *sockets) add(c *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, c)
	s.ever++
}

func (s *sockets) drop(c *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.open {
		if o == c {
			s.open = append(s.open[:i:i], s.open[i+1:]...)
			break
		}
	}
	close(c.acks)
	_ = c.conn.Close()
}

// openSocket is apps.connections.open.
func (s *Server) openSocket(r *http.Request, token string) reply {
	switch {
	case token == "":
		return refuse("not_authed")
	case s.opts.AppToken == "" || token != s.opts.AppToken:
		return refuse("invalid_auth")
	}
	ticket := rand.Text()
	s.mu.Lock()
	s.tickets[ticket] = true
	s.mu.Unlock()
	return reply{fields: map[string]any{"url": "ws://" + r.Host + "/socket?ticket=" + ticket}}
}
