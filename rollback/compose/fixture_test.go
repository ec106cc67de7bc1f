package compose_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/peers/dockerd"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/compose"
	"github.com/belaydev/belay/rollback/engine"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

// A stage is one engine with a proxy before it, on which each test has a
// project of its own.
type stage struct {
	*dockerd.Engine
	proxy    *dockerd.Proxy
	shop     string            // path of the program in the images
	images   map[string]string // body of a release → id of its image, while it is there
	projects atomic.Int64
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Engine: peers.StartEngine(t), images: map[string]string{}}
	s.shop = peers.ImportShop(t, s.Engine)
	var err error
	if s.proxy, err = s.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.proxy.Close() })
	return s
}

// A project is one project with one service, in the hands of a person.
type project struct {
	*stage
	testing.TB
	name     string
	began    time.Time
	bodies   map[string]string // name of a release → its body
	platform *compose.Platform
	target   belay.Target
	specs    *rollback.Specs
}

func (s *stage) project(t *testing.T) *project {
	t.Helper()
	p := &project{
		stage: s, TB: t, name: fmt.Sprintf("shop%d", s.projects.Add(1)), began: time.Now(), bodies: map[string]string{},
		specs: rollback.NewSpecs(filepath.Join(t.TempDir(), "specs")),
	}
	p.target = belay.Target{Service: belay.ServiceID{Environment: "production", Name: p.name}, Platform: "compose"}
	p.platform = p.newPlatform()
	t.Cleanup(func() {
		for _, c := range p.containers(context.WithoutCancel(t.Context())) {
			if _, err := s.API.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// newPlatform returns a Belay's view of the service.
func (p *project) newPlatform() *compose.Platform {
	p.Helper()
	made, err := compose.New(compose.Config{
		Project: p.name, Service: "web", Steady: 300 * time.Millisecond,
		Config: engine.Config{Host: p.proxy.Host, Poll: 50 * time.Millisecond},
	}, compose.Options{Specs: p.specs})
	if err != nil {
		p.Fatal(err)
	}
	return made
}

// harness is what the conformance suite wants.
func (p *project) harness() rollbacktest.Harness {
	broken := func(why string) func(testing.TB, string) {
		return func(_ testing.TB, name string) { p.up(p.release(name, "b", why), 1) }
	}
	return rollbacktest.Harness{
		Platform: p.platform,
		Target:   p.target,
		Deploy: func(_ testing.TB, name, body string) {
			p.bodies[name] = body
			p.up(p.release(name, body, ""), 1)
		},
		DeployBroken: broken("crash loop"),
		Breakages: []rollbacktest.Breakage{
			{Name: "crash loop", Deploy: broken("crash loop"), Says: "exit code 3"},
			{Name: "it ended", Deploy: broken("it ended"), Says: "it ended with exit code 3"},
			{Name: "health check", Deploy: broken("health check"), Says: "its health check fails: the shop runs: [check /nowhere] unwell"},
			{Name: "no such program", Deploy: broken("no such program"), Says: "no such file or directory"},
		},
		Restart: func(testing.TB) {
			now := 0
			for _, c := range p.containers(p.Context()) {
				if _, err := p.API.ContainerRestart(p.Context(), c.ID, client.ContainerRestartOptions{Timeout: &now}); err != nil {
					p.Fatal(err)
				}
			}
		},
		Scale: func(_ testing.TB, n int) {
			image := strings.TrimPrefix(p.containers(p.Context())[0].Image, "shop:")
			p.up(p.release("scaled", image, ""), n)
		},
		Instances: func(testing.TB) int { return len(p.containers(p.Context())) },
		EditLabel: func(testing.TB) {
			image := strings.TrimPrefix(p.containers(p.Context())[0].Image, "shop:")
			p.up(p.release("relabelled", image, ""), 1)
		},
		Remove: func(_ testing.TB, name string) {
			if _, err := p.API.ImageRemove(p.Context(), p.images[p.bodies[name]], client.ImageRemoveOptions{Force: true}); err != nil {
				p.Error(err)
			}
			delete(p.images, p.bodies[name])
		},
		RestoreLost: func(ctx context.Context, op belay.Operation) error {
			p.proxy.LoseOnce(func(c dockerd.Change) bool { return c.Path == "/containers/create" })
			return p.platform.Restore(ctx, op)
		},
		Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
			p.proxy.HoldOnce(func(path string) bool { return strings.HasSuffix(path, "/rename") }, meanwhile)
			return p.platform.Restore(ctx, op)
		},
		History: func(testing.TB) []rollbacktest.Change { return p.history() },
		Wait:    30 * time.Second,
	}
}

// release is what Compose makes containers of: its body is an image.
func (p *project) release(name, body, why string) client.ContainerCreateOptions {
	p.Helper()
	image := "shop:" + body
	if p.images[body] == "" {
		if err := p.Import(p.Context(), dockerd.Image{Name: image, Program: p.shop, Changes: []string{"LABEL image=" + image}}); err != nil {
			p.Fatal(err)
		}
		found, err := p.API.ImageInspect(p.Context(), image)
		if err != nil {
			p.Fatal(err)
		}
		p.images[body] = found.ID
	}
	soon := 1
	config := &container.Config{Image: image, StopTimeout: &soon, Labels: map[string]string{
		"com.docker.compose.project": p.name, "com.docker.compose.service": "web", "com.docker.compose.oneoff": "False",
		"com.docker.compose.config-hash": name, "release": name,
	}}
	host := &container.HostConfig{NetworkMode: "host", RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}}
	switch why {
	case "crash loop":
		config.Cmd = []string{"die"}
	case "it ended":
		config.Cmd, host.RestartPolicy = []string{"die"}, container.RestartPolicy{}
	case "health check":
		config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app", "check", "/nowhere"}, Interval: 50 * time.Millisecond, Retries: 1}
	case "no such program":
		config.Entrypoint = []string{"/nowhere"}
	}
	return client.ContainerCreateOptions{Config: config, HostConfig: host}
}

// containers are those of the project, by number.
func (p *project) containers(ctx context.Context) []container.Summary {
	p.Helper()
	list, err := p.API.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", "com.docker.compose.project="+p.name)})
	if err != nil {
		p.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b container.Summary) int { return strings.Compare(a.Names[0], b.Names[0]) })
	return list.Items
}

// up does what `docker-compose up --detach --scale web=n` does: each container
// whose configuration has changed is renamed, a new one made and started in its
// place, and the old one removed. What is not there any more when it comes to it
// is not there any more.
func (p *project) up(release client.ContainerCreateOptions, n int) {
	p.Helper()
	had := p.containers(p.Context())
	gone := func(err error) {
		if err != nil && !strings.Contains(err.Error(), "No such container") && !strings.Contains(err.Error(), "already in progress") {
			p.Error(err)
		}
	}
	for number := 1; number <= max(n, len(had)); number++ {
		name := fmt.Sprintf("%s_web_%d", p.name, number)
		var old []string
		same := false
		for _, c := range had {
			if c.Labels["com.docker.compose.container-number"] != strconv.Itoa(number) {
				continue
			}
			if same = number <= n && c.Labels["release"] == release.Config.Labels["release"] && c.ImageID == p.images[strings.TrimPrefix(release.Config.Image, "shop:")]; same {
				continue
			}
			_, err := p.API.ContainerRename(p.Context(), c.ID, client.ContainerRenameOptions{NewName: c.ID[:12] + "_" + name})
			gone(err)
			old = append(old, c.ID)
		}
		if number <= n && !same {
			config := *release.Config
			config.Labels = map[string]string{"com.docker.compose.container-number": strconv.Itoa(number)}
			maps.Copy(config.Labels, release.Config.Labels)
			p.make(name, &config, release.HostConfig)
		}
		for _, id := range old {
			_, err := p.API.ContainerRemove(p.Context(), id, client.ContainerRemoveOptions{Force: true})
			gone(err)
		}
	}
}

// make makes and starts a container. A rollback that holds the name at this
// moment gives it up again, or is itself what people then see.
func (p *project) make(name string, config *container.Config, host *container.HostConfig) {
	p.Helper()
	for try := 1; ; try++ {
		made, err := p.API.ContainerCreate(p.Context(), client.ContainerCreateOptions{Name: name, Config: config, HostConfig: host})
		if err == nil {
			_, _ = p.API.ContainerStart(p.Context(), made.ID, client.ContainerStartOptions{}) // one that cannot start is what some tests want
			return
		}
		if try == 100 || !strings.Contains(err.Error(), "Conflict") {
			p.Fatal(err)
		}
		if _, err := p.API.ContainerRemove(p.Context(), name, client.ContainerRemoveOptions{Force: true}); err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// history is what the engine itself tells: each container made for the service
// that runs something else than the one before.
func (p *project) history() []rollbacktest.Change {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	stamp := func(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
	events := p.API.Events(ctx, client.EventsListOptions{
		Since: stamp(p.began), Until: stamp(time.Now()),
		Filters: make(client.Filters).Add("type", "container").Add("event", "create").Add("label", "com.docker.compose.project="+p.name),
	})
	contents := map[string]belay.Content{}
	if revs, err := p.platform.Revisions(ctx, p.target); err == nil {
		for _, r := range revs {
			contents[r.Version] = r.Content
		}
	}
	var out []rollbacktest.Change
	var ran belay.Content
	for {
		select {
		case e := <-events.Messages:
			runs := contents[strings.TrimPrefix(e.Actor.Attributes["image"], "shop:")]
			if e.Actor.Attributes["release"] == "broken" || runs == "" {
				runs = belay.Content(e.Actor.Attributes["image"])
			}
			by := rollbacktest.ByDeploy
			if op := e.Actor.Attributes["dev.belay.operation"]; op != "" {
				by = op
			}
			if runs != ran {
				out = append(out, rollbacktest.Change{At: time.Unix(0, e.TimeNano), By: by, From: ran, To: runs})
			}
			ran = runs
		case err := <-events.Err:
			if !errors.Is(err, io.EOF) {
				p.Errorf("the engine's events: %v", err)
			}
			return out
		}
	}
}
