package kubernetes

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// templateOf reads a template as it stands in an object.
func templateOf(t testing.TB, text string) template {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":` + text + `}}`)); err != nil {
		t.Fatal(err)
	}
	tpl, err := templateAt(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

const plain = `{"metadata":{"labels":{"app":"shop"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`

func TestTheSameContent(t *testing.T) {
	want := templateOf(t, plain).content()
	for name, text := range map[string]string{
		"in another order":        `{"spec":{"containers":[{"env":[{"value":"1","name":"A"}],"image":"registry:5000/shop:1.2","name":"shop"}]},"metadata":{"labels":{"app":"shop"}}}`,
		"with a null":             `{"metadata":{"creationTimestamp":null,"labels":{"app":"shop"}},"spec":{"nodeName":null,"containers":[{"name":"shop","image":"registry:5000/shop:1.2","resources":null,"env":[{"name":"A","value":"1"}]}]}}`,
		"restarted":               `{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"},"labels":{"app":"shop"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
		"of a ReplicaSet":         `{"metadata":{"labels":{"app":"shop","pod-template-hash":"abc"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
		"of a ControllerRevision": `{"$patch":"replace","metadata":{"labels":{"app":"shop"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
	} {
		if got := templateOf(t, text).content(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestOtherContent(t *testing.T) {
	seen := map[string]string{string(templateOf(t, plain).content()): "the plain one"}
	for name, text := range map[string]string{
		"another image":               `{"metadata":{"labels":{"app":"shop"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.3","env":[{"name":"A","value":"1"}]}]}}`,
		"another environment":         `{"metadata":{"labels":{"app":"shop"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"2"}]}]}}`,
		"an annotation of the pods":   `{"metadata":{"labels":{"app":"shop"},"annotations":{"checksum/config":"1"}},"spec":{"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
		"a field nobody here knows":   `{"metadata":{"labels":{"app":"shop"}},"spec":{"fromTheFuture":true,"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
		"a zero, which is no nothing": `{"metadata":{"labels":{"app":"shop"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"shop","image":"registry:5000/shop:1.2","env":[{"name":"A","value":"1"}]}]}}`,
	} {
		c := string(templateOf(t, text).content())
		if other, same := seen[c]; same {
			t.Errorf("%s and %s are the same content", name, other)
		}
		seen[c] = name
	}
}

func TestVersionsForPeople(t *testing.T) {
	for image, want := range map[string]string{
		"shop:1.2": "1.2", "registry:5000/team/shop:1.2": "1.2", "registry:5000/shop": "", "shop": "",
		"shop:1.2@sha256:0123456789abcdef": "1.2", "shop@sha256:0123456789abcdef": "0123456789ab",
	} {
		if got := templateOf(t, `{"spec":{"containers":[{"name":"a","image":"`+image+`"}]}}`).version(); got != want {
			t.Errorf("%s is called %q, want %q", image, got, want)
		}
	}
	labelled := templateOf(t, `{"metadata":{"labels":{"app.kubernetes.io/version":"7"}},"spec":{"containers":[{"name":"a","image":"shop:1.2"}]}}`)
	if got := labelled.version(); got != "7" {
		t.Errorf("the label's version is %q, want 7", got)
	}
}

func TestNamesThatMoveAreBoundToWhatRan(t *testing.T) {
	tpl := templateOf(t, `{"spec":{"initContainers":[{"name":"init","image":"init"}],"containers":[
		{"name":"latest","image":"a:latest"},{"name":"always","image":"b:1","imagePullPolicy":"Always"},
		{"name":"fixed","image":"c:1","imagePullPolicy":"IfNotPresent"},{"name":"bound","image":"d@sha256:dd","imagePullPolicy":"Always"},{"name":"unseen","image":"e"}]}}`)
	before := string(jsonOf(tpl))
	pinned, unknown := tpl.pin(map[string]string{"init": "sha256:11", "latest": "sha256:aa", "always": "sha256:bb", "fixed": "sha256:cc", "bound": "sha256:ee"})
	if diff := cmp.Diff([]string{"unseen"}, unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	pod, err := pinned.pod()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		got = append(got, c.Image)
	}
	if diff := cmp.Diff([]string{"init@sha256:11", "a:latest@sha256:aa", "b:1@sha256:bb", "c:1", "d@sha256:dd", "e"}, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if string(jsonOf(tpl)) != before {
		t.Error("the template itself was changed")
	}
}

func TestDigestsThatPodsDisagreeOnAreUnknown(t *testing.T) {
	pod := func(ids ...string) corev1.Pod {
		var p corev1.Pod
		for i, id := range ids {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: string(rune('a' + i)), ImageID: id})
		}
		return p
	}
	got := digestsOf([]corev1.Pod{
		pod("docker.io/shop@sha256:aa", "x@sha256:11", "", "docker://sha256:ff"),
		pod("docker.io/shop@sha256:aa", "x@sha256:22", "", "docker://sha256:ff"),
	})
	if diff := cmp.Diff(map[string]string{"a": "sha256:aa"}, got); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
}

func TestOwners(t *testing.T) {
	for name, tc := range map[string]struct {
		meta     string
		accepted []string
		want     string
	}{
		"nobody":             {`{"labels":{"app.kubernetes.io/managed-by":"kustomize","app.kubernetes.io/instance":"shop"}}`, nil, ""},
		"Argo CD":            {`{"annotations":{"argocd.argoproj.io/tracking-id":"shop:apps/Deployment:ns/shop"}}`, nil, "the Argo CD application shop"},
		"Argo CD by label":   {`{"labels":{"argocd.argoproj.io/instance":"shop"}}`, nil, "the Argo CD application shop"},
		"Argo CD, accepted":  {`{"annotations":{"argocd.argoproj.io/tracking-id":"shop:apps/Deployment:ns/shop"}}`, []string{"argocd"}, ""},
		"a Kustomization":    {`{"labels":{"kustomize.toolkit.fluxcd.io/name":"apps","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}}`, nil, "the Flux Kustomization flux-system/apps"},
		"one that is let be": {`{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"},"labels":{"kustomize.toolkit.fluxcd.io/name":"apps"}}`, nil, ""},
		"a HelmRelease":      {`{"labels":{"helm.toolkit.fluxcd.io/name":"shop","helm.toolkit.fluxcd.io/namespace":"ns","app.kubernetes.io/managed-by":"Helm"},"annotations":{"meta.helm.sh/release-name":"shop"}}`, []string{"helm"}, "the Flux HelmRelease ns/shop"},
		"Helm":               {`{"labels":{"app.kubernetes.io/managed-by":"Helm"},"annotations":{"meta.helm.sh/release-name":"shop"}}`, nil, "the Helm release shop"},
		"Helm, accepted":     {`{"labels":{"app.kubernetes.io/managed-by":"Helm"},"annotations":{"meta.helm.sh/release-name":"shop"}}`, []string{"helm"}, ""},
		"an operator":        {`{"ownerReferences":[{"apiVersion":"x/v1","kind":"Shop","name":"main","uid":"1","controller":true}]}`, []string{"helm", "flux", "argocd"}, "the Shop main"},
	} {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":` + tc.meta + `}`)); err != nil {
			t.Fatal(err)
		}
		if got := ownerOf(u, tc.accepted); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestWhatATemplateRefersTo(t *testing.T) {
	pod, err := templateOf(t, `{"spec":{"volumes":[{"name":"a","configMap":{"name":"vol"}},{"name":"b","secret":{"secretName":"vol","optional":true}},
		{"name":"c","projected":{"sources":[{"configMap":{"name":"proj"}},{"secret":{"name":"proj"}}]}}],
		"initContainers":[{"name":"i","env":[{"name":"X","valueFrom":{"configMapKeyRef":{"name":"key","key":"k","optional":true}}}]}],
		"containers":[{"name":"c","envFrom":[{"configMapRef":{"name":"vol","optional":true}},{"secretRef":{"name":"env"}}],
		"env":[{"name":"Y","valueFrom":{"secretKeyRef":{"name":"key","key":"k"}}},{"name":"Z","value":"plain"}]}]}}`).pod()
	if err != nil {
		t.Fatal(err)
	}
	want := []reference{
		{"ConfigMap", "key", true},
		{"ConfigMap", "proj", false},
		{"ConfigMap", "vol", false},
		{"Secret", "env", false},
		{"Secret", "key", false},
		{"Secret", "proj", false},
		{"Secret", "vol", true},
	}
	if diff := cmp.Diff(want, referencesOf(pod)); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

// FuzzObject feeds whatever an API server, or somebody in between, may say.
func FuzzObject(f *testing.F) {
	f.Add(plain, `{"id":"op-1","content":"sha256:aa","written":"sha256:aa"}`)
	f.Add(`{"metadata":{"labels":[1]},"spec":{"containers":{"a":null}}}`, `[]`)
	f.Add(`{"spec":{"containers":[null,1,{"image":5}],"initContainers":"x"}}`, ``)
	p, err := New(Config{Namespace: "a", Deployment: "shop"}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, stamped string) {
		var tpl any
		if json.Unmarshal([]byte(text), &tpl) != nil {
			return
		}
		u := &unstructured.Unstructured{}
		if u.UnmarshalJSON([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"shop"},"spec":{"template":`+text+`}}`)) != nil {
			return
		}
		u.SetAnnotations(map[string]string{stampKey: stamped})
		s, err := p.assemble(u, nil, nil)
		if err != nil {
			return
		}
		st := p.stateOf(&s, target)
		if st.Revision.Content == "" {
			t.Error("a state without content")
		}
		pinned, _ := s.Template.pin(map[string]string{"shop": "sha256:aa"})
		if pinned.content() == "" {
			t.Error("a pinned template without content")
		}
	})
}
