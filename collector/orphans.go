package collector

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// lookBack is for how long a query goes on with the last sample of a series
	// that nobody has ended.
	lookBack = 5 * time.Minute
	// settled is how long after the first target of a job all of them are there.
	settled = 3 * time.Second
)

// endOrphans ends the series of targets that went away while no collector ran,
// such as the pods of a version that was rolled back meanwhile. A collector that
// runs ends the series of a target that it loses; those would live on for
// lookBack, and a rule would find a target that is down where there is none. A
// job of which discovery has named no target since the start is left alone:
// nothing is known of it.
func (c *Collector) endOrphans(ctx context.Context, scraper *scrape.Manager) {
	began, first, done := time.Now(), map[string]time.Time{}, map[string]bool{}
	tick := time.NewTicker(settled / 6)
	defer tick.Stop()
	for time.Since(began) < lookBack {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for job, targets := range scraper.TargetsActive() {
			if len(targets) == 0 || done[job] {
				continue
			}
			if first[job].IsZero() {
				first[job] = time.Now()
			}
			if time.Since(first[job]) < settled {
				continue
			}
			done[job] = true
			if err := c.endOrphansOf(ctx, job, targets, began); err != nil && ctx.Err() == nil {
				c.logger.Warn("series of targets that went away were not ended", "job", job, "error", err)
			}
		}
	}
}

// endOrphansOf ends the series of the targets of a job that are not among those
// of now, and of which nothing came since the collector began.
func (c *Collector) endOrphansOf(ctx context.Context, job string, targets []*scrape.Target, began time.Time) error {
	db := c.db.Load()
	if db == nil {
		return nil
	}
	there, b := map[uint64]bool{}, labels.NewBuilder(labels.EmptyLabels())
	for _, t := range targets {
		there[t.Labels(b).Hash()] = true
	}
	q, err := db.Querier(began.Add(-lookBack).UnixMilli(), time.Now().UnixMilli())
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	var orphans []labels.Labels
	set := q.Select(ctx, false, nil, equal(model.MetricNameLabel, nameUp), equal(model.JobLabel, job))
	for set.Next() {
		own := set.At().Labels().DropReserved(func(name string) bool { return name == model.MetricNameLabel })
		if last, ended := lastOf(set.At()); !ended && last < began.UnixMilli() && !there[own.Hash()] {
			orphans = append(orphans, own)
		}
	}
	if err := set.Err(); err != nil || len(orphans) == 0 {
		return err
	}
	return c.end(ctx, q, orphans, began)
}

// end marks every series of some targets as ended, in one transaction.
func (c *Collector) end(ctx context.Context, q storage.Querier, targets []labels.Labels, began time.Time) error {
	now, app := time.Now().UnixMilli(), c.AppenderV2(ctx)
	for _, own := range targets {
		var matchers []*labels.Matcher
		own.Range(func(l labels.Label) { matchers = append(matchers, equal(l.Name, l.Value)) })
		set := q.Select(ctx, false, nil, matchers...)
		for set.Next() {
			if last, ended := lastOf(set.At()); ended || last >= began.UnixMilli() {
				continue
			}
			if _, err := app.Append(0, set.At().Labels(), 0, now, math.Float64frombits(value.StaleNaN), nil, nil, storage.AOptions{}); err != nil {
				return errors.Join(err, app.Rollback())
			}
		}
		if err := set.Err(); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
	return app.Commit()
}

// lastOf returns the time of the last sample of a series, and whether it marks
// its end.
func lastOf(s storage.Series) (at int64, ended bool) {
	it := s.Iterator(nil)
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		switch kind {
		case chunkenc.ValFloat:
			var v float64
			at, v = it.At()
			ended = value.IsStaleNaN(v)
		default:
			at, ended = it.AtT(), false
			if _, fh := it.AtFloatHistogram(nil); fh != nil {
				ended = value.IsStaleNaN(fh.Sum)
			}
		}
	}
	return at, ended
}

func equal(name, v string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, name, v) // only a regular expression can be wrong
}
