package collector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
)

// A disk takes samples, with settable faults.
type disk struct {
	appendErr, commitErr error
}

func (d *disk) AppenderV2(context.Context) storage.AppenderV2 { return (*diskAppender)(d) }

type diskAppender disk

func (d *diskAppender) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, d.appendErr
}
func (d *diskAppender) Commit() error   { return d.commitErr }
func (d *diskAppender) Rollback() error { return nil }

// announced makes a collector, and a function that returns what it announced
// since the last call.
func announced(t testing.TB) (*Collector, func() []map[string]struct{}) {
	t.Helper()
	var got []map[string]struct{}
	c, err := New(Default(t.TempDir()), Options{OnCommit: func(names map[string]struct{}, _ time.Time) { got = append(got, names) }})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() []map[string]struct{} {
		out := got
		got = nil
		return out
	}
}

func scrapeTarget() (*scrape.Target, context.Context) {
	target := scrape.NewTarget(labels.FromStrings("job", "shop", "instance", "a", "__address__", "a", "__scheme__", "http"), &config.ScrapeConfig{JobName: "shop"}, nil, nil)
	return target, scrape.ContextWithTarget(context.Background(), target)
}

func series(name string) labels.Labels {
	return labels.FromStrings(model.MetricNameLabel, name, "job", "shop")
}

// scraped plays one successful scrape of the names.
func scraped(ctx context.Context, t testing.TB, c *Collector, d *disk, names ...string) error {
	t.Helper()
	tap := c.tap(ctx, d)
	for _, name := range names {
		if _, err := tap.Append(0, series(name), 0, 1, 1, nil, nil, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tap.target.Report(time.Now(), time.Millisecond, nil)
	if _, err := tap.Append(0, series("up"), 0, 1, 1, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	return tap.Commit()
}

func (c *Collector) see(target *scrape.Target) Target {
	return c.target("shop", target, labels.NewBuilder(labels.EmptyLabels()))
}

func set(names ...string) map[string]struct{} {
	s := map[string]struct{}{}
	for _, name := range names {
		s[name] = struct{}{}
	}
	return s
}

func TestATargetWhosePageIsFineButLostIsNotHealthy(t *testing.T) {
	c, announcements := announced(t)
	target, ctx := scrapeTarget()
	if err := scraped(ctx, t, c, &disk{}, "a"); err != nil {
		t.Fatal(err)
	}
	announcements()
	full := errors.New("no space left on device")
	if err := scraped(ctx, t, c, &disk{commitErr: full}, "a", "b"); !errors.Is(err, full) {
		t.Fatalf("Commit: %v", err)
	}
	if got := announcements(); len(got) != 0 {
		t.Errorf("a failed commit was announced: %v", got)
	}
	got := c.see(target)
	if got.Healthy || !strings.Contains(got.LastError, "no space left") || got.Exposes("b") || !got.Exposes("a") {
		t.Errorf("after a lost scrape: %+v", got)
	}
	if err := scraped(ctx, t, c, &disk{}, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if got := c.see(target); !got.Healthy || got.LastError != "" || !got.Exposes("b") {
		t.Errorf("after a stored scrape: %+v", got)
	}
}

func TestARefusedOrRolledBackSampleIsNotAnnounced(t *testing.T) {
	c, announcements := announced(t)
	refused := c.tap(t.Context(), &disk{appendErr: storage.ErrOutOfOrderSample})
	if _, err := refused.Append(0, series("late"), 0, 1, 1, nil, nil, storage.AOptions{}); !errors.Is(err, storage.ErrOutOfOrderSample) {
		t.Fatal(err)
	}
	if err := refused.Commit(); err != nil {
		t.Fatal(err)
	}
	dropped := c.tap(t.Context(), &disk{})
	_, _ = dropped.Append(0, series("dropped"), 0, 1, 1, nil, nil, storage.AOptions{})
	if err := dropped.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := announcements(); len(got) != 0 {
		t.Errorf("announced %v", got)
	}
	// A sample whose exemplar alone was refused is stored.
	partly := c.tap(t.Context(), &disk{appendErr: &storage.AppendPartialError{ExemplarErrors: []storage.ExemplarError{{Err: storage.ErrExemplarsDisabled}}}})
	_, _ = partly.Append(0, series("stored"), 0, 1, 1, nil, nil, storage.AOptions{Exemplars: []exemplar.Exemplar{{}}})
	if err := partly.Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]struct{}{set("stored")}, announcements()); diff != "" {
		t.Error(diff)
	}
}

func TestTheEndOfASeriesIsAnnouncedButNotExposed(t *testing.T) {
	c, announcements := announced(t)
	target, ctx := scrapeTarget()
	if err := scraped(ctx, t, c, &disk{}, "a", "b"); err != nil {
		t.Fatal(err)
	}
	announcements()
	end := &histogram.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}
	tap := c.tap(ctx, &disk{})
	_, _ = tap.Append(0, series("a"), 0, 2, 1, nil, nil, storage.AOptions{})
	_, _ = tap.Append(0, series("b"), 0, 2, 0, nil, end, storage.AOptions{})
	target.Report(time.Now(), time.Millisecond, nil)
	_, _ = tap.Append(0, series("up"), 0, 2, 1, nil, nil, storage.AOptions{})
	if err := tap.Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]struct{}{set("a", "b", "up")}, announcements()); diff != "" {
		t.Error(diff)
	}
	if got := c.see(target); got.Exposes("b") || !got.Exposes("a") {
		t.Errorf("exposes %v", got.Names())
	}
}

