package review

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/chart"
	"github.com/belaydev/belay/strict"
)

// fault makes an incident whose truth is known: the series is bad from a moment
// on for a while, and is scraped at its own phase.
type fault struct {
	start, length, step, phase time.Duration
	missing                    func(i int) bool
}

var day = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

func (f fault) story(t testing.TB) (events []belay.Event, q storage.Queryable) {
	t.Helper()
	var b strings.Builder
	svc := belay.ServiceID{Environment: "production", Name: "shop"}
	a := belay.Alert{ID: "a", Rule: "Bad", Labels: labels.FromStrings("alertname", "Bad", "service", "shop", "severity", "critical"), Expr: `shop_queue > 10`, Condition: "> 10"}
	first := day.Add(f.phase)
	fmt.Fprintf(&b, "%s shop_queue{service=\"shop\"}", first.Format("15:04:05"))
	n := int((f.start + f.length + 10*time.Minute) / f.step)
	for i := range n {
		at := first.Add(time.Duration(i) * f.step)
		bad := !at.Before(day.Add(f.start)) && at.Before(day.Add(f.start+f.length))
		switch {
		case f.missing != nil && f.missing(i):
			b.WriteString(" _")
		case bad:
			b.WriteString(" 50")
			if a.ActiveAt.IsZero() {
				a.ActiveAt, a.DataAt, a.FiredAt = at.Add(20*time.Millisecond), at, at.Add(2*f.step+30*time.Millisecond)
			}
		default:
			b.WriteString(" 1")
			if !a.ActiveAt.IsZero() && a.ResolvedAt.IsZero() {
				a.ResolvedAt = at.Add(10 * time.Millisecond)
			}
		}
	}
	a.State = belay.AlertFiring
	fired := a
	fired.ResolvedAt = time.Time{}
	inc := belay.Incident{ID: "i", Service: svc, Title: "Bad", State: belay.Triggered, OpenedAt: a.FiredAt, Alerts: []belay.Alert{fired}}
	opened := inc
	inc.State, inc.ResolvedAt = belay.Resolved, a.ResolvedAt.Add(5*f.step)
	a.State = belay.AlertInactive
	inc.Alerts = []belay.Alert{a}
	fired.Incident = "i"
	return []belay.Event{
		{Seq: 1, At: a.FiredAt, Kind: belay.KindAlert, Reason: "fires", Alert: &fired},
		{Seq: 2, At: a.FiredAt, Kind: belay.KindOpened, Reason: "opened", Incident: &opened},
		{Seq: 3, At: inc.ResolvedAt, Kind: belay.KindResolved, Reason: "resolved", Incident: &inc},
	}, storeSeries(t, b.String(), f.step)
}

func measured(t testing.TB, events []belay.Event, q storage.Queryable, step time.Duration) Dossier {
	t.Helper()
	d, err := Build(events, "i")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Measure(context.Background(), q, step); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStartAndEndAreTrueWithinOneScrape(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		step := []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}[rnd.IntN(3)]
		f := fault{
			start: 35*time.Minute + time.Duration(rnd.IntN(600))*time.Second, length: 5*step + time.Duration(rnd.IntN(900))*time.Second,
			step: step, phase: time.Duration(rnd.IntN(int(step/time.Second))) * time.Second,
		}
		t.Run(fmt.Sprintf("%v from %v for %v", step, f.start, f.length), func(t *testing.T) {
			events, q := f.story(t)
			d := measured(t, events, q, step)
			for name, truth := range map[string]time.Time{ImpactStart: day.Add(f.start), ImpactEnd: day.Add(f.start + f.length), Recovered: day.Add(f.start + f.length)} {
				m, ok := d.Milestone(name)
				if !ok || m.Source != FromSamples {
					t.Fatalf("%s is not computed: %+v", name, m)
				}
				if off := m.At.Sub(truth).Abs(); off > step || m.Uncertainty != step.Seconds() {
					t.Errorf("%s is %v off, and says ± %v s", name, off, m.Uncertainty)
				}
			}
			if x, _ := d.duration("Customer impact"); math.Abs(x.Seconds-f.length.Seconds()) > x.Uncertainty {
				t.Errorf("impact of %v s ± %v s is not true: %v", x.Seconds, x.Uncertainty, f.length)
			}
			if d.Impact.Peak != 50 {
				t.Errorf("peak is %v, want 50", d.Impact.Peak)
			}
		})
	}
}

