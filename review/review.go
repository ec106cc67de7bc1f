// Package review writes the post-incident review: at the resolution of an
// incident it gathers the facts from the journal, measures the impact from
// samples, and puts a page in Markdown, its figure and all facts as JSON into
// every publish directory.
//
// Build and Measure make a Dossier; Render turns it into bytes, always the same
// ones. Reviews are measured rather than remembered: every moment says where it
// is known from and how well, what is not known is called unknown, and no
// person is named.
package review

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
)

// Options are what a Writer needs from outside.
type Options struct {
	Journal        belay.Journal                       // required
	Directory      string                              // where reviews go when the configuration names no place
	Queryable      func() storage.Queryable            // samples; nil, or returning nil, leaves the impact unknown
	ScrapeInterval func(belay.ServiceID) time.Duration // nil, or 0, is 15 s
	ExternalURL    string                              // of Belay's pages; "" leaves links out
	Logger         *slog.Logger                        // nil discards
	Now            func() time.Time                    // nil is time.Now
}

// A Writer drafts reviews.
type Writer struct {
	opts Options
	dirs []string

	waiting  map[string]*draft // resolved incidents without a review, by id
	reviewed map[string]drafted
	marks    []mark // where in the journal a time lies
	seen     belay.Seq
}

// draft is a review that is to be written.
type draft struct {
	incident belay.Incident
	seq      belay.Seq // of the resolution
	due      time.Time // not before: the last samples are still under way
	tries    int
}

// drafted is what is known of an incident's review.
type drafted struct {
	drafts belay.Seq // how many there were
	until  time.Time // the end of the incident that the newest tells of
	sum    string    // of the newest, as it was written
}

// mark says that events from seq on are not older than at.
type mark struct {
	at  time.Time
	seq belay.Seq
}

// New returns a Writer. It touches neither the disk nor the journal.
func New(cfg Config, opts Options) (*Writer, error) {
	if opts.Journal == nil {
		return nil, errors.New("reviews need a journal")
	}
	w := &Writer{opts: opts, waiting: map[string]*draft{}, reviewed: map[string]drafted{}}
	for _, p := range cfg.Publish {
		w.dirs = append(w.dirs, p.Directory)
	}
	if len(w.dirs) == 0 && opts.Directory != "" {
		w.dirs = []string{opts.Directory}
	}
	if len(w.dirs) == 0 {
		return nil, errors.New("reviews need a directory to be published in")
	}
	if w.opts.Logger == nil {
		w.opts.Logger = slog.New(slog.DiscardHandler)
	}
	if w.opts.Now == nil {
		w.opts.Now = time.Now
	}
	return w, nil
}

// Run drafts a review for every resolved incident that has none, now and from
// now on, until ctx ends. It may be called once.
func (w *Writer) Run(ctx context.Context) error {
	for ev, err := range w.opts.Journal.Read(ctx, 0) {
		if err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		w.fold(&ev)
	}
	events, failed := w.follow(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.opts.Logger.Debug("reviews stopped", "err", <-failed)
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow the journal: %w", err)
		case ev := <-events:
			w.fold(&ev)
		case <-timer.C:
			w.writeDue(ctx)
		}
		timer.Reset(w.pause())
	}
}

// follow hands on what is new in the journal. failed gets one value when it
// ends.
func (w *Writer) follow(ctx context.Context) (events chan belay.Event, failed chan error) {
	events, failed = make(chan belay.Event), make(chan error, 1)
	after := w.seen
	go func() {
		for ev, err := range w.opts.Journal.Tail(ctx, after) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case events <- ev:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
		failed <- errors.New("the journal ended")
	}()
	return events, failed
}

// fold takes one event into the present state.
func (w *Writer) fold(ev *belay.Event) {
	w.seen = ev.Seq
	if n := len(w.marks); n == 0 || ev.At.Sub(w.marks[n-1].at) >= time.Minute {
		w.marks = append(w.marks, mark{ev.At, ev.Seq})
	}
	switch {
	case ev.Kind == belay.KindReview && ev.Review != nil:
		until, d := ev.Review.Until, w.waiting[ev.Review.Incident]
		if until.IsZero() && d != nil { // of an earlier version, which drafted each incident once
			until = d.incident.ResolvedAt
		}
		w.reviewed[ev.Review.Incident] = drafted{ev.Pos, until, ev.Review.SHA256}
		if d != nil && !d.incident.ResolvedAt.After(until) {
			delete(w.waiting, ev.Review.Incident)
		}
	case ev.Incident != nil:
		inc := *ev.Incident
		if inc.State != belay.Resolved {
			delete(w.waiting, inc.ID) // it was opened again
			return
		}
		if inc.MergedInto != "" {
			return // it is told in that one's
		}
		if !inc.ResolvedAt.After(w.reviewed[inc.ID].until) || w.waiting[inc.ID] != nil {
			return // a note after the resolution
		}
		since := inc.ResolvedAt
		if now := w.opts.Now(); since.After(now) {
			since = now // a clock was set back; do not wait for it
		}
		w.waiting[inc.ID] = &draft{incident: inc, seq: ev.Seq, due: since.Add(w.settling(inc.Service))}
	}
}

