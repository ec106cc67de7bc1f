package demo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/belaydev/belay/rollback/command/releases"
)

// The platforms that a shop can run on.
const (
	PlatformCommand    = "command"    // a supervisor and a folder of releases
	PlatformKubernetes = "kubernetes" // a real control plane; see peers/plane
	PlatformSwarm      = "swarm"      // a Docker Engine of the demo's own; see peers/dockerd
)

// Platforms are the values of Options.Platform.
func Platforms() []string { return []string{PlatformCommand, PlatformKubernetes, PlatformSwarm} }

// A platform is where the shop of a scene runs. It outlives Belay, and what it
// says of itself never comes from Belay.
type platform interface {
	// Start brings the platform up with the good version on it, which may not
	// answer yet. It runs until Stop.
	Start(ctx context.Context) (wiring, error)
	// Release makes a version current, as a person would, and does not wait for it.
	Release(ctx context.Context, version string) error
	// Changes are the changes of content so far, oldest first, by the platform's
	// own records. To and From are VERSION@ANYTHING. It is quick, and may be asked
	// after Stop.
	Changes() ([]releases.Change, error)
	// Stop ends everything that Start began, and says what the platform's own
	// history holds that it should not.
	Stop(ctx context.Context) error
}

// A site is what a scene gives to its platform.
type site struct {
	Dir     *directory
	Binary  string // this program, which can demo shop
	Fault   Fault  // of the next version
	Tempo   tempo
	Shop    string // an address that one shop may listen on
	Diary   *slog.Logger
	Keep    func(name string, run func() error) // runs what must run until Stop
	TakesUp func(version string)                // to be called when a version begins to take over, by platforms on which two run at once meanwhile
}

// A wiring says how others find the shop.
type wiring struct {
	Scrape    string          // entries of scrape_configs, each line indented by two blanks
	Platform  string          // the value of the service's key platform, each line indented by six blanks
	Unfenced  bool            // the platform compares and then writes, so that automatic rollback must be allowed
	Rolling   bool            // two versions run at once while one takes over from the other
	Instances func() []string // the addresses that take requests now
}

// newPlatform returns the platform of a name, which must be one of Platforms.
func newPlatform(name string, s site) (platform, error) {
	switch name {
	case "", PlatformCommand:
		return &commandPlatform{site: s}, nil
	case PlatformKubernetes:
		return &podsPlatform{site: s}, nil
	case PlatformSwarm:
		return &tasksPlatform{site: s}, nil
	}
	return nil, usage("platform %q: want one of %s", name, strings.Join(Platforms(), ", "))
}

// ParsePlatform refuses a platform that the demo does not know.
func ParsePlatform(name string) (string, error) {
	if !slices.Contains(Platforms(), name) {
		return "", fmt.Errorf("--platform %q: want one of %s", name, strings.Join(Platforms(), ", "))
	}
	return name, nil
}
