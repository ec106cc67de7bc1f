package rules

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rules/anomaly"
)

const latencyRule = `
groups:
  - name: g
    interval: 15s
    rules:
      - alert: Latency
        anomaly: {expr: latency, direction: up, season: none}
        labels: {severity: critical}
        annotations: {expected: '{{ $anomaly.Expected | humanize }} was expected of {{ $labels.instance }}'}
`

// noisy is the ith value of a series that keeps around 100.
func noisy(i int) float64 { return 100 + 3*math.Sin(float64(i)*1.7) + 2*math.Cos(float64(i*i)) }

// feed writes the samples of steps from one to another, and evaluates after
// each if the world has an engine.
func (w *world) feed(from, to int, value func(int) float64) {
	w.t.Helper()
	for i := from; i < to; i++ {
		at := after(float64(15 * i))
		w.samples(at, fmt.Sprintf(`latency{instance="a"} %v`, value(i)), fmt.Sprintf(`latency{instance="b"} %v`, 2*noisy(i)))
		if w.engine != nil {
			w.evaluate(at)
		}
	}
}

func TestAnAnomalyRuleFiresExplainsItselfAndDrawsItsBand(t *testing.T) {
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	w.feed(0, 5, noisy)
	same(t, "verdicts", []string{"a absent: learning: too few samples to judge", "b absent: learning: too few samples to judge"}, w.verdicts())
	w.feed(5, 200, noisy)
	if got := w.verdicts(); !strings.HasPrefix(got[0], "a pass: as expected: ") {
		t.Errorf("verdicts = %q", got)
	}
	same(t, "alerts", []string(nil), w.states())
	w.feed(200, 204, func(i int) float64 { return noisy(i) + 80 })
	same(t, "alerts", []string{"Latency a firing"}, w.states())
	a := w.engine.Alerts()[0]
	j := w.engine.plan.Load().groups[0].rules[0].watch.now[0].series.judged
	if !strings.Contains(a.Annotations["summary"], "is above the expected") || !strings.HasSuffix(a.Annotations["expected"], "was expected of a") ||
		!strings.Contains(a.Annotations["anomaly"], "; level, since "+after(15*200).Format(time.RFC3339)) || a.Condition != "> "+number(j.Upper) {
		t.Errorf("the alert says %q, condition %q", a.Annotations, a.Condition)
	}
	if story := w.mem.story(); len(story) != 1 || !strings.Contains(story[0], "is above the expected") {
		t.Errorf("story = %q", story)
	}
	for name, want := range map[string]float64{"value": j.Value, "expected": j.Expected, "lower": j.Lower, "upper": j.Upper, "score": j.Score} {
		v, err := w.engine.vector(t.Context(), "belay_anomaly_"+name+`{alertname="Latency",severity="critical",instance="a"}`, after(15*203), 0)
		if err != nil || len(v) != 1 || v[0].F != want {
			t.Errorf("belay_anomaly_%s = %v, %v, want %v", name, v, err, want)
		}
	}
	w.feed(204, 330, noisy)
	same(t, "alerts after it is over", []string(nil), w.states())
}

func TestAnIncidentTeachesTheBaselineLittle(t *testing.T) {
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	w.feed(0, 400, noisy)
	before := w.watch().now[0].series.judged.Expected
	w.feed(400, 440, func(int) float64 { return 2000 })
	w.feed(440, 500, noisy)
	if now := w.watch().now[0].series.judged; math.Abs(now.Expected-before) > 25 || now.Firing {
		t.Errorf("expected %g before the incident of 2000, %+v a while after it", before, now)
	}
}

func TestASlowRegressionAfterADeploymentIsMeasuredAgainstWhatWasBefore(t *testing.T) {
	fired := map[bool]int{}
	for _, known := range []bool{false, true} {
		w := newWorld(t)
		w.load(latencyRule, func(o *Options) {
			o.Targets = nil
			if known {
				o.Changed = func(ls labels.Labels) time.Time {
					if ls.Get("severity") != "critical" {
						t.Errorf("asked for %s", ls)
					}
					return after(15 * 300)
				}
			}
		})
		w.feed(0, 300, noisy)
		for i := 300; i < 420 && fired[known] == 0; i++ {
			w.feed(i, i+1, func(i int) float64 { return noisy(i) + 0.15*float64(i-300) })
			if len(w.states()) > 0 {
				fired[known] = i - 300
			}
		}
	}
	t.Logf("fired after so many samples, by whether the deployment is known: %v", fired)
	if fired[true] == 0 || fired[false] != 0 && fired[false] <= fired[true] {
		t.Errorf("fired after %v samples, by whether the deployment is known", fired)
	}
}

func (w *world) watch() *watch { return w.engine.plan.Load().groups[0].rules[0].watch }

// judged tells everything that a rule judged of its first series.
func (w *world) judged() string {
	s := w.watch().now[0].series
	return fmt.Sprintf("%x %x %x %x %v %v", s.judged.Expected, s.judged.Lower, s.judged.Score, s.detector.Snapshot(), s.judged.Since, s.dataAt)
}

func TestAfterAKillTheJudgementsGoOnToTheLastBit(t *testing.T) {
	value := func(i int) float64 {
		if i >= 290 && i < 340 {
			return noisy(i) + 90 // the kill comes in the middle of an incident
		}
		return noisy(i)
	}
	steady := newWorld(t)
	steady.load(latencyRule, func(o *Options) { o.Targets = nil })
	var want []string
	for i := range 400 {
		steady.feed(i, i+1, value)
		want = append(want, steady.judged())
	}
	file := filepath.Join(t.TempDir(), "anomaly.state")
	state := func(o *Options) { o.Targets, o.AnomalyState = nil, file }
	for name, saved := range map[string]int{"with a snapshot of a while ago": 250, "with one of just now": 300, "without one": 0} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(file)
			w := newWorld(t)
			w.load(latencyRule, state)
			w.feed(0, saved, value)
			w.engine.saveWatches()
			w.feed(saved, 300, value)
			w.load(latencyRule, state) // nothing of the engine before is left but its files
			w.remember()
			w.engine.restoreWatches(w.engine.plan.Load())
			for i := 300; i < 400; i++ {
				w.feed(i, i+1, value)
				if got := w.judged(); got != want[i] {
					t.Fatalf("sample %d: %s, want %s", i, got, want[i])
				}
			}
		})
	}
}

