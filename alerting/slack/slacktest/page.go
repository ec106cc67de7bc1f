package slacktest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html page.css page.js
var assets embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"mrkdwn": renderObj,
	"safe":   webURL,
}).ParseFS(assets, "page.html"))

// shown is how many parents a page holds; older ones are only counted.
const shown = 50

type pageView struct {
	Name     string
	Version  uint64
	Channels []channelView
	Older    int
	Parents  []messageView
	Visitor  string          // who presses the buttons, "" when nobody can
	Asked    []askView       // dialogues that are open for the visitor
	Whispers []template.HTML // the last words to the visitor alone
}

// An askView is a dialogue with one question.
type askView struct {
	ID, Title, Label, Hint, Submit string
}

type channelView struct {
	Name   string
	Count  int
	Active bool
}

type messageView struct {
	Channel, TS string
	Visitor     string
	Time, Full  string
	Text        template.HTML // where there are no blocks
	Blocks      []block
	Edited      bool // Slack marks an edit only where there are no blocks
	Edits       int
	Replies     []messageView
}

func renderObj(t *textObj) template.HTML {
	if t == nil {
		return ""
	}
	if t.Type == "plain_text" {
		return template.HTML(strings.ReplaceAll(text(t.Text), "\n", "<br>")) // text escapes
	}
	return render(t.Text)
}

// A blockView is a block, and the message that it stands in.
type blockView struct {
	block
	Of messageView
}

// Laid are the blocks, each with its message, for buttons.
func (m messageView) Laid() []blockView {
	out := make([]blockView, len(m.Blocks))
	for i, b := range m.Blocks {
		out[i] = blockView{b, m}
	}
	return out
}

// Question is what a button asks first, "" for one that asks nothing.
func (e element) Question() string {
	if e.Confirm == nil {
		return ""
	}
	return e.Confirm.Text.Text
}

// Obj gives the page an element's text.
func (e element) Obj() *textObj { return e.text() }

// webURL passes http addresses only.
func webURL(s string) string {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return s
	}
	return ""
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, s.view(r.URL.Query().Get("channel"))); err != nil {
		http.Error(w, "this page could not be drawn: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = out.WriteTo(w) // the reader is gone, nothing is left to tell them
}

// serveVersion answers with a number that grows with each change, so that an
// open page knows when to fetch itself again.
func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	n := s.changes
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprint(w, n)
}

// asset serves one embedded file.
func asset(name, kind string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := assets.ReadFile(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(body)
	})
}

// view gathers what the page shows of a channel; "" is the one that was
// written to last.
func (s *Server) view(channel string) pageView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := pageView{Version: s.changes}
	var current *room
	newest := ""
	for _, r := range s.rooms {
		if n := len(r.messages); channel == "" && n > 0 && r.messages[n-1].TS > newest {
			current, newest = r, r.messages[n-1].TS
		}
		if r.name == channel || r.id == channel {
			current = r
		}
	}
	if current == nil && len(s.rooms) > 0 {
		current = s.rooms[0]
	}
	for _, r := range s.rooms {
		v.Channels = append(v.Channels, channelView{r.name, len(r.messages), r == current})
	}
	if current != nil {
		v.Name = current.name
		v.Parents, v.Older = current.views(s.opts.Visitor)
	}
	v.Visitor = s.opts.Visitor
	v.Asked, v.Whispers = s.toVisitor()
	return v
}

// shownWhispers is how many words to the visitor alone a page shows.
const shownWhispers = 3

// toVisitor gathers what only the visitor sees.
func (s *Server) toVisitor() (asked []askView, whispers []template.HTML) {
	for _, d := range s.dialogues {
		if d.User == s.opts.Visitor {
			asked = append(asked, d.ask())
		}
	}
	slices.SortFunc(asked, func(a, b askView) int { return strings.Compare(a.ID, b.ID) })
	for _, w := range slices.Backward(s.whispers) {
		if w.User == s.opts.Visitor && len(whispers) < shownWhispers {
			whispers = append(whispers, render(w.Text))
		}
	}
	slices.Reverse(whispers)
	return asked, whispers
}

func (d Dialogue) ask() askView {
	var view struct {
		Title, Submit textObj
		Blocks        []struct{ Label, Hint textObj }
	}
	_ = json.Unmarshal(d.View, &view) // was read before it was stored
	a := askView{ID: d.ID, Title: view.Title.Text, Submit: view.Submit.Text}
	if len(view.Blocks) > 0 {
		a.Label, a.Hint = view.Blocks[0].Label.Text, view.Blocks[0].Hint.Text
	}
	return a
}

// servePress presses a button in the visitor's name.
func (s *Server) servePress(w http.ResponseWriter, r *http.Request) {
	if !s.fromPage(w, r) {
		return
	}
	p := Press{Channel: r.PostFormValue("channel"), TS: r.PostFormValue("ts"), Action: r.PostFormValue("action"), User: s.opts.Visitor}
	s.back(w, r, s.Press(r.Context(), p))
}

// serveSubmit answers a dialogue in the visitor's name.
func (s *Server) serveSubmit(w http.ResponseWriter, r *http.Request) {
	if !s.fromPage(w, r) {
		return
	}
	s.mu.Lock()
	d, ok := s.dialogues[r.PostFormValue("dialogue")]
	if r.PostFormValue("cancel") != "" {
		delete(s.dialogues, d.ID)
		s.changes++
		ok = false
	}
	s.mu.Unlock()
	if !ok || d.User != s.opts.Visitor {
		s.back(w, r, nil)
		return
	}
	s.back(w, r, s.Submit(r.Context(), d, r.PostFormValue("words")))
}

// fromPage says whether a form comes from the page itself, and answers when
// it does not.
func (s *Server) fromPage(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	site := r.Header.Get("Sec-Fetch-Site")
	if s.opts.Visitor == "" || site != "" && site != "same-origin" {
		http.Error(w, "this is only for the page itself", http.StatusForbidden)
		return false
	}
	return true
}

// back leads to the page again, and whispers what went wrong.
func (s *Server) back(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		s.mu.Lock()
		s.whispers = append(s.whispers, Whisper{User: s.opts.Visitor, Text: strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace("Slack could not reach the app: " + err.Error())})
		s.changes++
		s.mu.Unlock()
	}
	http.Redirect(w, r, "/?channel="+url.QueryEscape(r.PostFormValue("channel")), http.StatusSeeOther)
}

func (r *room) views(visitor string) (views []messageView, older int) {
	for _, m := range r.messages {
		if m.ThreadTS != "" {
			continue
		}
		mv := m.view()
		mv.Channel, mv.TS, mv.Visitor = r.id, m.TS, visitor
		for _, reply := range r.thread(m.TS) {
			mv.Replies = append(mv.Replies, reply.view())
		}
		views = append(views, mv)
	}
	older = max(0, len(views)-shown)
	return views[older:], older
}

func (m *Message) view() messageView {
	seconds, _, _ := strings.Cut(m.TS, ".")
	unix, _ := strconv.ParseInt(seconds, 10, 64) // nextTS wrote it
	at := time.Unix(unix, 0).UTC()
	v := messageView{Time: at.Format("15:04"), Full: at.Format("2006-01-02 15:04:05 UTC"), Edits: m.Edits}
	v.Blocks, _ = parseBlocks(string(m.Blocks)) // was read before it was stored
	if len(v.Blocks) == 0 {
		v.Text, v.Edited = render(m.Text), m.Edits > 0
	}
	return v
}
