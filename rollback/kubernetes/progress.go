package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/belaydev/belay"
)

// A standing is how far the present template has come, and in words why it is
// no further.
type standing struct {
	Progress belay.Progress
	Reason   string
}

func progressing(format string, args ...any) standing {
	return standing{belay.Progressing, fmt.Sprintf(format, args...)}
}

func stuckFor(format string, args ...any) standing {
	return standing{belay.Stuck, fmt.Sprintf(format, args...)}
}

// progress reads the status as `kubectl rollout status` does, and looks at the
// pods for the reason.
func (s *seen) progress(k kind) standing {
	if s.Object.GetDeletionTimestamp() != nil {
		return stuckFor("it is being deleted")
	}
	switch k.Name {
	case statefulSet.Name:
		return s.statefulSet()
	case daemonSet.Name:
		return s.daemonSet()
	}
	return s.deployment()
}

func (s *seen) into(typed any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(s.Object.Object, typed)
}

func (s *seen) deployment() standing {
	var d appsv1.Deployment
	if err := s.into(&d); err != nil {
		return progressing("its status cannot be read: %v", err)
	}
	want := replicas(d.Spec.Replicas)
	done := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= want &&
		d.Status.Replicas <= d.Status.UpdatedReplicas && d.Status.AvailableReplicas >= d.Status.UpdatedReplicas
	switch {
	case done:
		return standing{Progress: belay.Converged}
	case d.Spec.Paused:
		return stuckFor("the rollout is paused; `kubectl -n %s rollout resume deployment/%s` lets it go on", d.Namespace, d.Name)
	case d.Status.ObservedGeneration < d.Generation:
		return progressing("the deployment controller has not seen the change yet")
	}
	now, _ := s.split(deployment)
	why := troubleOf(now)
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			return stuckFor("pods cannot be created: %s", c.Message)
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" && why == "":
			return stuckFor("the progress deadline of %d s has passed: %d of %d pods run the new template, %d are available", deadlineOf(d), d.Status.UpdatedReplicas, want, d.Status.AvailableReplicas)
		}
	}
	if why != "" {
		return stuckFor("%s", why)
	}
	if gone := d.Status.Replicas - d.Status.UpdatedReplicas; gone > 0 && d.Status.UpdatedReplicas >= want {
		return progressing("%d pods of the template before have not ended yet", gone)
	}
	return progressing("%d of %d pods run the new template, %d are available", d.Status.UpdatedReplicas, want, d.Status.AvailableReplicas)
}

