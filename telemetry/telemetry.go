// Package telemetry records Belay's own hot paths without locks and shows them
// to Prometheus as ordinary counters and histograms.
//
// Recording is github.com/VictoriaMetrics/metrics; exposition is a
// client_golang collector, so that /metrics stays one clean page with HELP,
// TYPE and fixed le buckets.
package telemetry

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/client_golang/prometheus"
)

// Buckets are the upper bounds of every histogram, in seconds. Each lies on a
// bound of the recording histogram (18 a decade, 10^(k/18)), so that no
// observation is counted on the wrong side.
var Buckets = bucketBounds()

func bucketBounds() []float64 {
	var out []float64
	for k := -4 * 18; k <= 3*18; k += 6 { // 100 µs to 1 000 s, three a decade
		out = append(out, parseBound(fmt.Sprintf("%.3e", math.Pow(10, float64(k)/18))))
	}
	return out
}

// parseBound reads a bound as the recorder prints it, with four digits.
func parseBound(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.Inf(1)
	}
	return f
}

// A Registry holds the metrics that parts record. The zero value is not ready;
// use New. It is a prometheus.Collector.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family
}

type family struct {
	name, help string
	labels     []string
	histogram  bool
	children   map[string]*child
}

type child struct {
	values    []string
	counter   *metrics.Counter
	histogram *metrics.Histogram
	sum       atomicFloat
}

// New returns an empty registry.
func New() *Registry { return &Registry{families: map[string]*family{}} }

// A Counter only grows.
type Counter struct{ c *metrics.Counter }

// Add grows the counter by n.
func (c Counter) Add(n int) { c.c.Add(n) }

// Inc grows the counter by one.
func (c Counter) Inc() { c.c.Inc() }

// A Histogram counts observations, in seconds, by Buckets.
type Histogram struct{ c *child }

// Observe counts one observation. Negative values and NaN are dropped.
func (h Histogram) Observe(seconds float64) {
	if seconds < 0 || math.IsNaN(seconds) {
		return
	}
	h.c.histogram.Update(seconds)
	h.c.sum.add(seconds)
}

// Counter returns the counter with this name and these label values, made at
// its first use with the help text. pairs alternate label name and value.
func (r *Registry) Counter(name, help string, pairs ...string) Counter {
	return Counter{r.child(name, help, false, pairs).counter}
}

// Histogram is like Counter, for a histogram.
func (r *Registry) Histogram(name, help string, pairs ...string) Histogram {
	return Histogram{r.child(name, help, true, pairs)}
}

func (r *Registry) child(name, help string, histogram bool, pairs []string) *child {
	names, values := split(pairs)
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		f = &family{name: name, help: help, labels: names, histogram: histogram, children: map[string]*child{}}
		r.families[name] = f
	}
	key := strings.Join(values, "\xff")
	c := f.children[key]
	if c == nil {
		c = &child{values: values}
		if histogram {
			c.histogram = &metrics.Histogram{}
		} else {
			c.counter = &metrics.Counter{}
		}
		f.children[key] = c
	}
	return c
}

func split(pairs []string) (names, values []string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		names, values = append(names, pairs[i]), append(values, pairs[i+1])
	}
	return names, values
}

// Describe sends nothing: families come into being as they are used.
func (r *Registry) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *Registry) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.families {
		desc := prometheus.NewDesc(f.name, f.help, f.labels, nil)
		for _, c := range f.children {
			if !f.histogram {
				out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.counter.Get()), c.values...)
				continue
			}
			count, buckets := cumulative(c.histogram)
			out <- prometheus.MustNewConstHistogram(desc, count, c.sum.load(), buckets, c.values...)
		}
	}
}

// cumulative turns the recorder's sparse vmrange buckets into le buckets.
func cumulative(h *metrics.Histogram) (total uint64, le map[float64]uint64) {
	counts := make([]uint64, len(Buckets))
	h.VisitNonZeroBuckets(func(vmrange string, count uint64) {
		total += count
		_, upper, _ := strings.Cut(vmrange, "...")
		if i := sort.SearchFloat64s(Buckets, parseBound(upper)); i < len(counts) {
			counts[i] += count
		}
	})
	le = make(map[float64]uint64, len(Buckets))
	var sum uint64
	for i, b := range Buckets {
		sum += counts[i]
		le[b] = sum
	}
	return total, le
}

type atomicFloat struct{ bits atomic.Uint64 }

func (f *atomicFloat) load() float64 { return math.Float64frombits(f.bits.Load()) }

func (f *atomicFloat) add(v float64) {
	for {
		old := f.bits.Load()
		if f.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}
