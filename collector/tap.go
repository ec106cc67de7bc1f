package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay/telemetry"
)

// AppenderV2 begins a transaction on the storage, for recording rules. Its
// samples can be queried, and OnCommit is called, once Commit returned without
// an error. Before Ready, and after Run, it refuses every sample with
// tsdb.ErrNotReady. Not safe for use by several goroutines.
func (c *Collector) AppenderV2(ctx context.Context) storage.AppenderV2 {
	db := c.db.Load()
	if db == nil {
		return closed{}
	}
	return c.tap(ctx, db)
}

func (c *Collector) tap(ctx context.Context, to storage.AppendableV2) *tap {
	t := &tap{AppenderV2: to.AppenderV2(ctx), c: c, names: c.pool.Get().(*names)}
	if sender := c.sender.Load(); sender != nil {
		t.sent = sender.AppenderV2(ctx)
	}
	if target, ok := scrape.TargetFromContext(ctx); ok {
		t.target = target
		t.filter = c.filter.active()
		t.record = c.record(target)
		if last := t.record.last.Load(); last != nil {
			t.names.known = last.own
		}
	}
	return t
}

// closed is the appender of a storage that is not open.
type closed struct{}

func (closed) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, tsdb.ErrNotReady
}

func (closed) AppendExemplars(storage.SeriesRef, labels.Labels, []exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, tsdb.ErrNotReady
}
func (closed) Commit() error   { return tsdb.ErrNotReady }
func (closed) Rollback() error { return nil }

// A tap lets one transaction through and remembers which metric names were in
// it. A scrape is one transaction; the samples that report on it, such as up,
// come last.
type tap struct {
	storage.AppenderV2
	c        *Collector
	target   *scrape.Target     // nil for a transaction that is no scrape
	record   *record            // of the target
	names    *names             // nil once the transaction has ended
	filter   *need              // nil when all is stored
	sent     storage.AppenderV2 // tells remote_write how much there is to send; nil without one
	pushed   bool               // others sent the samples in
	samples  int
	leftOut  int
	reported bool // it holds a scrape's report
}

var _ storage.ExemplarAppenderV2 = (*tap)(nil)

// Append hands the sample on and notes its name if it was taken.
func (t *tap) Append(ref storage.SeriesRef, ls labels.Labels, st, ts int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if ref&skipped != 0 || t.filter != nil {
		if t.filter != nil && t.filter.leavesOut(ref, ls) {
			t.leftOut++
			return t.filter.skip, nil
		}
		if ref&skipped != 0 {
			ref = 0 // it is needed now
		}
	}
	ref, err := t.AppenderV2.Append(ref, ls, st, ts, v, h, fh, opts)
	if err != nil && !partial(err) {
		return ref, err
	}
	if t.names == nil {
		return ref, err
	}
	t.samples++
	if t.sent != nil {
		_, _ = t.sent.Append(ref, ls, st, ts, v, h, fh, opts) // it counts, and never fails
	}
	name := ls.Get(model.MetricNameLabel)
	if stale(v, h, fh) {
		t.names.ended(name)
		return ref, err
	}
	t.names.seen(name)
	t.report(name, v)
	return ref, err
}

// report takes note of what a scrape tells of itself.
func (t *tap) report(name string, v float64) {
	switch {
	case name == nameUp:
		t.reported = true
	case t.filter == nil: // all is kept: what relabelling drops is not wanted
	case name == "scrape_samples_scraped":
		t.leftOut += int(v)
	case name == "scrape_samples_post_metric_relabeling":
		t.leftOut -= int(v)
	}
}

// AppendExemplars hands on exemplars that come apart from their sample.
func (t *tap) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, exemplars []exemplar.Exemplar) (storage.SeriesRef, error) {
	if t.filter != nil && t.filter.leavesOut(ref, ls) {
		return t.filter.skip, nil
	}
	if ref&skipped != 0 {
		ref = 0
	}
	if to, ok := t.AppenderV2.(storage.ExemplarAppenderV2); ok {
		return to.AppendExemplars(ref, ls, exemplars)
	}
	return 0, storage.ErrNotFound
}

// partial tells that the sample was taken, though not all that came with it.
func partial(err error) bool {
	var pe *storage.AppendPartialError
	return errors.As(err, &pe)
}

func stale(v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) bool {
	switch {
	case fh != nil:
		return value.IsStaleNaN(fh.Sum)
	case h != nil:
		return value.IsStaleNaN(h.Sum)
	}
	return value.IsStaleNaN(v)
}

