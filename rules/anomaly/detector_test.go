package anomaly

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var zero = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// wave is a series with a daily season, noise, a spike on each of the days from the third on, and a few holes.
func wave(n int, seed uint64) ([]time.Time, []float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	t, v := make([]time.Time, n), make([]float64, n)
	for i := range v {
		t[i] = zero.Add(time.Duration(i) * time.Minute)
		v[i] = 100 + 30*math.Sin(2*math.Pi*float64(i)/1440) + 2*r.NormFloat64()
		if i > 2880 && i%1440 >= 700 && i%1440 < 708 {
			v[i] += 60
		}
		if i%977 == 0 {
			v[i] = math.NaN()
		}
	}
	return t, v
}

func run(t testing.TB, c Config, at []time.Time, v []float64) []Judgement {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]Judgement, len(v))
	for i := range v {
		out[i] = d.Observe(at[i], v[i])
	}
	return out
}

// starts are the samples at which an alert began.
func starts(j []Judgement) []int {
	var out []int
	for i := range j {
		if j[i].Firing && (i == 0 || !j[i-1].Firing) {
			out = append(out, i)
		}
	}
	return out
}

func TestEachSpikeIsOneAlertAndNothingElseIs(t *testing.T) {
	at, v := wave(6*1440, 1)
	got := starts(run(t, Config{}, at, v))
	want := []int{2*1440 + 700, 3*1440 + 700, 4*1440 + 700, 5*1440 + 700}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts began at (-want +got):\n%s", diff)
	}
}

func TestDirectionSilencesTheOtherSide(t *testing.T) {
	at, v := wave(4*1440, 2)
	for c, want := range map[Direction]int{Up: 2, Both: 2, Down: 0} {
		if got := starts(run(t, Config{Direction: c}, at, v)); len(got) != want {
			t.Errorf("%s: alerts at %v, want %d of them", c, got, want)
		}
	}
}

func TestUnitAndZeroOfTimeChangeNothing(t *testing.T) {
	at, v := wave(5*1440, 3)
	want := run(t, Config{}, at, v)
	shifted := make([]time.Time, len(at))
	for i := range at {
		shifted[i] = at[i].Add(-(17*365*24*time.Hour + 5*time.Hour + 13*time.Minute + 7*time.Second))
	}
	for _, unit := range []float64{1e-6, 1, 1e9, -3} {
		scaled := make([]float64, len(v))
		for i := range v {
			scaled[i] = v[i] * unit
		}
		got := run(t, Config{}, shifted, scaled)
		for i := range got {
			if got[i].Firing != want[i].Firing || got[i].Repeat != want[i].Repeat || math.Abs(got[i].Score-want[i].Score) > 1e-6 {
				t.Fatalf("×%g, sample %d: %+v, want %+v", unit, i, got[i], want[i])
			}
		}
	}
}

