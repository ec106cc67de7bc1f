// Command benchtable reads what `go test -bench` prints, shows it, and ends with
// the table of what Belay wants to reach: ours, theirs, and whether it is so.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A line compares one figure with its limit. Figures are named by the benchmark
// that reports them and its unit.
type line struct {
	what         string
	bench        string // the benchmark's name, without "Benchmark"
	ours, theirs string // units; theirs is "" where no peer is measured
	scale        float64
	limit        float64 // of ours, or of ours over theirs; 0: only printed
}

// A row is reached when each of its lines is.
type row struct {
	what  string
	lines []line // none: nothing measures it yet
}

// table is everything that is to be reached, in the order in which it is told.
var table = []row{
	{"CPU per rule evaluation, 24 k and 100 k series, against upstream PromQL", nil},
	{"CPU of 1 000 rules over 24 k series, whole process, against Prometheus", nil},
	{"scrape committed → receiver has accepted, against Prometheus and Alertmanager, tuned", []line{
		{"p95, ms", "ScrapeToMessage", "ours-page-p95-ms", "", 1, 250},
		{"p95, ms, as a ratio", "ScrapeToMessage", "ours-page-p95-ms", "theirs-page-p95-ms", 1, 0.25},
		{"from the fault itself, p50, ms", "ScrapeToMessage", "ours-fault-p50-ms", "theirs-fault-p50-ms", 1, 0},
		{"from the fault itself, p95, ms", "ScrapeToMessage", "ours-fault-p95-ms", "theirs-fault-p95-ms", 1, 0},
	}},
	{"collecting 100 k series every 15 s, against Prometheus", []line{
		{"keep all, CPU-s/min", "Collecting100kSeries", "all-cpu-s/min", "theirs-cpu-s/min", 1, 1.1},
		{"keep all, MiB", "Collecting100kSeries", "all-MiB", "theirs-MiB", 1, 1.1},
		{"keep needed, CPU-s/min", "Collecting100kSeries", "needed-cpu-s/min", "theirs-cpu-s/min", 1, 0},
		{"keep needed, MiB", "Collecting100kSeries", "needed-MiB", "theirs-MiB", 1, 0.35},
	}},
	{"detector update", []line{
		{"ns", "Observe", "ns/op", "", 1, 500},
		{"allocations", "Observe", "allocs/op", "", 1, none},
	}},
	{"decision → first platform call", []line{{"p99, ms", "DecisionToPlatform", "p99-ms", "", 1, 100}}},
	{"review of a one-hour incident, charts included", []line{{"ms", "ReviewOfAnHour", "ns/op", "", 1e-6, 200}}},
	{"10 000 rules judged every second over 100 k series", nil},
	{"restart to ready with 2 h of 100 k series on disk, against Prometheus", nil},
}

// none is a limit that only zero keeps.
const none = 0.5

// figures are what was measured, by benchmark and unit.
type figures map[[2]string]float64

func main() {
	f, failed := read(os.Stdin, os.Stdout)
	write(os.Stdout, f)
	if failed {
		os.Exit(1)
	}
}

// read shows what it reads, and keeps the figures. Of a benchmark that ran
// more than once the last counts.
func read(in io.Reader, out io.Writer) (f figures, failed bool) {
	f = figures{}
	text := bufio.NewScanner(in)
	text.Buffer(nil, 1<<20)
	for text.Scan() {
		fmt.Fprintln(out, text.Text())
		failed = failed || strings.HasPrefix(text.Text(), "FAIL")
		fields := strings.Fields(text.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				f[[2]string{bareName(fields[0]), fields[i+1]}] = v
			}
		}
	}
	return f, failed || text.Err() != nil
}

// bareName is a benchmark's name without "Benchmark" and the number of CPUs.
func bareName(name string) string {
	name = strings.TrimPrefix(name, "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			name = name[:i]
		}
	}
	return name
}

func write(out io.Writer, f figures) {
	fmt.Fprintln(out, "\nrow · ours · theirs · ratio · target · reached or not")
	reached := 0
	for _, r := range table {
		if len(r.lines) == 0 {
			fmt.Fprintf(out, "%s · – · – · – · – · not measured\n", r.what)
			continue
		}
		all := true
		for _, l := range r.lines {
			text, ok := f.judge(l)
			all = all && ok
			fmt.Fprintf(out, "%s: %s · %s\n", r.what, l.what, text)
		}
		if all {
			reached++
		}
	}
	fmt.Fprintf(out, "%d of %d targets reached\n", reached, len(table))
}

// judge says how a line came out, and whether its limit was kept.
func (f figures) judge(l line) (string, bool) {
	ours, ok := f[[2]string{l.bench, l.ours}]
	theirs, both := f[[2]string{l.bench, l.theirs}]
	if !ok || l.theirs != "" && (!both || theirs == 0) {
		return "– · – · – · – · not measured", false
	}
	ours *= l.scale
	judged, of, ratio := ours, "–", "–"
	if l.theirs != "" {
		theirs *= l.scale
		judged = ours / theirs
		of, ratio = number(theirs), number(judged)
	}
	target, verdict := "≤ "+number(l.limit), "reached"
	if l.limit == none {
		target = "0"
	}
	switch {
	case l.limit == 0:
		target, verdict = "–", "printed"
	case judged > l.limit:
		verdict = "not reached"
	}
	return strings.Join([]string{number(ours), of, ratio, target, verdict}, " · "), verdict != "not reached"
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
