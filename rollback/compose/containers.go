package compose

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
)

// The labels by which Compose knows its containers, and those of Belay.
const (
	labelProject   = "com.docker.compose.project"
	labelService   = "com.docker.compose.service"
	labelNumber    = "com.docker.compose.container-number"
	labelOneOff    = "com.docker.compose.oneoff"
	labelReplace   = "com.docker.compose.replace"
	labelOperation = "dev.belay.operation"
)

// retired marks the name of a container that Belay has put aside.
const retired = ".belay-retired"

// An instance is one of the service's replicas.
type instance struct {
	container.InspectResponse
	Revision belay.Revision
	Created  time.Time
	Aside    []container.InspectResponse // older ones of the same number that are still there
}

func (i instance) operation() string { return i.Config.Labels[labelOperation] }

// instances reads the service's containers; each number's newest is the
// instance. The newest of all is the first.
func (p *Platform) instances(ctx context.Context, api *client.Client) ([]instance, error) {
	list, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", labelProject+"="+p.cfg.Project, labelService+"="+p.cfg.Service)})
	if err != nil {
		return nil, fmt.Errorf("containers of %s/%s: %w", p.cfg.Project, p.cfg.Service, err)
	}
	byNumber := map[string][]instance{}
	for _, c := range list.Items {
		if strings.EqualFold(c.Labels[labelOneOff], "true") {
			continue
		}
		found, err := api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.ID[:12], err)
		}
		one := instance{InspectResponse: found.Container}
		if one.Revision, err = revision(one.InspectResponse); err != nil {
			return nil, err
		}
		if one.Created, err = time.Parse(time.RFC3339Nano, one.InspectResponse.Created); err != nil {
			return nil, fmt.Errorf("container %s: %w", one.Name, err)
		}
		number := c.Labels[labelNumber]
		byNumber[number] = append(byNumber[number], one)
	}
	var out []instance
	for _, same := range byNumber {
		slices.SortFunc(same, newestFirst)
		for _, old := range same[1:] {
			same[0].Aside = append(same[0].Aside, old.InspectResponse)
		}
		out = append(out, same[0])
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the project %s has no container of the service %s", p.cfg.Project, p.cfg.Service)
	}
	slices.SortFunc(out, newestFirst)
	return out, nil
}

func newestFirst(a, b instance) int {
	return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
}

// originalName is the name that a container had before Belay put it aside.
func originalName(c container.InspectResponse) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(c.Name, "/"), retired)
	return name
}

func isRetired(c container.InspectResponse) bool { return strings.Contains(c.Name, retired) }

// progress says how the instances fare: by their health checks where they have
// one, otherwise by having run for a while without a restart.
func progress(list []instance, steady time.Duration, now time.Time) (belay.Progress, string) {
	want, well := list[0].Revision.Content, 0
	waits := ""
	for _, i := range list {
		switch why, stuck := trouble(i.InspectResponse, steady, now); {
		case i.Revision.Content != want:
			waits = "others run another configuration"
		case stuck:
			return belay.Stuck, originalName(i.InspectResponse) + ": " + why
		case why != "":
			waits = why
		case slices.ContainsFunc(i.Aside, func(c container.InspectResponse) bool { return c.State.Running }):
			waits = "the one before still runs"
		default:
			well++
		}
	}
	if well < len(list) {
		return belay.Progressing, fmt.Sprintf("%d of %d containers are well; %s", well, len(list), waits)
	}
	return belay.Converged, ""
}

// trouble says what keeps a container from counting as well, and whether that
// will not pass by waiting.
func trouble(c container.InspectResponse, steady time.Duration, now time.Time) (why string, stuck bool) {
	s := c.State
	switch s.Status {
	case container.StateRunning:
	case container.StateCreated:
		return cmp.Or(s.Error, "it was not started yet"), s.Error != ""
	case container.StateRestarting:
		return fmt.Sprintf("it ends and is started again, %d times so far; exit code %d", c.RestartCount, s.ExitCode), true
	case container.StatePaused:
		return "it is paused", true
	default:
		return ended(s), true
	}
	if h := s.Health; h != nil && h.Status != "" && h.Status != container.NoHealthcheck {
		switch h.Status {
		case container.Healthy:
			return "", false
		case container.Unhealthy:
			return "its health check fails: " + lastOutput(h), true
		}
		return "its health check has not passed yet", false
	}
	started, err := time.Parse(time.RFC3339Nano, s.StartedAt)
	if err != nil || now.Sub(started) >= steady {
		return "", false
	}
	if c.RestartCount > 0 {
		return fmt.Sprintf("it ended and was started again, %d times so far", c.RestartCount), true
	}
	return fmt.Sprintf("it has not run for %s yet", steady), false
}

func ended(s *container.State) string {
	why := "it ended with exit code " + strconv.Itoa(s.ExitCode)
	if s.OOMKilled {
		why += ", out of memory"
	}
	if s.Error != "" {
		why += ": " + s.Error
	}
	return why
}

func lastOutput(h *container.Health) string {
	if len(h.Log) == 0 {
		return "no output"
	}
	last := h.Log[len(h.Log)-1]
	said := strings.Join(strings.Fields(last.Output), " ")
	if r := []rune(said); len(r) > 200 {
		said = string(r[:200]) + "…"
	}
	return cmp.Or(said, fmt.Sprintf("exit code %d", last.ExitCode))
}
