package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

func TestTwoBelaysOnOneJournalTellPeopleOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	other := &stage{t: t, dir: s.dir, journal: s.journal, slack: s.slack}
	other.config = s.put("other.yml", strings.Replace(s.read("belay.yml"), "metrics: {path: metrics}", "metrics: {path: other-metrics}", 1))
	s.start()
	s.await("one started", kind(belay.KindStarted))
	other.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("running", "v2")
	s.await("countdown", kind(belay.KindCountdown))
	s.stop() // the one that tells, with the incident open
	s.await("resolved", kind(belay.KindResolved))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		parents := s.slack.Parents()
		if len(parents) == 1 && strings.Contains(strings.ToLower(parents[0].Text), "resolved") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("people were told %+v", parents)
		}
	}
	other.stop()
	if n := len(s.slack.Parents()); n != 1 {
		t.Errorf("%d parent messages", n)
	}
	if ops := s.operations(); len(ops) != 1 || s.running() != "v1" {
		t.Errorf("operations %v, %s runs", ops, s.running())
	}
}
