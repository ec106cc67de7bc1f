package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belaydev/belay/peers"
	"github.com/belaydev/belay/web"
)

// program finds a program that a test needs, or skips the test; where nothing
// may be skipped, it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	lacks(t, name)
	return ""
}

func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is not here; scripts/test-deps installs it", what)
	}
	t.Skipf("%s is not here; scripts/test-deps installs it", what)
}

// run runs a program to its end and returns what it said.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var said, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, said.String(), problems.String())
	}
	return said.String()
}

// engine starts a Docker Engine that shares nothing with any other on this
// host, and returns what leads clients to it. Containers use the host's
// network.
func engine(t *testing.T) []string {
	t.Helper()
	program(t, "docker")
	return peers.StartEngine(t).Env()
}

func eventually(t *testing.T, what string, limit time.Duration, ok func() error) {
	t.Helper()
	began := time.Now()
	deadline := began.Add(limit)
	for {
		err := ok()
		if err == nil {
			t.Logf("%s, after %s", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stage copies what docker-compose.yml refers to into a folder of its own, with
// other ports and shorter times, and builds the binaries into it.
func stage(t *testing.T) (dir, belay string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"deploy/Dockerfile", "deploy/shop/Dockerfile", "deploy/demo", "dashboards/provisioning", "dashboards/prometheus", "dashboards/grafana"} {
		from, to := filepath.Join("..", name), filepath.Join(dir, name)
		if info, err := os.Stat(from); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			if err := os.CopyFS(to, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		rewrite(t, from, to, strings.NewReplacer())
	}
	run(t, "..", []string{"OUT=" + filepath.Join(dir, "deploy", "bin")}, "./deploy/build")
	belay, shop := freeAddress(t), freeAddress(t)
	people := fmt.Sprintf("route: {receiver: people}\nreceivers: [{name: people, webhook_configs: [{url: %q}]}]\nreview:", mailbox(t))
	ports := strings.NewReplacer("127.0.0.1:9720", belay, "review:", people, "127.0.0.1:8080", shop,
		"soak: 45s", "soak: 3s", "veto: 20s", "veto: 1s", "recovery_hold: 20s", "recovery_hold: 2s")
	for _, name := range []string{"deploy/Dockerfile", "deploy/demo/belay.yml"} {
		rewrite(t, filepath.Join(dir, name), filepath.Join(dir, name), ports)
	}
	rewrite(t, "../docker-compose.yml", filepath.Join(dir, "docker-compose.yml"),
		strings.NewReplacer("network_mode: host\n    volumes: [\"releases:/releases\"]", "network_mode: host\n    command: [run, --listen, \""+shop+"\"]\n    volumes: [\"releases:/releases\"]"))
	return dir, "http://" + belay
}

// mailbox is where Belay's container tells people something, and returns its
// address. The test wants at least one message.
func mailbox(t *testing.T) string {
	t.Helper()
	var messages atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { messages.Add(1) }))
	t.Cleanup(func() {
		s.Close()
		if messages.Load() == 0 {
			t.Error("people were told nothing")
		}
	})
	return s.URL
}

func rewrite(t *testing.T, from, to string, words *strings.Replacer) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(words.Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return body, err
}

func TestDockerComposeFileIsClean(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), program(t, "docker-compose"), "--file", "../docker-compose.yml", "config", "--quiet")
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestImagesRunTogetherOnARealEngine builds both images from nothing, starts
// them as docker-compose.yml says, releases a bad version of the shop, and wants
// Belay, from its container, to take it back.
func TestImagesRunTogetherOnARealEngine(t *testing.T) {
	t.Parallel()
	compose, docker := program(t, "docker-compose"), program(t, "docker")
	env := engine(t)
	dir, belay := stage(t)
	project := []string{"--project-name", "belaytest", "--ansi", "never"}
	up := func(args ...string) { run(t, dir, env, compose, append(project, args...)...) }
	up("build", "belay", "shop")
	for _, image := range []string{"belay", "belay-demo-shop"} {
		if user := run(t, dir, env, docker, "image", "inspect", "--format", "{{.Config.User}}", image); user != "65534:65534\n" {
			t.Errorf("%s runs as %q", image, user)
		}
	}
	up("up", "--detach", "--no-deps", "shop", "belay")
	t.Cleanup(func() {
		for _, args := range [][]string{{"logs", "--no-color", "--tail=60"}, {"exec", "-T", "belay", "/belay", "service", "show", "checkout"}, {"exec", "-T", "belay", "/belay", "rollback", "plan", "checkout"}} {
			if !t.Failed() {
				break
			}
			c := exec.CommandContext(context.WithoutCancel(t.Context()), compose, append(project, args...)...)
			c.Dir, c.Env = dir, append(os.Environ(), env...)
			said, _ := c.CombinedOutput()
			t.Logf("%v said:\n%s", args, said)
		}
		down := exec.CommandContext(context.WithoutCancel(t.Context()), compose, append(project, "down", "--volumes", "--timeout", "5")...)
		down.Dir, down.Env = dir, append(os.Environ(), env...)
		if said, err := down.CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, said)
		}
	})
	eventually(t, "/-/ready answers 200", 30*time.Second, func() error { _, err := fetch(t.Context(), belay+"/-/ready"); return err })
	eventually(t, "1.41.3 is known good", 40*time.Second, func() error {
		s, err := checkout(t, belay)
		if err != nil {
			return err
		}
		for _, l := range s.Ledger {
			if l.Revision.Version == "1.41.3" && l.Standing == "good" {
				return nil
			}
		}
		return fmt.Errorf("%s: %s; ledger %+v", s.State, s.Why, s.Ledger)
	})
	if said := run(t, dir, env, docker, "exec", "belaytest_belay_1", "/belay", "status"); !strings.Contains(said, "ready") {
		t.Errorf("the image's health check says %s", said)
	}
	up("exec", "-T", "shop", "/shop", "release", "1.42.0")
	eventually(t, "1.42.0 is taken back", 60*time.Second, func() error {
		s, err := checkout(t, belay)
		if err != nil {
			return err
		}
		if s.RolledBack && s.Running.Version == "1.41.3" && s.State == "healthy" {
			return nil
		}
		return fmt.Errorf("%s runs, %s: %s", s.Running, s.State, s.Why)
	})
}

// checkout asks Belay for the shop's service.
func checkout(t *testing.T, belay string) (web.ServiceStatus, error) {
	t.Helper()
	var s web.ServiceStatus
	body, err := fetch(t.Context(), belay+"/api/belay/v1/services/production/checkout")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// TestUnitIsSound lets systemd itself read the unit, with a program in Belay's
// place that is on this host.
func TestUnitIsSound(t *testing.T) {
	t.Parallel()
	analyze := program(t, "systemd-analyze")
	unit := filepath.Join(t.TempDir(), "belay.service")
	rewrite(t, "belay.service", unit, strings.NewReplacer("/usr/local/bin/belay", "/bin/true"))
	cmd := exec.CommandContext(t.Context(), analyze, "verify", unit)
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}
