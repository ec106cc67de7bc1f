package kubernetes

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/belaydev/belay"
)

// Labels that controllers add to the templates they keep.
var addedLabels = []string{"pod-template-hash", "controller-revision-hash", "pod-template-generation"}

// restartedAt is what `kubectl rollout restart` writes into a template, so that
// it differs.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

var errNoTemplate = errors.New("the object has no pod template")

// A template is a pod template as the API server returns it, fields that this
// Belay does not know included.
type template map[string]any

// templateAt returns a copy of the template in spec.template, without what a
// controller has added to it.
func templateAt(obj map[string]any) (template, error) {
	raw, ok, err := unstructured.NestedMap(obj, "spec", "template") // a deep copy
	if err != nil || !ok {
		return nil, errNoTemplate
	}
	t := template(clean(raw))
	delete(t, "$patch")
	if meta, ok := t["metadata"].(map[string]any); ok {
		dropKeys(meta, "labels", addedLabels...)
	}
	return t, nil
}

// clean drops nulls, which mean the same as nothing.
func clean(m map[string]any) map[string]any {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			clean(v)
		case []any:
			for _, e := range v {
				if e, ok := e.(map[string]any); ok {
					clean(e)
				}
			}
		}
	}
	return m
}

// dropKeys removes keys of a map in m, and that map once it is empty.
func dropKeys(m map[string]any, in string, keys ...string) {
	inner, ok := m[in].(map[string]any)
	if !ok {
		return
	}
	for _, k := range keys {
		delete(inner, k)
	}
	if len(inner) == 0 {
		delete(m, in)
	}
}

// exact identifies a template, restarts included.
func (t template) exact() string { return hashOf(t) }

// content identifies what the template runs. A restart is the same content.
func (t template) content() belay.Content {
	same := template(runtime.DeepCopyJSON(t))
	if meta, ok := same["metadata"].(map[string]any); ok {
		dropKeys(meta, "annotations", restartedAt)
		if len(meta) == 0 {
			delete(same, "metadata")
		}
	}
	return belay.Content(hashOf(same))
}

// hashOf hashes JSON whose keys are sorted.
func hashOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // it came from JSON
		return ""
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(text))
}

// pod returns the template in Go's types.
func (t template) pod() (corev1.PodTemplateSpec, error) {
	var p corev1.PodTemplateSpec
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(t, &p)
	if err != nil {
		return p, fmt.Errorf("the pod template: %w", err)
	}
	return p, nil
}

// version is what people call it: the label app.kubernetes.io/version of its
// pods, otherwise the tag of its first container's image.
func (t template) version() string {
	if v, _, _ := unstructured.NestedString(t, "metadata", "labels", "app.kubernetes.io/version"); v != "" {
		return v
	}
	p, err := t.pod()
	if err != nil || len(p.Spec.Containers) == 0 {
		return ""
	}
	image := p.Spec.Containers[0].Image
	if tag := tagOf(image); tag != "" {
		return tag
	}
	_, digest, _ := strings.Cut(image, "@")
	return belay.Content(digest).Short()
}

// tagOf returns the tag of an image's name, "" if it has none.
func tagOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name = name[strings.LastIndexByte(name, '/')+1:]
	_, tag, _ := strings.Cut(name, ":")
	return tag
}

// moves says that an image's name may mean something else tomorrow.
func moves(c corev1.Container) bool {
	if strings.Contains(c.Image, "@") {
		return false
	}
	tag := tagOf(c.Image)
	return tag == "" || tag == "latest" || c.ImagePullPolicy == corev1.PullAlways
}

// pin returns the template with each name that moves bound to the digest which
// ran, and the containers whose digest nobody knows.
func (t template) pin(digests map[string]string) (template, []string) {
	pinned := template(runtime.DeepCopyJSON(t))
	var unknown []string
	for _, list := range []string{"initContainers", "containers"} {
		all, _, _ := unstructured.NestedSlice(pinned, "spec", list)
		for i := range all {
			raw, _ := all[i].(map[string]any)
			var c corev1.Container
			if runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &c) != nil || !moves(c) {
				continue
			}
			if d := digests[c.Name]; d != "" {
				raw["image"] = c.Image + "@" + d
			} else {
				unknown = append(unknown, c.Name)
			}
		}
		if len(all) > 0 {
			_ = unstructured.SetNestedSlice(pinned, all, "spec", list) // it was one
		}
	}
	return pinned, unknown
}

// digestsOf returns the digests that containers of pods run, by container. One
// on which the pods disagree is left out.
func digestsOf(pods []corev1.Pod) map[string]string {
	out := map[string]string{}
	for i := range pods {
		for _, s := range slices.Concat(pods[i].Status.InitContainerStatuses, pods[i].Status.ContainerStatuses) {
			_, digest, _ := strings.Cut(s.ImageID, "@")
			if !strings.HasPrefix(digest, "sha256:") {
				continue
			}
			if have, ok := out[s.Name]; ok && have != digest {
				digest = ""
			}
			out[s.Name] = digest
		}
	}
	maps.DeleteFunc(out, func(_, d string) bool { return d == "" })
	return out
}