func TestLaterSamplesChangeNothingBefore(t *testing.T) {
	at, v := wave(3*1440, 4)
	want := run(t, Config{}, at, v)
	const turn = 2000
	for i := turn; i < len(v); i++ {
		v[i] = 1e6 * math.Cos(float64(i))
	}
	got := run(t, Config{}, at, v)
	if diff := cmp.Diff(want[:turn], got[:turn], cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestRestoredDetectorJudgesTheSameToTheLastBit(t *testing.T) {
	at, v := wave(4*1440, 5)
	want := run(t, Config{}, at, v)
	for _, stop := range []int{0, 1, 9, 1000, 2*1440 + 703, 4000} {
		first, _ := New(Config{})
		for i := range stop {
			first.Observe(at[i], v[i])
		}
		second, _ := New(Config{})
		if err := second.Restore(first.Snapshot()); err != nil {
			t.Fatal(err)
		}
		for i := stop; i < len(v); i++ {
			got := second.Observe(at[i], v[i])
			if !bitEqual(got, want[i]) {
				t.Fatalf("stopped at %d, sample %d: %+v, want %+v", stop, i, got, want[i])
			}
		}
	}
}

func bitEqual(a, b Judgement) bool {
	same := func(x, y float64) bool {
		return math.Float64bits(x) == math.Float64bits(y) || (math.IsNaN(x) && math.IsNaN(y))
	}
	return same(a.Value, b.Value) && same(a.Expected, b.Expected) && same(a.Lower, b.Lower) && same(a.Upper, b.Upper) &&
		same(a.Score, b.Score) && a.Firing == b.Firing && a.Repeat == b.Repeat && a.Since.Equal(b.Since) && a.Arm == b.Arm
}

func TestForeignSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	d, _ := New(Config{})
	at, v := wave(100, 6)
	for i := range v {
		d.Observe(at[i], v[i])
	}
	before := d.Snapshot()
	poisoned := append([]byte(nil), before...)
	for i := 33; i < 41; i++ { // the magnitude
		poisoned[i] = 0xff
	}
	for name, bad := range map[string][]byte{"nothing": nil, "another version": {9}, "too short": before[:100], "too long": append(before, 0), "poisoned": poisoned} {
		if err := d.Restore(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if diff := cmp.Diff(before, d.Snapshot()); diff != "" {
		t.Error("a refused snapshot changed the detector")
	}
}

func TestStateIsSmallAndObserveAllocatesNothing(t *testing.T) {
	if size := unsafe.Sizeof(Detector{}); size > 4096 {
		t.Errorf("a detector takes %d bytes, more than 4096", size)
	}
	at, v := wave(2880, 7)
	d, _ := New(Config{})
	i := 0
	if n := testing.AllocsPerRun(2000, func() { d.Observe(at[i], v[i]); i++ }); n != 0 {
		t.Errorf("%g allocations a sample", n)
	}
}

func TestAbsurdSamplesAreMissingAndPoisonNothing(t *testing.T) {
	at, v := wave(1500, 8)
	want := run(t, Config{}, at, v)
	d, _ := New(Config{})
	for i := range v {
		got := d.Observe(at[i], v[i])
		if !bitEqual(got, want[i]) {
			t.Fatalf("sample %d: %+v, want %+v", i, got, want[i])
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
			if j := d.Observe(at[i].Add(time.Second), bad); !math.IsNaN(j.Value) {
				t.Fatalf("%g was judged", bad)
			}
		}
		if i > 0 {
			d.Observe(at[i].Add(-time.Hour), 1e9) // older than what is known
		}
	}
}

func TestFlatSeriesIsQuietUntilItMoves(t *testing.T) {
	for name, level := range map[string]float64{"zero": 0, "not zero": 42} {
		d, _ := New(Config{})
		var j Judgement
		for i := range 500 {
			if j = d.Observe(zero.Add(time.Duration(i)*time.Minute), level); j.Firing {
				t.Fatalf("%s: fires at %d", name, i)
			}
		}
		if j = d.Observe(zero.Add(501*time.Minute), level+30); !j.Firing || j.Arm != Level {
			t.Errorf("%s: the step is not seen: %+v", name, j)
		}
	}
}

func TestNewLevelIsAnIncidentThatEndsWhenItIsAccepted(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	var j []Judgement
	d, _ := New(Config{})
	for i := range 2000 {
		v := 50 + r.NormFloat64()
		if i >= 1000 {
			v += 40
		}
		j = append(j, d.Observe(zero.Add(time.Duration(i)*time.Minute), v))
	}
	if got := starts(j); len(got) != 1 || got[0] != 1000 {
		t.Fatalf("alerts began at %v, want [1000]", got)
	}
	if !j[1100].Firing || j[1999].Firing {
		t.Errorf("firing after 100 samples %v, want true; after 1000 samples %v, want false", j[1100].Firing, j[1999].Firing)
	}
}

func TestWhatHasComeBackIsOverAndDoesNotBeginAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var j []Judgement
	d, _ := New(Config{Direction: Up})
	fired := -1
	for i := range 200 {
		v := 5 + 0.2*r.NormFloat64()
		if i >= 60 && i < 80 { // a leak that is taken back
			v += 0.5 * float64(i-60)
		}
		j = append(j, d.Observe(zero.Add(time.Duration(i)*time.Minute), v))
		if fired < 0 && j[i].Firing {
			fired = i
		}
	}
	if fired < 60 || fired > 75 {
		t.Fatalf("the leak of 60 to 79 is seen at %d", fired)
	}
	for i := 80 + calmFor; i < len(j); i++ {
		if j[i].Firing {
			t.Fatalf("it fires %d samples after the value has come back: %+v", i-79, j[i])
		}
	}
}

func TestConfigurationSaysWhatIsAllowed(t *testing.T) {
	for name, c := range map[string]Config{
		"direction": {Direction: "left"}, "sensitivity": {Sensitivity: "extreme"}, "budget": {Budget: -1}, "nan": {Budget: math.NaN()},
		"season": {Season: time.Second}, "samples": {MinSamples: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, b := Config{Budget: 0.1}, Config{Budget: 1}
	if a.threshold() <= b.threshold() {
		t.Error("a larger budget must make a detector fire more readily")
	}
}

func FuzzObserve(f *testing.F) {
	f.Add(int64(60), 1.0, 2.0, 3.0)
	f.Add(int64(-1), math.Inf(1), 1e250, -1e250)
	f.Fuzz(func(t *testing.T, step int64, a, b, c float64) {
		d, _ := New(Config{MinSamples: 1})
		for i, v := range []float64{a, b, c, a, a, b, b, c, c, a + b, b - c, c, a} {
			j := d.Observe(time.Unix(0, 0).Add(time.Duration(i)*time.Duration(step)), v)
			if math.IsNaN(j.Score) || math.IsInf(j.Score, 0) || j.Score < 0 {
				t.Fatalf("sample %d (%g): %+v", i, v, j)
			}
		}
		if s := d.s; !s.sound() {
			t.Fatalf("the state is not sound: %+v", s)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	at, v := wave(10*1440, 1)
	d, _ := New(Config{})
	b.ReportAllocs()
	for i := range b.N {
		k := i % len(v)
		if k == 0 {
			d, _ = New(Config{})
		}
		d.Observe(at[k], v[k])
	}
}
