package pipeline_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

func TestTwoBelaysOnOneJournalTellPeopleOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.put("belay.yml", strings.Replace(s.read("belay.yml"), "mode: auto", "mode: notify", 1))
	other := &stage{t: t, dir: s.dir, journal: s.journal, slack: s.slack}
	other.config = s.put("other.yml", strings.Replace(s.read("belay.yml"), "metrics: {path: metrics}", "metrics: {path: other-metrics}", 1))
	s.start()
	s.await("one started", kind(belay.KindStarted))
	other.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("running", "v2")
	s.await("people are told", func(ev belay.Event) bool {
		return ev.Delivery != nil && ev.Delivery.Kind == "parent" && ev.Delivery.Result == "sent"
	})
	s.stop() // the one that tells, with the incident open
	s.put("running", "v1")
	s.await("resolved", kind(belay.KindResolved))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		want, got := s.incidents(), s.keysOfEnded()
		if slices.Equal(want, got) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("of the incidents %v people know the end of %v; they were told %+v", want, got, s.slack.Parents())
		}
	}
	other.stop()
	if want := s.incidents(); len(s.slack.Parents()) != len(want) {
		t.Errorf("%d messages tell of %d incidents", len(s.slack.Parents()), len(want))
	}
}

// incidents are those that were opened, in order of their names.
func (s *stage) incidents() (ids []string) {
	for _, ev := range s.events() {
		if ev.Kind == belay.KindOpened {
			ids = append(ids, ev.Incident.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// keysOfEnded are the incidents whose message tells the end.
func (s *stage) keysOfEnded() (keys []string) {
	for _, m := range s.slack.Parents() {
		if strings.Contains(strings.ToLower(m.Text), "resolved") {
			keys = append(keys, m.Key())
		}
	}
	slices.Sort(keys)
	return keys
}
