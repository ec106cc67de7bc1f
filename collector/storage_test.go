package collector_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/belaydev/belay/collector"
)

// appendSample writes one sample as a recording rule would.
func appendSample(t *testing.T, c storage.AppendableV2, name string, v float64, at time.Time) storage.AppenderV2 {
	t.Helper()
	app := c.AppenderV2(t.Context())
	if _, err := app.Append(0, labels.FromStrings("__name__", name), 0, at.UnixMilli(), v, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	return app
}

func TestRecordingRulesWriteAndAreAnnouncedAtCommit(t *testing.T) {
	r := run(t, config(t, ""), collector.Options{})
	if err := appendSample(t, r, "dropped", 1, time.Now()).Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := appendSample(t, r, "job:errors:ratio", 0.5, time.Now()).Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]struct{}{"job:errors:ratio": {}}, r.next()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]float64{0.5}, values(t, r, "job:errors:ratio")); diff != "" {
		t.Error(diff)
	}
	if got := values(t, r, "dropped"); len(got) != 0 {
		t.Errorf("a rolled back sample can be queried: %v", got)
	}
}

func TestAClosedStorageSaysSo(t *testing.T) {
	c, err := collector.New(config(t, ""), collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if _, err := c.Querier(0, 1); !errors.Is(err, tsdb.ErrNotReady) {
			t.Errorf("Querier %s: %v", when, err)
		}
		app := c.AppenderV2(t.Context())
		if _, err := app.Append(0, labels.FromStrings("__name__", "a"), 0, 1, 1, nil, nil, storage.AOptions{}); !errors.Is(err, tsdb.ErrNotReady) {
			t.Errorf("Append %s: %v", when, err)
		}
		if err := app.Commit(); !errors.Is(err, tsdb.ErrNotReady) {
			t.Errorf("Commit %s: %v", when, err)
		}
		if got := c.Targets(); got != nil {
			t.Errorf("Targets %s: %v", when, got)
		}
	}
	check("before Run")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	check("after Run")
	if err := c.Run(t.Context()); err == nil {
		t.Error("a second Run must be refused")
	}
}

func TestAfterAKillTheSamplesAndTheMemoryOfTargetsAreThere(t *testing.T) {
	shop := serve(t, "requests_total 7\n")
	text := "scrape_configs:\n" + job("shop", shop.address())
	cfg := config(t, text)
	r := run(t, cfg, collector.Options{})
	r.until("three samples", func() bool { return len(values(t, r, "requests_total")) >= 3 })
	before := values(t, r, "requests_total")

	// What a killed process leaves behind is what lies on the disk while it runs.
	after := config(t, text)
	if err := os.CopyFS(after.Metrics.Path, os.DirFS(cfg.Metrics.Path)); err != nil {
		t.Fatal(err)
	}
	r.stop()
	shop.server.Close()

	again := run(t, after, collector.Options{})
	got := values(t, again, "requests_total")
	if len(got) < len(before) || !cmp.Equal(before, got[:len(before)]) {
		t.Errorf("of %v the log kept %v", before, got)
	}
	again.until("the scrape fails", func() bool { return again.target("shop").Scraped })
	if target := again.target("shop"); target.Healthy || !target.Exposes("requests_total") || target.Exposes("up") {
		t.Errorf("a target that was down at the start must stand for what it exposed before: %+v", target)
	}
}

func TestATornLogIsRepairedAtTheStart(t *testing.T) {
	cfg := config(t, "")
	r := run(t, cfg, collector.Options{})
	start := time.Now().Add(-time.Minute)
	for i := range 10 {
		if err := appendSample(t, r, "a", float64(i), start.Add(time.Duration(i)*time.Second)).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	torn := config(t, "")
	if err := os.CopyFS(torn.Metrics.Path, os.DirFS(cfg.Metrics.Path)); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(torn.Metrics.Path, "wal", "00000000")
	log, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	log = bytes.TrimRight(log, "\x00") // a page is filled up with zeros
	if err := os.WriteFile(segment, log[:len(log)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	got := values(t, run(t, torn, collector.Options{}), "a")
	if diff := cmp.Diff([]float64{0, 1, 2, 3, 4, 5, 6, 7, 8}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTwoCollectorsCannotShareAStorage(t *testing.T) {
	cfg := config(t, "")
	run(t, cfg, collector.Options{})
	second, err := collector.New(cfg, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.Metrics.Path) {
		t.Errorf("the second one said %v", err)
	}
}

func TestUpstreamMetricsGoWhereTheyAreWantedAndLeaveWithRun(t *testing.T) {
	reg := prometheus.NewRegistry()
	shop := serve(t, "a 1\n")
	r := run(t, config(t, "scrape_configs:\n"+job("shop", shop.address())), collector.Options{Registerer: reg})
	count := func() int {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "prometheus_tsdb_") {
				n++
			}
		}
		return n
	}
	r.until("a scrape", func() bool { return r.target("shop").Healthy })
	if count() == 0 {
		t.Error("no metrics of the storage")
	}
	r.stop()
	if n := count(); n != 0 {
		t.Errorf("%d metrics of a closed storage remain", n)
	}
}
