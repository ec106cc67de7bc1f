package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/belaydev/belay/collector"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/strict"
)

// What is collected: 100 targets with 1 000 series each, every 15 seconds.
const (
	targets  = 100
	perPage  = 1000
	interval = 15 * time.Second
	warmUp   = 2 * interval
	measured = 4 * interval
)

// childEnv names the configuration that a process of this test binary collects
// by; BELAY_BENCH_NEED says what is needed of it.
const childEnv = "BELAY_BENCH_COLLECT"

// read is what the rules of the needed run read: 3 of 20 families.
var read = []string{
	`sum by (code) (rate(http_requests_total{code=~"5.."}[5m])) > 1`,
	`histogram_quantile(0.99, sum by (le) (rate(family_3_total[5m])))`,
	`max(family_7_total) > 10`,
}

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		if err := collect(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// collect is Belay's side: a collector, alone in its process.
func collect(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc, problems := strict.Parse(file, text)
	if len(problems) > 0 {
		return problems
	}
	cfg, problems := collector.Load(doc)
	if len(problems) > 0 {
		return problems
	}
	var selectors [][]*labels.Matcher
	for _, text := range read {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
		if err != nil {
			return err
		}
		selectors = append(selectors, parser.ExtractSelectors(expr)...)
	}
	c, err := collector.New(cfg, collector.Options{
		Needed:   collector.NeededBy(selectors),
		OnCommit: func(map[string]struct{}, time.Time) {},
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// pages serves the metrics of all targets, below /0 to /99. Each value moves.
func pages(b *testing.B) *httptest.Server {
	b.Helper()
	start := time.Now()
	var lines [][]byte
	for i := range perPage {
		family := fmt.Sprintf("family_%d_total", i/50)
		if i < 50 {
			family = "http_requests_total"
		}
		if i%50 == 0 {
			lines = append(lines, []byte("# HELP "+family+" A family.\n# TYPE "+family+" counter\n"))
		} else {
			lines = append(lines, nil)
		}
		lines[i] = append(lines[i], fmt.Sprintf("%s{path=\"/api/v1/things/%d\",method=\"GET\",code=\"%d\",version=\"1.2.3\"} ", family, i%50, 200+i%4*100)...)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		var page bytes.Buffer
		elapsed := time.Since(start).Milliseconds()
		for i, line := range lines {
			page.Write(line)
			page.WriteString(strconv.FormatInt(elapsed*int64(i+1)/100, 10))
			page.WriteByte('\n')
		}
		_, _ = w.Write(page.Bytes())
	}))
	b.Cleanup(server.Close)
	return server
}

func scrapeConfig(server *httptest.Server) string {
	address := strings.TrimPrefix(server.URL, "http://")
	var t strings.Builder
	fmt.Fprintf(&t, "global: {scrape_interval: %s}\nscrape_configs:\n- job_name: load\n  relabel_configs: [{source_labels: [n], target_label: __metrics_path__, replacement: /$1}]\n  static_configs:\n", interval)
	for i := range targets {
		fmt.Fprintf(&t, "  - {targets: [%q], labels: {n: \"%d\"}}\n", address, i)
	}
	return t.String()
}

// belay starts Belay's side with more configuration.
func belay(b *testing.B, config string) int {
	b.Helper()
	file := filepath.Join(b.TempDir(), "belay.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+file)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGINT); _ = cmd.Wait() })
	return cmd.Process.Pid
}

// A use is what a process has used.
type use struct {
	cpu    time.Duration
	memory float64 // MiB, resident
}

// used reads what Linux says of a process.
func used(b *testing.B, pid int) use {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	number := func(i int) float64 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	const ticks = 100 // a second, on Linux
	return use{
		cpu:    time.Duration((number(11) + number(12)) / ticks * float64(time.Second)),
		memory: number(21) * float64(os.Getpagesize()) / (1 << 20),
	}
}

// BenchmarkCollecting100kSeries collects the same pages with Prometheus and
// with Belay, at the same time, and prints CPU and memory of each.
func BenchmarkCollecting100kSeries(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	server := pages(b)
	config := scrapeConfig(server)
	pids := map[string]int{
		"theirs": peers.StartPrometheus(b, config).PID,
		"all":    belay(b, config),
		"needed": belay(b, "metrics: {keep: needed}\n"+config),
	}
	time.Sleep(warmUp)
	before, after, memory := map[string]use{}, map[string]use{}, map[string]float64{}
	for who, pid := range pids {
		before[who] = used(b, pid)
	}
	const looks = 12
	for range looks { // the collector of garbage makes memory a saw
		time.Sleep(measured / looks)
		for who, pid := range pids {
			after[who] = used(b, pid)
			memory[who] += after[who].memory / looks
		}
	}
	cpu := func(who string) float64 {
		return (after[who].cpu - before[who].cpu).Seconds() / measured.Minutes()
	}
	fmt.Println("\nrow · ours · theirs · ratio · target · reached or not")
	row("collect 100k series, keep all, CPU-s/min", cpu("all"), cpu("theirs"), 1.1)
	row("collect 100k series, keep all, MiB", memory["all"], memory["theirs"], 1.1)
	row("collect 100k series, keep needed, CPU-s/min", cpu("needed"), cpu("theirs"), 0)
	row("collect 100k series, keep needed, MiB", memory["needed"], memory["theirs"], 0.35)
	b.ReportMetric(cpu("all")/cpu("theirs"), "cpu-ratio")
	b.ReportMetric(memory["all"]/memory["theirs"], "memory-ratio")
}

func row(name string, ours, theirs, target float64) {
	ratio := ours / theirs
	want, reached := "–", "printed"
	if target > 0 {
		want, reached = fmt.Sprintf("≤ %.2f", target), "reached"
		if ratio > target {
			reached = "not reached"
		}
	}
	fmt.Printf("%s · %.2f · %.2f · %.2f · %s · %s\n", name, ours, theirs, ratio, want, reached)
}
