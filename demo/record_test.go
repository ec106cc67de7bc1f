package demo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belaydev/belay/rollback/command/releases"
)

func TestARecordTellsWhoChangedADeployment(t *testing.T) {
	t.Parallel()
	state := func(image string, notes map[string]string) *appsv1.Deployment {
		d := &appsv1.Deployment{}
		d.Annotations = notes
		d.Spec.Template.Spec.Containers = []corev1.Container{{Image: image}}
		return d
	}
	by := func(key, value string) map[string]string { return map[string]string{key: value} }
	scaled := state("checkout:1.42.0", by(releaseNote, "b"))
	scaled.Spec.Replicas = new(int32)
	states := []*appsv1.Deployment{
		nil,
		state("checkout:1.41.3", by(releaseNote, "a")),
		state("checkout:1.42.0", by(releaseNote, "b")),
		scaled,
		state("checkout:1.41.3@sha256:aa", by(operationNote, `{"id":"op-1"}`)),
		state("checkout:1.41.3@sha256:aa", by(operationNote, `{"id":"op-1","at":"later"}`)),
		state("checkout:1.42.0", by(operationNote, `{"id":"op-1","at":"later"}`)),
	}
	r := recordOfDeployment{}
	var took []string
	if err := r.open(t.TempDir()+"/platform.log", func(version string) { took = append(took, version) }); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(states); i++ {
		r.see(states[i-1], states[i])
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	good, bad, pinned := tagOf(states[1].Spec.Template), tagOf(states[2].Spec.Template), tagOf(states[4].Spec.Template)
	want := []releases.Change{
		{By: releases.ByDeploy, From: "-", To: good},
		{By: releases.ByDeploy, From: good, To: bad},
		{By: "op-1", From: bad, To: pinned},
		{By: "op-1", To: pinned, Repeat: true},
		{By: releases.ByOutside, From: pinned, To: bad},
	}
	if d := cmp.Diff(want, r.all(), cmpopts.IgnoreFields(releases.Change{}, "At")); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"1.41.3", "1.42.0", "1.41.3", "1.42.0"}, took); d != "" {
		t.Errorf("versions that took over (-want +got):\n%s", d)
	}
	written, err := releases.ReadLog(r.file.Name())
	if err != nil || len(written) != len(want) {
		t.Errorf("platform.log: %d changes, %v", len(written), err)
	}
}
