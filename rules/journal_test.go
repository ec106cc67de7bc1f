package rules

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/journal"
)

func TestATargetNotYetScrapedHoldsWhatARestartRemembers(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	text := strings.Replace(errorsRule, "for: 10s", "for: 0s", 1)
	w.load(text)
	w.samples(after(0), `errors{job="shop",instance="a"} 5`)
	w.evaluate(after(0))

	e := w.load(text)
	w.remember()
	e.started = after(600)
	w.targets = nil
	w.evaluate(after(600))
	same(t, "before discovery", []string{"a unknown: discovery has not named any target yet"}, w.verdicts())
	w.targets = []Target{{Labels: labels.FromStrings("job", "shop", "instance", "a")}}
	w.evaluate(after(605))
	same(t, "before the first scrape", []string{"Errors a firing"}, w.states())
	same(t, "verdict", []string{"a unknown: the target that it reads does not answer: shop a has not been scraped yet"}, w.verdicts())
}

func TestARestartKeepsEveryTimeToTheMillisecond(t *testing.T) {
	w := newWorld(t)
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w.journal = store
	const text = `
groups:
  - name: g
    rules:
      - {alert: Slow, expr: latency > 1, for: 1m}
      - {alert: Kept, expr: errors > 1, keep_firing_for: 1m}
`
	w.load(text)
	w.samples(after(0.123), `latency 3`, `errors 3`)
	w.evaluate(after(0.123))
	w.samples(after(5.456), `latency 3`, `errors 0`)
	w.evaluate(after(5.456))
	before := w.engine.Alerts()

	w.load(text)
	w.remember()
	restored := w.engine.Alerts()
	for i := range restored {
		same(t, restored[i].Rule, []time.Time{before[i].ActiveAt, before[i].FiredAt, before[i].KeepSince},
			[]time.Time{restored[i].ActiveAt, restored[i].FiredAt, restored[i].KeepSince})
	}
	w.samples(after(60.122), `latency 3`, `errors 0`)
	w.evaluate(after(60.122))
	same(t, "a millisecond too early", []string{"Slow pending", "Kept firing"}, w.states())
	w.samples(after(60.123), `latency 3`, `errors 0`)
	w.evaluate(after(60.123))
	same(t, "in time", []string{"Slow firing", "Kept firing"}, w.states())
	w.samples(after(65.456), `latency 3`, `errors 0`)
	w.evaluate(after(65.456))
	same(t, "kept long enough", []string{"Slow firing"}, w.states())
}

func TestWhenTheJournalFailsTheOldStateStaysAndPeopleAreTold(t *testing.T) {
	w := newWorld(t)
	var told []string
	w.load(strings.Replace(errorsRule, "for: 10s", "for: 0s", 1), func(o *Options) {
		o.OnJournalError = func(err error, a belay.Alert) { told = append(told, err.Error()+" / "+string(a.State)) }
	})
	w.targets = []Target{target("a", true, "errors")}
	w.mem.breakWith(errors.New("disk full"))
	w.samples(after(0), `errors{instance="a"} 5`)
	w.evaluate(after(0))
	same(t, "while the disk is full", []string(nil), w.states())
	same(t, "told", []string{`journal 1 events of rule "Errors": disk full / firing`}, told)
	g := w.engine.plan.Load().groups[0]
	g.lastEval = after(0)
	if due := g.due(); !due.Equal(after(1)) {
		t.Errorf("tried again at %s, want after min_interval", due)
	}
	w.mem.breakWith(nil)
	w.evaluate(after(1))
	same(t, "afterwards", []string{"Errors a firing"}, w.states())
}

func TestAnotherWriterOnTheStreamIsHeardFirst(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	text := strings.Replace(errorsRule, "for: 10s", "for: 0s", 1)
	first := w.load(text)
	w.samples(after(0), `errors{instance="a"} 5`)
	second := w.load(text)
	w.engine = first
	w.evaluate(after(0))
	w.engine = second
	w.evaluate(after(1))
	same(t, "one event", 1, len(w.mem.story()))
	if a := second.Alerts(); len(a) != 1 || !a[0].ActiveAt.Equal(after(0)) {
		t.Errorf("the second writer has %+v", a)
	}
}

func TestAnAlertWhoseRuleIsGoneResolvesWithThatReason(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", true, "errors")}
	w.load(errorsRule)
	w.samples(after(0), `errors{instance="a"} 5`)
	w.evaluate(after(0))
	e := w.load("groups: []")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-w.mem.wrote // pending
	<-w.mem.wrote // resolved
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	same(t, "last", "inactive: its rule is no longer in the rule files", w.mem.story()[1])
}

func TestLosingSightOfARuleForAnHourIsToldOnceAndSoIsItsReturn(t *testing.T) {
	w := newWorld(t)
	w.targets = []Target{target("a", false, "errors")}
	w.load(errorsRule)
	for m := 0.; m <= 180; m += 30 {
		w.evaluate(after(m * 60))
	}
	w.load(errorsRule) // a restart does not tell it again
	w.remember()
	w.evaluate(after(181 * 60))
	w.evaluate(after(250 * 60))
	w.targets[0] = target("a", true, "errors")
	w.evaluate(after(251 * 60))
	same(t, "story", []string{
		`belay.lost_sight: rule "Errors" has been unknown for 1h0m0s: the target that it reads does not answer: shop a: connection refused`,
		`belay.found_sight: rule "Errors" can be judged again`,
	}, w.mem.story())
}
