package peers_test

import (
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/belaydev/belay/peers"
)

func TestEveryPeerStartsAndEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		start      func(t testing.TB) *peers.Process
		path, want string
	}{
		"Prometheus": {
			func(t testing.TB) *peers.Process { return peers.StartPrometheus(t, "") },
			"/api/v1/status/buildinfo", `"version"`,
		},
		"VictoriaMetrics": {
			func(t testing.TB) *peers.Process { return peers.StartVictoriaMetrics(t) },
			"/api/v1/query?query=1%2B1", `"2"`,
		},
		"Alertmanager": {
			func(t testing.TB) *peers.Process { return peers.StartAlertmanager(t, "") },
			"/api/v2/status", "nobody",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := test.start(t)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+test.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.Body.Close() != nil || !strings.Contains(string(body), test.want) {
				t.Errorf("%s: %v %s, want %s in it", test.path, err, body, test.want)
			}
			p.Stop()
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
				t.Error("it still answers after it was stopped")
			}
		})
	}
}

func TestThePromtoolIsOfPrometheus3(t *testing.T) {
	t.Parallel()
	said, err := exec.CommandContext(t.Context(), peers.Require(t, peers.Promtool), "promql", "format", "--experimental", "a   + b").CombinedOutput()
	if err != nil || strings.TrimSpace(string(said)) != "a + b" {
		t.Errorf("promtool promql format: %v %s", err, said)
	}
}
