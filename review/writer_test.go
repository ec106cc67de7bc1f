package review

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
)

// openJournal returns a real journal that holds a story's events.
func openJournal(t *testing.T, s *story) *journal.Store {
	t.Helper()
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	for _, ev := range s.events {
		if _, err := j.Append(t.Context(), ev.Stream, belay.AnySeq, ev); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func newWriter(t *testing.T, s *story, j belay.Journal, dirs ...string) *Writer {
	t.Helper()
	var cfg Config
	for _, d := range dirs {
		cfg.Publish = append(cfg.Publish, Publication{Directory: d})
	}
	w, err := New(cfg, Options{
		Journal: j, ExternalURL: "https://belay.example.org/",
		Queryable:      func() storage.Queryable { return s.samples },
		ScrapeInterval: func(belay.ServiceID) time.Duration { return s.interval },
		Now:            func() time.Time { return s.events[0].At.Add(24 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs a writer; the returned function ends it and waits.
func start(t *testing.T, w *Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// nextReview waits for a review in the journal.
func nextReview(t *testing.T, j belay.Journal) belay.Event {
	t.Helper()
	return await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindReview })
}

func await(t *testing.T, j belay.Journal, want func(belay.Event) bool) belay.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ev, err := range j.Tail(ctx, 0) {
		if err != nil {
			t.Fatalf("no review came: %v", err)
		}
		if want(ev) {
			return ev
		}
	}
	t.Fatal("no review came")
	return belay.Event{}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAResolvedIncidentGetsItsReviewInEveryDirectory(t *testing.T) {
	s := readStory(t, "errors")
	j := openJournal(t, s)
	one, two := filepath.Join(t.TempDir(), "made", "when", "needed"), t.TempDir()
	stop := start(t, newWriter(t, s, j, one, two))
	ev := nextReview(t, j)
	stop()

	base := FileBase(s.incident)
	if ev.Stream != "review/"+s.incident || ev.Reason == "" || ev.Review.State != "draft" {
		t.Errorf("the event is not that of a review: %+v", ev)
	}
	if want := []string{base + ".svg", base + ".json", base + ".md"}; !slices.Equal(ev.Review.Files, want) {
		t.Errorf("the event names %v, want %v", ev.Review.Files, want)
	}
	md := read(t, one, base+".md")
	if ev.Review.SHA256 != sum(md) {
		t.Error("the event's hash is not that of the page")
	}
	want, _, _ := Render(s.dossier(t))
	if !bytes.Equal(md, want) {
		t.Error("the page read from a real journal is not the one built from the same events")
	}
	for _, f := range ev.Review.Files {
		if !bytes.Equal(read(t, one, f), read(t, two, f)) {
			t.Errorf("%s differs between the directories", f)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(one, ".review-*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// flaky refuses appends as long as it is told to, as a full disk or a crash
// between the files and the event would.
type flaky struct {
	belay.Journal
	broken atomic.Bool
	tried  chan struct{}
}

func (f *flaky) Append(ctx context.Context, stream string, expect belay.Seq, evs ...belay.Event) (belay.Seq, error) {
	if f.broken.Load() {
		select {
		case f.tried <- struct{}{}:
		default:
		}
		return 0, errors.New("no space left")
	}
	return f.Journal.Append(ctx, stream, expect, evs...)
}

func TestACrashBetweenFilesAndEventWritesTheSameFilesAgain(t *testing.T) {
	s := readStory(t, "errors")
	j := openJournal(t, s)
	dir := t.TempDir()
	broken := &flaky{Journal: j, tried: make(chan struct{}, 1)}
	broken.broken.Store(true)
	stop := start(t, newWriter(t, s, broken, dir))
	<-broken.tried
	stop()
	base := FileBase(s.incident)
	first := map[string][]byte{}
	for _, ext := range []string{".md", ".svg", ".json"} {
		first[ext] = read(t, dir, base+ext)
	}

	// Life went on before the restart: none of it may change the review.
	late := s.events[len(s.events)-1]
	late.Kind, late.Reason = belay.KindNoted, "a late note"
	if _, err := j.Append(t.Context(), late.Stream, belay.AnySeq, late); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(t.Context(), "belay", belay.AnySeq, belay.Event{At: late.At.Add(time.Minute), Kind: belay.KindStarted, Reason: "Belay started"}); err != nil {
		t.Fatal(err)
	}
	stop = start(t, newWriter(t, s, j, dir))
	nextReview(t, j)
	stop()
	for ext, want := range first {
		if !bytes.Equal(read(t, dir, base+ext), want) {
			t.Errorf("%s has other bytes after the restart", ext)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("the directory holds %d files, want 3", len(files))
	}
}

func TestAReviewIsWrittenOnceAndPeoplesWordsAreKept(t *testing.T) {
	s := readStory(t, "notify")
	j := openJournal(t, s)
	dir := t.TempDir()
	base := FileBase(s.incident)
	stop := start(t, newWriter(t, s, j, dir))
	nextReview(t, j)
	stop()
	edited := append(read(t, dir, base+".md"), []byte("\nWhat surprised us: everything.\n")...)
	if err := os.WriteFile(filepath.Join(dir, base+".md"), edited, 0o644); err != nil {
		t.Fatal(err)
	}

	w := newWriter(t, s, j, dir)
	for ev, err := range j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		w.fold(&ev)
	}
	if len(w.waiting) != 0 {
		t.Error("an incident with a review waits for another one")
	}
	older := newWriter(t, s, j, dir) // its reviews did not say until when they tell
	for ev, err := range j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Review != nil {
			said := *ev.Review
			said.Until, ev.Review = time.Time{}, &said
		}
		older.fold(&ev)
	}
	if len(older.waiting) != 0 {
		t.Error("an incident with a review of an earlier version waits for another one")
	}

	// Without the event, as after a restored backup, the edited page is moved
	// aside and not lost.
	aside, err := publish(dir, base+".md", []byte("new"))
	if err != nil || aside == "" || !bytes.Equal(read(t, dir, aside), edited) {
		t.Errorf("the edited page was not kept: %q, %v", aside, err)
	}
}

func TestTwoWritersMakeOneReview(t *testing.T) {
	s := readStory(t, "before")
	j := openJournal(t, s)
	dir := t.TempDir()
	stop1, stop2 := start(t, newWriter(t, s, j, dir)), start(t, newWriter(t, s, j, dir))
	ev := nextReview(t, j)
	stop1()
	stop2()
	count := 0
	for ev, err := range j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == belay.KindReview {
			count++
		}
	}
	if count != 1 || ev.Pos != 1 {
		t.Errorf("the journal holds %d reviews, want 1", count)
	}
}

func TestAnIncidentOpenedAgainWaitsForItsEnd(t *testing.T) {
	s := readStory(t, "errors")
	w := newWriter(t, s, openJournal(t, s), t.TempDir())
	for i := range s.events {
		w.fold(&s.events[i])
	}
	if len(w.waiting) != 1 {
		t.Fatal("a resolved incident does not wait for its review")
	}
	again := s.events[len(s.events)-1]
	inc := *again.Incident
	inc.State, inc.ResolvedAt = belay.Triggered, time.Time{}
	again.Incident, again.Kind = &inc, belay.KindUpdated
	w.fold(&again)
	if len(w.waiting) != 0 {
		t.Error("an incident that was opened again is still due for a review")
	}
}

// The review of an incident that went on tells the whole of it. It takes the
// place of the first one, unless somebody has written in that.
func TestAnIncidentThatWentOnIsReviewedAnew(t *testing.T) {
	for name, words := range map[string]string{"": "", "people's words are kept": "\nWhat surprised us: everything.\n"} {
		t.Run(name, func(t *testing.T) {
			s := readStory(t, "notify")
			j := openJournal(t, s)
			dir := t.TempDir()
			stop := start(t, newWriter(t, s, j, dir))
			first := nextReview(t, j)
			stop()
			page := FileBase(s.incident) + ".md"
			had := append(read(t, dir, page), words...)
			if err := os.WriteFile(filepath.Join(dir, page), had, 0o644); err != nil {
				t.Fatal(err)
			}

			over := *first.Review
			inc := belay.Incident{}
			for i := range s.events {
				if s.events[i].Incident != nil {
					inc = *s.events[i].Incident
				}
			}
			again := inc
			again.State, again.ResolvedAt, again.Reopened, again.ReopenedAt = belay.Triggered, time.Time{}, 1, inc.ResolvedAt.Add(time.Minute)
			ended := again
			ended.State, ended.ResolvedAt = belay.Resolved, again.ReopenedAt.Add(time.Minute)
			for _, ev := range []belay.Event{
				{At: again.ReopenedAt, Kind: belay.KindReopened, Reason: "open again", Service: inc.Service, Incident: &again},
				{At: ended.ResolvedAt, Kind: belay.KindResolved, Reason: "over", Service: inc.Service, Incident: &ended},
			} {
				if _, err := j.Append(t.Context(), belay.IncidentStream(inc.Service), belay.AnySeq, ev); err != nil {
					t.Fatal(err)
				}
			}
			stop = start(t, newWriter(t, s, j, dir))
			second := await(t, j, func(ev belay.Event) bool { return ev.Kind == belay.KindReview && ev.Pos == 2 })
			stop()
			if !over.Until.Equal(inc.ResolvedAt) || !second.Review.Until.Equal(ended.ResolvedAt) {
				t.Errorf("the reviews tell of what ended at %v and %v", over.Until, second.Review.Until)
			}
			if md := string(read(t, dir, page)); !strings.Contains(md, "Incident goes on: open again") {
				t.Errorf("the review does not tell that it went on:\n%s", md)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*.md"))
			if want := 1 + min(len(words), 1); len(files) != want {
				t.Errorf("%d pages, want %d: %v", len(files), want, files)
			}
		})
	}
}

func TestTheLastSamplesAreWaitedFor(t *testing.T) {
	s := readStory(t, "errors")
	w := newWriter(t, s, openJournal(t, s), t.TempDir())
	resolved := s.events[len(s.events)-1].Incident.ResolvedAt
	now := resolved.Add(time.Second)
	w.opts.Now = func() time.Time { return now }
	for i := range s.events {
		w.fold(&s.events[i])
	}
	if got := w.pause(); got != 4*time.Second {
		t.Errorf("one second after the resolution the writer waits %v more, want 4s of an interval of 5s", got)
	}
	w.writeDue(t.Context())
	if len(w.waiting) != 1 {
		t.Error("the review was written before its samples could be there")
	}
	now = resolved.Add(s.interval)
	w.writeDue(t.Context())
	if len(w.waiting) != 0 {
		t.Error("the review was not written although it was due")
	}
}

func TestAWriterNeedsItsOptions(t *testing.T) {
	s := readStory(t, "errors")
	if _, err := New(Config{}, Options{Directory: "x"}); err == nil {
		t.Error("a writer without a journal was made")
	}
	if _, err := New(Config{}, Options{Journal: openJournal(t, s)}); err == nil {
		t.Error("a writer without a directory was made")
	}
}

func TestFileNamesAreSafe(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"inc-1", "../../etc/passwd", "a/b", "a-b", "a:b", "", ".", "..", ".hidden", strings.Repeat("x", 300), "üb"} {
		base := FileBase(id)
		if base == "" || base != filepath.Base(base) || strings.HasPrefix(base, ".") || len(base) > 130 {
			t.Errorf("%q gives the file name %q", id, base)
		}
		if other, twice := seen[base]; twice {
			t.Errorf("%q and %q share the file name %q", id, other, base)
		}
		seen[base] = id
	}
	if FileBase("inc-20261123-checkout-1") != "inc-20261123-checkout-1" {
		t.Error("a plain id was changed")
	}
}

func TestALiveIncidentCanBeDraftedAndNothingIsWritten(t *testing.T) {
	s := readStory(t, "errors")
	s.events = s.events[:12] // up to the intent
	j := openJournal(t, s)
	dir := t.TempDir()
	d, err := newWriter(t, s, j, dir).Draft(t.Context(), s.incident)
	if err != nil {
		t.Fatal(err)
	}
	md, _, _ := Render(d)
	if !bytes.Contains(md, []byte("| Resolved | not yet")) {
		t.Error("the page does not say that the incident lasts")
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Error("a draft was written to the disk")
	}
	var none ErrNoIncident
	if _, err := newWriter(t, s, j, dir).Draft(t.Context(), "nope"); !errors.As(err, &none) {
		t.Errorf("an unknown incident gives %v", err)
	}
}
