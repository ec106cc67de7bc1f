package plane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// capacity is what a node has to give.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse("110"),
	}
}

func (k *Kubelet) plays(node string) bool { return slices.Contains(k.nodes, node) }

// labelsOf returns the labels of a node.
func labelsOf(node string) map[string]string {
	return map[string]string{corev1.LabelHostname: node, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}
}

// schedule binds the pod to the node with the fewest pods among those that have
// room for it, or says why there is none, as the scheduler does.
func (p *pod) schedule(ctx context.Context) time.Duration {
	node, why := p.kubelet.place(p.state)
	pods := p.kubelet.client.Pods(p.state.Namespace)
	if node != "" {
		err := pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.state.Namespace, Name: p.state.Name, UID: p.state.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
		if err != nil && !isGone(err) {
			return p.again(ctx, "not bound", err)
		}
		return never // the API tells that it is bound
	}
	status := p.state.Status.DeepCopy()
	p.set(status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why})
	if err := p.write(ctx, *status); err != nil {
		return p.again(ctx, "status not written", err)
	}
	return time.Second
}

// place finds a node for a pod, or says why there is none.
func (k *Kubelet) place(state *corev1.Pod) (node, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	reasons, fewest := map[string]int{}, 0
	for _, name := range k.nodes {
		pods, reason := k.room(name, state)
		switch {
		case reason != "":
			reasons[reason]++
		case node == "" || pods < fewest:
			node, fewest = name, pods
		}
	}
	if node != "" {
		k.pods[state.UID].booked = node
		return node, ""
	}
	var parts []string
	for reason, n := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return "", fmt.Sprintf("0/%d nodes are available: %s.", len(k.nodes), strings.Join(parts, ", "))
}

// room says how many pods a node has, and why one more may not run there, "" if
// it may. k.mu is held.
func (k *Kubelet) room(node string, state *corev1.Pod) (pods int, reason string) {
	labels := labelsOf(node)
	for key, value := range state.Spec.NodeSelector {
		if labels[key] != value {
			return 0, "node(s) didn't match Pod's node affinity/selector"
		}
	}
	if only := wantedNodes(state); only != nil && !slices.Contains(only, node) {
		return 0, "node(s) didn't match Pod's node affinity/selector"
	}
	cpu, memory := requests(state)
	for _, other := range k.pods {
		if other.booked == node {
			c, m := requests(other.first)
			cpu.Add(c)
			memory.Add(m)
			pods++
		}
	}
	has := capacity()
	switch {
	case cpu.Cmp(*has.Cpu()) > 0:
		return pods, "Insufficient cpu"
	case memory.Cmp(*has.Memory()) > 0:
		return pods, "Insufficient memory"
	}
	return pods, ""
}

// wantedNodes are the nodes that a pod names, nil if it names none: that is how
// a DaemonSet asks for them.
func wantedNodes(state *corev1.Pod) []string {
	a := state.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn {
				return f.Values
			}
		}
	}
	return nil
}

func requests(state *corev1.Pod) (cpu, memory resource.Quantity) {
	for i := range state.Spec.Containers {
		cpu.Add(*state.Spec.Containers[i].Resources.Requests.Cpu())
		memory.Add(*state.Spec.Containers[i].Resources.Requests.Memory())
	}
	return cpu, memory
}
