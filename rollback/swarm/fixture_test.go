package swarm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/mount"
	api "github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/peers/dockerd"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/engine"
	"github.com/belaydev/belay/rollback/rollbacktest"
	"github.com/belaydev/belay/rollback/swarm"
)

// A stage is a swarm of one engine, with a proxy before it, on which each test
// has a service of its own.
type stage struct {
	*dockerd.Engine
	proxy    *dockerd.Proxy
	services atomic.Int64
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Engine: peers.StartEngine(t)}
	if err := s.InitSwarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	peers.ImportShop(t, s.Engine, "shop:a", "shop:b", "shop:c")
	var err error
	if s.proxy, err = s.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.proxy.Close() })
	return s
}

// A service is one service of the swarm, in the hands of a person.
type service struct {
	*stage
	testing.TB
	name     string
	configs  map[string]string // release body → id of its config
	bodies   map[string]string // name of a release → its body
	platform *swarm.Platform
	target   belay.Target
	specs    *rollback.Specs
}

func (s *stage) service(t *testing.T) *service {
	t.Helper()
	svc := &service{
		stage: s, TB: t, name: fmt.Sprintf("shop%d", s.services.Add(1)), configs: map[string]string{}, bodies: map[string]string{},
		specs: rollback.NewSpecs(filepath.Join(t.TempDir(), "specs")),
	}
	svc.target = belay.Target{Service: belay.ServiceID{Environment: "production", Name: svc.name}, Platform: "swarm"}
	svc.platform = svc.newPlatform(svc.specs)
	t.Cleanup(func() {
		_, _ = s.API.ServiceRemove(context.WithoutCancel(t.Context()), svc.name, client.ServiceRemoveOptions{}) // if it was ever deployed
	})
	return svc
}

// newPlatform returns a Belay's view of the service.
func (s *service) newPlatform(specs *rollback.Specs) *swarm.Platform {
	s.Helper()
	p, err := swarm.New(swarm.Config{Service: s.name, Config: engine.Config{Host: s.proxy.Host, Poll: 50 * time.Millisecond}}, swarm.Options{Specs: specs})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// harness is what the conformance suite wants.
func (s *service) harness() rollbacktest.Harness {
	return rollbacktest.Harness{
		Platform: s.platform,
		Target:   s.target,
		Deploy: func(_ testing.TB, name, body string) {
			s.bodies[name] = body
			s.deploy(name, s.spec(body))
		},
		DeployBroken: func(_ testing.TB, name string) { s.deploy(name, s.broken("crash loop")) },
		Breakages: []rollbacktest.Breakage{
			{Name: "image pull", Deploy: func(_ testing.TB, name string) { s.deploy(name, s.broken("image pull")) }, Says: "no such image: shop:nowhere"},
			{Name: "crash loop", Deploy: func(_ testing.TB, name string) { s.deploy(name, s.broken("crash loop")) }, Says: "non-zero exit (3)"},
			{Name: "unschedulable", Deploy: func(_ testing.TB, name string) { s.deploy(name, s.broken("unschedulable")) }, Says: "no suitable node (scheduling constraints not satisfied on 1 node)"},
			{Name: "quota", Deploy: func(_ testing.TB, name string) { s.deploy(name, s.broken("quota")) }, Says: "insufficient resources on 1 node"},
		},
		Scale: func(_ testing.TB, n int) {
			s.change(func(spec *api.ServiceSpec) { many := uint64(n); spec.Mode.Replicated.Replicas = &many })
		},
		Instances: func(testing.TB) int { return int(*s.now().Spec.Mode.Replicated.Replicas) },
		EditLabel: func(testing.TB) {
			s.change(func(spec *api.ServiceSpec) { spec.Labels["note"] = time.Now().String() })
		},
		Restart: func(testing.TB) { s.change(func(spec *api.ServiceSpec) { spec.TaskTemplate.ForceUpdate++ }) },
		Remove: func(_ testing.TB, name string) {
			if _, err := s.API.ConfigRemove(s.Context(), s.configs[s.bodies[name]], client.ConfigRemoveOptions{}); err != nil {
				s.Error(err)
			}
		},
		RestoreLost: func(ctx context.Context, op belay.Operation) error {
			s.proxy.LoseOnce(func(c dockerd.Change) bool { return strings.HasSuffix(c.Path, "/update") })
			return s.platform.Restore(ctx, op)
		},
		Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
			s.proxy.HoldOnce(func(path string) bool { return strings.HasSuffix(path, "/update") }, meanwhile)
			return s.platform.Restore(ctx, op)
		},
		History: func(testing.TB) []rollbacktest.Change { return s.history() },
		Wait:    30 * time.Second,
	}
}

// spec is a release: its body is an image and a config of the swarm.
func (s *service) spec(body string) api.ServiceSpec {
	s.Helper()
	if s.configs[body] == "" {
		made, err := s.API.ConfigCreate(s.Context(), client.ConfigCreateOptions{Spec: api.ConfigSpec{Annotations: api.Annotations{Name: s.name + "-" + body}, Data: []byte(body)}})
		if err != nil {
			s.Fatal(err)
		}
		s.configs[body] = made.ID
	}
	one, grace, delay := uint64(1), 100*time.Millisecond, 300*time.Millisecond
	return api.ServiceSpec{
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{
				Image: "shop:" + body, StopGracePeriod: &grace,
				Configs: []*api.ConfigReference{{ConfigID: s.configs[body], ConfigName: s.name + "-" + body, File: &api.ConfigReferenceFileTarget{Name: "/release", UID: "0", GID: "0", Mode: 0o444}}},
				Mounts:  []mount.Mount{{Type: mount.TypeTmpfs, Target: "/scratch"}},
			},
			RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny, Delay: &delay},
			Networks:      []api.NetworkAttachmentConfig{{Target: "host"}},
		},
		Mode:         api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &one}},
		UpdateConfig: &api.UpdateConfig{Parallelism: 1, Monitor: 200 * time.Millisecond, FailureAction: api.UpdateFailureActionPause, Order: api.UpdateOrderStartFirst},
	}
}

