package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// The programs that Require knows.
const (
	Prometheus      = "prometheus 3" // of the module that Belay is built with
	Promtool        = "promtool 3"   // the same
	VictoriaMetrics = "victoria-metrics"
	Alertmanager    = "prometheus-alertmanager"
	Amtool          = "amtool"
)

// Require returns the path of a program. Where it can be had neither from PATH
// nor from the builder, the test is skipped, or fails if BELAY_TEST_REQUIRE is
// "all".
func Require(t testing.TB, name string) string {
	t.Helper()
	path, err := find(t, name)
	if err == nil {
		return path
	}
	lacks(t, fmt.Errorf("%s: %w", name, err))
	return ""
}

// lacks skips a test for want of something, where that is allowed.
func lacks(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("BELAY_TEST_REQUIRE") == "all" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func find(t testing.TB, name string) (string, error) {
	t.Helper()
	switch name {
	case Prometheus:
		return built(t, "prometheus")
	case Promtool:
		return built(t, "promtool")
	case VictoriaMetrics, Alertmanager, Amtool:
		path, err := exec.LookPath(name)
		if err != nil {
			return "", errors.New("not here; scripts/test-deps installs it")
		}
		return path, nil
	}
	return "", fmt.Errorf("no such peer; there are %q", []string{Prometheus, Promtool, VictoriaMetrics, Alertmanager, Amtool})
}
