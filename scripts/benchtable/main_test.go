package main

import (
	"bytes"
	"strings"
	"testing"
)

const printed = `goos: linux
BenchmarkObserve-2   	 4563106	       238.4 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecisionToPlatform-2   	       1	11000000 ns/op	         1.5 p50-ms	       120.0 p99-ms
BenchmarkReviewOfAnHour 	       9	 45000000 ns/op
BenchmarkCollecting100kSeries-2  1  9 ns/op  0.8 all-cpu-s/min  190 all-MiB  0.7 needed-cpu-s/min  92 needed-MiB  200 theirs-MiB  0.9 theirs-cpu-s/min
PASS
`

func TestTheTable(t *testing.T) {
	f, failed := read(strings.NewReader(printed), &bytes.Buffer{})
	if failed {
		t.Error("nothing failed")
	}
	var out bytes.Buffer
	write(&out, f)
	for _, want := range []string{
		"against Prometheus: keep all, CPU-s/min · 0.8 · 0.9 · 0.889 · ≤ 1.1 · reached\n",
		"against Prometheus: keep needed, CPU-s/min · 0.7 · 0.9 · 0.778 · – · printed\n",
		"against Prometheus: keep needed, MiB · 92 · 200 · 0.46 · ≤ 0.35 · not reached\n",
		"detector update: ns · 238 · – · – · ≤ 500 · reached\n",
		"detector update: allocations · 0 · – · – · 0 · reached\n",
		"decision → first platform call: p99, ms · 120 · – · – · ≤ 100 · not reached\n",
		"charts included: ms · 45 · – · – · ≤ 200 · reached\n",
		"10 000 rules judged every second over 100 k series · – · – · – · – · not measured\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing: %s", want)
		}
	}
	if !strings.HasSuffix(out.String(), "\n2 of 9 targets reached\n") {
		t.Errorf("the last line of\n%s", out.String())
	}
}

func TestWhatWasNotMeasuredIsNotReached(t *testing.T) {
	var out bytes.Buffer
	write(&out, figures{})
	if !strings.HasSuffix(out.String(), "\n0 of 9 targets reached\n") || strings.Contains(out.String(), " · reached\n") {
		t.Errorf("nothing was measured:\n%s", out.String())
	}
}

func TestAFailureIsNotHidden(t *testing.T) {
	if _, failed := read(strings.NewReader("FAIL\tgithub.com/belaydev/belay/review\t0.1s\n"), &bytes.Buffer{}); !failed {
		t.Error("a package failed")
	}
}
