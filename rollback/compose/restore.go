package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/engine"
)

// Restore replaces each container of the service by one that is made from the
// recorded configuration and the recorded image: what Compose does for
// `up --detach --no-deps --no-build --pull never`, one container after the
// other. What it has begun with a container it ends, even if ctx has ended.
func (p *Platform) Restore(ctx context.Context, op belay.Operation) error {
	if op.ID == "" || op.Seen == "" || op.To.Content == "" || op.Seen == op.To.Content {
		return fmt.Errorf("restore: the operation %q from %q to %q makes no sense", op.ID, op.Seen, op.To.Content)
	}
	p.acting.Lock()
	defer p.acting.Unlock()
	api, err := p.engine.API()
	if err != nil {
		return fmt.Errorf("nothing was restored: %w", err)
	}
	list, err := p.instances(ctx, api)
	if err != nil {
		return fmt.Errorf("nothing was restored, since what runs is unknown: %w", err)
	}
	spent, err := p.spent(op, list)
	if err != nil {
		return fmt.Errorf("nothing was restored, since it is unknown whether %s has done its work: %w", op.ID, err)
	}
	now := list[0].Revision
	switch {
	case spent && now.Content != op.To.Content:
		return fmt.Errorf("operation %s has done its work, and %s runs by now: %w", op.ID, now, belay.ErrSuperseded)
	case !spent && now.Content != op.Seen:
		return fmt.Errorf("%s runs, not %s: %w", now, op.Seen.Short(), belay.ErrSuperseded)
	}
	for _, i := range list {
		if c := i.Revision.Content; c != op.Seen && c != op.To.Content {
			return fmt.Errorf("%s runs beside %s, so a deployment is under way: %w", i.Revision, now, rollback.ErrTryLater)
		}
	}
	w := work{p: p, api: api, op: op}
	if !spent || slices.ContainsFunc(list, w.unfinished) {
		if err := w.prepare(ctx); err != nil {
			return fmt.Errorf("nothing was restored: %w", err)
		}
		if err := w.replaceAll(ctx, list); err != nil {
			return err
		}
	}
	if err := p.memory.Spend(op); err != nil { // the containers' label says so as well
		p.log.Warn("the operation could not be remembered", "operation", op.ID, "err", err)
	}
	return nil
}

// spent says whether an operation was applied: by the label of a container that
// it made, or by what this Belay remembers.
func (p *Platform) spent(op belay.Operation, list []instance) (bool, error) {
	if slices.ContainsFunc(list, func(i instance) bool { return i.operation() == op.ID }) {
		return true, nil
	}
	return p.memory.Spent(op)
}

// work is one run of one operation.
type work struct {
	p    *Platform
	api  *client.Client
	op   belay.Operation
	good body
}

// unfinished says whether the operation has left something to do about an
// instance: when Belay died in between, or an answer was lost.
func (w work) unfinished(i instance) bool {
	return i.Revision.Content == w.op.Seen || (i.operation() == w.op.ID && (!i.State.Running && i.State.Status == container.StateCreated || slices.ContainsFunc(i.Aside, isRetired)))
}

// prepare reads what is to be restored, and sees that everything it names is
// there.
func (w *work) prepare(ctx context.Context) error {
	ctx, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	rec, err := w.p.memory.Get(w.op.Target, w.op.To.Content)
	if err != nil {
		return fmt.Errorf("%s: %w", w.op.To, err)
	}
	if w.good, err = parseBody(rec.Body); err != nil {
		return err
	}
	why, err := lacks(ctx, w.api, w.good)
	if err == nil && why != "" {
		err = fmt.Errorf("%s cannot be restored: %s", w.op.To, why)
	}
	return err
}

func (w work) replaceAll(ctx context.Context, list []instance) error {
	for n, i := range list {
		if !w.unfinished(i) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("restore: %d of %d containers were looked after: %w", n, len(list), err)
		}
		if err := w.replace(context.WithoutCancel(ctx), i); err != nil {
			return err
		}
	}
	return nil
}

