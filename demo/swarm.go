package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	moby "github.com/moby/moby/client"

	"github.com/belaydev/belay/peers/dockerd"
	"github.com/belaydev/belay/rollback/command/releases"
)

// A tasksPlatform is a service of a swarm of one engine, which the demo starts
// for itself.
type tasksPlatform struct {
	site
	engine *dockerd.Engine
	other  place // where the next version listens: for a moment both run
	stop   context.CancelFunc
	watch  sync.WaitGroup
	log    *os.File

	mu      sync.Mutex
	changes []releases.Change
	serving []string // addresses of the tasks that run and may stay
}

// Labels of the service that say who changed it.
const (
	releaseLabel   = "invalid.shop.released" // by a person, with a time
	operationLabel = "dev.belay.operation"   // by Belay
)

// Start starts the engine, makes the service, and waits until its task runs.
func (p *tasksPlatform) Start(ctx context.Context) (wiring, error) {
	var err error
	if p.engine, err = dockerd.Start(ctx); errors.Is(err, dockerd.ErrMissing) {
		return wiring{}, usage("--platform swarm: %w", err)
	}
	if err != nil {
		return wiring{}, err
	}
	if err := p.engine.InitSwarm(ctx); err != nil {
		return wiring{}, err
	}
	for _, version := range []string{goodVersion, nextVersion} {
		if err := p.makeImage(ctx, version); err != nil {
			return wiring{}, err
		}
	}
	if p.log, err = os.OpenFile(p.Dir.file(platformLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return wiring{}, err
	}
	if p.other, err = claimAny(ctx); err != nil {
		return wiring{}, err
	}
	if err := p.deploy(ctx); err != nil {
		return wiring{}, err
	}
	return p.wiring()
}

// makeImage makes an image that holds the name of a version; the program is
// lent to its containers.
func (p *tasksPlatform) makeImage(ctx context.Context, version string) error {
	file := filepath.Join(p.engine.Dir, "version")
	if err := os.WriteFile(file, []byte(version+"\n"), 0o600); err != nil {
		return err
	}
	return p.engine.Import(ctx, dockerd.Image{Name: imageOf(version), Program: file})
}

// deploy makes the service with the good version, follows it, and waits until
// its task runs.
func (p *tasksPlatform) deploy(ctx context.Context) error {
	binary, err := filepath.Abs(p.Binary)
	if err != nil {
		return err
	}
	one, grace, delay := uint64(1), 5*time.Second, 300*time.Millisecond
	spec := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: serviceName, Labels: map[string]string{}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{
				StopGracePeriod: &grace, Command: []string{"/belay"},
				Mounts: []mount.Mount{{Type: mount.TypeBind, Source: binary, Target: "/belay", ReadOnly: true}},
			},
			RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay},
			Networks:      []swarm.NetworkAttachmentConfig{{Target: "host"}},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &one}},
		UpdateConfig: &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrderStartFirst, Monitor: 500 * time.Millisecond, FailureAction: swarm.UpdateFailureActionPause},
	}
	p.release(&spec, goodVersion)
	made, err := p.engine.API.ServiceCreate(ctx, moby.ServiceCreateOptions{Spec: spec})
	if err != nil {
		return err
	}
	p.note(releases.Change{At: time.Now(), By: releases.ByDeploy, From: "-", To: goodVersion + "@" + made.ID[:12]})
	p.follow(ctx, made.ID, spec.Labels[releaseLabel])
	if err := p.awaitTask(ctx); err != nil {
		return err
	}
	return p.meet(ctx)
}

// release writes a version into a specification.
func (p *tasksPlatform) release(spec *swarm.ServiceSpec, version string) {
	fault, address := FaultNone, p.Shop
	if version == nextVersion {
		fault, address = p.Fault, p.other.Addr
	}
	run := spec.TaskTemplate.ContainerSpec
	run.Image = imageOf(version)
	run.Args = []string{"demo", "shop", listenFlag, address, "--version", version, "--fault", string(fault)}
	spec.Labels[releaseLabel] = time.Now().UTC().Format(time.RFC3339Nano)
}

func (p *tasksPlatform) awaitTask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	why := "no task was made"
	for {
		tasks, err := p.tasks(ctx)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.Status.State == swarm.TaskStateRunning {
				return nil
			}
			why = string(t.Status.State) + " " + t.Status.Err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the shop's task did not start (%s): %w", why, ctx.Err())
		case <-time.After(look):
		}
	}
}

const listenFlag = "--listen"

// meet finds out where the tasks listen that run and may stay, and tells Belay,
// as discovery does.
func (p *tasksPlatform) meet(ctx context.Context) error {
	tasks, err := p.tasks(ctx)
	if err != nil {
		return err
	}
	serving := []string{}
	for _, t := range tasks {
		args := t.Spec.ContainerSpec.Args
		if i := slices.Index(args, listenFlag); i >= 0 && t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateRunning {
			serving = append(serving, args[i+1])
		}
	}
	p.mu.Lock()
	same := p.serving != nil && slices.Equal(p.serving, serving)
	p.serving = serving
	p.mu.Unlock()
	if same {
		return nil
	}
	text, err := json.Marshal([]map[string]any{{"targets": serving, "labels": map[string]string{"service": serviceName}}})
	if err != nil {
		return err
	}
	file := p.Dir.file(targetsFile)
	if err := writeFile(file+".new", text); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// instances are the addresses of the tasks that run and may stay.
func (p *tasksPlatform) instances() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving
}

