package compose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/engine"
)

// body is what is kept of a revision: what a container of it was made from.
type body struct {
	Config   *container.Config                    `json:"config"`
	Host     *container.HostConfig                `json:"host"`
	Networks map[string]*network.EndpointSettings `json:"networks"`
	ImageID  string                               `json:"image_id"`
	Kept     string                               `json:"kept,omitempty"` // the tag by which Belay keeps the image
}

// bodyOf takes from a container what makes another one like it.
func bodyOf(c container.InspectResponse) body {
	b := body{Config: c.Config, Host: c.HostConfig, ImageID: c.Image, Networks: map[string]*network.EndpointSettings{}}
	if c.NetworkSettings == nil {
		return b
	}
	for name, at := range c.NetworkSettings.Networks {
		aliases := slices.DeleteFunc(slices.Clone(at.Aliases), func(a string) bool {
			return strings.HasPrefix(c.ID, a) || a == originalName(c)
		})
		b.Networks[name] = &network.EndpointSettings{IPAMConfig: at.IPAMConfig, Links: at.Links, Aliases: aliases, DriverOpts: at.DriverOpts}
	}
	return b
}

func parseBody(text []byte) (body, error) {
	var b body
	if err := json.Unmarshal(text, &b); err != nil {
		return b, err
	}
	if b.Config == nil || b.Host == nil {
		return b, fmt.Errorf("what was kept has no configuration")
	}
	return b, nil
}

// anonymous is how the engine calls a volume that nobody named.
var anonymous = regexp.MustCompile(`^[0-9a-f]{64}:`)

// affinity begins the variable by which docker-compose 1 tells a scheduler that
// is no more which container it replaces.
const affinity = "affinity:container=="

// What holds where a container says nothing; engines write some of it down.
var (
	configDefaults = map[string]string{"StopTimeout": "10", "StopSignal": "SIGTERM"}
	hostDefaults   = map[string]string{"ShmSize": "67108864", "Runtime": "runc", "IpcMode": "private", "CgroupnsMode": "private", "Isolation": "default", "MemorySwappiness": "-1"}
)

// content identifies what a container runs: the image by its id, and the
// effective configuration. Not part of it are labels, and what follows from the
// container's own identity or from the version of the engine.
func content(c container.InspectResponse) (belay.Content, error) {
	config, err := engine.Describe(c.Config)
	if err != nil {
		return "", err
	}
	if host := c.Config.Hostname; host != "" && strings.HasPrefix(c.ID, host) {
		delete(config, "Hostname")
	}
	for _, k := range []string{"Image", "Labels", "AttachStdin", "AttachStdout", "AttachStderr", "MacAddress"} {
		delete(config, k)
	}
	if env, ok := config["Env"].([]any); ok {
		config["Env"] = slices.DeleteFunc(env, func(e any) bool { return strings.HasPrefix(fmt.Sprint(e), affinity) })
	}
	sortList(config, "Env")
	config.Drop(configDefaults)
	host, err := engine.Describe(c.HostConfig)
	if err != nil {
		return "", err
	}
	for _, k := range []string{"ContainerIDFile", "ConsoleSize", "MaskedPaths", "ReadonlyPaths"} {
		delete(host, k)
	}
	if binds, ok := host["Binds"].([]any); ok {
		host["Binds"] = slices.DeleteFunc(binds, func(b any) bool { return anonymous.MatchString(fmt.Sprint(b)) })
	}
	sortList(host, "Binds")
	host.Drop(hostDefaults)
	host.At("RestartPolicy").Drop(map[string]string{"Name": "no"})
	networks, err := engine.Describe(bodyOf(c).Networks)
	if err != nil {
		return "", err
	}
	names := []any{}
	for _, name := range slices.Sorted(keys(bodyOf(c).Networks)) {
		at := networks.At(name)
		sortList(at, "Aliases")
		names = append(names, name, map[string]any(at))
	}
	return engine.Document{"image": c.Image, "config": map[string]any(config), "host": map[string]any(host), "networks": names}.Content()
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func sortList(d engine.Document, key string) {
	if list, ok := d[key].([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
}

func revision(c container.InspectResponse) (belay.Revision, error) {
	if c.Config == nil || c.HostConfig == nil || c.State == nil {
		return belay.Revision{}, fmt.Errorf("container %s: the engine describes it in part only", c.Name)
	}
	what, err := content(c)
	if err != nil {
		return belay.Revision{}, fmt.Errorf("container %s: %w", c.Name, err)
	}
	return belay.Revision{Content: what, Version: engine.Version(c.Config.Image, c.Config.Labels)}, nil
}
