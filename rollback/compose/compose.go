package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/engine"
)

// Options are what a Platform needs beside its configuration.
type Options struct {
	Specs  *rollback.Specs // required: where configurations are kept
	Logger *slog.Logger    // nil discards
}

// A Platform is one service of a Compose project.
type Platform struct {
	cfg    Config
	engine *engine.Client
	memory *engine.Memory
	log    *slog.Logger
	acting sync.Mutex // one operation at a time
}

var (
	_ rollback.Platform = (*Platform)(nil)
	_ rollback.Capable  = (*Platform)(nil)
)

// New returns a platform. It touches no network.
func New(cfg Config, opts Options) (*Platform, error) {
	if opts.Specs == nil {
		return nil, errors.New("compose platform: a place for specifications is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	cfg = cfg.withDefaults(".")
	return &Platform{cfg: cfg, engine: engine.NewClient(cfg.Config), memory: engine.NewMemory(opts.Specs), log: opts.Logger}, nil
}

// Capabilities returns Checked: an engine has no versions to compare. The
// container that was read must still be there to be put aside, and its name
// must be free for the new one; the README names what is left.
func (p *Platform) Capabilities() rollback.Capabilities {
	return rollback.Capabilities{CAS: rollback.Checked, Stamped: true}
}

// Watch looks every poll interval and emits what has changed. It returns the
// first error: what runs is not known any more.
func (p *Platform) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	return engine.Watch(ctx, p.cfg.Poll, func() (belay.State, error) { return p.State(ctx, t) }, emit)
}

// State reads the containers. What the newest of them was made from is what is
// wanted.
func (p *Platform) State(ctx context.Context, t belay.Target) (belay.State, error) {
	ctx, cancel := p.cfg.Call(ctx)
	defer cancel()
	api, err := p.engine.API()
	if err != nil {
		return belay.State{}, err
	}
	list, err := p.instances(ctx, api)
	if err != nil {
		return belay.State{}, err
	}
	rec, err := p.see(ctx, api, t, list[0])
	if err != nil {
		return belay.State{}, err
	}
	st := belay.State{
		Target: t, Revision: rec.Revision, Token: list[0].ID, Operation: rec.Operation,
		ChangedAt: rec.Since, At: time.Now(),
	}
	st.Progress, st.Reason = progress(list, p.cfg.Steady, st.At)
	return st, nil
}

// see keeps what runs, its image with a tag, and says since when it runs.
func (p *Platform) see(ctx context.Context, api *client.Client, t belay.Target, newest instance) (engine.Record, error) {
	b := bodyOf(newest.InspectResponse)
	fresh := true
	if last := p.memory.Present(t); last.Revision.Content == newest.Revision.Content {
		before, err := parseBody(last.Body)
		if err != nil {
			return engine.Record{}, err
		}
		b.Kept, fresh = before.Kept, false
	}
	if fresh || b.Kept == "" {
		b.Kept = p.keepImage(ctx, api, newest)
	}
	text, err := json.Marshal(b)
	if err != nil {
		return engine.Record{}, err
	}
	now := newest.Revision
	now.Created = newest.Created
	rec, err := p.memory.See(t, engine.Record{Revision: now, Since: newest.Created, Operation: newest.operation(), Body: text})
	if err != nil { // it can be seen all the same; only the way back to it is in doubt
		p.log.Warn("the configuration could not be kept", "service", t.Service.String(), "content", string(now.Content), "err", err)
	} else if fresh {
		p.letGo(ctx, api, t)
	}
	return rec, nil
}

var notInTag = regexp.MustCompile(`[^a-z0-9]+`)

// keepImage gives the image a tag of Belay's, so that it is not pruned when its
// own tag moves on.
func (p *Platform) keepImage(ctx context.Context, api *client.Client, i instance) string {
	plain := func(s string) string { return strings.Trim(notInTag.ReplaceAllString(strings.ToLower(s), "-"), "-") }
	tag := fmt.Sprintf("belay.local/%s/%s:%s", plain(p.cfg.Project), plain(p.cfg.Service), i.Revision.Content.Short())
	if _, err := api.ImageTag(ctx, client.ImageTagOptions{Source: i.Image, Target: tag}); err != nil {
		p.log.Warn("the image could not be kept", "image", i.Image, "err", err)
		return ""
	}
	return tag
}

// letGo removes the tags of what ran before the last KeepImages.
func (p *Platform) letGo(ctx context.Context, api *client.Client, t belay.Target) {
	records, err := p.memory.List(t)
	if err != nil {
		p.log.Warn("what was kept cannot be listed", "err", err)
		return
	}
	for _, r := range records[min(p.cfg.KeepImages, len(records)):] {
		b, err := parseBody(r.Body)
		if err != nil || b.Kept == "" {
			continue
		}
		if _, err := api.ImageRemove(ctx, b.Kept, client.ImageRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
			p.log.Warn("an image's tag could not be removed", "tag", b.Kept, "err", err)
		}
	}
}

// Revisions lists what was recorded, what ran last first.
func (p *Platform) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	ctx, cancel := p.cfg.Call(ctx)
	defer cancel()
	api, err := p.engine.API()
	if err != nil {
		return nil, err
	}
	list, err := p.instances(ctx, api)
	if err != nil {
		return nil, err
	}
	if _, err := p.see(ctx, api, t, list[0]); err != nil {
		return nil, err
	}
	records, err := p.memory.List(t)
	if err != nil {
		return nil, err
	}
	return engine.Revisions(records, func(r engine.Record) (string, error) {
		b, err := parseBody(r.Body)
		if err != nil {
			return "", err
		}
		return lacks(ctx, api, b)
	})
}

// lacks says what a configuration names that is not there any more, as a
// sentence, or nothing.
func lacks(ctx context.Context, api *client.Client, b body) (string, error) {
	switch _, err := api.ImageInspect(ctx, b.ImageID); {
	case cerrdefs.IsNotFound(err):
		return fmt.Sprintf("its image %s (%s) was removed from this engine", b.Config.Image, b.ImageID), nil
	case err != nil:
		return "", fmt.Errorf("image %s: %w", b.ImageID, err)
	}
	for name := range b.Networks {
		switch _, err := api.NetworkInspect(ctx, name, client.NetworkInspectOptions{}); {
		case cerrdefs.IsNotFound(err):
			return fmt.Sprintf("its network %s was removed", name), nil
		case err != nil:
			return "", fmt.Errorf("network %s: %w", name, err)
		}
	}
	for _, bind := range b.Host.Binds {
		from, _, _ := strings.Cut(bind, ":")
		if strings.HasPrefix(from, "/") || anonymous.MatchString(bind) {
			continue
		}
		switch _, err := api.VolumeInspect(ctx, from, client.VolumeInspectOptions{}); {
		case cerrdefs.IsNotFound(err):
			return fmt.Sprintf("its volume %s was removed", from), nil
		case err != nil:
			return "", fmt.Errorf("volume %s: %w", from, err)
		}
	}
	return "", nil
}
