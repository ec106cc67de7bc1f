package review

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
)

const (
	maxEvaluations = 10_000           // of one range; longer ones are asked in larger steps
	maxSamples     = 20_000_000       // that one query may load
	queryTimeout   = 30 * time.Second //
	bridge         = 3                // values that may be missing inside one run
)

// Measure asks samples what the journal cannot know: when the trigger's
// expression left its bounds, how far it went and when it came back. It looks
// at nothing after the incident's resolution. What cannot be known is said in
// the dossier, never guessed; an error is a query that failed, and the dossier
// is good without it.
func (d *Dossier) Measure(ctx context.Context, q storage.Queryable, interval time.Duration) error {
	if interval <= 0 {
		interval = defaultInterval
	}
	d.Interval = interval.Seconds()
	d.Impact.Peak = belay.Value(math.NaN())
	err := d.measure(ctx, q, interval)
	if err != nil {
		d.unknown(err.Error())
	}
	d.settle()
	return err
}

func (d *Dossier) unknown(why string) {
	d.Impact.Note = why
	if m, ok := d.Milestone(ImpactStart); ok {
		d.mark(ImpactStart, m.At, FromJournal, "the first evaluation that found it; samples cannot tell")
	}
}

func (d *Dossier) measure(ctx context.Context, q storage.Queryable, interval time.Duration) error {
	if d.Trigger == nil || d.Trigger.Expr == "" || q == nil {
		d.unknown("no rule of Belay's own set this off, so there is no expression to ask")
		return nil
	}
	cond, err := conditionOf(d.Trigger)
	if err != nil {
		d.unknown(err.Error())
		return nil //nolint:nilerr // the reader is told; nothing failed
	}
	r, err := d.ask(ctx, q, cond, interval)
	if err != nil {
		return err
	}
	d.Measured = &Measured{
		Query: cond.query, Operator: parser.ItemTypeStr[cond.operator], Limit: belay.Value(cond.limit),
		Unit: cond.unit, Window: cond.window.Seconds(), Step: r.step.Seconds(), Labels: r.labels,
	}
	if cond.learned {
		cond.operator = r.side(d.Trigger)
		d.Measured.Operator = parser.ItemTypeStr[cond.operator]
	}
	d.readRun(r, cond)
	d.freeze(r)
	d.noteGaps(r)
	return nil
}

// run is a series on an even grid.
type run struct {
	start  time.Time
	step   time.Duration
	labels string
	values []float64 // NaN where there is none
	bad    []bool

	// What an anomaly rule expected; nil where none did.
	expected, lower, upper []float64
}

// side is the direction in which the value had left what was expected.
func (r run) side(a *belay.Alert) parser.ItemType {
	switch i := r.seed(a); {
	case i < 0 || math.IsNaN(r.values[i]) || math.IsNaN(r.expected[i]):
		return parser.NEQ
	case r.values[i] < r.expected[i]:
		return parser.LSS
	}
	return parser.GTR
}

func (r run) at(i int) time.Time { return r.start.Add(time.Duration(i) * r.step) }

// index is the last place at or before a time, -1 if there is none.
func (r run) index(t time.Time) int {
	if t.Before(r.start) {
		return -1
	}
	return min(int(t.Sub(r.start)/r.step), len(r.values)-1)
}

// ask evaluates the condition from half an hour before the first sign to the
// end. The grid runs through the sample on which the alert rests, so that it
// meets the samples of an even scrape.
func (d *Dossier) ask(ctx context.Context, q storage.Queryable, cond condition, interval time.Duration) (run, error) {
	first, last := d.Trigger.ActiveAt, d.end()
	if m, ok := d.Milestone(ChangeApplied); ok && m.At.Before(first) {
		first = m.At
	}
	first = first.Add(-lookback)
	step := interval
	for last.Sub(first)/step > maxEvaluations {
		step += interval
	}
	anchor := d.Trigger.DataAt
	if anchor.IsZero() || anchor.Before(first) || anchor.After(last) {
		anchor = d.Trigger.ActiveAt
	}
	start := anchor.Add(-anchor.Sub(first) / step * step).Truncate(time.Millisecond)
	r := run{start: start.UTC(), step: step}
	n := int(last.Sub(start)/step) + 1
	if n < 1 {
		return run{}, errors.New("the incident ends before it begins")
	}
	eng := engine(interval)
	defer func() { _ = eng.Close() }()
	end := start.Add(time.Duration(n-1) * step)
	matrix, err := query(ctx, eng, q, cond.query, start, end, step)
	if err != nil {
		return run{}, err
	}
	r.values, r.labels = pick(matrix, d.Trigger.Labels, start, step, n)
	r.bad = make([]bool, n)
	if !math.IsNaN(cond.limit) {
		for i, v := range r.values {
			r.bad[i] = !math.IsNaN(v) && cond.breaks(v)
		}
		return r, nil
	}
	matrix, err = query(ctx, eng, q, cond.full, start, end, step)
	if err != nil {
		return run{}, err
	}
	broken, _ := pick(matrix, d.Trigger.Labels, start, step, n)
	for i, v := range broken {
		r.bad[i] = !math.IsNaN(v)
	}
	if !cond.learned {
		return r, nil
	}
	for name, to := range map[string]*[]float64{"expected": &r.expected, "lower": &r.lower, "upper": &r.upper} {
		matrix, err := query(ctx, eng, q, strings.Replace(cond.query, anomalySeries+"value", anomalySeries+name, 1), start, end, step)
		if err != nil {
			return run{}, err
		}
		*to, _ = pick(matrix, d.Trigger.Labels, start, step, n)
	}
	return r, nil
}

