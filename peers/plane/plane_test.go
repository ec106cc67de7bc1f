package plane_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/belaydev/belay/peers/plane"
)

// A cluster is what the tests of this package share: a control plane takes some
// seconds to start. Each takes a namespace of its own.
type cluster struct {
	programs plane.Programs
	plane    *plane.Plane
	images   *plane.Registry
	client   kubernetes.Interface
}

func start(t *testing.T) *cluster {
	t.Helper()
	programs := plane.Require(t)
	p, err := plane.Start(t.Context(), plane.Options{Programs: programs, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	c := &cluster{programs: programs, plane: p, images: plane.NewRegistry()}
	for version, faults := range map[string][]string{
		"1": nil, "2": nil, "crashes": {"-exit", "3"}, "unready": {"-unready"}, "deaf": {"-deaf"}, "slow": {"-start-after", "700ms"},
	} {
		c.images.Push("shop:"+version, plane.Image{Argv: append([]string{programs.Pod, "-version", version}, faults...)})
	}
	k, err := p.StartKubelet(t.Context(), plane.KubeletOptions{Images: c.images, Nodes: 2, Backoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	if c.client, err = kubernetes.NewForConfig(p.Config(plane.Admin)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPlane(t *testing.T) {
	t.Parallel()
	c := start(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"A Deployment of two becomes available and its pods serve metrics":          testDeployment,
		"A rollout of three takes seconds, and its history is the platform's own":   testRollout,
		"A container that ends is started again, at once and then after a back-off": testCrashLoop,
		"An image that the registry lacks is not pulled until it is there":          testImagePull,
		"A pod that asks for more than a node has is not scheduled":                 testUnschedulable,
		"A pod is ready only while its process says so":                             testUnready,
		"A process that does not end when asked is killed when its time is over":    testDeaf,
		"A DaemonSet that updates on delete has a pod on each node":                 testDaemonSet,
		"A StatefulSet waits for its pods one by one":                               testStatefulSet,
		"A variable comes from a ConfigMap, and a missing one is told":              testConfigMap,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ns, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "shop", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 18080}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}},
		}}},
	}
}

func (c *cluster) deploy(t *testing.T, ns, image string, replicas int32) {
	t.Helper()
	_, err := c.client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}, Template: template(image),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// until looks until ok, and fails the test with the last that was seen.
func until(t *testing.T, ok func(ctx context.Context) (bool, string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, seen, err := ok(ctx)
		if done && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute; last seen: %s %v", seen, err)
		case <-tick.C:
		}
	}
}

func (c *cluster) pods(ctx context.Context, ns string) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// pod waits until the one pod of a namespace is as ok says, and returns it.
func (c *cluster) pod(t *testing.T, ns string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	until(t, func(ctx context.Context) (bool, string, error) {
		pods, err := c.pods(ctx, ns)
		if err != nil || len(pods) != 1 {
			return false, fmt.Sprintf("%d pods", len(pods)), err
		}
		found = &pods[0]
		return ok(found), fmt.Sprintf("%+v", found.Status), nil
	})
	return found
}

func (c *cluster) available(t *testing.T, ns string, n int32) {
	t.Helper()
	until(t, func(ctx context.Context) (bool, string, error) {
		d, err := c.client.AppsV1().Deployments(ns).Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		s := d.Status
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n, fmt.Sprintf("%+v", s), nil
	})
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func testDeployment(t *testing.T, c *cluster) {
	ns := c.namespace(t)
	began := time.Now()
	c.deploy(t, ns, "shop:1", 2)
	c.available(t, ns, 2)
	t.Logf("2 replicas available after %s", time.Since(began))
	pods, err := c.pods(t.Context(), ns)
	if err != nil || len(pods) != 2 || pods[0].Status.PodIP == pods[1].Status.PodIP {
		t.Fatalf("%d pods, %v; want 2 with an address each", len(pods), err)
	}
	for _, p := range pods {
		text, err := get(t.Context(), "http://"+p.Status.PodIP+":18080/metrics")
		if want := fmt.Sprintf(`pod_info{version="1",pod=%q} 1`, p.Name); err != nil || !strings.Contains(text, want) {
			t.Errorf("metrics of %s: %v %q, want %s", p.Name, err, text, want)
		}
	}
}
