package collector

import (
	"context"

	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

var (
	_ storage.SampleAndChunkQueryable = (*Collector)(nil)
	_ storage.ExemplarQueryable       = (*Collector)(nil)
)

// Querier reads the storage between two times in milliseconds, both included.
// Close it. Before Ready, and after Run, the error is tsdb.ErrNotReady.
func (c *Collector) Querier(mint, maxt int64) (storage.Querier, error) {
	db := c.db.Load()
	if db == nil {
		return nil, tsdb.ErrNotReady
	}
	return db.Querier(mint, maxt)
}

// ChunkQuerier is Querier for whole chunks.
func (c *Collector) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	db := c.db.Load()
	if db == nil {
		return nil, tsdb.ErrNotReady
	}
	return db.ChunkQuerier(mint, maxt)
}

// ExemplarQuerier reads the exemplars that came with samples.
func (c *Collector) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	db := c.db.Load()
	if db == nil {
		return nil, tsdb.ErrNotReady
	}
	return db.ExemplarQuerier(ctx)
}

// StartTime returns the time of the oldest sample, in milliseconds.
func (c *Collector) StartTime() (int64, error) {
	db := c.db.Load()
	if db == nil {
		return 0, tsdb.ErrNotReady
	}
	return db.StartTime()
}

// DB returns the database itself, for its statistics; nil unless it is open.
// What is written to it directly wakes nobody: append to the Collector.
func (c *Collector) DB() *tsdb.DB { return c.db.Load() }

// Scraper returns upstream's manager of the scraping, which answers for
// Prometheus's HTTP API what Targets does not tell; nil unless it runs.
func (c *Collector) Scraper() *scrape.Manager { return c.scraper.Load() }
