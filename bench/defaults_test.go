package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belaydev/belay/peers"
)

// A crowd is a target whose faults come one after the other, each for good, and
// a receiver that notes when it was told of each. Defaults are slow; with a
// fault for each series none waits for the one before.
type crowd struct {
	*httptest.Server
	mu     sync.Mutex
	faulty [latencyPairs * rounds]time.Time // since when; zero is not yet
	seen   [latencyPairs * rounds]time.Time // a page told of it, first
	told   [latencyPairs * rounds]time.Time
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	c := &crowd{}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", c.page)
	mux.HandleFunc("/hook", c.take)
	c.Server = httptest.NewServer(mux)
	b.Cleanup(c.Close)
	return c
}

func (c *crowd) page(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for n, at := range c.faulty {
		v := 0
		if !at.IsZero() && !now.Before(at) {
			v = 1
			if c.seen[n].IsZero() {
				c.seen[n] = now
			}
		}
		fmt.Fprintf(w, "fault{n=\"%d\"} %d\n", n, v)
	}
}

func (c *crowd) take(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Alerts []struct{ Labels map[string]string }
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		return
	}
	at := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range body.Alerts {
		if n, err := strconv.Atoi(a.Labels["n"]); err == nil && n < len(c.told) && c.told[n].IsZero() {
			c.told[n] = at
		}
	}
}

// came returns how long the messages that have come took, in milliseconds.
func (c *crowd) came() (fault, page []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, at := range c.told {
		if !at.IsZero() {
			fault = append(fault, at.Sub(c.faulty[n]).Seconds()*1000)
			page = append(page, at.Sub(c.seen[n]).Seconds()*1000)
		}
	}
	return fault, page
}

// startDefaults starts a Prometheus and an Alertmanager that are told no times.
// Their faults are spread over a minute, the default between two scrapes and two
// evaluations. ready waits until all are told and adds what they took.
func startDefaults(b *testing.B) (ready func(took map[string][]float64)) {
	b.Helper()
	c := newCrowd(b)
	for n := range c.faulty {
		c.faulty[n] = time.Now().Add(15*time.Second + time.Duration(n)*time.Minute/time.Duration(len(c.faulty)))
	}
	am := peers.StartAlertmanager(b, fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname, n]}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook"}]}]
`, c.URL))
	rules := filepath.Join(b.TempDir(), "rules.yml")
	if err := os.WriteFile(rules, []byte(faultRules), 0o600); err != nil {
		b.Fatal(err)
	}
	prometheus := peers.StartPrometheus(b, fmt.Sprintf(`
rule_files: [%q]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: shop, static_configs: [{targets: [%q]}]}]
`, rules, am.Address, strings.TrimPrefix(c.URL, "http://")))
	return func(took map[string][]float64) {
		for end := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
			fault, page := c.came()
			if len(page) == len(c.told) {
				took["defaults-fault"], took["defaults-page"] = fault, page
				break
			}
			if time.Now().After(end) {
				b.Fatalf("%d of %d messages came", len(page), len(c.told))
			}
		}
		prometheus.Stop()
		am.Stop()
	}
}