// replace puts one container in the place of another: the old one is renamed,
// the new one made, the old one stopped, the new one started, the old one
// removed. It goes on where an earlier run has ended.
func (w work) replace(ctx context.Context, i instance) error {
	old := slices.DeleteFunc(slices.Clone(i.Aside), func(c container.InspectResponse) bool { return !isRetired(c) })
	id := i.ID
	if i.Revision.Content == w.op.Seen {
		if err := w.putAside(ctx, i); err != nil {
			return err
		}
		made, err := w.create(ctx, i)
		if err != nil {
			return err
		}
		old, id = append(old, i.InspectResponse), made
	}
	for _, c := range old {
		if err := w.stop(ctx, c); err != nil {
			return err
		}
	}
	if err := w.start(ctx, id); err != nil {
		return w.undo(ctx, id, old, err)
	}
	for _, c := range old {
		if err := w.remove(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// putAside renames the container that was read. Where it is gone, somebody else
// has deployed.
func (w work) putAside(ctx context.Context, i instance) error {
	if isRetired(i.InspectResponse) {
		return nil
	}
	ctx, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	_, err := w.api.ContainerRename(ctx, i.ID, client.ContainerRenameOptions{NewName: originalName(i.InspectResponse) + retired + "-" + i.ID[:12]})
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("container %s is gone: %w", originalName(i.InspectResponse), belay.ErrSuperseded)
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", originalName(i.InspectResponse), err)
	}
	return nil
}

// create makes the new container under the old one's name, without starting it.
func (w work) create(ctx context.Context, i instance) (string, error) {
	ctx, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	config, host := *w.good.Config, *w.good.Host
	config.Labels = maps.Clone(config.Labels)
	delete(config.Labels, labelReplace)
	config.Labels[labelNumber] = i.Config.Labels[labelNumber]
	config.Labels[labelOperation] = w.op.ID
	config.Image = w.image(ctx)
	config.Env = slices.DeleteFunc(slices.Clone(config.Env), func(e string) bool { return strings.HasPrefix(e, affinity) })
	if len(config.Hostname) == 12 && strings.Trim(config.Hostname, "0123456789abcdef") == "" {
		config.Hostname = "" // the recorded container's own id; the new one gets its own
	}
	host.Binds = carryOver(host.Binds, i)
	names := slices.Sorted(keys(w.good.Networks))
	var first *network.NetworkingConfig
	if mode := string(host.NetworkMode); w.good.Networks[mode] != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n == mode })
		first = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{mode: w.good.Networks[mode]}}
	}
	name := originalName(i.InspectResponse)
	made, err := w.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name, Config: &config, HostConfig: &host, NetworkingConfig: first})
	if cerrdefs.IsConflict(err) {
		return "", w.displaced(ctx, name, i.InspectResponse)
	}
	for _, n := range names {
		if err == nil {
			_, err = w.api.NetworkConnect(ctx, n, client.NetworkConnectOptions{Container: made.ID, EndpointConfig: w.good.Networks[n]})
		}
	}
	if err != nil {
		if made.ID != "" {
			_, rerr := w.api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
			err = errors.Join(err, rerr)
		}
		if said(err) { // nothing was made: the old one keeps its name
			_, rerr := w.api.ContainerRename(ctx, i.ID, client.ContainerRenameOptions{NewName: name})
			err = errors.Join(err, rerr)
		}
		return "", fmt.Errorf("container %s from %s: %w", name, w.op.To, err)
	}
	return made.ID, nil
}

// said tells an answer of the engine from the silence after which nobody knows
// what it did.
func said(err error) bool {
	return cerrdefs.IsNotFound(err) || cerrdefs.IsInvalidArgument(err) || cerrdefs.IsConflict(err) || cerrdefs.IsInternal(err) || cerrdefs.IsPermissionDenied(err) || cerrdefs.IsUnauthorized(err)
}

// image is what the new container's image is called: as before while that name
// still means the same image, otherwise by the tag that Belay keeps, or the id.
func (w work) image(ctx context.Context) string {
	for _, name := range []string{w.good.Config.Image, w.good.Kept} {
		if name == "" {
			continue
		}
		if found, err := w.api.ImageInspect(ctx, name); err == nil && found.ID == w.good.ImageID {
			return name
		}
	}
	return w.good.ImageID
}

// carryOver gives the new container the volumes that nobody named, as Compose
// does: what is in them outlives a deployment.
func carryOver(binds []string, i instance) []string {
	binds = slices.DeleteFunc(slices.Clone(binds), anonymous.MatchString)
	for _, m := range i.Mounts {
		if bind := m.Name + ":" + m.Destination; anonymous.MatchString(bind) {
			binds = append(binds, bind)
		}
	}
	return binds
}

func (w work) stop(ctx context.Context, c container.InspectResponse) error {
	patience := w.p.cfg.Timeout
	if t := c.Config.StopTimeout; t != nil {
		patience = max(patience, engine.Seconds(*t)+w.p.cfg.Timeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, engine.ErrTimeout)
	defer cancel()
	if _, err := w.api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("stop of container %s: %w", originalName(c), err)
	}
	return nil
}

func (w work) start(ctx context.Context, id string) error {
	ctx, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	_, err := w.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return err
}

// displaced clears away what was put aside when somebody else's container has
// its place by now.
func (w work) displaced(ctx context.Context, name string, old ...container.InspectResponse) error {
	for _, c := range old {
		if err := w.remove(ctx, c); err != nil {
			return err
		}
	}
	return fmt.Errorf("container %s was made by somebody else: %w", name, belay.ErrSuperseded)
}

// undo brings the container before back when the engine says that it cannot
// start the new one: something running is better than nothing. Where the engine
// has said nothing, everything stays as it is; the repetition goes on from there.
func (w work) undo(ctx context.Context, id string, old []container.InspectResponse, why error) error {
	if !said(why) || len(old) == 0 {
		return fmt.Errorf("start of the restored container: %w", why)
	}
	before := old[len(old)-1]
	name := originalName(before)
	call, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	_, err := w.api.ContainerRemove(call, id, client.ContainerRemoveOptions{Force: true})
	if err == nil || cerrdefs.IsNotFound(err) {
		_, err = w.api.ContainerRename(call, before.ID, client.ContainerRenameOptions{NewName: name})
	}
	if cerrdefs.IsConflict(err) || cerrdefs.IsNotFound(err) {
		return w.displaced(ctx, name, old...)
	}
	if err == nil {
		err = w.start(ctx, before.ID)
	}
	if err != nil {
		return fmt.Errorf("the restored container does not start (%w), and the one before could not be brought back: %w", why, err)
	}
	return fmt.Errorf("the restored container does not start, the one before runs again: %w", why)
}

func (w work) remove(ctx context.Context, c container.InspectResponse) error {
	ctx, cancel := w.p.cfg.Call(ctx)
	defer cancel()
	if _, err := w.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true}); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("removal of the container before: %w", err)
	}
	return nil
}
