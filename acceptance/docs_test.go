package acceptance_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belaydev/belay/peers"
)

// TestDocsAreTriedAsWritten puts the files of a page in place and runs its
// commands in their order, on ports of their own.
func TestDocsAreTriedAsWritten(t *testing.T) {
	peers.Require(t, peers.Alertmanager)
	peers.Require(t, peers.Amtool)
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
				t.Fatalf("%s is not here; scripts/test-deps installs it", name)
			}
			t.Skipf("%s is not here; scripts/test-deps installs it", name)
		}
	}
	bin := t.TempDir()
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "belay"), "../cmd/belay").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, page := range []string{"instead-of-prometheus.md", "beside-prometheus.md"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			try(t, bin, page)
		})
	}
}

var block = regexp.MustCompile("(?s)(?:`([a-z.]+)`[^`]*)?```(yaml|sh)\n(.*?)```")

func try(t *testing.T, bin, page string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	ports := []string{}
	for _, port := range []string{"9090", "9093", "9720"} {
		ports = append(ports, "127.0.0.1:"+port, freeAddress(t))
	}
	// Belay listens where its configuration says, 9720 unless it does.
	written := strings.NewReplacer(ports...).Replace(string(text))
	dir, script := t.TempDir(), "set -eu\n"
	for _, b := range block.FindAllStringSubmatch(written, -1) {
		switch {
		case b[2] == "sh":
			script += b[3]
		case b[1] == "":
			t.Fatalf("a file without a name:\n%s", b[3])
		default:
			if b[1] == "prometheus.yml" && strings.Contains(page, "instead") {
				b[3] += "web: {listen: \"" + ports[len(ports)-1] + "\"}\n"
			}
			put(t, dir, b[1], b[3])
		}
	}
	// promtool refuses the one key that the ports of this test made necessary.
	script = strings.Replace(script, "promtool check config prometheus.yml", "grep -v '^web:' prometheus.yml >plain.yml; promtool check config plain.yml", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what runs in the background
	_ = out.Close()
	if err != nil {
		for _, log := range []string{"said", "belay.log", "am.log", "prom.log"} {
			said, _ := os.ReadFile(filepath.Join(dir, log))
			t.Logf("%s:\n%s", log, said)
		}
		t.Fatalf("%s: %v", page, err)
	}
}