// settling is how long the last samples may be under way.
func (w *Writer) settling(s belay.ServiceID) time.Duration {
	return min(w.interval(s), 30*time.Second)
}

func (w *Writer) interval(s belay.ServiceID) time.Duration {
	if w.opts.ScrapeInterval != nil {
		if d := w.opts.ScrapeInterval(s); d > 0 {
			return d
		}
	}
	return defaultInterval
}

// pause is how long nothing is due.
func (w *Writer) pause() time.Duration {
	wait := time.Hour
	now := w.opts.Now()
	for _, d := range w.waiting {
		wait = min(wait, max(d.due.Sub(now), 0))
	}
	return wait
}

// writeDue writes what is due, oldest first. What fails is tried again later
// and later, so that a full disk costs no review.
func (w *Writer) writeDue(ctx context.Context) {
	now := w.opts.Now()
	var due []*draft
	for _, d := range w.waiting {
		if !d.due.After(now) {
			due = append(due, d)
		}
	}
	sort.Slice(due, func(i, j int) bool { return due[i].seq < due[j].seq })
	for _, d := range due {
		if err := w.write(ctx, d); err != nil {
			if ctx.Err() != nil {
				return
			}
			d.tries++
			d.due = now.Add(min(time.Second<<min(d.tries, 9), 5*time.Minute))
			w.opts.Logger.Warn("a review could not be written", "incident", d.incident.ID, "tries", d.tries, "err", err)
			continue
		}
		delete(w.waiting, d.incident.ID)
	}
}

// write drafts one review: first the files, then the event that names them. A
// crash in between writes the same files again. The earlier draft of an incident
// that went on gives way, unless somebody has edited it.
func (w *Writer) write(ctx context.Context, d *draft) error {
	dossier, err := w.gather(ctx, d.incident.ID, w.before(d.incident.OpenedAt.Add(-changeReach-time.Minute)), d.seq)
	if err != nil {
		return err
	}
	md, svg, js := Render(dossier)
	base := FileBase(d.incident.ID)
	files := []struct {
		name    string
		content []byte
	}{{base + ".svg", svg}, {base + ".json", js}, {base + ".md", md}}
	names := make([]string, 0, len(files))
	was := w.reviewed[d.incident.ID]
	for _, dir := range w.dirs {
		put := publish
		if was.drafts > 0 && unedited(dir, base+".md", was.sum) {
			put = overwrite
		}
		for _, f := range files {
			aside, err := put(dir, f.name, f.content)
			if err != nil {
				return err
			}
			if aside != "" {
				w.opts.Logger.Warn("an edited review was moved aside", "directory", dir, "file", f.name, "kept_as", aside)
			}
		}
	}
	for _, f := range files {
		names = append(names, f.name)
	}
	review := belay.Review{Incident: d.incident.ID, State: "draft", Until: d.incident.ResolvedAt, Files: names, SHA256: sum(md)}
	end, err := w.opts.Journal.Append(ctx, "review/"+d.incident.ID, was.drafts, belay.Event{
		At: w.opts.Now().UTC(), Kind: belay.KindReview, Service: d.incident.Service,
		Reason: fmt.Sprintf("the review of %s is drafted: %s.md", d.incident.ID, base),
		Review: &review,
	})
	if errors.Is(err, belay.ErrConflict) {
		return nil // somebody else has written it
	}
	if err != nil {
		return fmt.Errorf("journal the review: %w", err)
	}
	w.reviewed[d.incident.ID] = drafted{end, review.Until, review.SHA256}
	w.opts.Logger.Info("review drafted", "incident", d.incident.ID, "file", base+".md")
	return nil
}

// Draft gathers the dossier of an incident, measures it, and writes nothing. It
// may be called from any goroutine, also of an incident that lasts.
func (w *Writer) Draft(ctx context.Context, incidentID string) (Dossier, error) {
	return w.gather(ctx, incidentID, 0, math.MaxInt64)
}

// gather is Draft with the part of the journal that is needed.
func (w *Writer) gather(ctx context.Context, incidentID string, after, until belay.Seq) (Dossier, error) {
	var events []belay.Event
	for ev, err := range w.opts.Journal.Read(ctx, after) {
		if err != nil {
			return Dossier{}, fmt.Errorf("read the journal: %w", err)
		}
		if ev.Seq > until {
			break
		}
		events = append(events, ev)
	}
	d, err := Build(events, incidentID)
	if err != nil {
		return Dossier{}, err
	}
	if w.opts.ExternalURL != "" {
		d.URL = strings.TrimRight(w.opts.ExternalURL, "/") + "/incidents/" + incidentID
	}
	var q storage.Queryable
	if w.opts.Queryable != nil {
		q = w.opts.Queryable()
	}
	if err := d.Measure(ctx, q, w.interval(d.Incident.Service)); err != nil {
		if ctx.Err() != nil {
			return Dossier{}, ctx.Err()
		}
		w.opts.Logger.Warn("the impact could not be measured", "incident", incidentID, "err", err)
	}
	return d, nil
}

// before returns a position in the journal before which everything is older.
func (w *Writer) before(at time.Time) belay.Seq {
	i := sort.Search(len(w.marks), func(i int) bool { return w.marks[i].at.After(at) })
	if i == 0 {
		return 0
	}
	return w.marks[i-1].seq - 1
}
