package releases

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/command"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// platform returns the command platform over a service, its restore command
// started by the given role of the test binary.
func platform(t testing.TB, s *Service, restore string) *command.Platform {
	t.Helper()
	argv := func(role, cmd string) []string {
		return []string{self(t), role, "--dir", filepath.Dir(s.dir), cmd, s.name}
	}
	p, err := command.New(command.Config{
		State:     argv("as-releases", "state"),
		Revisions: argv("as-releases", "list"),
		Restore:   argv(restore, "activate"),
		Poll:      50 * time.Millisecond,
	}, command.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheCommandPlatformWithReleasesConforms(t *testing.T) {
	rollbacktest.RunConformance(t, func(t *testing.T) rollbacktest.Harness {
		t.Parallel()
		s := open(t)
		startSupervisor(t, s)
		lossy := platform(t, s, "as-releases-lost")
		broken := func(t testing.TB, name string) {
			add(t, s, name, "", Manifest{Version: "broken", Argv: []string{self(t), "as-shop-broken"}})
			deploy(t, s, name)
		}
		return rollbacktest.Harness{
			Platform: platform(t, s, "as-releases"),
			Target:   belay.Target{Service: belay.ServiceID{Environment: "production", Name: s.name}, Platform: "command"},
			Deploy: func(t testing.TB, name, body string) {
				if _, err := os.Stat(s.Path("releases", name)); err != nil {
					add(t, s, name, body, Manifest{Version: body})
				}
				deploy(t, s, name)
			},
			DeployBroken: broken,
			Breakages:    []rollbacktest.Breakage{{Name: "crash loop", Deploy: broken, Says: "crash loop: exit status 2"}},
			Restart: func(t testing.TB) {
				if err := s.Restart(); err != nil {
					t.Fatal(err)
				}
			},
			Remove: func(t testing.TB, name string) {
				if err := os.RemoveAll(s.Path("releases", name)); err != nil {
					t.Fatal(err)
				}
			},
			RestoreLost: func(ctx context.Context, op belay.Operation) error { return lossy.Restore(ctx, op) },
			Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
				done := make(chan error, 1)
				go func() { done <- platform(t, s, "as-releases-raced").Restore(ctx, op) }()
				gate := filepath.Join(filepath.Dir(s.dir), "raced")
				for {
					if _, err := os.Stat(gate); err == nil {
						break
					}
					select {
					case err := <-done:
						return err // it never came so far
					case <-time.After(2 * time.Millisecond):
					}
				}
				meanwhile()
				if err := os.Remove(gate); err != nil {
					return err
				}
				return <-done
			},
			History: func(t testing.TB) []rollbacktest.Change {
				log, err := s.Log()
				if err != nil {
					t.Fatal(err)
				}
				var changes []rollbacktest.Change
				for _, c := range log {
					if !c.Repeat {
						changes = append(changes, rollbacktest.Change{At: c.At, By: c.By, From: belay.Content(c.From), To: belay.Content(c.To)})
					}
				}
				return changes
			},
		}
	})
}