func TestAGapBeforeTheStartWidensTheUncertainty(t *testing.T) {
	f := fault{start: 40 * time.Minute, length: 5 * time.Minute, step: 5 * time.Second}
	f.missing = func(i int) bool { return i >= 478 && i < 481 } // two scrapes before the start and the first after it
	events, q := f.story(t)
	d := measured(t, events, q, f.step)
	m, _ := d.Milestone(ImpactStart)
	if truth := day.Add(f.start); m.At.Sub(truth).Abs() > seconds(m.Uncertainty) || m.Uncertainty != 20 {
		t.Errorf("start %v ± %v s; the truth is %v, and 20 s are unseen", m.At, m.Uncertainty, truth)
	}
}

func TestALostSeriesLeavesTheEndUnknown(t *testing.T) {
	f := fault{start: 40 * time.Minute, length: 5 * time.Minute, step: 5 * time.Second}
	events, _ := f.story(t)
	f.missing = func(i int) bool { return i > 500 }
	_, q := fault{start: f.start, length: f.length, step: f.step, missing: f.missing}.story(t)
	d := measured(t, events, q, f.step)
	if _, ok := d.Milestone(ImpactEnd); ok {
		t.Error("the end is told although no sample shows it")
	}
	md, _, _ := Render(d)
	for _, want := range []string{"when it came back is **unknown**", "| Ended          | unknown", "| Customer impact          | unknown"} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestWithoutSamplesNothingIsZero(t *testing.T) {
	f := fault{start: 40 * time.Minute, length: 5 * time.Minute, step: 5 * time.Second}
	events, _ := f.story(t)
	for name, q := range map[string]storage.Queryable{"an empty store": storeSeries(t, "", f.step), "no store": nil} {
		d := measured(t, events, q, f.step)
		if d.Impact.Known || !math.IsNaN(float64(d.Impact.Peak)) || d.Impact.Note == "" {
			t.Errorf("%s: impact is told as %+v", name, d.Impact)
		}
		if m, ok := d.Milestone(ImpactStart); !ok || m.Source != FromJournal || m.Uncertainty != 5 {
			t.Errorf("%s: T+0 is %+v, want the journal's first finding ± a scrape", name, m)
		}
	}
}

func TestAFailedQueryStillGivesAReview(t *testing.T) {
	events, _ := fault{start: 40 * time.Minute, length: time.Minute, step: 5 * time.Second}.story(t)
	d, err := Build(events, "i")
	if err != nil {
		t.Fatal(err)
	}
	broken := storage.QueryableFunc(func(_, _ int64) (storage.Querier, error) { return nil, fmt.Errorf("the disk <is> gone") })
	if err := d.Measure(t.Context(), broken, 5*time.Second); err == nil {
		t.Error("a failed query gives no error")
	}
	md, _, _ := Render(d)
	if !strings.Contains(string(md), `the disk \<is> gone`) {
		t.Error("the page does not say why the impact is unknown")
	}
}

func TestConditionsAreTakenApart(t *testing.T) {
	for _, tc := range []struct {
		expr, query, op string
		limit           float64
		unit            chart.Unit
		window          time.Duration
	}{
		{`a / b > 0.02`, "a / b", ">", 0.02, chart.Ratio, 0},
		{`0.02 < a / b`, "a / b", ">", 0.02, chart.Ratio, 0},
		{`((rate(a_total[5m])) >= 3) and on() (b > 1)`, "(rate(a_total[5m]))", ">=", 3, chart.Number, 5 * time.Minute},
		{`up == 0`, "up", "==", 0, chart.Number, 0},
		{`a < -5`, "a", "<", -5, chart.Number, 0},
		{`histogram_quantile(0.9, rate(x_seconds_bucket[1m])) > 1`, "histogram_quantile(0.9, rate(x_seconds_bucket[1m]))", ">", 1, chart.Seconds, time.Minute},
		{`process_resident_memory_bytes > 1e9`, "process_resident_memory_bytes", ">", 1e9, chart.Bytes, 0},
		{`max_over_time(rate(a_total[1m])[10m:]) > bool 2`, "max_over_time(rate(a_total[1m])[10m:])", ">", 2, chart.Number, 10 * time.Minute},
		{`a > b`, "a", ">", math.NaN(), chart.Number, 0},
	} {
		c, err := takeApart(tc.expr)
		if err != nil {
			t.Errorf("%s: %v", tc.expr, err)
			continue
		}
		if c.query != tc.query || c.unit != tc.unit || c.window != tc.window || (c.limit != tc.limit && !(math.IsNaN(c.limit) && math.IsNaN(tc.limit))) || c.operator.String() != tc.op {
			t.Errorf("%s: got %q %v %v in %q over %v", tc.expr, c.query, c.operator, c.limit, c.unit, c.window)
		}
	}
	for _, expr := range []string{"absent(up)", "a or b > 1", "a +"} {
		if _, err := takeApart(expr); err == nil {
			t.Errorf("%q was taken apart", expr)
		}
	}
}

func TestALimitThatMovesIsFollowed(t *testing.T) {
	f := fault{start: 40 * time.Minute, length: 5 * time.Minute, step: 5 * time.Second}
	events, q := f.story(t)
	for _, ev := range events {
		if ev.Alert != nil {
			ev.Alert.Expr = "shop_queue > 2 * min_over_time(shop_queue[20m])"
		}
	}
	d := measured(t, events, q, f.step)
	if m, _ := d.Milestone(ImpactStart); !d.Impact.Known || m.At.Sub(day.Add(f.start)).Abs() > f.step {
		t.Errorf("start is %v, want %v", m.At, day.Add(f.start))
	}
}

func TestTheImpactBeforeTheChangeIsSaidFirst(t *testing.T) {
	s := readStory(t, "before")
	d := s.dossier(t)
	if d.Impact.BeforeChange != BeganBefore {
		t.Fatalf("the change is not exonerated: %q", d.Impact.BeforeChange)
	}
	md, _, _ := Render(d)
	top, _, _ := strings.Cut(string(md), "## Summary")
	if !strings.Contains(top, "> **The impact began before the change.** The signal was out of bounds at 14:01:00, 1m ± 5s before 1.42.0 was applied.") {
		t.Errorf("it is not said above the summary:\n%s", top)
	}
	near := d
	near.Milestones = append([]Milestone(nil), d.Milestones...)
	for i := range near.Milestones {
		if near.Milestones[i].Name == ChangeApplied {
			near.Milestones[i].At = near.Impact.Start.Add(3 * time.Second)
		}
	}
	near.settleImpact()
	if near.Impact.BeforeChange != TooCloseCall {
		t.Errorf("3 s with ± 5 s is told as %q", near.Impact.BeforeChange)
	}
}

func TestLengthsTellNoMoreThanIsKnown(t *testing.T) {
	for _, tc := range []struct {
		secs, unsure float64
		want         string
	}{
		{450, 5, "7m 30s ± 5s"},
		{450, 0, "7m 30s"},
		{450, 60, "8m ± 1m"},
		{12.4, 1, "12s ± 1s"},
		{1.25, 0, "1.2s"},
		{0.039, 0, "39ms"},
		{0, 0, "0s"},
		{0, 15, "0s ± 15s"},
		{3600, 0, "1h"},
		{90061, 0, "1d 1h 1m 1s"},
		{-65, 5, "−1m 5s ± 5s"},
		{10, 120, "0m ± 2m"},
		{59.7, 0, "1m"},
		{3.04, 0.5, "3s ± 0.5s"},
	} {
		if got := length(tc.secs, tc.unsure); got != tc.want {
			t.Errorf("%v ± %v reads %q, want %q", tc.secs, tc.unsure, got, tc.want)
		}
	}
}

func TestNoPersonIsNamed(t *testing.T) {
	b := &builder{inc: belay.Incident{Service: belay.ServiceID{Environment: "production", Name: "checkout"}}}
	b.names([]belay.Event{{Actor: "Ann"}, {Actor: "Ann Lee"}, {Actor: "checkout"}, {Actor: "x"}, {Actor: "o'b.*"}})
	for in, want := range map[string]string{
		"Ann Lee stopped it; Ann agreed": "a person stopped it; a person agreed",
		"ask @Ann, Ann Ann":              "ask a person, a person a person",
		"Anna and checkout and x":        "Anna and checkout and x",
		"o'b.* did":                      "a person did",
		"o'bxx did":                      "o'bxx did",
	} {
		if got := b.impersonal(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// Nor by the incident itself, which the dossier holds.
func TestWhoActedOnAnIncidentIsNotNamed(t *testing.T) {
	s := readStory(t, "notify")
	for i := range s.events {
		if s.events[i].Incident == nil || s.events[i].Incident.State != belay.Resolved {
			continue
		}
		was := s.events[i]
		handed := *was.Incident
		handed.State, handed.ResolvedAt, handed.AssignedTo, handed.SeverityBy = belay.Triggered, time.Time{}, "Bob Ray", "Ann Lee"
		hands := was
		hands.Kind, hands.Actor, hands.Reason, hands.Incident = belay.KindAssigned, "Ann Lee", "Ann Lee asks Bob Ray to look after it", &handed
		over := handed
		over.State, over.ResolvedAt = belay.Resolved, was.Incident.ResolvedAt
		was.Incident = &over
		d, err := Build(append(slices.Clone(s.events[:i]), hands, was), s.incident)
		if err != nil {
			t.Fatal(err)
		}
		md, _, js := Render(d)
		if text := string(md) + string(js); strings.Contains(text, "Bob") || strings.Contains(text, "Ann") || !strings.Contains(text, "a person asks a person to look after it") {
			t.Errorf("somebody is named, or nothing is told:\n%s", text)
		}
		return
	}
	t.Fatal("the story has no end")
}

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a full one":              {"review: {publish: [{directory: reviews/}, {directory: /srv/x}], required: ['severity=\"critical\"'], due: 3d}", ""},
		"none":                    {"web: {}", ""},
		"an unknown key":          {"review:\n  publsh: []\n", "belay.yml:2: unknown key \"publsh\"; allowed: due, publish, required"},
		"no directory":            {"review:\n  publish:\n    - {}\n", "belay.yml:3: a place to publish reviews names no directory; allowed: directory: a path"},
		"a directory named twice": {"review:\n  publish:\n    - directory: a\n    - directory: a\n", "belay.yml:4: the directory \"a\" is named twice; allowed: each directory once"},
		"a bad duration":          {"review:\n  due: soon\n", "belay.yml:2: "},
		"a bad matcher":           {"review:\n  required: ['{{']\n", "belay.yml:2: \"{{\" is not a matcher"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("belay.yml", []byte(tc.text))
			cfg, more := Load(doc)
			got := ""
			if err := append(ps, more...).Err(); err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) || (tc.want == "") != (got == "") {
				t.Errorf("problems: %q, want %q", got, tc.want)
			}
			if name == "a full one" {
				if diff := cmp.Diff([]Publication{{"reviews/"}, {"/srv/x"}}, cfg.Publish); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// hour is an incident of an hour with all that can be in it.
func hour(tb testing.TB) ([]belay.Event, storage.Queryable) {
	tb.Helper()
	return fault{start: 40 * time.Minute, length: time.Hour, step: 5 * time.Second}.story(tb)
}

func BenchmarkReviewOfAnHour(b *testing.B) {
	events, q := hour(b)
	for i := range 2000 { // a busy journal round it
		events = append(events[:2:2], append([]belay.Event{{Seq: belay.Seq(10 + i), At: day.Add(41 * time.Minute), Kind: belay.KindDelivery, Reason: "sent", Delivery: &belay.Delivery{Incident: "other"}}}, events[2:]...)...)
	}
	b.ReportAllocs()
	for b.Loop() {
		Render(measured(b, events, q, 5*time.Second))
	}
}

func TestAnAnomalyIsReadFromWhatItsRuleRecorded(t *testing.T) {
	const step = 15 * time.Second
	f := fault{start: 35 * time.Minute, length: 5 * time.Minute, step: step}
	events, _ := f.story(t)
	learned := func(a *belay.Alert) {
		a.Expr, a.Condition = "sum(rate(shop_seconds_sum[1m])) / sum(rate(shop_seconds_count[1m]))", "> 2"
		a.Annotations = map[string]string{"anomaly": "50 where 1 was expected"}
	}
	for i := range events {
		if events[i].Alert != nil {
			learned(events[i].Alert)
		}
		if events[i].Incident != nil {
			learned(&events[i].Incident.Alerts[0])
		}
	}
	const of = `{alertname="Bad",service="shop",severity="critical"} `
	q := storeSeries(t, `13:00:00 belay_anomaly_value`+of+`1x139 50x19 1x40
13:00:00 belay_anomaly_expected`+of+`1x199
13:00:00 belay_anomaly_lower`+of+`0x199
13:00:00 belay_anomaly_upper`+of+`2x199
13:00:00 ALERTS{alertname="Bad",alertstate="pending",service="shop",severity="critical"} _x140 1x1 stale
13:00:00 ALERTS{alertname="Bad",alertstate="firing",service="shop",severity="critical"} _x142 1x17 stale
`, step)
	d := measured(t, events, q, step)
	if start, _ := d.Milestone(ImpactStart); start.At.Sub(day.Add(f.start)).Abs() > step || start.Source != FromSamples {
		t.Errorf("it began at %v, %s; want %v", start.At, start.Source, day.Add(f.start))
	}
	if end, _ := d.Milestone(ImpactEnd); end.At.Sub(day.Add(f.start+f.length)).Abs() > step {
		t.Errorf("it ended at %v, want %v", end.At, day.Add(f.start+f.length))
	}
	if d.Impact.Peak != 50 || d.Measured.Operator != ">" || d.Measured.Unit != chart.Seconds || d.Measured.Window != 60 {
		t.Errorf("peak %v, operator %q, unit %v, window %v", d.Impact.Peak, d.Measured.Operator, d.Measured.Unit, d.Measured.Window)
	}
	if n := len(d.Measured.Band); n != len(d.Measured.Points) || d.Measured.Band[n-1].Upper != 2 || d.Measured.Band[n-1].Lower != 0 {
		t.Errorf("a band of %d points for %d values", n, len(d.Measured.Points))
	}
	if svg := string(d.figure().SVG()); !strings.Contains(svg, `class="band"`) {
		t.Error("the figure has no band")
	}
}
