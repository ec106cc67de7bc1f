package peers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// tags leave out the kinds of discovery that Belay has not built in either;
// with them the build takes half the time. Without the tag builtinassets it
// needs no files of the user interface, which the module does not carry.
const tags = "remove_all_sd,enable_aws_sd,enable_consul_sd,enable_dns_sd,enable_kubernetes_sd,enable_moby_sd,enable_nomad_sd,netgo"

// built returns the path of a program of the Prometheus module, and builds it
// first where that has not been done for this version.
func built(t testing.TB, program string) (string, error) {
	t.Helper()
	module, err := moduleDir()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key, err := version(module)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "belay", "peers", key)
	path := filepath.Join(dir, program)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // by another process, while this one waited
	}
	t.Logf("building Prometheus into %s: once, for some minutes", dir)
	return path, build(t.Context(), module, dir)
}

// build makes the programs in a folder of their own and then puts it in place
// at one stroke, so that half a build is never found.
func build(ctx context.Context, module, dir string) error {
	work, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	const cmd = "github.com/prometheus/prometheus/cmd/"
	gobuild := exec.CommandContext(ctx, "go", "build", "-C", module, "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-tags="+tags,
		"-o", work+string(filepath.Separator), cmd+"prometheus", cmd+"promtool")
	gobuild.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if said, err := gobuild.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, tail(said, 2000))
	}
	return os.Rename(work, dir)
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// version names what is built, by which compiler and how.
func version(module string) (string, error) {
	gomod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	v := "unknown"
	for line := range strings.Lines(string(gomod)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "github.com/prometheus/prometheus" {
			v = f[1]
		}
	}
	sum := sha256.Sum256(append(gomod, tags...))
	return fmt.Sprintf("prometheus-%s-%s-%x", v, runtime.Version(), sum[:4]), nil
}

// moduleDir finds the module that pins Prometheus, upwards from where the test
// runs.
func moduleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		module := filepath.Join(dir, "peers", "prometheus")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no peers/prometheus/go.mod in any folder above this one")
		}
		dir = parent
	}
}
