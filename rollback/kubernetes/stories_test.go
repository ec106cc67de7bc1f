package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// state reads what runs.
func state(t testing.TB, p *Platform) belay.State {
	t.Helper()
	st, err := p.State(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// converged waits until an image runs everywhere, and returns its content.
func converged(t testing.TB, p *Platform, version string) belay.Content {
	t.Helper()
	var st belay.State
	eventually(t, version+" runs everywhere", func() (bool, any) {
		st = state(t, p)
		return st.Progress == belay.Converged && st.Revision.Version == version, st
	})
	return st.Revision.Content
}

// stuckAt waits until the workload is stuck for a reason with these words.
func stuckAt(t testing.TB, p *Platform, words string) belay.State {
	t.Helper()
	var st belay.State
	eventually(t, "it is stuck: "+words, func() (bool, any) {
		st = state(t, p)
		return st.Progress == belay.Stuck && strings.Contains(st.Reason, words), st
	})
	return st
}

func back(id string, bad, good belay.Content) belay.Operation {
	return belay.Operation{ID: id, Target: target, Seen: bad, To: belay.Revision{Content: good, Version: "1"}}
}

// watched runs Watch until the test ends, as a controller does.
func watched(t *testing.T, p *Platform) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Watch(ctx, target, func(belay.State) {}); err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
}

// keeping is a platform with a folder for what Kubernetes forgets.
func (h *hands) keeping(t *testing.T) (*Platform, *rollback.Specs) {
	t.Helper()
	specs := rollback.NewSpecs(t.TempDir())
	return h.platform(t, func(_ *Config, o *Options) { o.Specs = specs }), specs
}

// kept waits until what was seen of a content is on disk.
func kept(t *testing.T, p *Platform, c belay.Content, ok func(spec) bool) {
	t.Helper()
	eventually(t, "what runs is kept", func() (bool, any) {
		k := p.kept(target, c, nil)
		return k.Template != nil && ok(k), k
	})
}

func TestItGoesBackAndLeavesWhatTheAutoscalerAsksFor(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p := h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	before := h.template(t)
	three := int32(3)
	_, err := h.admin.AutoscalingV2().HorizontalPodAutoscalers(h.ns).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"},
			MinReplicas:    &three, MaxReplicas: 5,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.setImage(t, "shop:crashes")
	eventually(t, "the autoscaler asks for three", func() (bool, any) { n := h.instances(t); return n == 3, n })
	bad := stuckAt(t, p, "crashes again and again").Revision.Content
	if owner := state(t, p).Owner; owner != "" {
		t.Errorf("%s is taken for the owner; an autoscaler is none", owner)
	}
	if err := p.Restore(t.Context(), back("op-1", bad, good)); err != nil {
		t.Fatal(err)
	}
	if c := converged(t, p, "1"); c != good {
		t.Errorf("%s runs, want %s", c, good)
	}
	if got := h.template(t); hashOf(got) != hashOf(before) {
		t.Errorf("the template is %s, want the very one that ran before: %s", jsonOf(got), jsonOf(before))
	}
	if n := h.instances(t); n != 3 {
		t.Errorf("%d replicas are asked for, want the autoscaler's 3", n)
	}
	says(t, h.notes(t)[causeKey], "went back to 1", "op-1")
}

// template returns the template as it stands on the workload, nothing left out.
func (h *hands) template(t testing.TB) map[string]any {
	t.Helper()
	tpl, _, err := unstructured.NestedMap(h.object(t).Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

func (h *hands) object(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	obj, err := h.workloads().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func (h *hands) notes(t testing.TB) map[string]string { return h.object(t).GetAnnotations() }

func TestItGoesBackToWhatKubernetesHasForgotten(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{deployment, statefulSet} {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			h := handsOn(t, theCluster(t), k, everything...)
			p, specs := h.keeping(t)
			h.create(t, "shop:1", func(m map[string]any) {
				_ = unstructured.SetNestedField(m, int64(0), "spec", "revisionHistoryLimit")
			})
			watched(t, p)
			good := converged(t, p, "1")
			kept(t, p, good, func(k spec) bool { return len(k.Digests) > 0 })
			h.setImage(t, "shop:2")
			bad := converged(t, p, "2")
			eventually(t, "Kubernetes has forgotten", func() (bool, any) {
				s, err := p.read(t.Context(), false)
				return err == nil && len(s.Old) == 1, s.Old
			})
			fresh := h.platform(t, func(_ *Config, o *Options) { o.Specs = specs }) // Belay was restarted
			revs, err := fresh.Revisions(t.Context(), target)
			if err != nil || len(revs) != 2 || revs[1].Content != good || revs[1].Missing || revs[1].Version != "1" {
				t.Fatalf("Revisions: %+v, %v; want the one that runs, and version 1", revs, err)
			}
			if err := fresh.Restore(t.Context(), back("op-1", bad, good)); err != nil {
				t.Fatal(err)
			}
			if c := converged(t, p, "1"); c != good {
				t.Errorf("%s runs, want %s", c, good)
			}
		})
	}
}

func TestAThirdVersionInTheMiddleIsLeftAlone(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p := h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	h.deploy(t, "v2", "2")
	bad := converged(t, p, "2")
	h.wire.set(sync.OnceFunc(func() { h.deploy(t, "v3", "3") }), nil) // read, dry run, and then
	err := p.Restore(t.Context(), back("op-1", bad, good))
	if !errors.Is(err, belay.ErrSuperseded) {
		t.Errorf("Restore returned %v, want ErrSuperseded", err)
	}
	converged(t, p, "3")
	if _, stamped := h.notes(t)[stampKey]; stamped {
		t.Error("the object is stamped: something was written")
	}
	for _, m := range h.object(t).GetManagedFields() {
		if m.Manager == manager {
			t.Errorf("Belay has written %v", m)
		}
	}
}

func TestAPausedDeploymentIsToldAndNotWritten(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p := h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, p, "1")
	h.patch(t, `{"spec":{"paused":true}}`)
	if c := converged(t, p, "1"); c != good {
		t.Errorf("a pause has made %s of %s", c, good)
	}
	h.deploy(t, "v2", "2")
	st := stuckAt(t, p, "paused")
	says(t, st.Reason, "kubectl -n "+h.ns+" rollout resume deployment/shop")
	op := back("op-1", st.Revision.Content, good)
	err := p.Restore(t.Context(), op)
	if !errors.Is(err, rollback.ErrTryLater) {
		t.Fatalf("Restore returned %v, want ErrTryLater", err)
	}
	says(t, err.Error(), "is paused", "rollout resume", "nothing was changed")
	if n := h.wire.written(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
	h.patch(t, `{"spec":{"paused":false}}`)
	if err := p.Restore(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	converged(t, p, "1")
}

func TestAStatefulSetIsStuckOnItsBrokenPodUntilThatIsEvicted(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), statefulSet, everything...)
	p := h.platform(t, nil)
	h.create(t, "shop:1", func(m map[string]any) { _ = unstructured.SetNestedField(m, int64(2), "spec", "replicas") })
	good := converged(t, p, "1")
	h.setImage(t, "shop:crashes")
	bad := stuckAt(t, p, "crashes again and again").Revision.Content
	budget := h.budget(t, 2)
	if err := p.Restore(t.Context(), back("op-1", bad, good)); err != nil {
		t.Fatal(err)
	}
	st := stuckAt(t, p, "a StatefulSet waits for it for ever")
	says(t, st.Reason, "kubectl -n "+h.ns+" delete pod shop-1", "delete_stuck_pods")

	permitted := h.platform(t, func(c *Config, _ *Options) { c.DeleteStuckPods = true })
	if err := permitted.Restore(t.Context(), back("op-1", bad, good)); err != nil { // Belay was restarted before it could evict
		t.Fatal(err)
	}
	pod, err := h.admin.CoreV1().Pods(h.ns).Get(t.Context(), "shop-1", metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp != nil {
		t.Fatalf("the pod was evicted although a PodDisruptionBudget forbids it: %v", err)
	}
	if err := h.admin.PolicyV1().PodDisruptionBudgets(h.ns).Delete(t.Context(), budget, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	healthy, err := h.admin.CoreV1().Pods(h.ns).Get(t.Context(), "shop-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.wire.set(sync.OnceFunc(func() { h.touch(t, "shop-1") }), nil) // it crashes once more, between reading and evicting
	if err := permitted.Restore(t.Context(), back("op-1", bad, good)); err != nil {
		t.Fatal(err)
	}
	h.wire.set(nil, nil)
	if c := converged(t, p, "1"); c != good {
		t.Errorf("%s runs, want %s", c, good)
	}
	if now, err := h.admin.CoreV1().Pods(h.ns).Get(t.Context(), "shop-0", metav1.GetOptions{}); err != nil || now.UID != healthy.UID {
		t.Errorf("the healthy pod was replaced: %v", err)
	}
}

// touch gives a pod another resourceVersion.
func (h *hands) touch(t testing.TB, pod string) {
	t.Helper()
	_, err := h.admin.CoreV1().Pods(h.ns).Patch(t.Context(), pod, types.MergePatchType, []byte(`{"metadata":{"annotations":{"touched":"yes"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Error(err)
	}
}

// budget makes a PodDisruptionBudget and waits until it is in force.
func (h *hands) budget(t testing.TB, available int) string {
	t.Helper()
	n := intstr.FromInt(available)
	pdb, err := h.admin.PolicyV1().PodDisruptionBudgets(h.ns).Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &n, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget is in force", func() (bool, any) {
		got, err := h.admin.PolicyV1().PodDisruptionBudgets(h.ns).Get(t.Context(), pdb.Name, metav1.GetOptions{})
		return err == nil && got.Status.ExpectedPods > 0, err
	})
	return pdb.Name
}

func TestAChangedConfigMapOrSecretIsTold(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	p, specs := h.keeping(t)
	strictly := h.platform(t, func(c *Config, o *Options) { o.Specs, c.ConfigChanged = specs, ConfigRefuse })
	h.config(t, "one")
	h.create(t, "shop:1", func(m map[string]any) {
		containers, _, _ := unstructured.NestedSlice(m, "spec", "template", "spec", "containers")
		containers[0].(map[string]any)["envFrom"] = []any{
			map[string]any{"configMapRef": map[string]any{"name": "settings"}},
			map[string]any{"secretRef": map[string]any{"name": "password"}},
		}
		_ = unstructured.SetNestedSlice(m, containers, "spec", "template", "spec", "containers")
	})
	watched(t, p)
	good := converged(t, p, "1")
	kept(t, p, good, func(k spec) bool { return len(k.Prints) == 2 })
	h.setImage(t, "shop:2")
	bad := converged(t, p, "2")
	expect := func(p *Platform, missing bool, words ...string) {
		t.Helper()
		eventually(t, fmt.Sprint("it is told: ", words), func() (bool, any) { // data is looked up anew after freshFor
			revs, err := p.Revisions(t.Context(), target)
			i := slices.IndexFunc(revs, func(r belay.Revision) bool { return r.Content == good })
			if err != nil || i < 0 {
				t.Fatal(revs, err)
			}
			ok := revs[i].Missing == missing && (len(words) > 0 || revs[i].Detail == "")
			for _, w := range words {
				ok = ok && strings.Contains(revs[i].Detail, w)
			}
			return ok, revs[i]
		})
	}
	expect(p, false)
	h.config(t, "two")
	expect(p, false, "ConfigMap settings and Secret password changed since it ran last")
	expect(strictly, true, "ConfigMap settings and Secret password changed")
	if err := strictly.Restore(t.Context(), back("op-1", bad, good)); err == nil || errors.Is(err, belay.ErrSuperseded) {
		t.Errorf("Restore returned %v, want a refusal", err)
	}
	if err := h.admin.CoreV1().ConfigMaps(h.ns).Delete(t.Context(), "settings", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(p, true, "ConfigMap settings, which it needs, is gone")
	if err := p.Restore(t.Context(), back("op-1", bad, good)); err == nil {
		t.Error("it went back to a template whose ConfigMap is gone")
	}
	if n := h.wire.written(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
	h.config(t, "one")
	expect(p, false)
	if err := p.Restore(t.Context(), back("op-1", bad, good)); err != nil {
		t.Fatal(err)
	}
	h.keepsNoContents(t, specs, good)
}

// config makes, or changes, what the pods read.
func (h *hands) config(t testing.TB, value string) {
	t.Helper()
	maps, secrets := h.admin.CoreV1().ConfigMaps(h.ns), h.admin.CoreV1().Secrets(h.ns)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"MODE": value}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "password"}, StringData: map[string]string{"PASSWORD": "opensesame-" + value}}
	if _, err := maps.Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		if _, err := maps.Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *hands) keepsNoContents(t *testing.T, specs *rollback.Specs, c belay.Content) {
	t.Helper()
	_, text, err := specs.Get(target, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"opensesame", "b3BlbnNlc2FtZS" /* the same in base64 */} {
		if strings.Contains(string(text), secret) {
			t.Errorf("what is kept holds the Secret's data: %s", text)
		}
	}
}

func TestTwoBelaysMakeOneChange(t *testing.T) {
	t.Parallel()
	h := handsOn(t, theCluster(t), deployment, everything...)
	one, two := h.platform(t, nil), h.platform(t, nil)
	h.deploy(t, "v1", "1")
	good := converged(t, one, "1")
	h.deploy(t, "v2", "2")
	bad := converged(t, one, "2")
	changes := len(h.log.changes(t))
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		p := []*Platform{one, two}[i%2]
		wg.Go(func() { errs[i] = p.Restore(t.Context(), back(fmt.Sprintf("op-%d", i/2), bad, good)) })
	}
	wg.Wait()
	won := map[string]bool{}
	for i, err := range errs {
		if err == nil {
			won[fmt.Sprintf("op-%d", i/2)] = true
		} else if !errors.Is(err, belay.ErrSuperseded) {
			t.Errorf("Restore: %v", err)
		}
	}
	if len(won) != 1 {
		t.Errorf("won: %v, want one operation", won)
	}
	if news := h.log.changes(t)[changes:]; len(news) != 1 || !won[news[0].By] {
		t.Errorf("changes of content: %v, want one, by the operation that won", news)
	}
}

func TestATagThatMovedIsRestoredByTheDigestThatRan(t *testing.T) {
	t.Parallel()
	c := theCluster(t)
	h := handsOn(t, c, deployment, everything...)
	p, _ := h.keeping(t)
	repository := "moving-" + h.ns // a registry is shared by all tests
	first := c.images.Push(repository+":latest", c.image("1"))
	h.create(t, repository, nil)
	watched(t, p)
	var good belay.Content
	eventually(t, "it runs", func() (bool, any) {
		st := state(t, p)
		good = st.Revision.Content
		return st.Progress == belay.Converged, st
	})
	kept(t, p, good, func(k spec) bool { return len(k.Digests) == 1 })
	h.setImage(t, "shop:2")
	bad := converged(t, p, "2")
	c.images.Push(repository+":latest", c.image("3"))
	if err := h.platform(t, nil).Restore(t.Context(), back("op-0", bad, good)); err == nil {
		t.Error("a Belay that does not know the digest went back to a tag that may mean anything")
	}
	if err := p.Restore(t.Context(), back("op-1", bad, good)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the same content runs again", func() (bool, any) {
		st := state(t, p)
		return st.Progress == belay.Converged && st.Revision.Content == good && st.Operation == "op-1", st
	})
	h.restart(t)
	eventually(t, "a restart does not change that", func() (bool, any) {
		st := state(t, p)
		return st.Progress == belay.Converged && st.Revision.Content == good && st.Operation == "op-1", st
	})
	pods, err := h.admin.CoreV1().Pods(h.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if id := pod.Status.ContainerStatuses[0].ImageID; pod.DeletionTimestamp == nil && !strings.HasSuffix(id, first) {
			t.Errorf("pod %s runs %s, want %s", pod.Name, id, first)
		}
	}
}
