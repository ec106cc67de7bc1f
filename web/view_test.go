package web_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

func fold(events []belay.Event) *web.View {
	v := web.NewView(nil, nil)
	for _, e := range events {
		v.Apply(e)
	}
	return v
}

func reasons(entries []web.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Reason)
	}
	return out
}

func TestAnIncidentCarriesItsWholeStory(t *testing.T) {
	story, ok := fold(loop()).Incident("i-7k2m")
	if !ok {
		t.Fatal("the incident is not known")
	}
	want := []string{
		"v1.4.3 was put in place of v1.4.2.", // from before it opened
		"CheckoutErrors fires for checkout: 18.4 % of its requests fail.",
		"Slack was told.",
		"Belay goes back to v1.4.2 in 10 s unless somebody stops it.",
		"Nobody stopped it and every guard still agrees: asking the platform for v1.4.2.",
		"v1.4.2 was put in place of v1.4.3 by Belay.",
		"Fresh data shows that checkout is well.",
		"The symptom stayed clear: recovered.",
		"All alerts of the incident have ended.",
		"The review is drafted.",
	}
	if diff := cmp.Diff(want, reasons(story.Timeline)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if story.State != belay.Resolved || len(story.Rollbacks) != 1 || len(story.Deliveries) != 1 || story.Review == nil {
		t.Errorf("story = %+v", story)
	}
}

func TestTheNewestDeploymentWithKnownContentRuns(t *testing.T) {
	d := deployment()
	announced := belay.Deployment{ID: "d-9", Service: checkout, From: bad, To: belay.Revision{Version: "v1.5.0"}, StartedAt: start.Add(time.Hour)}
	v := fold(at(
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &d},
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &announced},
	))
	if r, since, back := v.Running(checkout); r != bad || !since.Equal(start) || back {
		t.Errorf("an announcement alone moved what runs: %v since %v, rolled back %v", r, since, back)
	}
	v = fold(loop())
	if r, since, back := v.Running(checkout); r != good || !since.Equal(start.Add(74*time.Second)) || !back {
		t.Errorf("after the rollback: %v since %v, rolled back %v", r, since, back)
	}
	old := deployment()
	old.Result = "rolled_back"
	v.Apply(belay.Event{Seq: 1000, Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &old})
	if r, _, _ := v.Running(checkout); r != good {
		t.Errorf("late word of an older deployment moved what runs to %v", r)
	}
}

func TestTheSameEventTwiceIsOnce(t *testing.T) {
	v := fold(append(loop(), loop()...))
	story, _ := v.Incident("i-7k2m")
	if n := len(story.Timeline); n != 10 {
		t.Errorf("the timeline has %d entries, want 10", n)
	}
}

func TestMemoryIsBoundedButOpenIncidentsStay(t *testing.T) {
	v := web.NewView(nil, nil)
	seq := belay.Seq(0)
	apply := func(e belay.Event) {
		seq++
		e.Seq, e.Reason = seq, fmt.Sprint("event ", seq)
		v.Apply(e)
	}
	open := incident("open", belay.Triggered)
	apply(belay.Event{Kind: belay.KindOpened, Service: checkout, Incident: open})
	for i := range 1500 {
		apply(belay.Event{Kind: belay.KindOpened, Service: search, Incident: incident(fmt.Sprint("i-", i), belay.Resolved)})
	}
	if n := len(v.Incidents(0, nil)); n != 1000 {
		t.Errorf("%d incidents are kept, want 1000", n)
	}
	if _, ok := v.Incident("open"); !ok {
		t.Error("the oldest incident is open and was forgotten")
	}
	if _, ok := v.Incident("i-1499"); !ok {
		t.Error("the newest incident was forgotten")
	}
	for range 500 {
		apply(belay.Event{Kind: belay.KindNoted, Service: checkout, Incident: open})
	}
	story, _ := v.Incident("open")
	if len(story.Timeline) != 200 || story.Skipped != 301 {
		t.Errorf("timeline has %d entries, %d skipped; want 200 and 301", len(story.Timeline), story.Skipped)
	}
	if story.Timeline[0].Reason != "event 1" || story.Timeline[199].Seq != seq {
		t.Error("a long timeline must keep its beginning and its end")
	}
}

// A flaky journal breaks once in the middle, and then goes on.
type flaky struct {
	belay.Journal
	events []belay.Event
	broken int // how often Read fails after the first event
}

func (f *flaky) Read(ctx context.Context, after belay.Seq) iter.Seq2[belay.Event, error] {
	return func(yield func(belay.Event, error) bool) {
		for i, e := range f.events {
			if e.Seq <= after {
				continue
			}
			if i == 3 && f.broken > 0 {
				f.broken--
				yield(belay.Event{}, errors.New("disk error"))
				return
			}
			if ctx.Err() != nil || !yield(e, nil) {
				return
			}
		}
	}
}

func (f *flaky) Tail(ctx context.Context, _ belay.Seq) iter.Seq2[belay.Event, error] {
	return func(func(belay.Event, error) bool) { <-ctx.Done() }
}

func TestTheViewReadsOnAfterTheJournalFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &flaky{events: loop(), broken: 2}
		v := web.NewView(j, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		if v.CaughtUp() || v.Seq() != 3 {
			t.Errorf("while the journal is broken: caught up %v at %d", v.CaughtUp(), v.Seq())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !v.CaughtUp() || v.Seq() != belay.Seq(len(j.events)) {
			t.Errorf("after the journal came back: caught up %v at %d", v.CaughtUp(), v.Seq())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestAConvergedRollbackIsWhatRuns(t *testing.T) {
	d := deployment()
	r := rollbackIn(belay.RollbackProving)
	r.ConvergedAt = start.Add(80 * time.Second)
	v := fold(at(
		belay.Event{Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &d},
		belay.Event{Kind: belay.KindConverged, Service: checkout, Reason: "r", Rollback: r},
	))
	if running, since, back := v.Running(checkout); running != good || !since.Equal(r.ConvergedAt) || !back {
		t.Errorf("%v since %v, rolled back %v", running, since, back)
	}
	again := belay.Deployment{ID: "d-3", Service: checkout, From: good, To: bad, StartedAt: start.Add(time.Hour), Actor: "ada"}
	v.Apply(belay.Event{Seq: 3, Kind: belay.KindDeployment, Service: checkout, Reason: "r", Deployment: &again})
	if running, _, back := v.Running(checkout); running != bad || back {
		t.Errorf("after a person's deployment: %v, rolled back %v", running, back)
	}
}