// Commit makes the samples visible and then says so. If the samples are lost,
// the target counts as failed, whatever its page said.
func (t *tap) Commit() error {
	n := t.names
	t.names = nil
	if n == nil {
		return t.AppenderV2.Commit()
	}
	defer t.c.release(n)
	if t.pushed {
		if err := t.c.pushes.add(n.live, time.Now()); err != nil {
			return errors.Join(fmt.Errorf("remember what others sent: %w", err), t.AppenderV2.Rollback())
		}
	}
	err := t.AppenderV2.Commit()
	if t.sent != nil {
		_ = t.sent.Commit() // it counts, and never fails
	}
	if err != nil {
		t.lost("the samples could not be stored: " + err.Error())
		return err
	}
	t.c.appended.Add(t.samples)
	t.c.filter.stored.Add(uint64(t.samples))
	if t.leftOut > 0 {
		t.c.filter.left.Add(uint64(t.leftOut))
		t.c.filter.count.Add(t.leftOut)
	}
	arrived := n.arrived(t.lastNames())
	if t.record != nil {
		t.remember(arrived)
	}
	if t.c.onCommit != nil && t.samples > 0 {
		t.c.onCommit(n.touched(arrived), time.Now())
	}
	return nil
}

// Rollback drops the samples. A scrape goes on with a fresh transaction after a
// bad page; only that one's commit makes the target good again.
func (t *tap) Rollback() error {
	if t.names != nil {
		t.c.release(t.names)
		t.names = nil
		t.lost("the samples of the last scrape were dropped")
		if t.sent != nil {
			_ = t.sent.Rollback() // it counts, and never fails
		}
	}
	return t.AppenderV2.Rollback()
}

func (t *tap) lost(why string) {
	if t.record != nil {
		t.record.lost.Store(&why)
	}
}

func (t *tap) lastNames() *nameSet {
	if t.record == nil {
		return nil
	}
	return t.record.last.Load()
}

// remember keeps what the scrape of a target brought. Upstream has told the
// target how the scrape went before the commit.
func (t *tap) remember(arrived *nameSet) {
	if !t.reported { // only marks the end of series of a target that is gone
		return
	}
	t.record.last.Store(arrived)
	t.record.lost.Store(nil)
	t.c.duration.Observe(t.target.LastScrapeDuration().Seconds())
	if t.target.Health() == scrape.HealthGood {
		t.record.exposed.Store(arrived)
		return
	}
	t.c.failures(t.target.GetValue(model.JobLabel)).Inc()
}

// failures counts those of a job. To ask for it brings it into being, at 0.
func (c *Collector) failures(job string) telemetry.Counter {
	return c.metrics.Counter("belay_scrape_failures_total", "Scrapes that failed, by job.", "job", job)
}

const nameUp = "up"

// reports tells the names that a scrape adds about itself, whether it succeeds
// or not. No page exposes them.
func reports(name string) bool {
	switch name {
	case nameUp, "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
		"scrape_series_added", "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes":
		return true
	}
	return false
}

// names collects the distinct names of one transaction. It is used again and
// again, so that a scrape like the last one allocates nothing.
type names struct {
	live, gone map[string]string // name → itself, in memory that is ours
	known      map[string]string // such names from the target's last scrape
	last       string            // the newest of live: a family's samples come together
}

func (n *names) seen(name string) {
	if name == n.last {
		return
	}
	own, ok := n.live[name]
	if !ok {
		own = n.own(name)
		n.live[own] = own
	}
	n.last = own
}

// ended notes a name of which a series ended.
func (n *names) ended(name string) {
	if _, ok := n.gone[name]; !ok {
		own := n.own(name)
		n.gone[own] = own
	}
}

// own returns the name in memory that outlives the call: upstream uses the
// bytes of labels again.
func (n *names) own(name string) string {
	if own, ok := n.known[name]; ok {
		return own
	}
	return strings.Clone(name)
}

// A nameSet never changes once it is made.
type nameSet struct {
	set map[string]struct{}
	own map[string]string
}

// arrived returns the names that have new samples; last itself if it says the
// same.
func (n *names) arrived(last *nameSet) *nameSet {
	if last != nil && len(last.set) == len(n.live) {
		same := true
		for name := range n.live {
			if _, same = last.set[name]; !same {
				break
			}
		}
		if same {
			return last
		}
	}
	s := &nameSet{set: make(map[string]struct{}, len(n.live)), own: maps.Clone(n.live)}
	for name := range n.live {
		s.set[name] = struct{}{}
	}
	return s
}

// touched adds the names of which series ended to those that arrived.
func (n *names) touched(arrived *nameSet) map[string]struct{} {
	if len(n.gone) == 0 {
		return arrived.set
	}
	all := maps.Clone(arrived.set)
	for name := range n.gone {
		all[name] = struct{}{}
	}
	return all
}

func (c *Collector) release(n *names) {
	clear(n.live)
	clear(n.gone)
	n.known, n.last = nil, ""
	c.pool.Put(n)
}
