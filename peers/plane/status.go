package plane

import (
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report writes how the pod is.
func (p *pod) report(ctx context.Context) error {
	return p.write(ctx, p.status())
}

// write writes a status if it is another than the one before.
func (p *pod) write(ctx context.Context, status corev1.PodStatus) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.state.UID}, "status": status})
	if err != nil {
		return err
	}
	if string(patch) == p.reported {
		return nil
	}
	_, err = p.kubelet.client.Pods(p.state.Namespace).Patch(ctx, p.state.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return err
	}
	p.reported = string(patch)
	return nil
}

// status says how the pod is, as a kubelet would.
func (p *pod) status() corev1.PodStatus {
	c, s := &p.container, p.state.Status.DeepCopy()
	s.ObservedGeneration = p.state.Generation
	s.HostIP, s.HostIPs = "127.0.0.1", []corev1.HostIP{{IP: "127.0.0.1"}}
	if s.StartTime == nil {
		now := metav1.Now()
		s.StartTime = &now
		p.state.Status.StartTime = &now
	}
	if c.ip != "" {
		s.PodIP, s.PodIPs = c.ip, []corev1.PodIP{{IP: c.ip}}
	}
	running := c.process != nil && !c.process.ended()
	cs := corev1.ContainerStatus{
		Name: p.spec().Name, Image: p.spec().Image, ImageID: c.digest, ContainerID: c.id(),
		Ready: c.ready && running, Started: &running, RestartCount: c.restarts,
	}
	s.Phase = corev1.PodPending
	if running || c.restarts > 0 {
		s.Phase = corev1.PodRunning
	}
	switch {
	case running:
		cs.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.since)}
	case c.waiting != nil:
		cs.State.Waiting = c.waiting
	case c.last != nil:
		cs.State.Terminated = c.last
	default:
		cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	if c.last != nil && cs.State.Terminated == nil {
		cs.LastTerminationState.Terminated = c.last
	}
	if c.over {
		s.Phase = corev1.PodFailed
		if c.last.ExitCode == 0 {
			s.Phase = corev1.PodSucceeded
		}
	}
	s.ContainerStatuses = []corev1.ContainerStatus{cs}
	p.conclude(s, cs.Ready)
	return *s
}

// conclude sets the conditions of a pod whose container is ready or is not.
func (p *pod) conclude(s *corev1.PodStatus, ready bool) {
	reason, message := "", ""
	if !ready {
		reason, message = "ContainersNotReady", "containers with unready status: ["+p.spec().Name+"]"
	}
	p.set(s, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: truth(p.container.ip != "")})
	p.set(s, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue})
	p.set(s, corev1.PodCondition{Type: corev1.ContainersReady, Status: truth(ready), Reason: reason, Message: message})
	p.set(s, corev1.PodCondition{Type: corev1.PodReady, Status: truth(ready), Reason: reason, Message: message})
}

// set puts a condition into a status. Its time is that of the last change.
func (p *pod) set(s *corev1.PodStatus, c corev1.PodCondition) {
	c.ObservedGeneration = p.state.Generation
	i := slices.IndexFunc(s.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type })
	if i < 0 {
		c.LastTransitionTime = metav1.Now()
		s.Conditions = append(s.Conditions, c)
		return
	}
	c.LastTransitionTime = s.Conditions[i].LastTransitionTime
	if s.Conditions[i].Status != c.Status {
		c.LastTransitionTime = metav1.Now()
	}
	s.Conditions[i] = c
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// isGone says that a call came too late: the pod is no more, or is another.
func isGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
