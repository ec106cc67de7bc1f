package slacktest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
)

// All functions here run with the server's lock held.

func (s *Server) post(args url.Values) reply {
	r := s.toPostIn(args.Get("channel"))
	if r == nil {
		return refuse("channel_not_found")
	}
	m := &Message{Channel: r.id, ThreadTS: args.Get("thread_ts"), Versions: 1}
	m.Aloud = m.ThreadTS != "" && args.Get("reply_broadcast") == "true"
	if m.ThreadTS != "" {
		parent := r.find(m.ThreadTS)
		if parent == nil {
			return refuse("thread_not_found")
		}
		if parent.ThreadTS != "" {
			return refuse("cannot_reply_to_message")
		}
	}
	if code := s.fill(m, args); code != "" {
		return refuse(code)
	}
	m.TS = s.nextTS()
	r.messages = append(r.messages, m)
	s.changes++
	return reply{fields: map[string]any{"channel": r.id, "ts": m.TS, "message": r.wire(m, true)}}
}

func (s *Server) update(args url.Values) reply {
	r := s.byID(args.Get("channel"))
	if r == nil {
		return refuse("channel_not_found")
	}
	m := r.find(args.Get("ts"))
	if m == nil {
		return refuse("message_not_found")
	}
	next := m.copy()
	if !args.Has("text") && !args.Has("blocks") {
		return refuse("no_text")
	}
	if code := s.fill(&next, args); code != "" {
		return refuse(code)
	}
	next.Edits++
	if next.Text != m.Text || string(next.Blocks) != string(m.Blocks) {
		next.Versions++
	}
	*m = next
	s.changes++
	return reply{fields: map[string]any{"channel": r.id, "ts": m.TS, "text": m.Text, "message": r.wire(m, true)}}
}

// fill puts the content that a call carries into a message. Text without
// blocks leaves no blocks, which is how Slack treats an edit.
func (s *Server) fill(m *Message, args url.Values) (code string) {
	blocks, ok := parseBlocks(args.Get("blocks"))
	if !ok {
		return "invalid_blocks_format"
	}
	text := args.Get("text")
	if code := checkText(text, blocks); code != "" {
		return code
	}
	if !s.knowsFiles(blocks) || slices.ContainsFunc(blocks, func(b block) bool { return slices.Contains(s.faults.RejectBlocks, b.Type) }) {
		return "invalid_blocks"
	}
	if raw := args.Get("metadata"); raw != "" {
		md, code := parseMetadata(raw)
		if code != "" {
			return code
		}
		m.Metadata = md
	}
	m.Text, m.Blocks = text, nil
	if len(blocks) > 0 {
		m.Blocks = json.RawMessage(args.Get("blocks"))
	}
	loose := args.Get("link_names") == "true" || args.Get("link_names") == "1" || args.Get("parse") == "full"
	for _, p := range pings(text, blocks, loose) {
		if !slices.Contains(m.Pings, p) {
			m.Pings = append(m.Pings, p)
		}
	}
	return ""
}

// parseMetadata reads an app's metadata. An empty object removes it.
func parseMetadata(raw string) (*Metadata, string) {
	if len(raw) > maxMetadata {
		return nil, "metadata_too_large"
	}
	var md Metadata
	if err := json.Unmarshal([]byte(raw), &md); err != nil {
		return nil, "invalid_metadata_format"
	}
	if md.EventType == "" && md.EventPayload == nil {
		return nil, ""
	}
	if md.EventType == "" || md.EventPayload == nil {
		return nil, "invalid_metadata_schema"
	}
	return &md, ""
}

func (s *Server) history(args url.Values) reply {
	r := s.byID(args.Get("channel"))
	if r == nil {
		return refuse("channel_not_found")
	}
	var found []*Message
	for _, m := range slices.Backward(r.messages) {
		if m.ThreadTS == "" && inWindow(m.TS, args) {
			found = append(found, m)
		}
	}
	return r.page(found, args)
}

