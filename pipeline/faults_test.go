package pipeline_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay"
)

func TestTheLoopCloses(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("running", "v2")
	resolved := s.await("resolved", kind(belay.KindResolved))
	s.await("the review", kind(belay.KindReview))
	if ops := s.operations(); len(ops) != 1 || s.running() != "v1" {
		t.Errorf("operations %v, %s runs", ops, s.running())
	}
	if n := len(s.slack.Parents()); n != 1 {
		t.Errorf("%d parent messages", n)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "reviews", resolved.Incident.ID+".md")); err != nil {
		t.Error(err)
	}
	// v2's own series are gone since the rollback, and that alone proved
	// nothing: the proof is a rule that passed on newer samples.
	healthy := s.await("proof", kind(belay.KindHealthy))
	converged := s.await("converged", kind(belay.KindConverged))
	if !healthy.At.After(converged.At) {
		t.Errorf("proved at %s, converged at %s", healthy.At, converged.At)
	}
	ended := s.await("the alert ends", func(ev belay.Event) bool {
		return ev.Alert != nil && ev.Alert.Rule == "CheckoutErrors" && ev.Alert.State == belay.AlertInactive
	})
	if !strings.Contains(ended.Reason, "gone") {
		t.Errorf("the alert of v2 ended because %q, want its series to be gone", ended.Reason)
	}
}

func TestATargetThatStopsAnsweringNeitherActsNorResolves(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("running", "v2")
	s.await("firing", func(ev belay.Event) bool { return ev.Alert != nil && ev.Alert.State == belay.AlertFiring })
	s.setDeaf(true)
	refused := s.await("refused", func(ev belay.Event) bool { return ev.Rollback != nil && ev.Rollback.State == belay.RollbackRefused })
	if !strings.Contains(refused.Reason, "unknown") && !strings.Contains(refused.Reason, "older than") && !strings.Contains(refused.Reason, "not enough") {
		t.Errorf("refused because %q", refused.Reason)
	}
	time.Sleep(3 * time.Second) // long after every window of the rules
	s.expectNoAct()
	for _, ev := range s.events() {
		if ev.Kind == belay.KindResolved || ev.Alert != nil && ev.Alert.State == belay.AlertInactive {
			t.Errorf("it resolved without seeing anything: %s", ev.Reason)
		}
	}
	s.setDeaf(false)
	s.await("recovered once it answers", kind(belay.KindRecovered))
}

func TestAFullDiskActsOnNothingAndTellsPeople(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	s := newStage(t, disk)
	s.start()
	s.await("v1 known good", standing(belay.Good))
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	s.put("running", "v2")
	deadline := time.Now().Add(20 * time.Second)
	for !toldOf(s, "journal") && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if !toldOf(s, "journal") {
		t.Error("nobody was told that the journal cannot be written")
	}
	time.Sleep(2 * time.Second)
	s.expectNoAct()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.await("recovered once there is room", kind(belay.KindRecovered))
	if ops := s.operations(); len(ops) != 1 {
		t.Errorf("operations %v", ops)
	}
}

func toldOf(s *stage, word string) bool {
	b, _ := json.Marshal(s.slack.Snapshot())
	return strings.Contains(string(b), word)
}

// smallDisk mounts a file system of 2 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			t.Fatalf("no small disk: %v", err)
		}
		t.Skipf("a small disk needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes until there is no room for a page.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

func TestACommandThatHangsIsEndedAndAskedAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.put("belay.yml", strings.Replace(s.read("belay.yml"), "timeout: 30s", "timeout: 2s", 1))
	s.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("fault", "hang")
	s.put("running", "v2")
	s.await("intended", kind(belay.KindIntent))
	time.Sleep(3 * time.Second) // longer than the command may take
	s.expectNoAct()
	s.put("fault", "")
	s.await("recovered", kind(belay.KindRecovered))
	if ops := s.operations(); len(ops) != 1 {
		t.Errorf("operations %v", ops)
	}
}

func TestACommandThatPrintsRubbishActsOnNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.start()
	s.await("v1 known good", standing(belay.Good))
	s.put("running", "v2")
	s.await("v2 seen", func(ev belay.Event) bool { return ev.Deployment != nil && ev.Deployment.To.Version == "v2" })
	s.put("fault", "rubbish")
	refused := s.await("refused", func(ev belay.Event) bool {
		return ev.Rollback != nil && (ev.Kind == belay.KindRefused || ev.Kind == belay.KindStop) && strings.Contains(ev.Reason, "does not say")
	})
	if !strings.Contains(refused.Reason, "502 Bad Gateway") {
		t.Errorf("the reason does not show what the command printed: %s", refused.Reason)
	}
	time.Sleep(time.Second)
	s.expectNoAct()
	s.put("fault", "")
	s.await("recovered", kind(belay.KindRecovered))
}

func TestASecondCriticalAlertDuringTheSoakKeepsTheRevisionFromBeingGood(t *testing.T) {
	t.Parallel()
	s := newStage(t, "")
	s.start()
	s.await("soaking", standing(belay.Soaking))
	s.put("queue", "long")
	s.await("a candidate again", standing(belay.Candidate))
	s.await("the other alert fires", func(ev belay.Event) bool {
		return ev.Alert != nil && ev.Alert.Rule == "CheckoutQueue" && ev.Alert.State == belay.AlertFiring
	})
	time.Sleep(2 * time.Second) // longer than a soak
	for _, ev := range s.events() {
		if standing(belay.Good)(ev) {
			t.Fatal("known good, although a critical alert fires")
		}
	}
	if err := os.Remove(filepath.Join(s.dir, "queue")); err != nil {
		t.Fatal(err)
	}
	s.await("known good in the end", standing(belay.Good))
}
