package swarm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/engine"
)

// The labels by which a service carries the operation that last changed it.
const (
	labelOperation = "dev.belay.operation"
	labelContent   = "dev.belay.content" // what that operation put in place
)

// tries is how often an update is tried whose version had moved on although
// the content had not: somebody scaled, or an update went on.
const tries = 5

// operation returns the id of the operation that put the present content in
// place, "" when it was somebody else. Labels stay when others update the
// service, so the stamp counts only for the content that it names, and not when
// that content left and came back.
func operation(svc swarm.Service, now belay.Content) string {
	op := svc.Spec.Labels[labelOperation]
	if op == "" || svc.Spec.Labels[labelContent] != string(now) {
		return ""
	}
	if prev := svc.PreviousSpec; prev != nil && prev.Labels[labelOperation] == op {
		if before, err := content(*prev); err != nil || before != now {
			return ""
		}
	}
	return op
}

// Restore updates the service to the kept specification, if the version of the
// service that was compared is still the newest. Replicas and the service's
// labels stay as they are now.
func (p *Platform) Restore(ctx context.Context, op belay.Operation) error {
	if op.ID == "" || op.Seen == "" || op.To.Content == "" || op.Seen == op.To.Content {
		return fmt.Errorf("restore: the operation %q from %q to %q makes no sense", op.ID, op.Seen, op.To.Content)
	}
	ctx, cancel := p.cfg.Call(ctx)
	defer cancel()
	for range tries {
		err := p.restoreOnce(ctx, op)
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return fmt.Errorf("service %s is changed all the time: %w", p.cfg.Service, rollback.ErrTryLater)
}

// errMoved says that the service has moved on and nothing was changed.
var errMoved = errors.New("update out of sequence")

func (p *Platform) restoreOnce(ctx context.Context, op belay.Operation) error {
	api, svc, err := p.inspect(ctx)
	if err != nil {
		return fmt.Errorf("nothing was restored, since what runs is unknown: %w", err)
	}
	now, err := revision(svc.Spec)
	if err != nil {
		return fmt.Errorf("service %s: %w", p.cfg.Service, err)
	}
	spent, err := p.spent(op, svc)
	if err != nil {
		return fmt.Errorf("nothing was restored, since it is unknown whether %s has done its work: %w", op.ID, err)
	}
	switch {
	case spent && now.Content == op.To.Content:
		return nil
	case spent:
		return fmt.Errorf("operation %s has done its work, and %s runs by now: %w", op.ID, now, belay.ErrSuperseded)
	case now.Content != op.Seen:
		return fmt.Errorf("%s runs, not %s: %w", now, op.Seen.Short(), belay.ErrSuperseded)
	}
	good, err := p.wanted(ctx, api, op, svc)
	if err != nil {
		return fmt.Errorf("nothing was restored: %w", err)
	}
	_, err = api.ServiceUpdate(ctx, svc.ID, client.ServiceUpdateOptions{Version: svc.Version, Spec: restored(svc.Spec, good.Spec, op)})
	switch {
	case err == nil:
	case outOfSequence(err):
		return errMoved
	default:
		return fmt.Errorf("update of the service %s: %w", p.cfg.Service, err)
	}
	if err := p.memory.Spend(op); err != nil { // the service's label says so as well
		p.log.Warn("the operation could not be remembered", "operation", op.ID, "err", err)
	}
	return nil
}

// outOfSequence says whether the managers refused an update because the service
// has another version by now.
func outOfSequence(err error) bool {
	return cerrdefs.IsConflict(err) || strings.Contains(err.Error(), "update out of sequence")
}

// spent says whether an operation was applied: by what this Belay remembers, or
// by the mark that it left on the service or on what the service was before.
func (p *Platform) spent(op belay.Operation, svc swarm.Service) (bool, error) {
	if svc.Spec.Labels[labelOperation] == op.ID || (svc.PreviousSpec != nil && svc.PreviousSpec.Labels[labelOperation] == op.ID) {
		return true, nil
	}
	return p.memory.Spent(op)
}

// wanted returns the specification of what the operation restores, when
// everything that it names is there.
func (p *Platform) wanted(ctx context.Context, api *client.Client, op belay.Operation, svc swarm.Service) (body, error) {
	b, err := p.recall(op, svc)
	if err != nil {
		return body{}, err
	}
	have, err := takeInventory(ctx, api)
	if err != nil {
		return body{}, err
	}
	lacks, err := have.lacks(ctx, b)
	if err != nil {
		return body{}, err
	}
	if lacks != "" {
		return body{}, fmt.Errorf("%s cannot be restored: %s", op.To, lacks)
	}
	return b, nil
}

func (p *Platform) recall(op belay.Operation, svc swarm.Service) (body, error) {
	rec, err := p.memory.Get(op.Target, op.To.Content)
	if err == nil {
		return parseBody(rec.Body)
	}
	if svc.PreviousSpec != nil {
		if prev, perr := revision(*svc.PreviousSpec); perr == nil && prev.Content == op.To.Content {
			return body{Spec: *svc.PreviousSpec}, nil
		}
	}
	return body{}, fmt.Errorf("%s: %w", op.To, err)
}

// restored is the good specification as it is sent: with the name, the labels
// and the number of replicas of now, and with the mark of the operation.
func restored(now, good swarm.ServiceSpec, op belay.Operation) swarm.ServiceSpec {
	good.Name = now.Name
	good.Labels = maps.Clone(now.Labels)
	if good.Labels == nil {
		good.Labels = map[string]string{}
	}
	good.Labels[labelOperation], good.Labels[labelContent] = op.ID, string(op.To.Content)
	good.Mode = now.Mode
	return good
}

// An inventory is what services refer to, by id.
type inventory struct {
	api              *client.Client
	secrets, configs map[string]bool
}

func takeInventory(ctx context.Context, api *client.Client) (inventory, error) {
	inv := inventory{api: api, secrets: map[string]bool{}, configs: map[string]bool{}}
	secrets, err := api.SecretList(ctx, client.SecretListOptions{})
	if err != nil {
		return inv, fmt.Errorf("secrets of the swarm: %w", err)
	}
	for _, s := range secrets.Items {
		inv.secrets[s.ID] = true
	}
	configs, err := api.ConfigList(ctx, client.ConfigListOptions{})
	if err != nil {
		return inv, fmt.Errorf("configs of the swarm: %w", err)
	}
	for _, c := range configs.Items {
		inv.configs[c.ID] = true
	}
	return inv, nil
}

// lacks says what a specification names that is not there any more, as a
// sentence, or nothing.
func (have inventory) lacks(ctx context.Context, b body) (string, error) {
	run := b.Spec.TaskTemplate.ContainerSpec
	for _, s := range run.Secrets {
		if !have.secrets[s.SecretID] {
			return fmt.Sprintf("its secret %s was removed", s.SecretName), nil
		}
	}
	for _, c := range run.Configs {
		if !have.configs[c.ConfigID] {
			return fmt.Sprintf("its config %s was removed", c.ConfigName), nil
		}
	}
	for _, n := range b.Spec.TaskTemplate.Networks {
		switch _, err := have.api.NetworkInspect(ctx, n.Target, client.NetworkInspectOptions{Scope: "swarm"}); {
		case cerrdefs.IsNotFound(err):
			return fmt.Sprintf("its network %s was removed", n.Target), nil
		case err != nil:
			return "", fmt.Errorf("network %s: %w", n.Target, err)
		}
	}
	if b.ImageID == "" || engine.Pinned(run.Image) != "" {
		return "", nil // a node fetches it by its digest; or nothing is known of it
	}
	switch found, err := have.api.ImageInspect(ctx, run.Image); {
	case cerrdefs.IsNotFound(err):
		return fmt.Sprintf("its image %s is not on this engine any more, and no digest says what to fetch", run.Image), nil
	case err != nil:
		return "", fmt.Errorf("image %s: %w", run.Image, err)
	case found.ID != b.ImageID:
		return fmt.Sprintf("its image was %s, and that tag names another image by now", run.Image), nil
	}
	return "", nil
}