func deadlineOf(d appsv1.Deployment) int32 {
	if d.Spec.ProgressDeadlineSeconds == nil {
		return 600
	}
	return *d.Spec.ProgressDeadlineSeconds
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func (s *seen) statefulSet() standing {
	var set appsv1.StatefulSet
	if err := s.into(&set); err != nil {
		return progressing("its status cannot be read: %v", err)
	}
	want := replicas(set.Spec.Replicas)
	var keep int32 // pods below the partition stay as they are
	if ru := set.Spec.UpdateStrategy.RollingUpdate; ru != nil && ru.Partition != nil {
		keep = min(*ru.Partition, want)
	}
	seenIt := set.Status.ObservedGeneration >= set.Generation && s.current() != ""
	done := seenIt && updated(set) >= want-keep && set.Status.AvailableReplicas >= want && set.Status.Replicas <= want
	if done {
		return standing{Progress: belay.Converged}
	}
	if !seenIt {
		return progressing("the statefulset controller has not seen the change yet")
	}
	now, before := s.split(statefulSet)
	if why := troubleOf(now); why != "" {
		return stuckFor("%s", why)
	}
	if len(s.Events) > 0 {
		return stuckFor("pods cannot be created: %s", s.Events[0])
	}
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType && len(before) > 0 {
		return stuckFor("the update strategy is OnDelete: %d pods keep the template before until someone deletes them", len(before))
	}
	if i := slices.IndexFunc(before, func(p corev1.Pod) bool { return !ready(p) && troubleOf([]corev1.Pod{p}) != "" }); i >= 0 {
		return stuckFor("%s; it keeps the template before, and a StatefulSet waits for it for ever: `kubectl -n %s delete pod %s` (delete_stuck_pods: true lets Belay do that)", troubleOf(before[i:i+1]), set.Namespace, before[i].Name)
	}
	return progressing("%d of %d pods run the new template, %d are available", updated(set), want-keep, set.Status.AvailableReplicas)
}

// updated counts the pods of the present template. The status counts none
// while the two revisions in it are the same one.
func updated(set appsv1.StatefulSet) int32 {
	if set.Status.CurrentRevision == set.Status.UpdateRevision {
		return max(set.Status.UpdatedReplicas, set.Status.CurrentReplicas)
	}
	return set.Status.UpdatedReplicas
}

func (s *seen) daemonSet() standing {
	var d appsv1.DaemonSet
	if err := s.into(&d); err != nil {
		return progressing("its status cannot be read: %v", err)
	}
	st := d.Status
	want := st.DesiredNumberScheduled
	if st.ObservedGeneration < d.Generation || s.current() == "" {
		return progressing("the daemonset controller has not seen the change yet")
	}
	if st.UpdatedNumberScheduled >= want && st.NumberAvailable >= want {
		return standing{Progress: belay.Converged}
	}
	now, before := s.split(daemonSet)
	if why := troubleOf(now); why != "" {
		return stuckFor("%s", why)
	}
	if len(s.Events) > 0 {
		return stuckFor("pods cannot be created: %s", s.Events[0])
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType && len(before) > 0 {
		return stuckFor("the update strategy is OnDelete: %d pods keep the template before until someone deletes them", len(before))
	}
	return progressing("%d of %d nodes run the new template, %d are available", st.UpdatedNumberScheduled, want, st.NumberAvailable)
}

func ready(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// troubleOf says in words what keeps the first pod in trouble from running, ""
// when none is.
func troubleOf(pods []corev1.Pod) string {
	for i := range pods {
		if why := podTrouble(pods[i]); why != "" {
			return why
		}
	}
	return ""
}

func podTrouble(p corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return ""
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return fmt.Sprintf("pod %s cannot be scheduled: %s", p.Name, c.Message)
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return fmt.Sprintf("pod %s has failed: %s", p.Name, strings.TrimSpace(p.Status.Reason+" "+p.Status.Message))
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if why := containerTrouble(p.Name, s); why != "" {
			return why
		}
	}
	return ""
}

// containerTrouble. A container that crashes is in trouble between two crashes,
// too, until it has got ready.
func containerTrouble(pod string, s corev1.ContainerStatus) string {
	reason, message := "", ""
	if w := s.State.Waiting; w != nil {
		reason, message = w.Reason, w.Message
	}
	switch reason {
	case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect":
		return fmt.Sprintf("pod %s cannot pull the image %s (%s)%s", pod, s.Image, reason, after(message))
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return fmt.Sprintf("container %s of pod %s cannot be started (%s)%s", s.Name, pod, reason, after(message))
	}
	last := s.LastTerminationState.Terminated
	if s.State.Terminated != nil {
		last = s.State.Terminated
	}
	if reason != "CrashLoopBackOff" && (s.Ready || s.RestartCount == 0 || last == nil) {
		return ""
	}
	how := ""
	switch {
	case last != nil && last.Reason == "OOMKilled":
		how = ", last for want of memory (OOMKilled)"
	case last != nil:
		how = fmt.Sprintf(", last with exit code %d", last.ExitCode)
	}
	return fmt.Sprintf("container %s of pod %s crashes again and again (CrashLoopBackOff, %d restarts%s)", s.Name, pod, s.RestartCount, how)
}

func after(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}
