package plane_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belaydev/belay/peers/plane"
)

func testRollout(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	c.deploy(t, ns, "shop:1", 3)
	c.available(t, ns, 3)
	began := time.Now()
	if _, err := c.plane.Kubectl(t.Context(), "", "-n", ns, "set", "image", "deployment/shop", "shop=shop:2"); err != nil {
		t.Fatal(err)
	}
	c.available(t, ns, 3)
	t.Logf("3 replicas rolled after %s, kubectl included", time.Since(began))
	history, err := c.plane.Kubectl(t.Context(), "", "-n", ns, "rollout", "history", "deployment/shop")
	if err != nil || !strings.Contains(history, "\n1 ") || !strings.Contains(history, "\n2 ") {
		t.Errorf("history: %v\n%s", err, history)
	}
	pods, err := c.pods(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.DeletionTimestamp == nil && !strings.HasPrefix(p.Status.ContainerStatuses[0].ImageID, "shop@sha256:") {
			t.Errorf("%s runs image %q, want a digest", p.Name, p.Status.ContainerStatuses[0].ImageID)
		}
	}
}

func waiting(p *corev1.Pod) string {
	if len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil {
		return p.Status.ContainerStatuses[0].State.Waiting.Reason
	}
	return ""
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func testCrashLoop(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	c.deploy(t, ns, "shop:crashes", 1)
	p := c.pod(t, ns, func(p *corev1.Pod) bool {
		return waiting(p) == "CrashLoopBackOff" && p.Status.ContainerStatuses[0].RestartCount >= 2
	})
	last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 3 || last.Reason != "Error" || ready(p) {
		t.Errorf("last end: %+v, ready %t; want exit code 3, Error, not ready", last, ready(p))
	}
}

func testImagePull(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	image := "late:" + ns
	c.deploy(t, ns, image, 1)
	c.pod(t, ns, func(p *corev1.Pod) bool { return waiting(p) == "ErrImagePull" })
	c.pod(t, ns, func(p *corev1.Pod) bool { return waiting(p) == "ImagePullBackOff" })
	c.images.Push(image, plane.Image{Argv: []string{c.programs.Pod}})
	c.pod(t, ns, ready)
}

func testUnschedulable(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "greedy"}, Spec: template("shop:1").Spec}
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	if _, err := c.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod(t, ns, func(p *corev1.Pod) bool {
		for _, cond := range p.Status.Conditions {
			if cond.Type == corev1.PodScheduled && cond.Reason == corev1.PodReasonUnschedulable {
				return cond.Message == "0/2 nodes are available: 2 Insufficient cpu."
			}
		}
		return false
	})
}

func testUnready(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	c.deploy(t, ns, "shop:unready", 1)
	p := c.pod(t, ns, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" })
	until(t, func(ctx context.Context) (bool, string, error) { // it answers, and says no
		text, err := get(ctx, "http://"+p.Status.PodIP+":18080/healthz")
		return text == "unready\n", text, err
	})
	if p = c.pod(t, ns, func(*corev1.Pod) bool { return true }); ready(p) {
		t.Errorf("a pod that answers its probe with 503 is ready: %+v", p.Status)
	}
}

func testDeaf(t *testing.T, c *cluster) {
	ns, second := c.namespace(t), int64(1)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "deaf"}, Spec: template("shop:deaf").Spec}
	pod.Spec.TerminationGracePeriodSeconds = &second
	if _, err := c.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	running := c.pod(t, ns, ready)
	id := strings.TrimPrefix(running.Status.ContainerStatuses[0].ContainerID, "process://")
	began := time.Now()
	if err := c.client.CoreV1().Pods(ns).Delete(t.Context(), "deaf", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func(ctx context.Context) (bool, string, error) {
		pods, err := c.pods(ctx, ns)
		return len(pods) == 0, fmt.Sprintf("%d pods", len(pods)), err
	})
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("gone after %s, before its second of grace was over", took)
	}
	if _, err := os.Stat("/proc/" + id); err == nil {
		t.Errorf("process %s still runs", id)
	}
}

func testDaemonSet(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	sets := c.client.AppsV1().DaemonSets(ns)
	_, err := sets.Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}, Template: template("shop:1"),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	updated := func(n int32) {
		t.Helper()
		until(t, func(ctx context.Context) (bool, string, error) {
			d, err := sets.Get(ctx, "shop", metav1.GetOptions{})
			if err != nil {
				return false, "", err
			}
			s := d.Status
			return s.ObservedGeneration == d.Generation && s.NumberAvailable == 2 && s.UpdatedNumberScheduled == n, fmt.Sprintf("%+v", s), nil
		})
	}
	updated(2)
	if _, err := sets.Patch(t.Context(), "shop", types.StrategicMergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"shop","image":"shop:2"}]}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	updated(0)
	pods, err := c.pods(t.Context(), ns)
	if err != nil || len(pods) != 2 || pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Fatalf("%d pods, %v; want one on each of two nodes", len(pods), err)
	}
	if err := c.client.CoreV1().Pods(ns).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	updated(1)
}

func testStatefulSet(t *testing.T, c *cluster) {
	ns, replicas := c.namespace(t), int32(2)
	sets := c.client.AppsV1().StatefulSets(ns)
	_, err := sets.Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}, Template: template("shop:unready"),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := c.pod(t, ns, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if first.Name != "shop-0" {
		t.Errorf("the first pod is %s, want shop-0", first.Name)
	}
	if _, err := sets.Patch(t.Context(), "shop", types.StrategicMergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"shop","image":"shop:2"}]}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// The controller leaves a broken pod where it is until somebody deletes it.
	if err := c.client.CoreV1().Pods(ns).Delete(t.Context(), "shop-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func(ctx context.Context) (bool, string, error) {
		s, err := sets.Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return s.Status.ReadyReplicas == 2 && s.Status.UpdatedReplicas == 2, fmt.Sprintf("%+v", s.Status), nil
	})
}

func testConfigMap(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "configured"}, Spec: template("shop:1").Spec}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "shop"}, Key: "version"},
	}}}
	pod.Spec.Containers[0].Args = []string{"-version", "$(V)"}
	if _, err := c.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod(t, ns, func(p *corev1.Pod) bool { return waiting(p) == "CreateContainerConfigError" })
	if _, err := c.client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Data: map[string]string{"version": "of the map"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := c.pod(t, ns, ready)
	if text, err := get(t.Context(), "http://"+p.Status.PodIP+":18080/healthz"); err != nil || text != "of the map\n" {
		t.Errorf("it calls itself %q, %v", text, err)
	}
}
