package rules

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/promql"
	"go.uber.org/goleak"

	"github.com/belaydev/belay"
)

func setOf(t testing.TB, text string) Set {
	t.Helper()
	set, problems := Parse("test.yml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func TestAReloadKeepsWhatStaysAndEndsWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.load(`groups: [{name: g, interval: 15s, rules: [{alert: Stays, expr: errors > 1, for: 1m}, {alert: Goes, expr: errors > 2}]}]`,
			func(o *Options) { o.Targets = nil })
		w.samples(time.Now(), `errors 5`)
		running(t, e)
		same(t, "before", []string{"Stays pending", "Goes firing"}, w.states())
		since := e.Alerts()[0].ActiveAt
		time.Sleep(30 * time.Second)
		if err := e.Reload(setOf(t, `groups: [{name: g, interval: 15s, rules: [{alert: Stays, expr: errors > 0, for: 1m}, {alert: Comes, expr: errors > 3}]}]`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		same(t, "after", []string{"Stays pending", "Comes firing"}, w.states())
		if a := e.Alerts()[0]; !a.ActiveAt.Equal(since) {
			t.Errorf("active since %s, was %s", a.ActiveAt, since)
		}
		if n := len(e.Groups()[0].Rules[0].Evaluations); n < 3 {
			t.Errorf("%d evaluations, those from before are lost", n)
		}
		if !slices.Contains(w.mem.story(), "inactive: its rule is no longer in the rule files") {
			t.Error(w.mem.story())
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		same(t, "a minute after it began", []string{"Stays firing", "Comes firing"}, w.states())
		// What has gone may come back, with a past.
		if err := e.Reload(setOf(t, `groups: [{name: g, rules: [{alert: Goes, expr: errors > 2}]}]`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		same(t, "back again", []string{"Goes firing"}, w.states())
	})
}

// What a rule that stays does, and when, is to the millisecond what it does
// without the reloads of others.
func TestAReloadOfOtherRulesShiftsNothing(t *testing.T) {
	const stays = `{alert: Stays, expr: errors > 1, for: 1m7s, keep_firing_for: 33s}`
	story := func(t *testing.T, reload bool) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			e := w.load(`groups: [{name: a, interval: 15s, rules: [`+stays+`]}, {name: b, rules: [{alert: Other, expr: errors > 2}]}]`,
				func(o *Options) { o.Targets = nil })
			begun := time.Now()
			w.samples(begun, `errors 5`)
			running(t, e)
			for i := range 30 {
				time.Sleep(7123 * time.Millisecond)
				v := 5
				if i >= 12 {
					v = 0
				}
				w.samples(time.Now(), fmt.Sprintf(`errors %d`, v))
				e.Touched(touchedNames("errors"), time.Now())
				synctest.Wait()
				if !reload {
					continue
				}
				set := setOf(t, fmt.Sprintf(`groups: [{name: a, interval: 15s, rules: [`+stays+`]}, {name: b, rules: [{alert: Other, expr: errors > %d}]}]`, i))
				if err := e.Reload(set); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			for _, ev := range w.mem.events {
				if a := ev.Alert; a.Rule == "Stays" {
					out = append(out, fmt.Sprintf("%s %s: active %s, fired %s, ended %s, failed %d", ev.At.Sub(begun), a.State, a.ActiveAt.Sub(begun), a.FiredAt.Sub(begun), a.ResolvedAt.Sub(begun), a.Failed))
				}
			}
		})
		return out
	}
	undisturbed := story(t, false)
	if len(undisturbed) < 3 {
		t.Fatalf("too little happens: %v", undisturbed)
	}
	same(t, "with 30 reloads of another rule", undisturbed, story(t, true))
}

func TestAReloadWithOtherOptionsKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = `groups: [{name: g, rules: [{alert: Stays, expr: errors > 1, for: 1m}]}]`
		w := newWorld(t)
		e := w.load(text, func(o *Options) { o.Targets = nil })
		w.samples(time.Now(), `errors 5`)
		running(t, e)
		since := e.Alerts()[0].ActiveAt
		time.Sleep(30 * time.Second)
		opts := *e.options()
		opts.EvaluationInterval = 0
		opts.Query = func(context.Context, string, time.Time) (promql.Vector, error) {
			return nil, errors.New("no route to host")
		}
		commit, err := e.Prepare(setOf(t, text), opts)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if j := e.Judgements()[0]; j.Verdict != belay.Fail {
			t.Errorf("before it is committed: %s, %s", j.Verdict, j.Reason)
		}
		commit()
		time.Sleep(time.Minute)
		synctest.Wait()
		if j := e.Judgements()[0]; j.Verdict != belay.Unknown || !strings.Contains(j.Reason, "no route to host") {
			t.Errorf("afterwards: %s, %s", j.Verdict, j.Reason)
		}
		same(t, "unknown holds", []string{"Stays pending"}, w.states())
		if a := e.Alerts()[0]; !a.ActiveAt.Equal(since) {
			t.Errorf("active since %s, was %s", a.ActiveAt, since)
		}
	})
}

func TestAReloadThatFailsChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		j := &brokenReads{memJournal: w.mem}
		w.journal = j
		e := w.load(errorsRule, func(o *Options) { o.Targets, o.Appendable = nil, nil })
		running(t, e)
		if err := e.Reload(setOf(t, `groups: [{name: g, rules: [{record: x, expr: errors}]}]`)); err == nil {
			t.Error("a rule records, and nothing takes what it writes")
		}
		j.broken.Store(true)
		if err := e.Reload(setOf(t, `groups: [{name: g, rules: [{alert: Other, expr: errors}]}]`)); err == nil {
			t.Error("the journal could not be read")
		}
		w.samples(time.Now(), `errors 5`)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		same(t, "states", []string{"Errors pending"}, w.states())
	})
}

func TestTwoHundredReloadsLoseNoAlertAndLeakNothing(t *testing.T) {
	w := newWorld(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	at := time.Now()
	w.samples(at, `errors{instance="a"} 5`)
	text := func(n int) string {
		return fmt.Sprintf(`groups: [{name: g, interval: 1s, rules: [{alert: Stays, expr: errors > 1}, {alert: Goes%d, expr: errors > 2}]}]`, n%2)
	}
	e := w.load(text(0), func(o *Options) { o.Targets, o.MinInterval = nil, time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for e.Lag() == 0 && len(e.Alerts()) < 2 {
		time.Sleep(time.Millisecond)
	}
	for n := range 200 {
		e.Touched(touchedNames("errors"), time.Now())
		if err := e.Reload(setOf(t, text(n+1))); err != nil {
			t.Fatal(err)
		}
	}
	for len(e.Alerts()) < 2 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var stays []belay.AlertState
	for _, ev := range w.mem.events {
		if ev.Alert.Rule == "Stays" {
			stays = append(stays, ev.Alert.State)
		}
	}
	same(t, "one alert that stays", []belay.AlertState{belay.AlertFiring}, stays)
}

func TestASourceThatFailsMakesItsRulesUnknown(t *testing.T) {
	w := newWorld(t)
	e := w.load(oneRule("for: 0s"), func(o *Options) {
		o.Queryable = nil
		o.Query = func(context.Context, string, time.Time) (promql.Vector, error) {
			return nil, errors.New("no route to host")
		}
	})
	w.evaluate(after(0))
	if got := w.verdicts(); len(got) != 1 || !strings.Contains(got[0], "unknown: the query failed: no route to host") {
		t.Error(got)
	}
	e.Touched(touchedNames("errors"), after(1))
	if e.Lag() != 0 {
		t.Error("with a source, samples that arrive here wake nobody")
	}
}

// brokenReads is a journal that can be told not to be readable.
type brokenReads struct {
	*memJournal
	broken atomic.Bool
}

func (j *brokenReads) Read(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	if j.broken.Load() {
		return func(yield func(belay.Event, error) bool) { yield(belay.Event{}, errors.New("disk on fire")) }
	}
	return j.memJournal.Read(ctx, after)
}
