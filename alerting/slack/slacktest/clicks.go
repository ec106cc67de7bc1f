package slacktest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TeamID and AppID are the workspace and the app of every message here.
const (
	TeamID = teamID
	AppID  = appID
)

// A Whisper is a message that only one person sees.
type Whisper struct {
	Channel string // its id
	User    string
	Text    string
}

// A Dialogue is a modal that an app opened for somebody.
type Dialogue struct {
	ID   string
	User string
	View json.RawMessage // as the app sent it
}

// A Press is a button that somebody presses in a message.
type Press struct {
	Channel string // the id or name
	TS      string // of the message; "" is the newest that has the button
	Action  string // the button's action_id
	User    string
}

// errNoButton says that the message shows no such button now.
var errNoButton = errors.New("the message shows no such button")

// Press sends what Slack sends when somebody presses a button, as the message
// shows it now.
func (s *Server) Press(ctx context.Context, p Press) error {
	payload, err := s.Payload(p)
	if err != nil {
		return err
	}
	return s.Send(ctx, payload)
}

// Payload is what Press sends, for those who want to bend it first.
func (s *Server) Payload(p Press) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.room(p.Channel)
	if r == nil {
		return nil, fmt.Errorf("no channel %s", p.Channel)
	}
	for i := len(r.messages) - 1; i >= 0; i-- {
		m := r.messages[i]
		if p.TS != "" && m.TS != p.TS {
			continue
		}
		if e, ok := m.button(p.Action); ok {
			trigger := s.trigger(p.User)
			return json.Marshal(map[string]any{
				"type": "block_actions", "trigger_id": trigger, "api_app_id": appID,
				"team":    map[string]any{"id": teamID, "domain": "local"},
				"user":    map[string]any{"id": p.User, "username": p.User, "team_id": teamID},
				"channel": map[string]any{"id": r.id, "name": r.name},
				"message": map[string]any{"ts": m.TS, "type": "message", "text": m.Text},
				"container": map[string]any{
					"type": "message", "message_ts": m.TS, "channel_id": r.id, "is_ephemeral": false,
				},
				"actions": []any{map[string]any{
					"type": "button", "action_id": e.ActionID, "block_id": "belay_actions", "value": e.Value, "action_ts": m.TS,
				}},
				"response_url": "http://slack.test/response",
			})
		}
	}
	return nil, errNoButton
}

// trigger gives out a token by which an app may open a dialogue for a person.
func (s *Server) trigger(user string) string {
	t := "1.2." + rand.Text()
	s.triggers[t] = user
	return t
}

func (s *Server) room(ref string) *room {
	for _, r := range s.rooms {
		if r.id == ref || r.name == ref || "#"+r.name == ref {
			return r
		}
	}
	return nil
}

func (m *Message) button(action string) (element, bool) {
	blocks, _ := parseBlocks(string(m.Blocks))
	for _, b := range blocks {
		for _, e := range b.Elements {
			if e.Type == "button" && e.ActionID == action {
				return e, true
			}
		}
	}
	return element{}, false
}

// Submit sends what Slack sends when somebody fills in a dialogue.
func (s *Server) Submit(ctx context.Context, d Dialogue, words string) error {
	var view map[string]any
	if err := json.Unmarshal(d.View, &view); err != nil {
		return fmt.Errorf("dialogue: %w", err)
	}
	view["id"] = d.ID
	view["state"] = map[string]any{"values": map[string]any{"words": map[string]any{"text": map[string]any{"type": "plain_text_input", "value": words}}}}
	s.mu.Lock()
	trigger := s.trigger(d.User)
	delete(s.dialogues, d.ID)
	s.changes++
	s.mu.Unlock()
	payload, err := json.Marshal(map[string]any{
		"type": "view_submission", "trigger_id": trigger, "api_app_id": appID,
		"team": map[string]any{"id": teamID, "domain": "local"},
		"user": map[string]any{"id": d.User, "username": d.User, "team_id": teamID},
		"view": view,
	})
	if err != nil {
		return err
	}
	return s.Send(ctx, payload)
}

// Send sends a payload to the app: over a Socket Mode connection where there is
// one, otherwise to Options.Interactions, signed.
func (s *Server) Send(ctx context.Context, payload []byte) error {
	if sent, err := s.sockets.send(payload); sent || err != nil {
		return err
	}
	if s.opts.Interactions == "" {
		return errors.New("nobody takes interactions: no Socket Mode connection, and no address")
	}
	body := url.Values{"payload": {string(payload)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.Interactions, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	Sign(req.Header, s.opts.SigningSecret, body, time.Now())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)); res.StatusCode != http.StatusOK {
		return fmt.Errorf("the app answered %s: %s", res.Status, bytes.TrimSpace(text))
	}
	return nil
}

// Sign signs a body as Slack does.
func Sign(h http.Header, secret, body string, at time.Time) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, "v0:"+stamp+":"+body)
	h.Set("X-Slack-Request-Timestamp", stamp)
	h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
}

// Whispers returns the messages that single people were shown, oldest first.
func (s *Server) Whispers() []Whisper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Whisper(nil), s.whispers...)
}

// Dialogues returns the modals that are open.
func (s *Server) Dialogues() []Dialogue {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Dialogue
	for _, d := range s.dialogues {
		out = append(out, d)
	}
	return out
}

// keptWhispers is how many are kept; older ones are forgotten.
const keptWhispers = 100

// whisper is chat.postEphemeral.
func (s *Server) whisper(args url.Values) reply {
	r := s.room(args.Get("channel"))
	blocks, ok := parseBlocks(args.Get("blocks"))
	switch {
	case r == nil:
		return refuse("channel_not_found")
	case args.Get("user") == "":
		return refuse("user_not_in_channel")
	case !ok:
		return refuse("invalid_blocks_format")
	}
	if code := checkText(args.Get("text"), blocks); code != "" {
		return refuse(code)
	}
	s.whispers = append(s.whispers, Whisper{Channel: r.id, User: args.Get("user"), Text: args.Get("text")})
	if n := len(s.whispers) - keptWhispers; n > 0 {
		s.whispers = s.whispers[n:]
	}
	s.changes++
	return reply{fields: map[string]any{"message_ts": s.nextTS()}}
}

// openView is views.open. A trigger works once.
func (s *Server) openView(args url.Values) reply {
	user, ok := s.triggers[args.Get("trigger_id")]
	if !ok {
		return refuse("invalid_trigger_id")
	}
	delete(s.triggers, args.Get("trigger_id"))
	var view struct {
		Type     string   `json:"type"`
		Callback string   `json:"callback_id"`
		Private  string   `json:"private_metadata"`
		Title    *textObj `json:"title"`
		Submit   *textObj `json:"submit"`
		Close    *textObj `json:"close"`
		Blocks   []struct {
			Type  string   `json:"type"`
			Label *textObj `json:"label"`
		} `json:"blocks"`
	}
	raw := args.Get("view")
	short := func(t *textObj) bool { return t.within(24) }
	if json.Unmarshal([]byte(raw), &view) != nil || view.Type != "modal" || !short(view.Title) || !short(view.Submit) || !short(view.Close) ||
		length(view.Callback) > maxID || length(view.Private) > 3000 || len(view.Blocks) == 0 || len(view.Blocks) > 100 {
		return refuse("invalid_arguments")
	}
	id := "V" + rand.Text()[:10]
	s.dialogues[id] = Dialogue{ID: id, User: user, View: json.RawMessage(raw)}
	s.changes++
	return reply{fields: map[string]any{"view": map[string]any{"id": id, "type": "modal"}}}
}