func TestTheEndOfADroppedTargetLeavesItsSuccessorAlone(t *testing.T) {
	c, _ := announced(t)
	target, ctx := scrapeTarget()
	if err := scraped(ctx, t, c, &disk{}, "a"); err != nil {
		t.Fatal(err)
	}
	stale := math.Float64frombits(value.StaleNaN)
	tap := c.tap(ctx, &disk{}) // what upstream writes when a scrape loop has ended
	_, _ = tap.Append(0, series("a"), 0, 2, stale, nil, nil, storage.AOptions{})
	_, _ = tap.Append(0, series("up"), 0, 2, stale, nil, nil, storage.AOptions{})
	if err := tap.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := c.see(target); !got.Exposes("a") || !got.Healthy {
		t.Errorf("target: %+v", got)
	}
}

func TestATargetNotYetScrapedStandsForWhatTheStorageRemembers(t *testing.T) {
	c, _ := announced(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	target, _ := scrapeTarget()
	now := time.Now()
	app := c.AppenderV2(ctx)
	for _, s := range []struct {
		name, instance string
		at             time.Time
	}{
		{"long_ago", "a", now.Add(-memory - time.Hour)},
		{"a", "a", now.Add(-time.Minute)},
		{"up", "a", now.Add(-time.Minute)},
		{"of_another", "b", now.Add(-time.Minute)},
	} {
		_, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, s.name, "job", "shop", "instance", s.instance, "code", "200"), 0, s.at.UnixMilli(), 1, nil, nil, storage.AOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	got := c.see(target)
	if got.Scraped || got.Healthy {
		t.Errorf("target: %+v", got)
	}
	if diff := cmp.Diff([]string{"a"}, got.Names()); diff != "" {
		t.Error(diff)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestTargetsThatDiscoveryDroppedAreForgotten(t *testing.T) {
	c, _ := announced(t)
	kept, _ := scrapeTarget()
	dropped, _ := scrapeTarget()
	record := c.record(kept)
	c.record(dropped)
	c.forget(map[string][]*scrape.Target{"shop": {kept}})
	if got, ok := c.records.Load(kept); !ok || got != record {
		t.Error("an active target was forgotten")
	}
	if _, ok := c.records.Load(dropped); ok {
		t.Error("a dropped target is remembered")
	}
}

func TestNamesOutliveTheMemoryTheyCameIn(t *testing.T) {
	c, announcements := announced(t)
	b := labels.NewScratchBuilder(1)
	var ls labels.Labels // written over for each sample, as the parser does
	tap := c.tap(t.Context(), &disk{})
	for _, name := range []string{"first_total", "other_total", "third_total"} {
		b.Reset()
		b.Add(model.MetricNameLabel, name)
		b.Overwrite(&ls)
		_, _ = tap.Append(0, ls, 0, 1, 1, nil, nil, storage.AOptions{})
	}
	if err := tap.Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]struct{}{set("first_total", "other_total", "third_total")}, announcements()); diff != "" {
		t.Error(diff)
	}
}

// pageOf makes the series of a page: 10 of each name, as families come.
func pageOf(names int) []labels.Labels {
	var out []labels.Labels
	for i := range names {
		for k := range 10 {
			out = append(out, labels.FromStrings(model.MetricNameLabel, fmt.Sprintf("http_request_duration_seconds_%d_bucket", i), "instance", "127.0.0.1:8080", "job", "shop", "le", fmt.Sprint(k)))
		}
	}
	return append(out, series("up"))
}

func TestAScrapeLikeTheLastOneAllocatesNothingPerSample(t *testing.T) {
	c, _ := announced(t)
	c.onCommit = func(map[string]struct{}, time.Time) {}
	_, ctx := scrapeTarget()
	page := pageOf(100)
	d := &disk{}
	once := func() {
		tap := c.tap(ctx, d)
		for _, ls := range page {
			_, _ = tap.Append(1, ls, 0, 1, 1, nil, nil, storage.AOptions{})
		}
		tap.target.Report(time.Time{}, 0, nil)
		_ = tap.Commit()
	}
	once()
	if n := testing.AllocsPerRun(20, once); n > 10 {
		t.Errorf("%v allocations for %d samples", n, len(page))
	}
}

// BenchmarkTap is the cost that the tap adds to each sample.
func BenchmarkTap(b *testing.B) {
	c, _ := announced(b)
	c.onCommit = func(map[string]struct{}, time.Time) {}
	_, ctx := scrapeTarget()
	page := pageOf(100)
	for _, bc := range []struct {
		name string
		open func() storage.AppenderV2
	}{
		{"without", func() storage.AppenderV2 { return (&disk{}).AppenderV2(ctx) }},
		{"with", func() storage.AppenderV2 { return c.tap(ctx, &disk{}) }},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				app := bc.open()
				for _, ls := range page {
					_, _ = app.Append(1, ls, 0, 1, 1, nil, nil, storage.AOptions{})
				}
				_ = app.Commit()
				n += len(page)
			}
		})
	}
}
