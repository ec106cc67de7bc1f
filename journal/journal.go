// Package journal keeps the append-only record of what Belay saw, decided and
// did. It is SQLite in WAL mode: one file, one writer, many readers. Every
// other part is a reading of it.
package journal

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/telemetry"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options are what a Store may be given. The zero value is ready.
type Options struct {
	Metrics *telemetry.Registry // nil records nothing
	// MaxBytes bounds the file; appends beyond it are refused as if the disk
	// were full. 0 is no bound.
	MaxBytes int64
	// Poll is how often Tail looks for events that another process wrote;
	// those of this process arrive at once. 0 is 250 ms.
	Poll time.Duration
}

// A Store is a belay.Journal in one SQLite file.
type Store struct {
	path   string
	poll   time.Duration
	fast   *sql.DB // synchronous=NORMAL: survives the death of the process
	full   *sql.DB // synchronous=FULL: survives the death of the machine
	read   *sql.DB
	writes sync.Mutex // SQLite has one writer; waiting here is fairer than SQLITE_BUSY
	append telemetry.Histogram
	timed  bool

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each append
}

var _ belay.Journal = (*Store)(nil)

// Open opens the journal at path, makes the file and its folder where they are
// missing, and brings its schema up to date. Close it when done.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	s := &Store{path: path, poll: opts.Poll, changed: make(chan struct{})}
	if s.poll <= 0 {
		s.poll = 250 * time.Millisecond
	}
	if opts.Metrics != nil {
		s.timed = true
		s.append = opts.Metrics.Histogram("belay_journal_append_duration_seconds", "Time to append events to the journal, in seconds.")
	}
	for _, db := range []struct {
		to   **sql.DB
		sync string
		n    int
	}{{&s.fast, "NORMAL", 1}, {&s.full, "FULL", 1}, {&s.read, "NORMAL", 4}} {
		opened, err := sql.Open("sqlite", dsn(path, db.sync, opts.MaxBytes))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), s.Close())
		}
		opened.SetMaxOpenConns(db.n)
		*db.to = opened
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), s.Close())
	}
	return s, nil
}

func dsn(path, synchronous string, maxBytes int64) string {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	q.Add("_pragma", "journal_mode(WAL)")
	q.Add("_pragma", "synchronous("+synchronous+")")
	q.Add("_txlock", "immediate")
	if maxBytes > 0 {
		q.Add("_pragma", fmt.Sprintf("max_page_count(%d)", maxBytes/4096))
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func (s *Store) migrate(ctx context.Context) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.full, sub)
	if err != nil {
		return err
	}
	// Two processes may open a new file at once: whoever comes second finds the
	// tables made, and at the second look finds that they should be.
	for try := 0; ; try++ {
		if _, err = p.Up(ctx); err == nil || try == 5 || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Duration(try+1) * 50 * time.Millisecond)
	}
}

// Close closes the file. Appends and reads under way end first.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.fast, s.full} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Path returns the file's path.
func (s *Store) Path() string { return s.path }

// Append implements belay.Journal.
func (s *Store) Append(ctx context.Context, stream string, expect belay.Seq, events ...belay.Event) (belay.Seq, error) {
	start := time.Now()
	db := s.fast
	for i := range events {
		if err := check(stream, events[i]); err != nil {
			return 0, err
		}
		if events[i].Kind.Durable() {
			db = s.full
		}
	}
	s.writes.Lock()
	end, err := appendTo(ctx, db, stream, expect, events)
	s.writes.Unlock()
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", stream, err)
	}
	if s.timed {
		s.append.Observe(time.Since(start).Seconds())
	}
	s.announce()
	return end, nil
}

func check(stream string, ev belay.Event) error {
	switch {
	case stream == "":
		return errors.New("append: no stream")
	case ev.Kind == "":
		return fmt.Errorf("append to %s: an event without a kind", stream)
	case ev.Reason == "":
		return fmt.Errorf("append to %s: %s without a reason", stream, ev.Kind)
	case ev.At.IsZero():
		return fmt.Errorf("append to %s: %s without a time", stream, ev.Kind)
	}
	return nil
}

func appendTo(ctx context.Context, db *sql.DB, stream string, expect belay.Seq, events []belay.Event) (belay.Seq, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // no-op after Commit
	var seq, pos belay.Seq
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM events`).Scan(&seq); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(pos), 0) FROM events WHERE stream = ?`, stream).Scan(&pos); err != nil {
		return 0, err
	}
	if expect != belay.AnySeq && expect != pos {
		return 0, fmt.Errorf("%w: it ends at %d, expected %d", belay.ErrConflict, pos, expect)
	}
	for _, ev := range events {
		seq++
		pos++
		ev.Seq, ev.Stream, ev.Pos = seq, stream, pos
		ev.At = ev.At.UTC()
		body, err := json.Marshal(ev)
		if err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO events (seq, stream, pos, at, kind, body) VALUES (?, ?, ?, ?, ?, ?)`,
			seq, stream, pos, ev.At.UnixNano(), string(ev.Kind), body); err != nil {
			return 0, err
		}
	}
	return pos, tx.Commit()
}

func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Read implements belay.Journal.
func (s *Store) Read(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		for {
			page, err := s.page(ctx, after)
			if err != nil {
				yield(belay.Event{}, fmt.Errorf("read the journal after %d: %w", after, err))
				return
			}
			for _, ev := range page {
				if !yield(ev, nil) {
					return
				}
				after = ev.Seq
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Tail implements belay.Journal. It ends without an error when ctx ends.
func (s *Store) Tail(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		timer := time.NewTicker(s.poll)
		defer timer.Stop()
		for ctx.Err() == nil {
			next := s.next() // before reading, so that no append falls between
			for ev, err := range s.Read(ctx, after) {
				if err != nil && ctx.Err() != nil {
					return
				}
				if !yield(ev, err) {
					return
				}
				if err == nil {
					after = ev.Seq
				}
			}
			select {
			case <-ctx.Done():
			case <-next:
			case <-timer.C:
			}
		}
	}
}

const pageSize = 512

// page reads without holding a cursor open, so that a slow reader never keeps
// the write-ahead log from being folded back.
func (s *Store) page(ctx context.Context, after belay.Seq) ([]belay.Event, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT body FROM events WHERE seq > ? ORDER BY seq LIMIT ?`, after, pageSize)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	var page []belay.Event
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		var ev belay.Event
		if err := json.Unmarshal(body, &ev); err != nil {
			return nil, err
		}
		page = append(page, ev)
	}
	return page, rows.Err()
}

// Cursor implements belay.Journal.
func (s *Store) Cursor(ctx context.Context, destination string) (belay.Seq, error) {
	var seq belay.Seq
	err := s.read.QueryRowContext(ctx, `SELECT seq FROM cursors WHERE destination = ?`, destination).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cursor of %s: %w", destination, err)
	}
	return seq, nil
}

// Advance implements belay.Journal.
func (s *Store) Advance(ctx context.Context, destination string, to belay.Seq) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	_, err := s.fast.ExecContext(ctx, `INSERT INTO cursors (destination, seq) VALUES (?, ?)
		ON CONFLICT (destination) DO UPDATE SET seq = max(seq, excluded.seq)`, destination, to)
	if err != nil {
		return fmt.Errorf("advance %s: %w", destination, err)
	}
	return nil
}

// Full says whether err means that the disk, or the bound on the file, is full.
func Full(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
