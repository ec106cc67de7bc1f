package slacktest

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// maxFile bounds an upload, in bytes, and keptFiles how many are kept.
const (
	maxFile   = 4 << 20
	keptFiles = 200
)

// A file is an upload: announced, then sent, then completed.
type file struct {
	size    int
	content []byte
	done    bool
}

// announceFile is files.getUploadURLExternal.
func (s *Server) announceFile(r *http.Request, args url.Values) reply {
	size, err := strconv.Atoi(args.Get("length"))
	if err != nil || size <= 0 || size > maxFile || args.Get("filename") == "" {
		return refuse("invalid_arguments")
	}
	id := "F" + rand.Text()[:10]
	s.files[id] = &file{size: size}
	s.fileOrder = append(s.fileOrder, id)
	if n := len(s.fileOrder) - keptFiles; n > 0 {
		delete(s.files, s.fileOrder[0])
		s.fileOrder = s.fileOrder[n:]
	}
	return reply{fields: map[string]any{"upload_url": "http://" + r.Host + "/api/upload?file=" + id, "file_id": id}}
}

// serveUpload takes the bytes of an announced file.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFile+maxBody)
	part, _, err := r.FormFile("file")
	if err != nil {
		http.Error(w, "no file", http.StatusBadRequest)
		return
	}
	defer func() { _ = part.Close() }()
	content, err := io.ReadAll(part)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[r.URL.Query().Get("file")]
	if err != nil || f == nil || len(content) != f.size {
		http.Error(w, "not the file that was announced", http.StatusBadRequest)
		return
	}
	f.content = content
	_, _ = io.WriteString(w, "OK")
}

// completeFile is files.completeUploadExternal.
func (s *Server) completeFile(args url.Values) reply {
	var names []struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	if json.Unmarshal([]byte(args.Get("files")), &names) != nil || len(names) == 0 {
		return refuse("invalid_arguments")
	}
	var done []map[string]any
	for _, n := range names {
		f := s.files[n.ID]
		if f == nil || f.content == nil {
			return refuse("file_not_found")
		}
		f.done = true
		done = append(done, map[string]any{"id": n.ID, "title": n.Title})
	}
	return reply{fields: map[string]any{"files": done}}
}

// File returns an uploaded file.
func (s *Server) File(id string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || !f.done {
		return nil, false
	}
	return f.content, true
}

// serveFile shows an uploaded picture on the page.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	content, ok := s.File(r.PathValue("id"))
	if !ok || http.DetectContentType(content) != "image/png" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(content)
}

// knowsFiles says whether every picture that blocks show by a file's id is
// there. Slack refuses the blocks otherwise.
func (s *Server) knowsFiles(blocks []block) bool {
	for _, b := range blocks {
		if b.SlackFile != nil {
			if f := s.files[b.SlackFile.ID]; f == nil || !f.done {
				return false
			}
		}
	}
	return true
}
