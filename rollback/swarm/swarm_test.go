package swarm_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/swarm"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers/dockerd"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

// TestOnARealSwarm shares one engine among everything that wants a swarm.
func TestOnARealSwarm(t *testing.T) {
	s := newStage(t)
	t.Run("conformance", func(t *testing.T) {
		rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness { return s.service(t).harness() })
	})
	for name, test := range map[string]func(*service){
		"a Belay that was restarted restores what Swarm has forgotten": (*service).testForgotten,
		"two Belays that know nothing of each other restore once":      (*service).testTwoBelays,
		"Swarm's own rollback is waited for":                           (*service).testNativeRollback,
		"the CLI filling in its defaults is no deployment":             (*service).testDefaults,
		"an image whose tag has moved cannot be restored":              (*service).testMovedTag,
	} {
		t.Run(name, func(t *testing.T) { test(s.service(t)) })
	}
}

func (s *service) state() belay.State {
	s.Helper()
	st, err := s.platform.State(s.Context(), s.target)
	if err != nil {
		s.Fatal(err)
	}
	return st
}

func (s *service) until(what string, ok func(belay.State) bool) belay.State {
	s.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		st := s.state()
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			s.Fatalf("never: %s: %+v", what, st)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *service) testForgotten() {
	s.deploy("v1", s.spec("a"))
	good := s.state().Revision
	s.deploy("v2", s.spec("b"))
	s.state()
	s.deploy("v3", s.spec("c"))
	bad := s.state().Revision
	restarted := s.newPlatform(s.specs)
	revs, err := restarted.Revisions(s.Context(), s.target)
	if err != nil || len(revs) != 3 || revs[0].Content != bad.Content || revs[2].Content != good.Content || revs[2].Missing {
		s.Fatalf("Revisions: %+v, %v; want c, b, a", revs, err)
	}
	if err := restarted.Restore(s.Context(), belay.Operation{ID: "op", Target: s.target, Seen: bad.Content, To: good}); err != nil {
		s.Fatal(err)
	}
	if now := s.now().Spec.TaskTemplate.ContainerSpec.Image; now != "shop:a" {
		s.Errorf("%s runs, want shop:a", now)
	}
	unknowing := s.newPlatform(rollback.NewSpecs(filepath.Join(s.TempDir(), "empty")))
	if err := unknowing.Restore(s.Context(), belay.Operation{ID: "op-2", Target: s.target, Seen: good.Content, To: belay.Revision{Content: "sha256:00"}}); !errors.Is(err, rollback.ErrNoSpec) {
		s.Errorf("Restore of what was never seen: %v, want ErrNoSpec", err)
	}
}

func (s *service) testTwoBelays() {
	s.deploy("v1", s.spec("a"))
	good := s.state().Revision
	s.deploy("v2", s.spec("b"))
	bad := s.state().Revision
	other := s.newPlatform(rollback.NewSpecs(filepath.Join(s.TempDir(), "other")))
	if revs, err := other.Revisions(s.Context(), s.target); err != nil || len(revs) != 2 {
		s.Fatalf("the other Belay, which came later, knows %+v, %v; want also what Swarm remembers", revs, err)
	}
	before := len(s.history())
	op := belay.Operation{ID: "op", Target: s.target, Seen: bad.Content, To: good}
	done := make(chan error, 1)
	go func() { done <- other.Restore(s.Context(), op) }()
	if err := s.platform.Restore(s.Context(), op); err != nil {
		s.Errorf("this Belay: %v", err)
	}
	if err := <-done; err != nil {
		s.Errorf("the other Belay: %v", err)
	}
	if got := s.history()[before:]; len(got) != 1 || got[0].By != "op" {
		s.Errorf("changes of content: %+v, want one by op", got)
	}
}

func (s *service) testNativeRollback() {
	auto := func(spec api.ServiceSpec) api.ServiceSpec {
		spec.UpdateConfig.FailureAction = api.UpdateFailureActionRollback
		spec.UpdateConfig.Monitor = 2 * time.Second
		spec.RollbackConfig = &api.UpdateConfig{Parallelism: 1, Monitor: 100 * time.Millisecond}
		return spec
	}
	s.deploy("v1", auto(s.spec("a")))
	good := s.until("v1 runs", func(st belay.State) bool { return st.Progress == belay.Converged })
	if good.Owner != "" {
		s.Errorf("while nothing is updated the owner is %q, want nobody", good.Owner)
	}
	s.deploy("v2", auto(s.broken("crash loop")))
	s.until("Swarm is seen to own the update", func(st belay.State) bool {
		return st.Revision.Content != good.Revision.Content && strings.Contains(st.Owner, "failure_action")
	})
	s.until("Swarm has rolled back", func(st belay.State) bool {
		return st.Revision.Content == good.Revision.Content && st.Progress == belay.Converged && st.Owner == "" && st.Operation == ""
	})
}

func (s *service) testDefaults() {
	docker, err := exec.LookPath("docker")
	if err != nil {
		s.Skip("docker is not here")
	}
	s.deploy("v1", s.spec("a"))
	before := s.state()
	cmd := exec.CommandContext(s.Context(), docker, "service", "update", "--detach", "--no-resolve-image", "--label-add", "team=shop", "--rollback-parallelism", "2", s.name)
	cmd.Env = append(os.Environ(), s.Env()...)
	if said, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%v\n%s", err, said)
	}
	if s.now().Spec.Labels["team"] != "shop" {
		s.Fatal("the CLI changed nothing")
	}
	if after := s.state(); after.Revision.Content != before.Revision.Content || !after.ChangedAt.Equal(before.ChangedAt) {
		s.Errorf("after an update of labels by the CLI %+v, want the content of %+v", after, before)
	}
}

func (s *service) testMovedTag() {
	program := filepath.Join(s.TempDir(), "program")
	if err := os.WriteFile(program, []byte("one"), 0o700); err != nil {
		s.Fatal(err)
	}
	tag := func(label string) {
		s.Helper()
		if err := s.Import(s.Context(), dockerd.Image{Name: "shop:moving", Program: program, Changes: []string{"LABEL release=" + label}}); err != nil {
			s.Fatal(err)
		}
	}
	tag("1")
	moving := s.spec("a")
	moving.TaskTemplate.ContainerSpec.Image = "shop:moving"
	s.deploy("v1", moving)
	good := s.state().Revision
	s.deploy("v2", s.spec("b"))
	bad := s.state().Revision
	missing := func() string {
		s.Helper()
		revs, err := s.platform.Revisions(s.Context(), s.target)
		if err != nil || len(revs) != 2 {
			s.Fatalf("%+v, %v", revs, err)
		}
		return revs[1].Detail
	}
	if why := missing(); why != "" {
		s.Errorf("while the tag stands: %s", why)
	}
	tag("2")
	if why := missing(); !strings.Contains(why, "names another image") {
		s.Errorf("after the tag has moved the revision is missing because %q", why)
	}
	if err := s.platform.Restore(context.WithoutCancel(s.Context()), belay.Operation{ID: "op", Target: s.target, Seen: bad.Content, To: good}); err == nil {
		s.Error("Restore put another image in place than the one that was good")
	}
}