func TestADamagedSnapshotIsNotBelieved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "anomaly.state")
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets, o.AnomalyState = nil, file })
	w.feed(0, 50, noisy)
	w.engine.saveWatches()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := decodeWatches(text); err != nil || len(all) != 1 || len(all[0].Series) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for at := 0; at < len(text); at += 97 {
		bad := append([]byte(nil), text...)
		bad[at] ^= 0x20
		if _, err := decodeWatches(bad); err == nil {
			t.Fatalf("byte %d is wrong, and nobody minds", at)
		}
	}
	if _, err := decodeWatches(text[:len(text)-1]); err == nil {
		t.Error("the last byte is missing, and nobody minds")
	}
	if err := os.WriteFile(file, text[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	w.load(latencyRule, func(o *Options) { o.Targets, o.AnomalyState = nil, file })
	w.engine.restoreWatches(w.engine.plan.Load())
	w.feed(50, 51, noisy)
	if got := w.verdicts(); !strings.HasPrefix(got[0], "a pass") {
		t.Errorf("it did not learn again from stored samples: %q", got)
	}
}

func TestAReloadKeepsWhatIsLearnedUnlessTheRuleWatchesSomethingElse(t *testing.T) {
	watchOf := func(text string) *watch {
		set, ps := Parse("test.yml", []byte(text))
		if len(ps) > 0 {
			t.Fatal(ps)
		}
		return newWatch(set.Groups[0].Rules[0], 15*time.Second)
	}
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	w.feed(0, 50, noisy)
	if got := watchOf(latencyRule).continues(w.watch()); len(got.series) != 2 {
		t.Errorf("the same rule forgot: %d series", len(got.series))
	}
	if got := watchOf(strings.Replace(latencyRule, "direction: up", "budget: 3", 1)).continues(w.watch()); len(got.series) != 2 {
		t.Errorf("a rule with another budget forgot: %d series", len(got.series))
	}
	if got := watchOf(strings.Replace(latencyRule, "expr: latency", "expr: latency * 2", 1)).continues(w.watch()); len(got.series) != 0 {
		t.Errorf("a rule with another expression remembers %d series", len(got.series))
	}
}

func TestTooManySeriesAreRefusedWithWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	var lines []string
	for i := range maxWatched + 1 {
		lines = append(lines, fmt.Sprintf(`latency{instance="%d"} 1`, i))
	}
	w.samples(after(0), lines...)
	w.evaluate(after(0))
	r := w.engine.Groups()[0].Rules[0]
	if r.Health != "err" || !strings.Contains(r.LastError, "gives 10001 series, and an anomaly rule watches 10000 at most: aggregate them") {
		t.Errorf("health %s: %s", r.Health, r.LastError)
	}
}

func TestSeriesThatAreGoneAreForgottenFirst(t *testing.T) {
	w := newWatch(&Rule{Anomaly: &anomaly.Config{}}, time.Second)
	see := func(at time.Time, from, to int) {
		var now []sighted
		for i := from; i < to; i++ {
			s := sighted{dataAt: at}
			s.sample.Metric, s.sample.F = labels.FromStrings("pod", fmt.Sprint(i)), 1
			now = append(now, s)
		}
		if err := w.judge(now, at, nil); err != nil {
			t.Fatal(err)
		}
	}
	see(after(0), 0, 5000)
	see(after(1), 5000, 10000)
	see(after(2), 10000, 13000)
	if len(w.series) != maxWatched {
		t.Errorf("%d series, want %d", len(w.series), maxWatched)
	}
	oldest := 0
	for _, s := range w.series {
		if s.seen.Equal(after(0)) {
			oldest++
		}
	}
	if oldest != 2000 {
		t.Errorf("%d of those that were gone for longest are left, want 2000", oldest)
	}
	see(after(26*3600), 0, 1)
	if len(w.series) != 1 {
		t.Errorf("%d series a day later, want 1", len(w.series))
	}
}

func TestNoValueHoldsAnAlertAndTeachesNothing(t *testing.T) {
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	w.feed(0, 100, noisy)
	w.feed(100, 103, func(int) float64 { return 500 })
	w.feed(103, 110, func(int) float64 { return math.NaN() })
	same(t, "alerts", []string{"Latency a firing"}, w.states())
	if v := w.engine.Judgements()[0]; v.Verdict != belay.Absent {
		t.Errorf("judged %s: %s", v.Verdict, v.Reason)
	}
}

func TestTheAPIOfAnotherServerIsAskedWithoutHistory(t *testing.T) {
	w := newWorld(t)
	w.load(latencyRule, func(o *Options) { o.Targets = nil })
	w.feed(0, 60, noisy)
	local := w.engine
	w.load(latencyRule, func(o *Options) {
		o.Query = func(ctx context.Context, q string, ts time.Time) (promql.Vector, error) {
			return local.vector(ctx, q, ts, 0)
		}
	})
	w.feed(60, 75, noisy)
	if diff := cmp.Diff("a pass", strings.SplitN(w.verdicts()[0], ":", 2)[0]); diff != "" {
		t.Error(diff)
	}
}
