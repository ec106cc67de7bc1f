package promapi_test

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

const (
	step  = 15 * time.Second
	steps = 360 // an hour and a half
)

// A world is one block and the folders of two storages that hold it.
type world struct {
	start, end   time.Time // of the samples
	ours, theirs string
}

// newWorld writes a block that ends now: counters that restart, gauges that
// stand still, histograms of every kind, series that end and come back, names
// beyond ASCII.
func newWorld(t *testing.T) world {
	t.Helper()
	w := world{end: time.Now().Truncate(step), ours: t.TempDir(), theirs: t.TempDir()}
	w.start = w.end.Add(-steps * step)
	b, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), w.theirs, (8 * time.Hour).Milliseconds())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	f := &filler{t: t, b: b, w: w, rng: rand.New(rand.NewPCG(7, 11))}
	f.fill()
	id, err := b.Flush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(w.ours, id.String()), os.DirFS(filepath.Join(w.theirs, id.String()))); err != nil {
		t.Fatal(err)
	}
	return w
}

type filler struct {
	t   *testing.T
	b   *tsdb.BlockWriter
	w   world
	rng *rand.Rand
}

func (f *filler) fill() {
	for j, job := range []string{"shop", "pay"} {
		for i := range 3 {
			at := []string{"job", job, "instance", fmt.Sprintf("10.0.0.%d:80", 3*j+i)}
			f.floats(at, "up", func(n int) float64 { return float64(min(1, (n+i)%50)) })
			f.floats(at, "memory_bytes", func(int) float64 { return math.Floor(1e6*f.rng.NormFloat64() + float64(j)*1e6) })
			f.floats(at, "pool_limit", func(int) float64 { return float64(10*j + 5*i) })
			f.floats(append(at, "version", fmt.Sprintf("v%d", i)), "build_info", func(int) float64 { return 1 })
			for _, code := range []string{"200", "404", "500"} {
				total := 0.0
				f.floats(append(at, "code", code, "method", "GET"), "http_requests_total", func(n int) float64 {
					if n%(97+i) == 96 {
						total = 0
					}
					total += float64(f.rng.IntN(20))
					return total
				})
			}
			f.classic(at, "http_duration_seconds")
			f.native(at, "rpc_duration_seconds", int64(i))
		}
	}
	f.floats([]string{"größe", "zwölf", "with.dot", "x"}, "utf8.metric", func(n int) float64 { return float64(n) })
	f.floats([]string{"job", "odd"}, "odd_values", func(n int) float64 {
		return []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1e-300, 42}[n%7]
	})
}

// skip leaves gaps and ends series for a while.
func skip(n int, name string) (gap, ends bool) {
	k := (n + len(name)) % 120
	return k > 100 && k < 104, k == 100
}

func (f *filler) each(name string, ls []string, add func(app storage.AppenderV2, ls labels.Labels, n int, ts int64) error) {
	f.t.Helper()
	series := labels.FromStrings(append([]string{"__name__", name}, ls...)...)
	app := f.b.AppenderV2(f.t.Context())
	for n := range steps {
		gap, _ := skip(n, name)
		if gap {
			continue
		}
		if err := add(app, series, n, f.w.start.Add(time.Duration(n)*step).UnixMilli()); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *filler) floats(ls []string, name string, v func(n int) float64) {
	f.each(name, ls, func(app storage.AppenderV2, series labels.Labels, n int, ts int64) error {
		x := v(n)
		if _, ends := skip(n, name); ends {
			x = math.Float64frombits(value.StaleNaN)
		}
		_, err := app.Append(0, series, 0, ts, x, nil, nil, storage.AOptions{})
		return err
	})
}

func (f *filler) classic(ls []string, name string) {
	bounds := []string{"0.1", "0.5", "1", "+Inf"}
	counts := make([]float64, len(bounds))
	for i := range bounds {
		f.floats(append(ls, "le", bounds[i]), name+"_bucket", func(n int) float64 {
			counts[i] = float64((i + 1) * n * (1 + len(ls)%3))
			return counts[i]
		})
	}
	f.floats(ls, name+"_sum", func(n int) float64 { return float64(n) * 1.5 })
	f.floats(ls, name+"_count", func(n int) float64 { return float64(4 * n * (1 + len(ls)%3)) })
}

// native writes histograms of integers, of floats, gauges and ones with custom
// bounds.
func (f *filler) native(ls []string, name string, seed int64) {
	f.each(name, ls, func(app storage.AppenderV2, series labels.Labels, n int, ts int64) error {
		_, err := app.Append(0, series, 0, ts, 0, tsdbutil.GenerateTestHistogram(int64(n)+seed), nil, storage.AOptions{})
		return err
	})
	f.each(name+"_float", ls, func(app storage.AppenderV2, series labels.Labels, n int, ts int64) error {
		_, err := app.Append(0, series, 0, ts, 0, nil, tsdbutil.GenerateTestFloatHistogram(int64(n)+seed), storage.AOptions{})
		return err
	})
	f.each(name+"_gauge", ls, func(app storage.AppenderV2, series labels.Labels, n int, ts int64) error {
		h := tsdbutil.GenerateTestGaugeFloatHistogram(int64(n%17) + seed)
		_, err := app.Append(0, series, 0, ts, 0, nil, h, storage.AOptions{})
		return err
	})
	f.each(name+"_custom", ls, func(app storage.AppenderV2, series labels.Labels, n int, ts int64) error {
		h := tsdbutil.GenerateTestCustomBucketsHistogram(int64(n) + seed)
		_, err := app.Append(0, series, 0, ts, 0, h, nil, storage.AOptions{})
		return err
	})
}
