package compose_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers/dockerd"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

// TestOnARealEngine shares one engine among everything that wants one.
func TestOnARealEngine(t *testing.T) {
	s := newStage(t)
	t.Run("conformance", func(t *testing.T) {
		rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness { return s.project(t).harness() })
	})
	for name, test := range map[string]func(*project){
		"what docker-compose has made is restored as it was":         (*project).testRealCompose,
		"an image whose tag moved on is kept from being pruned":      (*project).testKeptImage,
		"a container that does not start leaves the one before":      (*project).testUndo,
		"a Belay that died half-way is finished by its repetition":   (*project).testResume,
		"a container of `docker-compose run` is none of the service": (*project).testOneOff,
	} {
		t.Run(name, func(t *testing.T) { test(s.project(t)) })
	}
}

func (p *project) state() belay.State {
	p.Helper()
	st, err := p.platform.State(p.Context(), p.target)
	if err != nil {
		p.Fatal(err)
	}
	return st
}

func (p *project) converged(want belay.Content) {
	p.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		st := p.state()
		if st.Progress == belay.Converged && st.Revision.Content == want {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("it did not converge: %+v", st)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *project) goodThenBad() (good, bad belay.Revision) {
	p.Helper()
	p.up(p.release("v1", "a", ""), 1)
	good = p.state().Revision
	p.up(p.release("v2", "b", ""), 1)
	return good, p.state().Revision
}

func (p *project) operation(id string, seen, to belay.Revision) belay.Operation {
	return belay.Operation{ID: id, Target: p.target, Seen: seen.Content, To: to}
}

// testRealCompose deploys with the real docker-compose, twice; what comes back
// is what it had made, and it knows the container as its own.
func (p *project) testRealCompose() {
	command, err := exec.LookPath("docker-compose")
	if err != nil {
		if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
			p.Fatal("docker-compose is not here; scripts/test-deps installs it")
		}
		p.Skip("docker-compose is not here; scripts/test-deps installs it")
	}
	p.release("x", "a", "")
	p.release("x", "b", "")
	dir := p.TempDir()
	run := func(args ...string) string {
		p.Helper()
		cmd := exec.CommandContext(p.Context(), command, append([]string{"--project-name", p.name, "--ansi", "never"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), p.Env()...)
		said, err := cmd.CombinedOutput()
		if err != nil {
			p.Fatalf("docker-compose %v: %v\n%s", args, err, said)
		}
		return string(said)
	}
	up := func(image, greeting string) belay.Revision {
		p.Helper()
		file := "version: '3.7'\nservices:\n  web:\n    image: shop:" + image + "\n    network_mode: host\n    stop_grace_period: 1s\n    environment: {GREETING: " + greeting + "}\n    volumes: [\"data:/data\", \"/scratch\"]\nvolumes: {data: {}}\n"
		if err := os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(file), 0o600); err != nil {
			p.Fatal(err)
		}
		run("up", "--detach")
		return p.state().Revision
	}
	defer run("down", "--volumes", "--timeout", "1")
	good := up("a", "hello")
	before := p.containers(p.Context())[0]
	bad := up("b", "hi")
	run("up", "--detach", "--force-recreate")
	if again := p.state().Revision; again.Content != bad.Content || bad.Content == good.Content {
		p.Errorf("made anew it is %s, want %s as before", again.Content, bad.Content)
	}
	if err := p.platform.Restore(p.Context(), p.operation("op", bad, good)); err != nil {
		p.Fatal(err)
	}
	p.converged(good.Content)
	after := p.containers(p.Context())
	if len(after) != 1 || after[0].Image != "shop:a" || after[0].Names[0] != before.Names[0] || after[0].Labels["com.docker.compose.config-hash"] != before.Labels["com.docker.compose.config-hash"] {
		p.Errorf("%+v runs, want what docker-compose had made: %+v", after, before)
	}
	found, err := p.API.ContainerInspect(p.Context(), after[0].ID, client.ContainerInspectOptions{})
	if err != nil || !slices.Contains(found.Container.Config.Env, "GREETING=hello") {
		p.Errorf("its environment is %v, %v; want the greeting of before", found.Container.Config.Env, err)
	}
	if said := run("ps"); !strings.Contains(said, before.Names[0][1:]) {
		p.Errorf("docker-compose does not know it:\n%s", said)
	}
	if again := up("b", "hi"); again.Content != bad.Content {
		p.Errorf("docker-compose deploys %s, want %s", again.Content, bad.Content)
	}
}