// broken is a release that never converges.
func (s *service) broken(why string) api.ServiceSpec {
	s.Helper()
	spec := s.spec("b")
	switch task := &spec.TaskTemplate; why {
	case "image pull":
		task.ContainerSpec.Image = "shop:nowhere"
	case "crash loop":
		task.ContainerSpec.Args = []string{"die"}
	case "unschedulable":
		task.Placement = &api.Placement{Constraints: []string{"node.labels.disk==ssd"}}
	case "quota":
		task.Resources = &api.ResourceRequirements{Reservations: &api.Resources{NanoCPUs: 1e12}}
	}
	return spec
}

// now reads the service.
func (s *service) now() api.Service {
	s.Helper()
	res, err := s.API.ServiceInspect(s.Context(), s.name, client.ServiceInspectOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return res.Service
}

// deploy does what `docker stack deploy` does: the whole specification is
// replaced, labels included.
func (s *service) deploy(release string, spec api.ServiceSpec) {
	s.Helper()
	spec.Name, spec.Labels = s.name, map[string]string{"release": release}
	if _, err := s.API.ServiceInspect(s.Context(), s.name, client.ServiceInspectOptions{}); err == nil {
		s.change(func(now *api.ServiceSpec) { *now = spec })
		return
	}
	c := s.person()
	defer func() { _ = c.Close() }()
	if _, err := c.ServiceCreate(s.Context(), client.ServiceCreateOptions{Spec: spec}); err != nil {
		s.Fatal(err)
	}
}

// change does what `docker service update` does: one edit of the present
// specification.
func (s *service) change(edit func(*api.ServiceSpec)) {
	s.Helper()
	c := s.person()
	defer func() { _ = c.Close() }()
	for try := 1; ; try++ {
		now, err := c.ServiceInspect(s.Context(), s.name, client.ServiceInspectOptions{})
		if err != nil {
			s.Fatal(err)
		}
		spec := now.Service.Spec
		edit(&spec)
		_, err = c.ServiceUpdate(s.Context(), s.name, client.ServiceUpdateOptions{Version: now.Service.Version, Spec: spec})
		if err == nil {
			return
		}
		if try == 20 || !strings.Contains(err.Error(), "out of sequence") {
			s.Fatal(err)
		}
	}
}

// person is somebody else's client, through the same proxy.
func (s *service) person() *client.Client {
	s.Helper()
	c, err := client.New(client.WithHost(s.proxy.Host))
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// history is what the engine has accepted: each specification that runs
// something else than the one before.
func (s *service) history() []rollbacktest.Change {
	s.Helper()
	var out []rollbacktest.Change
	contents := map[string]belay.Content{}
	if revs, err := s.platform.Revisions(s.Context(), s.target); err == nil {
		for _, r := range revs {
			contents[r.Version] = r.Content
		}
	}
	id, ran, images := "", "", 0
	for _, c := range s.proxy.Changes() {
		var spec api.ServiceSpec
		if !strings.HasPrefix(c.Path, "/services/") || json.Unmarshal(c.Body, &spec) != nil || spec.Name != s.name {
			continue
		}
		if c.Path == "/services/create" {
			var made api.ServiceCreateResponse
			if err := json.Unmarshal(c.Answer, &made); err != nil {
				s.Fatal(err)
			}
			id = made.ID
		}
		run := spec.TaskTemplate.ContainerSpec
		runs := strings.Join(append([]string{run.Image}, run.Args...), " ")
		if runs != ran {
			by := rollbacktest.ByDeploy
			if op := spec.Labels["dev.belay.operation"]; op != "" && spec.Labels["dev.belay.content"] != "" && spec.Labels["release"] != "" {
				by = op
			}
			out = append(out, rollbacktest.Change{At: c.At, By: by, From: named(contents, ran), To: named(contents, runs)})
			if i := len(out) - 1; i > 0 && image(ran) != image(runs) {
				images++
			}
		}
		ran = runs
	}
	if id != "" {
		s.agrees(id, images)
	}
	return out
}

// image is what of a release the swarm's events name.
func image(runs string) string {
	name, _, _ := strings.Cut(runs, " ")
	return name
}

// named is a release as the platform calls it.
func named(contents map[string]belay.Content, runs string) belay.Content {
	if c := contents[strings.TrimPrefix(runs, "shop:")]; c != "" {
		return c
	}
	return belay.Content(runs)
}

// agrees compares with what the swarm itself tells: its events name the images
// of each update.
func (s *service) agrees(id string, images int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	now := time.Now()
	events := s.API.Events(ctx, client.EventsListOptions{Since: "0", Until: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()), Filters: make(client.Filters).Add("type", "service").Add("service", id)})
	seen := 0
	for {
		select {
		case e := <-events.Messages:
			if e.Actor.ID == id && e.Actor.Attributes["image.new"] != "" {
				seen++
			}
			continue
		case err := <-events.Err:
			if !errors.Is(err, io.EOF) {
				s.Errorf("the swarm's events: %v", err)
			}
		}
		break
	}
	if seen != images {
		s.Errorf("the swarm's events tell of %d changes of the image, the requests that it accepted of %d", seen, images)
	}
}