func (s *Server) replies(args url.Values) reply {
	r := s.byID(args.Get("channel"))
	if r == nil {
		return refuse("channel_not_found")
	}
	m := r.find(args.Get("ts"))
	if m == nil {
		return refuse("thread_not_found")
	}
	parent := m
	if m.ThreadTS != "" {
		parent = r.find(m.ThreadTS)
	}
	found := []*Message{parent}
	for _, m := range r.thread(parent.TS) {
		if inWindow(m.TS, args) {
			found = append(found, m)
		}
	}
	return r.page(found, args)
}

// inWindow compares as text, which all ts of this century allow.
func inWindow(ts string, args url.Values) bool {
	oldest, latest := args.Get("oldest"), args.Get("latest")
	if inclusive := args.Get("inclusive"); inclusive == "1" || inclusive == "true" {
		return (oldest == "" || oldest == "0" || ts >= oldest) && (latest == "" || ts <= latest)
	}
	return (oldest == "" || oldest == "0" || ts > oldest) && (latest == "" || ts < latest)
}

// page answers with the part of the messages that limit and cursor choose.
func (r *room) page(found []*Message, args url.Values) reply {
	from, to, next, code := window(len(found), args)
	if code != "" {
		return refuse(code)
	}
	withMetadata := args.Get("include_all_metadata") == "1" || args.Get("include_all_metadata") == "true"
	messages := []wire{}
	for _, m := range found[from:to] {
		messages = append(messages, r.wire(m, withMetadata))
	}
	return reply{fields: map[string]any{
		"messages": messages, "has_more": next != "",
		"response_metadata": map[string]string{"next_cursor": next},
	}}
}

// window cuts n things into pages. The cursor is the index of the next one.
func window(n int, args url.Values) (from, to int, next, code string) {
	limit := 100
	if l := args.Get("limit"); l != "" {
		var err error
		if limit, err = strconv.Atoi(l); err != nil || limit < 1 || limit > 999 {
			return 0, 0, "", "invalid_limit"
		}
	}
	if c := args.Get("cursor"); c != "" {
		var err error
		if from, err = strconv.Atoi(c); err != nil || from < 0 || from > n {
			return 0, 0, "", "invalid_cursor"
		}
	}
	to = min(n, from+limit)
	if to < n {
		next = strconv.Itoa(to)
	}
	return from, to, next, ""
}

func (s *Server) list(args url.Values) reply {
	from, to, next, code := window(len(s.rooms), args)
	if code != "" {
		return refuse(code)
	}
	channels := []map[string]any{}
	for _, r := range s.rooms[from:to] {
		channels = append(channels, map[string]any{
			"id": r.id, "name": r.name, "name_normalized": r.name,
			"is_channel": true, "is_private": false, "is_archived": false, "is_member": true,
		})
	}
	return reply{fields: map[string]any{
		"channels": channels, "response_metadata": map[string]string{"next_cursor": next},
	}}
}

// wire is a message as the API writes it.
type wire struct {
	Type       string          `json:"type"`
	User       string          `json:"user"`
	BotID      string          `json:"bot_id"`
	AppID      string          `json:"app_id"`
	Team       string          `json:"team"`
	TS         string          `json:"ts"`
	ThreadTS   string          `json:"thread_ts,omitempty"`
	Text       string          `json:"text"`
	Blocks     json.RawMessage `json:"blocks,omitempty"`
	ReplyCount int             `json:"reply_count,omitempty"`
	Metadata   *Metadata       `json:"metadata,omitempty"`
}

func (r *room) wire(m *Message, withMetadata bool) wire {
	w := wire{
		Type: "message", User: botUser, BotID: botID, AppID: appID, Team: teamID,
		TS: m.TS, ThreadTS: m.ThreadTS, Text: m.Text, Blocks: m.Blocks,
	}
	if n := len(r.thread(m.TS)); n > 0 {
		w.ReplyCount, w.ThreadTS = n, m.TS
	}
	if withMetadata {
		w.Metadata = m.Metadata
	}
	return w
}
