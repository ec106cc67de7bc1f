package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/belaydev/belay"
)

// apiEvents serves the journal from after on: as a list, or, to those who
// accept text/event-stream, as a stream that goes on.
func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request) {
	after, ok := s.after(w, r)
	if !ok {
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		s.streamEvents(w, r, after)
		return
	}
	n, ok := s.limit(w, r)
	if !ok {
		return
	}
	events, next := []belay.Event{}, after
	for e, err := range s.opts.Journal.Read(r.Context(), after) {
		if err != nil {
			s.log.Error("reading the journal for a list", "error", err)
			s.fail(w, r, http.StatusInternalServerError, "the journal cannot be read: "+err.Error())
			return
		}
		events, next = append(events, e), e.Seq
		if len(events) == n {
			break
		}
	}
	s.json(w, http.StatusOK, map[string]any{"events": events, "next": next})
}

// after reads where to begin: the parameter after, or the header that a
// browser sends when it comes back. "now" is the newest event.
func (s *Server) after(w http.ResponseWriter, r *http.Request) (belay.Seq, bool) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	switch text {
	case "":
		return 0, true
	case "now":
		return s.opts.View.Seq(), true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		s.fail(w, r, http.StatusBadRequest, "after must be the number of an event, or now")
		return 0, false
	}
	return belay.Seq(n), true
}

// A stream says something at least this often, and gives up on a reader that
// takes nothing for as long.
const (
	streamBeat     = 15 * time.Second
	streamPatience = 10 * time.Second
)

func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request, after belay.Seq) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		s.fail(w, r, http.StatusServiceUnavailable, "too many streams are open")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := make(chan belay.Event)
	go func() {
		defer close(events)
		for e, err := range s.opts.Journal.Tail(ctx, after) {
			if err != nil {
				return // the reader comes back with Last-Event-ID
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	write := func(text string) bool {
		_ = deadline(w, streamPatience) // what cannot set one has its own
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return http.NewResponseController(w).Flush() == nil
	}
	s.pump(events, r, write)
}

// pump writes events until the reader, the journal or Belay ends.
func (s *Server) pump(events <-chan belay.Event, r *http.Request, write func(string) bool) {
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	going := write(": here is the journal\n\n")
	for going {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			data, err := json.Marshal(e)
			if err != nil {
				s.log.Error("encoding an event", "seq", int64(e.Seq), "error", err)
				continue
			}
			going = write(fmt.Sprintf("id: %d\ndata: %s\n\n", e.Seq, data))
		case <-beat.C:
			going = write(": still here\n\n")
		case <-s.stopping:
			return
		case <-r.Context().Done():
			return
		}
	}
}
