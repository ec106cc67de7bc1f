package collector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
)

// A Target is something that discovery names, as its last scrape left it.
type Target struct {
	Job          string        // the job_name of its scrape configuration
	Labels       labels.Labels // what its series carry, after relabelling
	URL          string
	Scraped      bool          // false until its first scrape since the start has ended
	Healthy      bool          // the last scrape succeeded and its samples are stored
	LastError    string        // why it is not healthy
	LastScrape   time.Time     // when the last scrape began; zero before the first
	LastDuration time.Duration // how long it took
	Interval     time.Duration // how often it is scraped

	names map[string]struct{}
}

// Exposes reports whether the target's last successful scrape held a sample of
// that name. As long as none has succeeded since the start, what the storage
// remembers of the day before counts. Names that a scrape reports about itself,
// such as up, are never exposed: they are there even when the target is not.
func (t Target) Exposes(name string) bool {
	_, ok := t.names[name]
	return ok && !reports(name)
}

// Names returns all names that Exposes knows, sorted.
func (t Target) Names() []string {
	out := make([]string, 0, len(t.names))
	for name := range t.names {
		if !reports(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// memory is how far back the storage is asked what a target used to expose of
// which no scrape has succeeded since the start.
const memory = 24 * time.Hour

// A record is what the collector keeps of a target beside upstream.
type record struct {
	last    atomic.Pointer[nameSet] // names of the last scrape
	exposed atomic.Pointer[nameSet] // names of the last successful scrape, or of the storage's memory
	lost    atomic.Pointer[string]  // why the last scrape is not in the storage
	recall  atomic.Bool             // the storage has been asked
}

func (c *Collector) record(t *scrape.Target) *record {
	if r, ok := c.records.Load(t); ok {
		return r.(*record)
	}
	r, _ := c.records.LoadOrStore(t, &record{})
	return r.(*record)
}

// Targets returns the targets that discovery names now, sorted by job, URL and
// labels. Without a running collector there are none.
func (c *Collector) Targets() []Target {
	m := c.scraper.Load()
	if m == nil {
		return nil
	}
	var out []Target
	b := labels.NewBuilder(labels.EmptyLabels())
	for job, active := range m.TargetsActive() {
		for _, t := range active {
			out = append(out, c.target(job, t, b))
		}
	}
	slices.SortFunc(out, func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Job, b.Job), strings.Compare(a.URL, b.URL), labels.Compare(a.Labels, b.Labels))
	})
	return out
}

func (c *Collector) target(job string, t *scrape.Target, b *labels.Builder) Target {
	r := c.record(t)
	health, lost := t.Health(), r.lost.Load()
	out := Target{
		Job:          job,
		Labels:       t.Labels(b),
		URL:          t.URL().Redacted(),
		Scraped:      health != scrape.HealthUnknown,
		Healthy:      health == scrape.HealthGood && lost == nil,
		LastScrape:   t.LastScrape(),
		LastDuration: t.LastScrapeDuration(),
	}
	if every, err := model.ParseDuration(t.GetValue(model.ScrapeIntervalLabel)); err == nil {
		out.Interval = time.Duration(every)
	}
	switch err := t.LastError(); {
	case err != nil:
		out.LastError = err.Error()
	case lost != nil:
		out.LastError = *lost
	}
	if !out.Healthy && r.exposed.Load() == nil {
		c.recall(out.Labels, r)
	}
	if exposed := r.exposed.Load(); exposed != nil {
		out.names = exposed.set
	}
	return out
}

// recall asks the storage what a target exposed before the start. A target that
// is down when Belay starts, or not scraped yet, would otherwise look as if it
// had never had anything to say, and its alerts as if they were over.
func (c *Collector) recall(target labels.Labels, r *record) {
	db := c.db.Load()
	if db == nil || r.recall.Load() {
		return
	}
	to := time.Now().UnixMilli()
	from := to - memory.Milliseconds()
	q, err := db.Querier(from, to)
	if err != nil {
		return
	}
	defer func() { _ = q.Close() }() // nothing was written
	var matchers []*labels.Matcher
	target.Range(func(l labels.Label) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	// Series without a sample, left by a scrape that was rolled back, are not found.
	found := q.Select(context.Background(), false, &storage.SelectHints{Start: from, End: to, Func: "series"}, matchers...)
	s := &nameSet{set: map[string]struct{}{}}
	for found.Next() {
		name := found.At().Labels().Get(model.MetricNameLabel)
		if _, ok := s.set[name]; !ok {
			s.set[strings.Clone(name)] = struct{}{}
		}
	}
	if found.Err() != nil {
		return // asked again next time
	}
	r.recall.Store(true)
	r.exposed.CompareAndSwap(nil, s)
}

// forget drops the records of all targets but the active ones.
func (c *Collector) forget(active map[string][]*scrape.Target) {
	known := map[*scrape.Target]bool{}
	for _, targets := range active {
		for _, t := range targets {
			known[t] = true
		}
	}
	c.records.Range(func(key, _ any) bool {
		if !known[key.(*scrape.Target)] {
			c.records.Delete(key)
		}
		return true
	})
}
