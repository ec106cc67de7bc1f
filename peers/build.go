package peers

import (
	"path/filepath"
	"testing"

	"github.com/belaydev/belay/peers/internal/builder"
)

// tags leave out the kinds of discovery that Belay has not built in either;
// with them the build takes half the time. Without the tag builtinassets it
// needs no files of the user interface, which the module does not carry.
const tags = "remove_all_sd,enable_aws_sd,enable_consul_sd,enable_dns_sd,enable_kubernetes_sd,enable_moby_sd,enable_nomad_sd,netgo"

// built returns the path of a program of the Prometheus module, and builds it
// first where that has not been done for this version.
func built(t testing.TB, program string) (string, error) {
	t.Helper()
	const cmd = "github.com/prometheus/prometheus/cmd/"
	dir, err := builder.Recipe{
		Module: "prometheus", Names: "github.com/prometheus/prometheus", Tags: tags,
		Programs: map[string]string{"prometheus": cmd + "prometheus", "promtool": cmd + "promtool"},
	}.Build(t.Context(), func(dir string) { t.Logf("building Prometheus into %s: once, for some minutes", dir) })
	return filepath.Join(dir, program), err
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