// tasks are those that the swarm remembers, oldest first.
func (p *tasksPlatform) tasks(ctx context.Context) ([]swarm.Task, error) {
	list, err := p.engine.API.TaskList(ctx, moby.TaskListOptions{Filters: make(moby.Filters).Add("service", serviceName)})
	slices.SortFunc(list.Items, func(a, b swarm.Task) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list.Items, err
}

// Release updates the service, as `docker service update` does.
func (p *tasksPlatform) Release(ctx context.Context, version string) error {
	now, err := p.engine.API.ServiceInspect(ctx, serviceName, moby.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	spec := now.Service.Spec
	p.release(&spec, version)
	_, err = p.engine.API.ServiceUpdate(ctx, serviceName, moby.ServiceUpdateOptions{Version: now.Service.Version, Spec: spec})
	return err
}

// follow writes down what the swarm's events tell of the service.
func (p *tasksPlatform) follow(ctx context.Context, id, released string) {
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	stream := p.engine.API.Events(ctx, moby.EventsListOptions{Filters: make(moby.Filters).Add("type", "service").Add("event", "update")})
	p.watch.Go(func() {
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := p.meet(ctx); err != nil && ctx.Err() == nil {
					p.Diary.Error("the tasks are not known", "error", err)
				}
			case e := <-stream.Messages:
				if e.Actor.ID == id && e.Actor.Attributes["image.new"] != "" {
					released = p.see(ctx, e, released)
				}
			case err := <-stream.Err:
				if ctx.Err() == nil {
					p.Diary.Error("the swarm's events ended", "error", err)
				}
				return
			}
		}
	})
}

// see takes in that the image of the service has changed. Who did it stands in
// its labels; it returns when a person did so last.
func (p *tasksPlatform) see(ctx context.Context, e events.Message, released string) string {
	tag := func(image string) string { return image[strings.LastIndexByte(image, ':')+1:] + "@" + e.Actor.ID[:12] }
	c := releases.Change{At: time.Unix(0, e.TimeNano), By: releases.ByOutside, From: tag(e.Actor.Attributes["image.old"]), To: tag(e.Actor.Attributes["image.new"])}
	now, err := p.engine.API.ServiceInspect(ctx, e.Actor.ID, moby.ServiceInspectOptions{})
	labels := now.Service.Spec.Labels
	switch {
	case err != nil:
		p.Diary.Error("the service cannot be read", "error", err)
	case labels[releaseLabel] != released:
		c.By = releases.ByDeploy
	case labels[operationLabel] != "":
		c.By = labels[operationLabel]
	}
	p.note(c)
	p.TakesUp(nameOf(c.To))
	if err != nil {
		return released
	}
	return labels[releaseLabel]
}

func (p *tasksPlatform) note(c releases.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes = append(p.changes, c)
	_, _ = fmt.Fprintln(p.log, c) // for people to read; the demo goes by what it holds
}

// Changes are what the swarm's events told.
func (p *tasksPlatform) Changes() ([]releases.Change, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.changes), nil
}

// Stop ends the engine. What the swarm's tasks were made from, one after the
// other, must be the changes that its events told.
func (p *tasksPlatform) Stop(ctx context.Context) error {
	if p.engine == nil {
		return nil
	}
	var err error
	if p.other.Closer != nil {
		err = p.other.Close()
	}
	if p.stop != nil {
		err = errors.Join(err, p.compareHistories(ctx))
		p.stop()
		p.watch.Wait()
	}
	err = errors.Join(err, p.engine.Stop())
	if p.log != nil {
		err = errors.Join(err, p.log.Close())
	}
	return err
}

// compareHistories looks at the tasks that the swarm remembers, which are the
// latest: what they ran must be how the changes end.
func (p *tasksPlatform) compareHistories(ctx context.Context) error {
	tasks, err := p.tasks(ctx)
	if err != nil {
		return err
	}
	var ran []string
	for _, t := range tasks {
		image := t.Spec.ContainerSpec.Image
		if version := image[strings.LastIndexByte(image, ':')+1:]; len(ran) == 0 || ran[len(ran)-1] != version {
			ran = append(ran, version)
		}
	}
	changes, err := p.Changes()
	if err != nil {
		return err
	}
	var told []string
	for _, c := range changes {
		told = append(told, nameOf(c.To))
	}
	if len(ran) > len(told) || !slices.Equal(ran, told[len(told)-len(ran):]) {
		return fmt.Errorf("the swarm's tasks ran %v, one after the other, and its events told of %v", ran, told)
	}
	return nil
}

func (p *tasksPlatform) wiring() (wiring, error) {
	var scrape, platform bytes.Buffer
	values := map[string]any{"Targets": targetsFile, "Service": serviceName, "Host": p.engine.Host, "T": p.Tempo}
	err := errors.Join(tasksScrape.Execute(&scrape, values), tasksText.Execute(&platform, values))
	return wiring{Scrape: scrape.String(), Platform: platform.String(), Rolling: true, Instances: p.instances}, err
}

// Tasks on the host's network have no address of their own that Swarm's
// discovery could name, so the demo names them.
var tasksScrape = parse("scrape", `  - job_name: tasks
    file_sd_configs: [{files: [<<.Targets>>]}]`)

var tasksText = parse("platform", `      swarm:
        service: <<.Service>>
        host: <<q .Host>>
        poll: <<d .T.Poll>>`)
