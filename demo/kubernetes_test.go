package demo

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/belaydev/belay/peers/plane"
	"github.com/belaydev/belay/rollback/command/releases"
)

func TestASceneInAClusterServesFromItsPodsAndRecordsWhatChanged(t *testing.T) {
	t.Parallel()
	plane.Require(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScene(t.Context(), sceneOptions{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Binary: binary, Platform: PlatformKubernetes, Fault: FaultErrors, Tempo: drill, Rate: requestRate,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err, s.Close(t.Context()))
	}
	eventually(t, "the good version answers", func() bool { return s.load.stint(0).Good > 20 })
	if err := s.Release(t.Context(), nextVersion); err != nil {
		t.Error(err)
	}
	eventually(t, "the bad version fails", func() bool { return s.load.stint(1).Errors > 3 })
	p := s.platform.(*podsPlatform)
	patch := `{"metadata":{"annotations":{"belay.dev/operation":"{\"id\":\"op-1\"}"}},` +
		`"spec":{"template":{"spec":{"containers":[{"name":"checkout","image":"checkout:1.41.3"}]}}}}`
	if _, err := p.plane.Kubectl(t.Context(), "", "-n", shopNamespace, "patch", "deployment", serviceName, "-p", patch); err != nil {
		t.Error(err)
	}
	eventually(t, "the good version answers again", func() bool { return s.load.stint(2).Good > 20 })
	if got := s.load.stint(2); got.Version != goodVersion || got.Bad() > 0 || len(s.load.Stints()) != 3 {
		t.Errorf("after the rollback: %+v of %d stints", got, len(s.load.Stints()))
	}
	if err := s.Close(t.Context()); err != nil { // the Deployment's own revisions disagree
		t.Error(err)
	}
	changes, err := p.Changes()
	if err != nil {
		t.Fatal(err)
	}
	for i := range changes {
		changes[i].From, changes[i].To = nameOf(changes[i].From), nameOf(changes[i].To)
	}
	want := []releases.Change{
		{By: releases.ByDeploy, From: "-", To: goodVersion},
		{By: releases.ByDeploy, From: goodVersion, To: nextVersion},
		{By: "op-1", From: nextVersion, To: goodVersion},
	}
	if d := cmp.Diff(want, changes, cmpopts.IgnoreFields(releases.Change{}, "At")); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}
