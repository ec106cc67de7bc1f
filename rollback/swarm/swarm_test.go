package swarm_test

import (
	"testing"

	"github.com/belaydev/belay/rollback/rollbacktest"
)

// TestOnARealSwarm shares one engine among everything that wants a swarm.
func TestOnARealSwarm(t *testing.T) {
	s := newStage(t)
	t.Run("conformance", func(t *testing.T) {
		rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness { return s.service(t).harness() })
	})
}
