package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/belaydev/belay"
)

// noticeWithin is how long the statefulset controller is given to notice the
// template that was put back.
const noticeWithin = 5 * time.Second

// unstick evicts the pods of the bad template that are not ready. A StatefulSet
// waits for such a pod for ever, even after its template is well again. It is a
// second step that delete_stuck_pods permits; eviction respects
// PodDisruptionBudgets. What goes wrong here does not undo the restore: State
// goes on to say which pod is stuck, and why.
func (p *Platform) unstick(ctx context.Context, op belay.Operation) {
	if !p.cfg.DeleteStuckPods || p.kind.Name != statefulSet.Name {
		return
	}
	s, err := p.noticed(ctx)
	if err != nil {
		p.log.Warn("stuck pods cannot be looked for", "service", op.Target.Service.String(), "operation", op.ID, "err", err)
		return
	}
	bad := map[string]bool{}
	for _, o := range s.Old {
		bad[o.Hash] = o.Content == op.Seen
	}
	_, before := s.split(p.kind)
	for i := range before {
		if pod := &before[i]; bad[pod.Labels[p.kind.PodHash]] && !ready(*pod) && pod.DeletionTimestamp == nil {
			if err := p.evict(ctx, pod); err != nil {
				p.log.Warn("a stuck pod stays", "service", op.Target.Service.String(), "operation", op.ID, "pod", pod.Name, "err", err)
				continue
			}
			p.log.Info("a stuck pod of the bad revision was evicted", "service", op.Target.Service.String(), "operation", op.ID, "pod", pod.Name)
		}
	}
}

// noticed reads until the controller has seen the newest template, or the time
// for that is over.
func (p *Platform) noticed(ctx context.Context) (seen, error) {
	deadline := time.NewTimer(noticeWithin)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := p.read(ctx, true)
		if err != nil {
			return s, err
		}
		observed, _, _ := unstructured.NestedInt64(s.Object.Object, "status", "observedGeneration")
		if observed >= s.Object.GetGeneration() && s.current() != "" {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-deadline.C:
			return s, fmt.Errorf("the controller has not noticed the change within %s", noticeWithin)
		case <-tick.C:
		}
	}
}

// evict asks for the eviction of a pod exactly as it was seen, so that one that
// got ready meanwhile stays. A pod that crashes again and again changes under
// the hands of whoever read it, so it is read once more and judged anew.
func (p *Platform) evict(ctx context.Context, pod *corev1.Pod) error {
	dyn, err := p.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	pods := dyn.Resource(podResource).Namespace(pod.Namespace)
	for range tries {
		_, err = pods.Create(ctx, eviction(pod), metav1.CreateOptions{}, "eviction")
		if apierrors.IsTooManyRequests(err) {
			return fmt.Errorf("a PodDisruptionBudget forbids it: %w", err)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		if pod, err = stillStuck(ctx, pods, pod); pod == nil {
			return err
		}
	}
	return fmt.Errorf("it changed each of %d times between reading and evicting", tries)
}

// stillStuck reads the pod once more: nil when it is on its way out already, or
// gone, or ready by now. The right to list pods is the only one that is needed.
func stillStuck(ctx context.Context, pods dynamic.ResourceInterface, pod *corev1.Pod) (*corev1.Pod, error) {
	found, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
	if err != nil || len(found.Items) == 0 {
		return nil, err
	}
	var now corev1.Pod
	switch err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.Items[0].Object, &now); {
	case err != nil:
		return nil, err
	case now.UID != pod.UID || now.DeletionTimestamp != nil:
		return nil, nil
	case ready(now):
		return nil, errReady
	}
	return &now, nil
}

// errReady is why a pod that was to be evicted is left alone.
var errReady = errors.New("it has become ready")

func eviction(pod *corev1.Pod) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1",
		"kind":       "Eviction",
		"metadata":   map[string]any{"name": pod.Name, "namespace": pod.Namespace},
		"deleteOptions": map[string]any{
			"preconditions": map[string]any{"uid": string(pod.UID), "resourceVersion": pod.ResourceVersion},
		},
	}}
}
