package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/rollbacktest"
)

// everything is what Belay may be allowed to do.
var everything = []string{"belay-watch", "belay-act", "belay-evict", "belay-watch-secrets"}

// hands are those of people and pipelines on one workload, "shop" in a
// namespace of its own.
type hands struct {
	*cluster
	ns   string
	kind kind
	dyn  dynamic.Interface // as admin
	wire *wire
	log  *record
}

// handsOn makes a namespace, and a record of what happens to the workload.
func handsOn(t *testing.T, c *cluster, k kind, roles ...string) *hands {
	t.Helper()
	config := c.plane.Config("admin")
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	h := &hands{cluster: c, ns: c.namespace(t, roles...), kind: k, dyn: dyn, wire: &wire{}}
	h.log = newRecord(t, h.workloads())
	return h
}

func (h *hands) workloads() dynamic.ResourceInterface {
	return h.dyn.Resource(h.kind.Resource).Namespace(h.ns)
}

// platform returns a Belay's view of the workload.
func (h *hands) platform(t testing.TB, change func(*Config, *Options)) *Platform {
	t.Helper()
	cfg := Config{Namespace: h.ns}
	switch h.kind.Name {
	case statefulSet.Name:
		cfg.StatefulSet = "shop"
	case daemonSet.Name:
		cfg.DaemonSet = "shop"
	default:
		cfg.Deployment = "shop"
	}
	rc := h.belay()
	rc.Wrap(h.wire.wrap)
	opts := Options{REST: rc}
	if change != nil {
		change(&cfg, &opts)
	}
	p, err := New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// manifest is a workload of one container.
func (h *hands) manifest(image string) *unstructured.Unstructured {
	labels := map[string]string{"app": "shop"}
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "shop", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 18080}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}},
		}}},
	}
	meta := metav1.ObjectMeta{Name: "shop", Namespace: h.ns}
	sel := &metav1.LabelSelector{MatchLabels: labels}
	one := int32(1)
	var typed any
	switch h.kind.Name {
	case statefulSet.Name:
		typed = &appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: h.kind.Name}, ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: sel, Template: pod, ServiceName: "shop"}}
	case daemonSet.Name:
		typed = &appsv1.DaemonSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: h.kind.Name}, ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: sel, Template: pod}}
	default:
		typed = &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: h.kind.Name}, ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: sel, Template: pod}}
	}
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		panic(err)
	}
	delete(raw, "status")
	return &unstructured.Unstructured{Object: raw}
}

// create makes the workload with what change adds to its manifest.
func (h *hands) create(t testing.TB, image string, change func(map[string]any)) {
	t.Helper()
	m := h.manifest(image)
	if change != nil {
		change(m.Object)
	}
	if _, err := h.workloads().Create(t.Context(), m, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
		t.Fatal(err)
	}
}

// patch changes the workload as kubectl does.
func (h *hands) patch(t testing.TB, format string, args ...any) {
	t.Helper()
	_, err := h.workloads().Patch(t.Context(), "shop", types.StrategicMergePatchType, fmt.Appendf(nil, format, args...), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *hands) setImage(t testing.TB, image string) {
	t.Helper()
	h.patch(t, `{"spec":{"template":{"spec":{"containers":[{"name":"shop","image":%q}]}}}}`, image)
}

// deploy puts an image in place under a name for people, and returns once the
// controller has seen it: what is replaced sooner never was in any history.
func (h *hands) deploy(t testing.TB, name, body string) {
	t.Helper()
	defer h.observed(t)
	if _, err := h.workloads().Get(t.Context(), "shop", metav1.GetOptions{}); apierrors.IsNotFound(err) {
		h.create(t, "shop:"+body, nil)
		return
	}
	h.patch(t, `{"metadata":{"labels":{"release":%q}},"spec":{"template":{"spec":{"containers":[{"name":"shop","image":"shop:%s"}]}}}}`, name, body)
}

func (h *hands) observed(t testing.TB) {
	t.Helper()
	eventually(t, "the controller has seen the template", func() (bool, any) {
		obj, err := h.workloads().Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		seen, _, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
		return seen >= obj.GetGeneration(), obj.Object["status"]
	})
}

func (h *hands) restart(t testing.TB) {
	t.Helper()
	h.patch(t, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
}

// scale writes the subresource, as an autoscaler does.
func (h *hands) scale(t testing.TB, n int) {
	t.Helper()
	_, err := h.workloads().Patch(t.Context(), "shop", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n), metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale")
	if err != nil {
		t.Fatal(err)
	}
}

func (h *hands) instances(t testing.TB) int {
	t.Helper()
	raw, err := h.workloads().Get(t.Context(), "shop", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	var s autoscalingv1.Scale
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Spec.Replicas)
}

// quota forbids further pods, and then deploys.
func (h *hands) quota(t testing.TB, _ string) {
	t.Helper()
	_, err := h.admin.CoreV1().ResourceQuotas(h.ns).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota is in force", func() (bool, any) {
		q, err := h.admin.CoreV1().ResourceQuotas(h.ns).Get(t.Context(), "none", metav1.GetOptions{})
		return err == nil && len(q.Status.Hard) > 0, err
	})
	h.setImage(t, "shop:b")
}

