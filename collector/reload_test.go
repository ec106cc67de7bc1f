package collector_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/belaydev/belay/collector"
)

// reloaded returns cfg as it would be with other text in the same folder.
func reloaded(t *testing.T, cfg collector.Config, text string) collector.Config {
	t.Helper()
	dir := filepath.Dir(filepath.Dir(cfg.Metrics.Path))
	return mustLoad(t, filepath.Join(dir, "belay.yml"), "global: {scrape_interval: 100ms}\n"+text)
}

func TestFiftyReloadsUnderScrapingLoseNoSample(t *testing.T) {
	shop, other := serve(t, "requests_total 1\n"), serve(t, "other 1\n")
	first := config(t, "scrape_configs:\n"+job("shop", shop.address()))
	r := run(t, first, collector.Options{})
	r.until("it is scraped", func() bool { return r.target("shop").Healthy })
	before := runtime.NumGoroutine()
	for i := range 50 {
		text := "scrape_configs:\n" + job("shop", shop.address())
		bad := i%3 == 2
		switch {
		case bad:
			text += job("broken", other.address(), "scheme: https", "tls_config: {ca_file: nowhere.pem}")
		case i%2 == 0:
			text += job("other", other.address(), fmt.Sprintf("sample_limit: %d", 10+i), "scrape_interval: "+changedEvery)
		}
		err := r.Reload(reloaded(t, first, text))
		if bad != (err != nil) {
			t.Fatalf("reload %d: %v", i, err)
		}
		if bad && !strings.Contains(err.Error(), "nowhere.pem") {
			t.Errorf("reload %d: %v does not name the file", i, err)
		}
		r.next()
	}
	if err := r.Reload(first); err != nil {
		t.Fatal(err)
	}
	r.until("the other job is gone", func() bool { return len(r.Targets()) == 1 })
	times := timesOf(t, r, "requests_total")
	if n := len(times); n < 10 {
		t.Fatalf("only %d samples", n)
	}
	for i, at := range times[1:] {
		if gap := at - times[i]; gap > 190 { // one missed scrape of 100 ms would leave 200
			t.Errorf("a gap of %d ms after sample %d", gap, i)
		}
	}
	for _, v := range values(t, r, "requests_total") {
		if value.IsStaleNaN(v) || math.IsNaN(v) {
			t.Error("a series of an unchanged target ended")
		}
	}
	shop.server.CloseClientConnections() // those that wait for another scrape
	other.server.CloseClientConnections()
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) {
		r.next()
	}
	if n := runtime.NumGoroutine(); n > before+5 {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after 50 reloads\n%s", before, n, stacks[:runtime.Stack(stacks, true)])
	}
}

func TestAReloadThatCannotBeIsRefusedWhole(t *testing.T) {
	shop := serve(t, "requests_total 1\n")
	cfg := config(t, "scrape_configs:\n"+job("shop", shop.address()))
	c, err := collector.New(cfg, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(cfg); !errors.Is(err, collector.ErrNotRunning) {
		t.Errorf("before Run: %v", err)
	}
	r := run(t, cfg, collector.Options{})
	elsewhere := cfg
	elsewhere.Metrics.Path = t.TempDir()
	if err := r.Reload(elsewhere); err == nil || !strings.Contains(err.Error(), "metrics.path") {
		t.Errorf("another path: %v", err)
	}
	shorter := cfg
	shorter.Metrics.Retention /= 2
	if err := r.Reload(shorter); err != nil {
		t.Errorf("another retention: %v", err)
	}
	r.until("it goes on", func() bool { return r.target("shop").Healthy })
}

func TestAReloadChangesWhatIsScraped(t *testing.T) {
	shop, other := serve(t, "requests_total 1\n"), serve(t, "other 1\n")
	cfg := config(t, "scrape_configs:\n"+job("shop", shop.address()))
	r := run(t, cfg, collector.Options{})
	r.until("the first job", func() bool { return r.target("shop").Healthy })
	if err := r.Reload(reloaded(t, cfg, "scrape_configs:\n"+job("other", other.address()))); err != nil {
		t.Fatal(err)
	}
	r.until("the second job alone", func() bool { return r.target("other").Healthy && len(r.Targets()) == 1 })
	if got := r.target("other").Interval; got != 100*time.Millisecond {
		t.Errorf("interval %s", got)
	}
}
