package slack

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/alerting"
	"github.com/belaydev/belay/alerting/slack/slacktest"
	"github.com/belaydev/belay/journal"
)

// The real outbox with the real journal ends while Slack has stored the
// parent but not said so; the next one meets a hang-up and a server error,
// each after the message was stored. The channel must show none of it.
func TestAnOutboxThatIsKilledAndRestartedTellsTheStoryOnce(t *testing.T) {
	changed := make(chan struct{}, 100)
	server := slacktest.New(slacktest.Options{OnChange: func() { changed <- struct{}{} }, Now: func() time.Time { return fired }})
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	store, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "belay.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })

	i, r := incident(belay.Triggered), rollback(belay.RollbackCountdown, "told; waiting")
	write := func(stream string, ev belay.Event) {
		t.Helper()
		ev.At, ev.Service = fired, i.Service
		if _, err := store.Append(t.Context(), stream, belay.AnySeq, ev); err != nil {
			t.Fatal(err)
		}
	}
	write(belay.IncidentStream(i.Service), belay.Event{Kind: belay.KindOpened, Reason: "CheckoutErrors fired.", Incident: &i})

	ctx, kill := context.WithCancel(t.Context())
	server.SetFaults(slacktest.Faults{AcceptThenTimeout: 1})
	ended := run(ctx, t, store, web.URL)
	<-changed // the parent is stored, and nobody knows
	kill()
	<-ended

	write(belay.RollbackStream(i.Service), belay.Event{Kind: belay.KindCountdown, Reason: "Rolling back in 60 s.", Rollback: r})
	write(belay.IncidentStream(i.Service), belay.Event{Kind: belay.KindNoted, Reason: "Looking into it.", Actor: "anna", Incident: &i})
	server.SetFaults(slacktest.Faults{AcceptThenTimeout: 1, HangUp: true, AcceptThenFail: 1, Methods: []string{"chat.postMessage"}})
	ctx, stop := context.WithCancel(t.Context())
	ended = run(ctx, t, store, web.URL)
	for !told(server, "Looking into it.") {
		<-changed
	}
	// A last turn that is told without a fault: when it is there, nothing
	// before it can still be on its way.
	write(belay.IncidentStream(i.Service), belay.Event{Kind: belay.KindNoted, Reason: "Found it.", Actor: "anna", Incident: &i})
	for !told(server, "Found it.") {
		<-changed
	}
	stop()
	<-ended

	if parent := oneParent(t, server); !strings.Contains(string(parent.Blocks), "1.41.3") {
		t.Errorf("the parent does not show the countdown: %s", parent.Text)
	}
	var replies []string
	for _, m := range server.Messages(channel)[1:] {
		replies = append(replies, m.Text)
	}
	want := []string{"🟡 Rolling back in 60 s.", "anna: Looking into it.", "anna: Found it."}
	if diff := cmp.Diff(want, replies); diff != "" {
		t.Errorf("the thread is not the story, told once:\n%s", diff)
	}
}

func told(server *slacktest.Server, words string) bool {
	for _, m := range server.Messages(channel) {
		if strings.Contains(m.Text, words) {
			return true
		}
	}
	return false
}

// run starts an outbox on the journal and returns a channel that closes when
// it has ended.
func run(ctx context.Context, t *testing.T, store belay.Journal, url string) <-chan struct{} {
	t.Helper()
	box, err := alerting.NewOutbox(alerting.OutboxOptions{
		Journal:      store,
		Destinations: []alerting.Destination{{Name: "slack:" + channel, Notifier: notifierAt(t, url+"/api/")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := box.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return ended
}
