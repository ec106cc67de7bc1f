package plane

import (
	"context"
	"os"
	"path/filepath"

	"github.com/belaydev/belay/peers/internal/builder"
)

// Programs are the paths of the real programs, and of a small one that pods can
// run.
type Programs struct {
	Etcd, APIServer, ControllerManager, Kubectl string

	// Pod serves /healthz and /metrics as a version of some service; `Pod -help`
	// names its faults.
	Pod string
}

func recipe() builder.Recipe {
	const cmd = "k8s.io/kubernetes/cmd/"
	return builder.Recipe{
		Module: "kubernetes", Names: "k8s.io/kubernetes", Gentle: true,
		Programs: map[string]string{
			"etcd": "go.etcd.io/etcd/server/v3", "kube-apiserver": cmd + "kube-apiserver",
			"kube-controller-manager": cmd + "kube-controller-manager", "kubectl": cmd + "kubectl",
			"pod": "github.com/belaydev/belay/peers/kubernetes/pod",
		},
	}
}

// Find returns the programs if they have been built, and otherwise an error that
// says where they would be and what builds them. It builds nothing.
func Find() (Programs, error) {
	dir, err := recipe().Find()
	if err != nil {
		return Programs{}, err
	}
	return programsIn(dir), nil
}

// Available says whether the programs have been built.
func Available() bool {
	_, err := Find()
	return err == nil
}

// Build returns the programs, after building them if they are not there: about
// ten minutes of one CPU, once for each version of Kubernetes and of Go. Another
// process that builds them meanwhile is waited for. It calls announce, which may
// be nil, with the folder before it begins.
func Build(ctx context.Context, announce func(dir string)) (Programs, error) {
	dir, err := recipe().Build(ctx, announce)
	if err != nil {
		return Programs{}, err
	}
	return programsIn(dir), nil
}

func programsIn(dir string) Programs {
	in := func(name string) string { return filepath.Join(dir, name) }
	return Programs{
		Etcd: in("etcd"), APIServer: in("kube-apiserver"), ControllerManager: in("kube-controller-manager"),
		Kubectl: in("kubectl"), Pod: in("pod"),
	}
}

// TB is what Require needs of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Require returns the programs for a test. Where they have not been built the
// test is skipped with words, unless BELAY_TEST_REQUIRE is "all": then they are
// built first, and the test fails if that cannot be done.
func Require(t TB) Programs {
	t.Helper()
	programs, err := Find()
	if err == nil {
		return programs
	}
	if os.Getenv("BELAY_TEST_REQUIRE") != "all" {
		t.Skipf("kubernetes: %v; `make kubernetes` builds it, once", err)
	}
	if programs, err = Build(t.Context(), nil); err != nil {
		t.Fatalf("kubernetes: %v", err)
	}
	return programs
}