func (p *project) testKeptImage() {
	defer delete(p.images, "moving")
	p.up(p.release("v1", "moving", ""), 1)
	good := p.state().Revision
	id := p.images["moving"]
	p.up(p.release("v2", "b", ""), 1)
	bad := p.state().Revision
	if err := p.Import(p.Context(), dockerd.Image{Name: "shop:moving", Program: p.shop, Changes: []string{"LABEL image=another"}}); err != nil {
		p.Fatal(err)
	}
	if _, err := p.API.ImagePrune(p.Context(), client.ImagePruneOptions{Filters: make(client.Filters).Add("dangling", "true")}); err != nil {
		p.Fatal(err)
	}
	if err := p.platform.Restore(p.Context(), p.operation("op", bad, good)); err != nil {
		p.Fatal(err)
	}
	if now := p.containers(p.Context()); len(now) != 1 || now[0].ImageID != id {
		p.Errorf("%+v runs, want the image %s", now, id)
	}
	if st := p.state(); st.Revision.Content != good.Content {
		p.Errorf("the content is %s, want %s", st.Revision.Content, good.Content)
	}
}

func (p *project) testUndo() {
	p.up(p.release("v1", "a", "no such program"), 1)
	good := p.state().Revision
	p.up(p.release("v2", "b", ""), 1)
	bad := p.state().Revision
	if err := p.platform.Restore(p.Context(), p.operation("op", bad, good)); err == nil || errors.Is(err, belay.ErrSuperseded) || !strings.Contains(err.Error(), "the one before runs again") {
		p.Errorf("Restore returned %v, want an error that says what runs", err)
	}
	p.converged(bad.Content)
	if now := p.containers(p.Context()); len(now) != 1 || strings.Contains(now[0].Names[0], "belay") {
		p.Errorf("what is there: %+v, want the one container under its own name", now)
	}
}

// testResume cuts the way of an operation after each of its steps.
func (p *project) testResume() {
	for _, step := range []string{"/rename", "/create", "/stop", "/start", "DELETE"} {
		good, bad := p.goodThenBad()
		p.proxy.LoseOnce(func(c dockerd.Change) bool {
			return strings.HasSuffix(c.Path, step) || c.Method == step
		})
		op := p.operation("op"+step, bad, good)
		if err := p.platform.Restore(p.Context(), op); err == nil {
			p.Errorf("after %s the answer was lost, and Restore returned no error", step)
		}
		restarted := p.newPlatform()
		before := len(p.history())
		if err := restarted.Restore(p.Context(), op); err != nil {
			p.Errorf("after %s: %v", step, err)
		}
		if made := len(p.history()) - before; made > 1 || (made == 1 && step != "/rename") {
			p.Errorf("after %s the repetition made %d containers", step, made)
		}
		p.converged(good.Content)
		if now := p.containers(p.Context()); len(now) != 1 || now[0].ImageID != p.images["a"] || strings.Contains(now[0].Names[0], "belay") {
			p.Errorf("after %s there is %+v, want one container under its own name", step, now)
		}
		p.up(p.release("v0", "c", ""), 1)
	}
}

func (p *project) testOneOff() {
	good, _ := p.goodThenBad()
	once := p.release("once", "a", "")
	once.Config.Labels["com.docker.compose.oneoff"], once.Config.Labels["com.docker.compose.container-number"] = "True", "1"
	p.make(p.name+"_web_run_1", once.Config, once.HostConfig)
	if st := p.state(); st.Revision.Content == good.Content {
		p.Error("a container of a person's run is taken for a deployment")
	}
	if _, err := p.newPlatform().State(p.Context(), belay.Target{}); err != nil {
		p.Error(err)
	}
	if err := p.platform.Restore(p.Context(), p.operation("op", p.state().Revision, belay.Revision{Content: "sha256:00"})); !errors.Is(err, rollback.ErrNoSpec) {
		p.Errorf("Restore of what was never seen: %v, want ErrNoSpec", err)
	}
}
