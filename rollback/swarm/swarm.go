package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/engine"
)

// Options are what a Platform needs beside its configuration.
type Options struct {
	Specs  *rollback.Specs // required: where specifications are kept
	Logger *slog.Logger    // nil discards
}

// A Platform is one service of a swarm.
type Platform struct {
	cfg    Config
	engine *engine.Client
	memory *engine.Memory
	log    *slog.Logger
}

var (
	_ rollback.Platform = (*Platform)(nil)
	_ rollback.Capable  = (*Platform)(nil)
)

// New returns a platform. It touches no network.
func New(cfg Config, opts Options) (*Platform, error) {
	if opts.Specs == nil {
		return nil, fmt.Errorf("swarm platform: a place for specifications is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Config = cfg.Resolve(".")
	return &Platform{cfg: cfg, engine: engine.NewClient(cfg.Config), memory: engine.NewMemory(opts.Specs), log: opts.Logger}, nil
}

// Capabilities returns Atomic: an update names the version of the service that
// it was made for, and the managers refuse it when that has moved on.
func (p *Platform) Capabilities() rollback.Capabilities {
	return rollback.Capabilities{CAS: rollback.Atomic, Stamped: true}
}

// Watch looks every poll interval and emits what has changed. It returns the
// first error: what runs is not known any more.
func (p *Platform) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	return engine.Watch(ctx, p.cfg.Poll, func() (belay.State, error) { return p.State(ctx, t) }, emit)
}

// State reads the service and its tasks.
func (p *Platform) State(ctx context.Context, t belay.Target) (belay.State, error) {
	ctx, cancel := p.cfg.Call(ctx)
	defer cancel()
	api, svc, err := p.inspect(ctx)
	if err != nil {
		return belay.State{}, err
	}
	rec, err := p.see(ctx, api, t, svc)
	if err != nil {
		return belay.State{}, err
	}
	tasks, err := api.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", svc.ID)})
	if err != nil {
		return belay.State{}, fmt.Errorf("tasks of the service %s: %w", p.cfg.Service, err)
	}
	st := belay.State{
		Target: t, Revision: rec.Revision, Token: strconv.FormatUint(svc.Version.Index, 10),
		Owner: owner(svc), Operation: rec.Operation, ChangedAt: rec.Since, At: time.Now(),
	}
	st.Progress, st.Reason, err = progress(svc, tasks.Items)
	return st, err
}

func (p *Platform) inspect(ctx context.Context) (*client.Client, swarm.Service, error) {
	api, err := p.engine.API()
	if err != nil {
		return nil, swarm.Service{}, err
	}
	res, err := api.ServiceInspect(ctx, p.cfg.Service, client.ServiceInspectOptions{})
	if err != nil {
		return nil, swarm.Service{}, fmt.Errorf("service %s: %w", p.cfg.Service, err)
	}
	return api, res.Service, nil
}

// see keeps what runs, and says since when and by whose operation.
func (p *Platform) see(ctx context.Context, api *client.Client, t belay.Target, svc swarm.Service) (engine.Record, error) {
	rev, err := revision(svc.Spec)
	if err != nil {
		return engine.Record{}, fmt.Errorf("service %s: %w", p.cfg.Service, err)
	}
	now := body{Spec: svc.Spec}
	if last := p.memory.Present(t); last.Revision.Content == rev.Content { // a tag is looked up when its content comes, not when the tag has moved
		before, err := parseBody(last.Body)
		if err != nil {
			return engine.Record{}, err
		}
		now.ImageID = before.ImageID
	} else {
		now.ImageID = imageID(ctx, api, svc.Spec)
	}
	text, err := json.Marshal(now)
	if err != nil {
		return engine.Record{}, err
	}
	rev.Created = changedAt(svc, rev.Content)
	rec, err := p.memory.See(t, engine.Record{Revision: rev, Since: rev.Created, Operation: operation(svc, rev.Content), Body: text})
	if err != nil { // it can be seen all the same; only the way back to it is in doubt
		p.log.Warn("the specification could not be kept", "service", t.Service.String(), "content", string(rev.Content), "err", err)
	}
	return rec, nil
}

// imageID returns what the tag of an unpinned image names on this engine, ""
// where that is not known or does not matter.
func imageID(ctx context.Context, api *client.Client, spec swarm.ServiceSpec) string {
	image := spec.TaskTemplate.ContainerSpec.Image
	if engine.Pinned(image) != "" {
		return ""
	}
	found, err := api.ImageInspect(ctx, image)
	if err != nil {
		return ""
	}
	return found.ID
}

// changedAt estimates when content came to be present, for the first look at
// it: when the update began, if that made it, otherwise the last change of all.
func changedAt(svc swarm.Service, now belay.Content) time.Time {
	if u := svc.UpdateStatus; u != nil && u.StartedAt != nil && svc.PreviousSpec != nil {
		if before, err := content(*svc.PreviousSpec); err == nil && before != now {
			return *u.StartedAt
		}
	}
	return svc.UpdatedAt
}

// Revisions lists what is kept, what runs and what Swarm itself remembers.
func (p *Platform) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	ctx, cancel := p.cfg.Call(ctx)
	defer cancel()
	api, svc, err := p.inspect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := p.see(ctx, api, t, svc); err != nil {
		return nil, err
	}
	records, err := p.memory.List(t)
	if err != nil {
		return nil, err
	}
	if prev := svc.PreviousSpec; prev != nil {
		if rev, err := revision(*prev); err == nil {
			text, err := json.Marshal(body{Spec: *prev})
			if err != nil {
				return nil, err
			}
			records = append(records, engine.Record{Revision: rev, Body: text})
		}
	}
	have, err := takeInventory(ctx, api)
	if err != nil {
		return nil, err
	}
	return engine.Revisions(records, func(r engine.Record) (string, error) {
		b, err := parseBody(r.Body)
		if err != nil {
			return "", err
		}
		return have.lacks(ctx, b)
	})
}
