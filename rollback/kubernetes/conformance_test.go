package kubernetes

import (
	"testing"

	"github.com/belaydev/belay/rollback/rollbacktest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	c := theCluster(t)
	for _, k := range []kind{deployment, statefulSet, daemonSet} {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness {
				t.Helper()
				return handsOn(t, c, k, everything...).harness(t)
			})
		})
	}
}