// remove deletes what Kubernetes remembers of a release that does not run.
func (h *hands) remove(t testing.TB, p *Platform, image string) {
	t.Helper()
	eventually(t, "the history holds "+image, func() (bool, any) {
		s, err := p.read(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range s.Old {
			pod, err := o.Template.pod()
			if err != nil || pod.Spec.Containers[0].Image != image {
				continue
			}
			if err := h.dyn.Resource(h.kind.History).Namespace(h.ns).Delete(t.Context(), o.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			return true, nil
		}
		return false, len(s.Old)
	})
}

// harness is what the conformance suite asks for.
func (h *hands) harness(t *testing.T) rollbacktest.Harness {
	p := h.platform(t, nil)
	image := func(tag string) func(testing.TB, string) {
		return func(t testing.TB, _ string) { h.setImage(t, "shop:"+tag) }
	}
	out := rollbacktest.Harness{
		Platform: p, Target: target, Wait: patience,
		Deploy:       h.deploy,
		DeployBroken: image("unheard-of"),
		Breakages: []rollbacktest.Breakage{
			{Name: "image pull", Deploy: image("unheard-of"), Says: "pull the image shop:unheard-of"},
			{Name: "crash loop", Deploy: image("crashes"), Says: "CrashLoopBackOff"},
			{Name: "unschedulable", Says: "cannot be scheduled", Deploy: func(t testing.TB, _ string) {
				h.patch(t, `{"spec":{"template":{"spec":{"containers":[{"name":"shop","image":"shop:b","resources":{"requests":{"cpu":"1000"}}}]}}}}`)
			}},
			{Name: "quota", Deploy: h.quota, Says: "exceeded quota"},
		},
		Restart: h.restart,
		EditLabel: func(t testing.TB) {
			h.patch(t, `{"metadata":{"labels":{"team":"payments"},"annotations":{"note":"hello"}}}`)
		},
		Remove:  func(t testing.TB, _ string) { h.remove(t, p, "shop:a") },
		History: h.log.changes,
		RestoreLost: func(ctx context.Context, op belay.Operation) error {
			h.wire.set(nil, func() error { return errLost })
			defer h.wire.set(nil, nil)
			return p.Restore(ctx, op)
		},
		Race: func(ctx context.Context, op belay.Operation, meanwhile func()) error {
			h.wire.set(sync.OnceFunc(meanwhile), nil)
			defer h.wire.set(nil, nil)
			return p.Restore(ctx, op)
		},
	}
	if h.kind.Name != daemonSet.Name {
		out.Scale, out.Instances = h.scale, h.instances
	}
	return out
}

var errLost = errors.New("the connection was lost")

// A wire stands between a platform and the API server.
type wire struct {
	mu     sync.Mutex
	before func()       // is called before each patch that is not a dry run
	after  func() error // its error takes the place of the answer to what was done
	writes int          // patches, posts and deletions that were sent, dry runs not counted
}

func (w *wire) set(before func(), after func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

func (w *wire) written() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return trip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet || r.URL.Query().Has("dryRun") {
			return next.RoundTrip(r)
		}
		w.mu.Lock()
		before, after := w.before, w.after
		w.writes++
		w.mu.Unlock()
		if before != nil {
			before()
		}
		res, err := next.RoundTrip(r)
		if err == nil && after != nil && res.StatusCode == http.StatusOK {
			_ = res.Body.Close()
			return nil, after()
		}
		return res, err
	})
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A record is the platform's own: each version of the workload, as the API
// server tells it to a watch.
type record struct {
	what dynamic.ResourceInterface
	done chan struct{}

	mu      sync.Mutex
	content belay.Content
	stamped string
	list    []rollbacktest.Change
	synced  string
	news    chan struct{} // closed and replaced with each event
}

func newRecord(t *testing.T, what dynamic.ResourceInterface) *record {
	t.Helper()
	r := &record{what: what, done: make(chan struct{}), news: make(chan struct{})}
	list, err := what.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := what.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		for ev := range w.ResultChan() {
			if obj, ok := ev.Object.(*unstructured.Unstructured); ok {
				r.take(obj)
			}
		}
	}()
	t.Cleanup(func() { w.Stop(); <-r.done })
	return r
}

func (r *record) take(obj *unstructured.Unstructured) {
	tpl, err := templateAt(obj.Object)
	if err != nil {
		return
	}
	var st stamp
	raw := obj.GetAnnotations()[stampKey]
	_ = json.Unmarshal([]byte(raw), &st) // none is none
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := st.alias(tpl); c != r.content {
		by := rollbacktest.ByDeploy
		if raw != r.stamped {
			by = st.ID
		}
		r.list = append(r.list, rollbacktest.Change{At: time.Now(), By: by, From: r.content, To: c})
		r.content = c
	}
	r.stamped, r.synced = raw, obj.GetAnnotations()["test/synced"]
	close(r.news)
	r.news = make(chan struct{})
}

// changes returns what happened up to now: it leaves a mark and waits until the
// watch has told of it.
func (r *record) changes(t testing.TB) []rollbacktest.Change {
	t.Helper()
	mark := time.Now().Format(time.RFC3339Nano)
	_, err := r.what.Patch(t.Context(), "shop", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"test/synced":%q}}}`, mark), metav1.PatchOptions{FieldManager: "test"})
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		seen, news := r.synced == mark, r.news
		list := append([]rollbacktest.Change(nil), r.list...)
		r.mu.Unlock()
		if seen {
			return list
		}
		select {
		case <-news:
		case <-r.done:
			t.Fatal("the watch of the record has ended")
		case <-timeout:
			t.Fatal("the record does not see the mark")
		}
	}
}
