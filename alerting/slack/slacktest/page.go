package slacktest

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
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
}

type channelView struct {
	Name   string
	Count  int
	Active bool
}

type messageView struct {
	Time, Full string
	Text       template.HTML // where there are no blocks
	Blocks     []block
	Edited     bool // Slack marks an edit only where there are no blocks
	Edits      int
	Replies    []messageView
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
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
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
		v.Parents, v.Older = current.views()
	}
	return v
}

func (r *room) views() (views []messageView, older int) {
	for _, m := range r.messages {
		if m.ThreadTS != "" {
			continue
		}
		mv := m.view()
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
