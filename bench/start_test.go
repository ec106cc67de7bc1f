package bench

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The binary as people get it, and how long it takes from exec to ready with
// the configuration that docker-compose.yml gives it: on an empty folder, and
// again on what the first start left behind. Wanted: at most 100 MB, 300 ms.
func BenchmarkBinarySizeAndStart(b *testing.B) {
	dir, bin := b.TempDir(), buildBelay(b)
	info, err := os.Stat(bin)
	if err != nil {
		b.Fatal(err)
	}
	listen := freeAddress(b)
	config := sample(b, dir, bin, listen)
	var took []float64
	for b.Loop() {
		for range 11 {
			took = append(took, start(b, bin, config, listen).Seconds()*1000)
		}
	}
	size := float64(info.Size()) / 1e6
	b.ReportMetric(size, "MB")
	b.ReportMetric(median(took[1:]), "ready-ms")
	b.ReportMetric(took[0], "first-ready-ms")
}

// buildBelay builds the binary as `make build` does, and returns its path.
func buildBelay(b *testing.B) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "belay")
	build := exec.CommandContext(b.Context(), "make", "-s", "-C", "..", "build", "BIN="+bin)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return bin
}

func freeAddress(b *testing.B) string {
	b.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// sample writes the demo's configuration with its files in a folder of ours.
func sample(b *testing.B, dir, bin, listen string) string {
	b.Helper()
	if err := os.CopyFS(filepath.Join(dir, "etc"), os.DirFS("../deploy/demo")); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "etc", "belay.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	r := strings.NewReplacer("/data/", dir+"/data/", "127.0.0.1:9720", listen, "[/belay,", "["+bin+",", "/releases,", dir+"/releases,")
	if err := os.WriteFile(file, []byte(r.Replace(string(text))), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

// start runs the binary until it is ready, and ends it.
func start(b *testing.B, bin, config, listen string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "run", "--config", config)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if err := awaitReady(ctx, listen); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	return took
}

// awaitReady returns when a Belay says that it is ready.
func awaitReady(ctx context.Context, listen string) error {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/-/ready", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return ctx.Err()
}
