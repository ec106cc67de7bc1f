package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// tries is how often a patch is tried while only other things than the content
// change on the object: its status, its replicas, its labels.
const tries = 8

// errMoved says that the object has moved on between reading and writing.
var errMoved = errors.New("the object has moved on")

// Restore puts a pod template back, and nothing else. Before anything is
// changed the API server is asked for a dry run.
func (p *Platform) Restore(ctx context.Context, op belay.Operation) error {
	if op.ID == "" || op.Seen == "" || op.To.Content == "" || op.Seen == op.To.Content {
		return fmt.Errorf("%s was not touched: the operation %q from %q to %q makes no sense", p, op.ID, op.Seen, op.To.Content)
	}
	for range tries {
		s, err := p.read(ctx, false)
		if err != nil {
			return fmt.Errorf("nothing was restored, since what runs is unknown: %w", err)
		}
		switch {
		case s.spent(op.ID) && s.Content == op.To.Content:
			p.unstick(ctx, op)
			return nil
		case s.spent(op.ID):
			// The history was read after the object: it may know of this very
			// operation, applied by another Belay in between.
			if now, err := p.read(ctx, false); err != nil || now.Object.GetResourceVersion() != s.Object.GetResourceVersion() {
				continue
			}
			return fmt.Errorf("%s has done its work on %s before, and %s runs by now: %w", op.ID, p, s.Content.Short(), belay.ErrSuperseded)
		case s.Content != op.Seen:
			return fmt.Errorf("%s runs %s, not %s: %w", p, s.Content.Short(), op.Seen.Short(), belay.ErrSuperseded)
		}
		err = p.attempt(ctx, &s, op)
		if errors.Is(err, errMoved) {
			continue
		}
		if err == nil {
			p.unstick(ctx, op)
		}
		return err
	}
	return fmt.Errorf("%s was changed by others each of %d times between reading and writing; nothing was restored: %w", p, tries, rollback.ErrTryLater)
}

// attempt tries once: it looks for the template, asks for a dry run, and writes
// on the object exactly as it was read.
func (p *Platform) attempt(ctx context.Context, s *seen, op belay.Operation) error {
	if paused, _, _ := unstructured.NestedBool(s.Object.Object, "spec", "paused"); paused {
		return fmt.Errorf("the rollout of %s is paused: a new template would not be rolled out. `kubectl -n %s rollout resume deployment/%s` lets Belay go on; nothing was changed: %w", p, p.cfg.Namespace, p.name, rollback.ErrTryLater)
	}
	if s.Object.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s is being deleted; nothing was changed", p)
	}
	to, err := p.wanted(ctx, s, op)
	if err != nil {
		return err
	}
	dyn, err := p.client()
	if err != nil {
		return err
	}
	would, err := p.send(ctx, dyn, p.patch(s, op, to, false), metav1.DryRunAll)
	if err != nil {
		var status apierrors.APIStatus
		if !errors.Is(err, errMoved) && errors.As(err, &status) {
			return fmt.Errorf("the API server would not let Belay change %s; nothing was changed: %w", p, err)
		}
		return err
	}
	if got := stampOf(would).alias(mustTemplate(would)); got != op.To.Content {
		return fmt.Errorf("the API server would make %s of the template that Belay wants to put back (%s), perhaps by an admission webhook; nothing was changed", got.Short(), op.To.Content.Short())
	}
	ours, _ := writers(would)
	_, err = p.send(ctx, dyn, p.patch(s, op, to, ours.template))
	return err
}

// mustTemplate returns the template of an object, an empty one without it.
func mustTemplate(obj *unstructured.Unstructured) template {
	t, err := templateAt(obj.Object)
	if err != nil {
		return template{}
	}
	return t
}

// wanted returns the template to write: the one that ran, its images bound to
// the digests that ran where their names may mean something else by now.
func (p *Platform) wanted(ctx context.Context, s *seen, op belay.Operation) (template, error) {
	for _, c := range p.candidates(s, op.Target) {
		if c.Content != op.To.Content {
			continue
		}
		if err := p.examine(ctx, &c); err != nil {
			return nil, fmt.Errorf("%s was not touched: %w", p, err)
		}
		if c.Missing {
			return nil, fmt.Errorf("%s was not touched, since %s cannot be restored: %s", p, op.To, c.Detail)
		}
		pinned, unknown := c.Template.pin(c.Digests)
		if len(unknown) > 0 {
			p.log.Warn("an image is restored by its tag, since the digest that ran is not known", "service", op.Target.Service.String(), "containers", unknown)
		}
		return pinned, nil
	}
	return nil, fmt.Errorf("%s was not touched: neither its history nor Belay has the template of %s any more", p, op.To)
}

// patch replaces the template and the annotations, on the object that was read.
func (p *Platform) patch(s *seen, op belay.Operation, to template, manages bool) []byte {
	st := stamp{ID: op.ID, Content: op.To.Content, Written: to.content(), Manages: manages, At: time.Now().UTC(), Spent: stampOf(s.Object).Spent}
	return jsonOf([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(s.Object.GetUID())},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": s.Object.GetResourceVersion()},
		{"op": "add", "path": "/metadata/annotations", "value": st.with(s.Object.GetAnnotations(), op)},
		{"op": "replace", "path": "/spec/template", "value": to},
	})
}

// send sends the patch. errMoved means that nothing was changed.
func (p *Platform) send(ctx context.Context, dyn dynamic.Interface, patch []byte, dryRun ...string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	obj, err := p.objects(dyn).Patch(ctx, p.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager, DryRun: dryRun})
	switch {
	case apierrors.IsConflict(err):
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	case apierrors.IsTooManyRequests(err):
		return nil, fmt.Errorf("%w: %w", err, rollback.ErrTryLater)
	case err != nil:
		return nil, fmt.Errorf("patch %s: %w", p, err)
	}
	return obj, nil
}
