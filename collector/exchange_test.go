package collector_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/belaydev/belay/collector"
)

// push sends one sample as a Prometheus would.
func push(t *testing.T, c *collector.Collector, name string, v float64) int {
	t.Helper()
	h := remote.NewWriteHandler(slog.New(slog.DiscardHandler), nil, c.Receiver(), remoteapi.MessageTypes{remoteapi.WriteV1MessageType}, false, false)
	w := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, written(t, name, v))))
	req.Header.Set("Content-Type", "application/x-protobuf")
	h.ServeHTTP(w, req)
	return w.Code
}

func TestWhatOthersSendInIsStoredAnnouncedAndRemembered(t *testing.T) {
	cfg := config(t, "")
	r := run(t, cfg, collector.Options{})
	if code := push(t, r.Collector, "sent_in", 3); code/100 != 2 {
		t.Fatalf("status %d", code)
	}
	if names := r.next(); len(names) != 1 {
		t.Errorf("announced %v", names)
	}
	if got := values(t, r, "sent_in"); len(got) != 1 || got[0] != 3 {
		t.Errorf("stored %v", got)
	}
	if !r.Pushed("sent_in") || !r.Pushed("") || r.Pushed("scraped") {
		t.Error("Pushed must know what was sent in, and only that")
	}
	r.stop()
	again := run(t, cfg, collector.Options{})
	if !again.Pushed("sent_in") || again.Pushed("scraped") {
		t.Error("it was forgotten by a restart")
	}
}

func TestAPushThatCannotBeRememberedIsRefused(t *testing.T) {
	cfg := config(t, "")
	r := run(t, cfg, collector.Options{})
	if err := os.Mkdir(filepath.Join(cfg.Metrics.Path, "pushed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code := push(t, r.Collector, "sent_in", 3); code != http.StatusInternalServerError {
		t.Errorf("status %d", code)
	}
	if got := values(t, r, "sent_in"); len(got) != 0 {
		t.Errorf("stored %v", got)
	}
}

// needed is what these expressions read.
func needed(t *testing.T, exprs ...string) func(labels.Labels) bool {
	t.Helper()
	var selectors [][]*labels.Matcher
	for _, text := range exprs {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		selectors = append(selectors, parser.ExtractSelectors(expr)...)
	}
	return collector.NeededBy(selectors)
}

func TestOnlyWhatIsNeededIsKept(t *testing.T) {
	shop := serve(t, "wanted{code=\"200\"} 1\nwanted{code=\"500\"} 2\nunwanted 3\nlater 4\n")
	cfg := config(t, "metrics: {keep: needed}\nscrape_configs:\n"+job("shop", shop.address()))
	r := run(t, cfg, collector.Options{Needed: needed(t, `rate(wanted{code="500"}[1m]) > 0 or {__name__=~"never_.*"}`)})
	r.until("three scrapes", func() bool { return len(values(t, r, "up")) >= 3 })
	if got := values(t, r, "wanted"); len(got) < 3 || got[0] != 2 {
		t.Errorf("wanted: %v", got)
	}
	if got := append(values(t, r, "unwanted"), values(t, r, "later")...); len(got) != 0 {
		t.Errorf("stored without need: %v", got)
	}
	if tally := r.Tally(); tally.LeftOut < 9 || tally.Stored < 9 {
		t.Errorf("%+v", tally)
	}
	r.SetNeeded(needed(t, "later"))
	before := len(values(t, r, "wanted"))
	r.until("the new need holds", func() bool { return len(values(t, r, "later")) >= 3 })
	if after := len(values(t, r, "wanted")); after > before+2 {
		t.Errorf("%d samples before, %d after nobody needs them", before, after)
	}
	all := reloaded(t, cfg, "scrape_configs:\n"+job("shop", shop.address()))
	if err := r.Reload(all); err != nil {
		t.Fatal(err)
	}
	r.until("all are kept", func() bool { return len(values(t, r, "unwanted")) > 0 && len(values(t, r, "wanted")) > before+2 })
	shop.text.Store("wanted{code=\"200\"} 1\n")
	r.until("what is gone ends", func() bool { return !r.target("shop").Exposes("unwanted") })
}

func TestWithNamesTheRestIsDroppedBeforeItIsRemembered(t *testing.T) {
	shop := serve(t, "wanted{code=\"200\"} 1\nwanted{code=\"500\"} 2\nunwanted 3\nlater_more 4\n")
	cfg := config(t, "metrics: {keep: needed}\nscrape_configs:\n"+job("shop", shop.address()))
	cfg.Metrics.Names = []string{"wanted"}
	r := run(t, cfg, collector.Options{Needed: needed(t, `wanted{code="500"} > 0`)})
	r.until("three scrapes", func() bool { return len(values(t, r, "up")) >= 3 })
	if got := values(t, r, "wanted"); len(got) < 2 || got[0] != 2 {
		t.Errorf("wanted: %v", got)
	}
	if got := values(t, r, "scrape_samples_post_metric_relabeling"); got[0] != 2 {
		t.Errorf("%g samples are left after relabelling, want those with the name", got[0])
	}
	if tally := r.Tally(); tally.LeftOut < 6 || tally.LeftOut%3 != 0 {
		t.Errorf("of each page three samples are left out: %+v", tally)
	}
	cfg.Metrics.Names = []string{"unwanted"}
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	r.SetNeeded(needed(t, "unwanted"))
	r.until("another name is needed", func() bool { return len(values(t, r, "unwanted")) > 1 })
	for want, selectors := range map[string]string{
		"[a b]": `a + rate(b{c="d"}[1m]) > a offset 5m`,
		"[]":    `vector(1) > 2`,
		"any":   `a or {__name__=~"b.*"}`,
	} {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(selectors)
		if err != nil {
			t.Fatal(err)
		}
		names := collector.NamesOf(parser.ExtractSelectors(expr))
		if got := fmt.Sprint(names); (names == nil) != (want == "any") || names != nil && got != want {
			t.Errorf("%s reads %s, want %s", selectors, got, want)
		}
	}
}

func TestRemoteWriteSendsWhatIsScraped(t *testing.T) {
	var got atomic.Pointer[string]
	var count atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var packed bytes.Buffer
		_, _ = packed.ReadFrom(r.Body)
		body, err := snappy.Decode(nil, packed.Bytes())
		var req prompb.WriteRequest
		if err != nil || proto.Unmarshal(body, &req) != nil {
			return
		}
		for _, series := range req.Timeseries {
			for _, l := range series.Labels {
				if l.Value == "requests_total" {
					text := series.String()
					got.Store(&text)
					count.Add(1)
				}
			}
		}
	}))
	t.Cleanup(receiver.Close)
	shop := serve(t, "requests_total 7\nsecret 1\n")
	text := func(destination string) string {
		return fmt.Sprintf("remote_write: [{url: %q, queue_config: {batch_send_deadline: 50ms}}]\nscrape_configs:\n%s", destination, job("shop", shop.address()))
	}
	cfg := config(t, "scrape_configs:\n"+job("shop", shop.address()))
	r := run(t, cfg, collector.Options{})
	r.until("it is scraped", func() bool { return r.target("shop").Healthy })
	if err := r.Reload(reloaded(t, cfg, text(receiver.URL))); err != nil {
		t.Fatal(err)
	}
	r.until("it is sent", func() bool { return count.Load() > 0 })
	if !strings.Contains(*got.Load(), "shop") {
		t.Errorf("sent %s", *got.Load())
	}
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
}
