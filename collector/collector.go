package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/belaydev/belay/telemetry"
)

// Options are what a collector needs beside its Config. All may be left out.
type Options struct {
	Logger  *slog.Logger
	Metrics *telemetry.Registry

	// OnCommit is told the names of the metrics in each transaction, of scrapes
	// and of recording rules alike, when their samples can be queried; names of
	// which a series has ended are among them. at is the time of the commit. The
	// scrape waits for the call to return, and calls come from many goroutines at
	// once. The map may be kept but not changed.
	OnCommit func(names map[string]struct{}, at time.Time)

	// Needed tells whether something can read a series; with keep: needed, the
	// others are not stored. nil is as if all were needed. Of what a scrape tells
	// about itself, such as up, everything is stored. It is called for many
	// samples and from many goroutines at once; it may not keep the labels. See
	// SetNeeded and NeededBy.
	Needed func(labels.Labels) bool

	// Registerer gets the metrics that Prometheus's own storage, discovery and
	// scraping keep of themselves (prometheus_tsdb_… and so on), while Run runs.
	Registerer prometheus.Registerer
}

// How soon a change of discovery reaches the scraping. Upstream's five seconds
// each are made for thousands of updates.
const (
	discoveryDelay = 500 * time.Millisecond
	reloadDelay    = 500 * time.Millisecond
	forgetEvery    = time.Minute
	flushDeadline  = 10 * time.Second // of remote_write, when Belay stops
)

// How many of the newest exemplars are kept, as in Prometheus, or fewer where
// only what is needed is kept. Room for them is taken at once, and so is that
// for the stripes among which series are found; Prometheus has 1 << 14.
const (
	maxExemplars = 100_000
	fewExemplars = 10_000
	fewStripes   = 1 << 11
)

func exemplars(cfg Config) int64 {
	if cfg.Metrics.Keep == KeepNeeded {
		return fewExemplars
	}
	return maxExemplars
}

// A Collector scrapes targets into a time series database. It is a
// storage.Queryable and a storage.AppendableV2, both usable once Ready.
type Collector struct {
	logger     *slog.Logger
	onCommit   func(map[string]struct{}, time.Time)
	registerer prometheus.Registerer

	metrics  *telemetry.Registry
	duration telemetry.Histogram
	appended telemetry.Counter

	started atomic.Bool
	ready   chan struct{}
	db      atomic.Pointer[tsdb.DB]
	scraper atomic.Pointer[scrape.Manager]
	records sync.Map // *scrape.Target → *record
	pool    sync.Pool
	filter  filter
	pushes  pushes
	sender  atomic.Pointer[remote.WriteStorage] // nil without destinations

	mu   sync.Mutex // guards what Reload changes
	cfg  Config
	live *live // nil unless collecting
}

var (
	_ storage.Queryable    = (*Collector)(nil)
	_ storage.AppendableV2 = (*Collector)(nil)
)

// New makes a collector of a Config that Load or Default returned.
func New(cfg Config, opts Options) (*Collector, error) {
	switch {
	case cfg.Metrics.Path == "":
		return nil, errors.New("collector: no path for the metrics")
	case cfg.Metrics.Retention <= 0:
		return nil, errors.New("collector: no retention for the metrics")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = telemetry.New()
	}
	c := &Collector{
		cfg: cfg, logger: opts.Logger, onCommit: opts.OnCommit, registerer: opts.Registerer,
		metrics:  opts.Metrics,
		duration: opts.Metrics.Histogram("belay_scrape_duration_seconds", "How long the scrapes of targets took, failed ones included."),
		appended: opts.Metrics.Counter("belay_samples_appended_total", "Samples that scrapes and recording rules stored, markers of ended series included."),
		ready:    make(chan struct{}),
	}
	c.filter.count = opts.Metrics.Counter("belay_samples_left_out_total", "Samples that were not stored, since nothing can read their series (keep: needed).")
	c.filter.set(opts.Needed, cfg.Metrics.Keep == KeepNeeded)
	c.pool.New = func() any { return &names{live: map[string]string{}, gone: map[string]string{}} }
	return c, nil
}

// Ready returns a channel that closes once the storage can be used. It never
// closes if the storage cannot be opened; Run then returns why.
func (c *Collector) Ready() <-chan struct{} { return c.ready }

// Run opens the storage and collects until ctx ends; then it lets the scrapes
// under way finish, each at most its scrape_timeout, and closes the storage. It
// is called once. A storage that another process holds open is an error.
//
// A target is found within about half a second. Its first scrape comes at a
// moment of its scrape_interval that its address decides, as in Prometheus, so
// that many targets are not scraped at once.
func (c *Collector) Run(ctx context.Context) (err error) {
	if c.started.Swap(true) {
		return errors.New("collector: Run was called twice")
	}
	reg := prometheus.NewRegistry()
	db, err := tsdb.Open(c.cfg.Metrics.Path, c.logger.With("component", "tsdb"), reg, c.storageOptions(), nil)
	if err != nil {
		return fmt.Errorf("open the metrics storage %s: %w", c.cfg.Metrics.Path, err)
	}
	c.pushes.open(c.cfg.Metrics.Path, time.Duration(c.cfg.Metrics.Retention), time.Now())
	defer func() {
		c.db.Store(nil)
		if cerr := db.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close the metrics storage: %w", cerr))
		}
	}()
	l, err := c.assemble(ctx, db, reg)
	if err != nil {
		return err
	}
	defer l.close()
	c.mu.Lock()
	c.live = l
	c.mu.Unlock()
	c.scraper.Store(l.scraper)
	c.db.Store(db)
	close(c.ready)
	return c.collect(ctx, l, reg)
}

func (c *Collector) storageOptions() *tsdb.Options {
	retention := time.Duration(c.cfg.Metrics.Retention)
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = retention.Milliseconds()
	opts.MaxBlockDuration = min(31*24*time.Hour, retention/10).Milliseconds() // as Prometheus does
	opts.WALCompression = compression.Snappy
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = exemplars(c.cfg)
	if c.cfg.Metrics.Keep == KeepNeeded {
		opts.StripeSize = fewStripes
	}
	return opts
}

// collect runs discovery and scraping on the open storage.
func (c *Collector) collect(ctx context.Context, l *live, reg *prometheus.Registry) error {
	if c.registerer != nil {
		if err := c.registerer.Register(reg); err != nil {
			return fmt.Errorf("register the metrics of the storage: %w", err)
		}
		defer c.registerer.Unregister(reg)
	}
	defer c.scraper.Store(nil)
	var running sync.WaitGroup
	running.Go(func() { _ = l.finder.Run() }) // returns the end of its context
	running.Go(func() { _ = l.scraper.Run(l.finder.SyncCh()) })
	running.Go(func() { c.endOrphans(ctx, l.scraper) })
	c.wait(ctx, l.scraper)
	c.mu.Lock() // a Reload under way ends first
	c.live = nil
	c.mu.Unlock()
	l.scraper.Stop()
	l.stopFinder()
	running.Wait()
	return nil
}

// wait returns when ctx ends.
func (c *Collector) wait(ctx context.Context, scraper *scrape.Manager) {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.forget(scraper.TargetsActive())
		}
	}
}