func engine(interval time.Duration) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: maxSamples, Timeout: queryTimeout, LookbackDelta: 3 * interval,
		EnableAtModifier: true, EnableNegativeOffset: true, NoStepSubqueryIntervalFn: func(int64) int64 { return interval.Milliseconds() },
	})
}

func query(ctx context.Context, eng *promql.Engine, q storage.Queryable, expr string, start, end time.Time, step time.Duration) (promql.Matrix, error) {
	qry, err := eng.NewRangeQuery(ctx, q, nil, expr, start, end, step)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	defer qry.Close()
	res := qry.Exec(ctx)
	if res.Err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, res.Err)
	}
	m, err := res.Matrix()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	out := make(promql.Matrix, len(m))
	for i, s := range m { // the engine takes its memory back
		out[i] = promql.Series{Metric: s.Metric.Copy(), Floats: append([]promql.FPoint(nil), s.Floats...)}
	}
	return out, nil
}

// pick lays the series that the alert is about on the grid. It is the one with
// most labels in common and none against it; where all have one against it,
// a rule's own label has covered a series' one, and most in common decides.
func pick(m promql.Matrix, of labels.Labels, start time.Time, step time.Duration, n int) ([]float64, string) {
	values := make([]float64, n)
	for i := range values {
		values[i] = math.NaN()
	}
	sort.Slice(m, func(i, j int) bool { return labels.Compare(m[i].Metric, m[j].Metric) < 0 })
	best, score := -1, math.MinInt
	for i, s := range m {
		here := 0
		s.Metric.Range(func(l labels.Label) {
			switch have := of.Get(l.Name); {
			case l.Name == model.MetricNameLabel:
			case have == l.Value:
				here++
			default:
				here -= 1000
			}
		})
		if here > score {
			best, score = i, here
		}
	}
	if best < 0 {
		return values, ""
	}
	for _, p := range m[best].Floats {
		if i := (p.T - start.UnixMilli()) / step.Milliseconds(); i >= 0 && int(i) < n {
			values[i] = p.F
			if math.IsInf(p.F, 0) {
				values[i] = math.NaN()
			}
		}
	}
	return values, m[best].Metric.String()
}

// readRun finds the run out of bounds that led to the alert, and its end.
func (d *Dossier) readRun(r run, cond condition) {
	seed := r.seed(d.Trigger)
	if seed < 0 {
		d.unknown("no sample of the expression was out of bounds when the alert fired: there was nothing to see, or it was gone by then")
		return
	}
	first, before := r.walkBack(seed)
	unsure := r.step
	evidence := "first sample out of bounds"
	if before >= 0 {
		unsure = r.at(first).Sub(r.at(before))
	} else {
		evidence += "; there was none before it"
	}
	d.mark(ImpactStart, r.at(first), FromSamples, evidence)
	d.unsure(ImpactStart, unsure)
	d.Impact.Known = true

	last, peak := first, first
	for i := first; i < len(r.values); i++ {
		if !r.bad[i] {
			continue
		}
		last = i
		if cond.worse(r.values[i], r.values[peak]) {
			peak = i
		}
	}
	d.Impact.Peak, d.Impact.PeakAt = belay.Value(r.values[peak]), r.at(peak)
	d.readEnd(r, last)
}

func (d *Dossier) readEnd(r run, last int) {
	for i := last + 1; i < len(r.values); i++ {
		if math.IsNaN(r.values[i]) {
			continue
		}
		at, unsure := r.at(i), r.at(i).Sub(r.at(last))
		d.Impact.End = at
		d.mark(ImpactEnd, at, FromSamples, "first sample back in bounds, and none out of bounds after it")
		d.unsure(ImpactEnd, unsure)
		if m, ok := d.Milestone(Recovered); !ok || d.Main() == nil || d.Main().Rollback.HealthyAt.IsZero() && m.Source == FromJournal {
			d.mark(Recovered, at, FromSamples, "first sample back in bounds")
			d.unsure(Recovered, unsure)
		}
		return
	}
	d.Impact.Note = "no sample in bounds followed the last one out of bounds, so the end of the impact is unknown"
}

