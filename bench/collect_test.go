package bench

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
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
// by; heapEnv, where it writes a profile of its memory before it ends.
const (
	childEnv = "BELAY_BENCH_COLLECT"
	heapEnv  = "BELAY_BENCH_HEAP"
)

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
	cfg.Metrics.Names = collector.NamesOf(selectors)
	debug.SetGCPercent(collector.GCPercent(cfg)) // as belay run does
	defer profile(os.Getenv(heapEnv))
	c, err := collector.New(cfg, collector.Options{
		Needed:   collector.NeededBy(selectors),
		OnCommit: func(map[string]struct{}, time.Time) {},
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// profile writes what is in memory, for `go tool pprof`.
func profile(file string) {
	if file == "" {
		return
	}
	f, err := os.Create(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer func() { _ = f.Close() }()
	runtime.GC()
	if err := pprof.Lookup("heap").WriteTo(f, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
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
func belay(b *testing.B, config string) (pid int, stop func()) {
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
	stop = sync.OnceFunc(func() { _ = cmd.Process.Signal(syscall.SIGINT); _ = cmd.Wait() })
	b.Cleanup(stop)
	return cmd.Process.Pid, stop
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
// with Belay, at the same time, and reports CPU and memory of each: the medians
// of as many pairs as BELAY_BENCH_PAIRS says.
func BenchmarkCollecting100kSeries(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	pairs, err := strconv.Atoi(cmp.Or(os.Getenv("BELAY_BENCH_PAIRS"), "1"))
	if err != nil || pairs < 1 {
		b.Fatalf("BELAY_BENCH_PAIRS is a number above 0, not %q", os.Getenv("BELAY_BENCH_PAIRS"))
	}
	server := pages(b)
	cpu, memory := map[string][]float64{}, map[string][]float64{}
	for i := range pairs {
		for who, u := range pair(b, server) {
			cpu[who] = append(cpu[who], u.cpu.Seconds()/measured.Minutes())
			memory[who] = append(memory[who], u.memory)
		}
		fmt.Printf("pair %d of %d: CPU-s/min %v, MiB %v\n", i+1, pairs, cpu, memory)
	}
	for who := range cpu {
		b.ReportMetric(median(cpu[who]), who+"-cpu-s/min")
		b.ReportMetric(median(memory[who]), who+"-MiB")
	}
}

// pair measures all three at the same time, each freshly started.
func pair(b *testing.B, server *httptest.Server) map[string]use {
	b.Helper()
	config := scrapeConfig(server)
	theirs := peers.StartPrometheus(b, config)
	pids := map[string]int{"theirs": theirs.PID}
	for who, keep := range map[string]string{"all": "", "needed": "metrics: {keep: needed}\n"} {
		pid, stop := belay(b, keep+config)
		defer stop()
		pids[who] = pid
	}
	time.Sleep(warmUp)
	out, before := map[string]use{}, map[string]use{}
	for who, pid := range pids {
		before[who] = used(b, pid)
	}
	const looks = 12
	for range looks { // the collector of garbage makes memory a saw
		time.Sleep(measured / looks)
		for who, pid := range pids {
			now := used(b, pid)
			out[who] = use{cpu: now.cpu - before[who].cpu, memory: out[who].memory + now.memory/looks}
		}
	}
	theirs.Stop()
	return out
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