// seed is the sample out of bounds on which the alert's firing rests.
func (r run) seed(a *belay.Alert) int {
	until := a.FiredAt
	if until.IsZero() {
		until = a.ActiveAt
	}
	for i := r.index(until.Add(r.step)); i >= 0 && !r.at(i).Before(a.ActiveAt.Add(-2*r.step)); i-- {
		if r.bad[i] {
			return i
		}
	}
	return -1
}

// walkBack goes back while samples are out of bounds, over small gaps, and
// returns the first such sample and the last one in bounds before it, -1 when
// there was no sample.
func (r run) walkBack(seed int) (first, before int) {
	first = seed
	missing := 0
	for i := seed - 1; i >= 0; i-- {
		switch {
		case r.bad[i]:
			first, missing = i, 0
		case !math.IsNaN(r.values[i]):
			return first, i
		default:
			if missing++; missing > bridge {
				return first, -1
			}
		}
	}
	return first, -1
}

// freeze keeps the values that the review may be asked for in years.
func (d *Dossier) freeze(r run) {
	from, to := d.Trigger.ActiveAt, d.end()
	for _, name := range []string{ImpactStart, ChangeApplied} {
		if m, ok := d.Milestone(name); ok && m.At.Before(from) {
			from = m.At
		}
	}
	if m, ok := d.Milestone(Recovered); ok && m.At.Add(lookahead).Before(to) {
		to = m.At.Add(lookahead)
	}
	from = from.Add(-lookback)
	var points []chart.Point
	var band []BandPoint
	for i, v := range r.values {
		at := r.at(i)
		if at.Before(from) || at.After(to) {
			continue
		}
		points = append(points, chart.Point{At: at, Value: v})
		if r.upper != nil {
			band = append(band, BandPoint{at, belay.Value(r.lower[i]), belay.Value(r.upper[i])})
		}
	}
	d.Measured.Points, d.Measured.Band = nil, nil
	for every := len(band)/chart.MaxPoints + 1; len(band) > 0; band = band[min(every, len(band)):] {
		d.Measured.Band = append(d.Measured.Band, band[0])
	}
	for _, p := range chart.Thin(points, chart.MaxPoints) {
		d.Measured.Points = append(d.Measured.Points, Point{p.At, belay.Value(p.Value)})
	}
}

// noteGaps tells where nothing is known.
func (d *Dossier) noteGaps(r run) {
	gaps, first := r.gaps()
	if first < 0 {
		d.Quality = append(d.Quality, "The trigger's expression had no value at all in this window: peak and impact are unknown, not zero.")
		return
	}
	if first > 0 && !r.at(first).Before(d.Trigger.ActiveAt.Add(-5*r.step)) {
		d.Quality = append(d.Quality, fmt.Sprintf("The expression had no value before %s: the series may not have existed until then.", clock(r.at(first))))
	}
	for i, g := range gaps {
		if i == 10 {
			d.Quality = append(d.Quality, fmt.Sprintf("%d more gaps are in the JSON beside this page.", len(gaps)-i))
			break
		}
		d.Quality = append(d.Quality, fmt.Sprintf("No samples from %s to %s (%s): the value is unknown there.", clock(g[0]), clock(g[1]), length(g[1].Sub(g[0]).Seconds(), r.step.Seconds())))
	}
	if w := seconds(d.Measured.Window); w > r.step {
		d.Quality = append(d.Quality, fmt.Sprintf("The expression looks back over %s: what it shows begins and ends up to that much later than the thing itself.", length(w.Seconds(), 0)))
	}
	if r.step > seconds(d.Interval) {
		d.Quality = append(d.Quality, fmt.Sprintf("The window is so long that only one value in %s was read.", length(r.step.Seconds(), 0)))
	}
}

// gaps are the stretches of two or more missing values after the first value,
// which it returns too; -1 is none.
func (r run) gaps() (gaps [][2]time.Time, first int) {
	first = -1
	last := -1
	for i, v := range r.values {
		if math.IsNaN(v) {
			continue
		}
		if first < 0 {
			first = i
		} else if i-last > 2 {
			gaps = append(gaps, [2]time.Time{r.at(last), r.at(i)})
		}
		last = i
	}
	if n := len(r.values); first >= 0 && n-1-last >= 2 {
		gaps = append(gaps, [2]time.Time{r.at(last), r.at(n - 1)})
	}
	return gaps, first
}
