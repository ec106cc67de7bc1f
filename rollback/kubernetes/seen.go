package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/belaydev/belay"
)

// seen is the workload and what belongs to it, read at one moment.
type seen struct {
	Object   *unstructured.Unstructured
	Template template
	Content  belay.Content
	Old      []old        // history, newest first
	Pods     []corev1.Pod // by name
	Events   []string     // why pods could not be made, where no condition says it
	At       time.Time
}

// old is a template of the workload's history.
type old struct {
	Number   int64
	Name     string
	Hash     string // value of the label that its pods carry
	Template template
	Content  belay.Content
	Created  time.Time
	Stamp    stamp
}

// read asks the API server, and no cache.
func (p *Platform) read(ctx context.Context, withPods bool) (seen, error) {
	dyn, err := p.client()
	if err != nil {
		return seen{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	obj, err := p.objects(dyn).Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return seen{}, fmt.Errorf("read %s: %w", p, err)
	}
	sel, err := selectorOf(obj)
	if err != nil {
		return seen{}, fmt.Errorf("read %s: %w", p, err)
	}
	history, err := dyn.Resource(p.kind.History).Namespace(p.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: sel})
	if err != nil {
		return seen{}, fmt.Errorf("read the history of %s: %w", p, err)
	}
	pods := &unstructured.UnstructuredList{}
	if withPods {
		pods, err = dyn.Resource(podResource).Namespace(p.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: sel})
		if err != nil {
			return seen{}, fmt.Errorf("read the pods of %s: %w", p, err)
		}
	}
	s, err := p.assemble(obj, history.Items, pods.Items)
	if err == nil && withPods {
		s.Events = p.failedCreates(ctx, s)
	}
	return s, err
}

func (p *Platform) objects(dyn dynamic.Interface) dynamic.ResourceInterface {
	return dyn.Resource(p.kind.Resource).Namespace(p.cfg.Namespace)
}

func selectorOf(obj *unstructured.Unstructured) (string, error) {
	raw, _, err := unstructured.NestedMap(obj.Object, "spec", "selector")
	if err != nil {
		return "", err
	}
	var ls metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &ls); err != nil {
		return "", err
	}
	sel, err := metav1.LabelSelectorAsSelector(&ls)
	if err != nil {
		return "", err
	}
	return sel.String(), nil
}

// assemble makes sense of the objects. Those that belong to another workload
// are left out.
func (p *Platform) assemble(obj *unstructured.Unstructured, history, pods []unstructured.Unstructured) (seen, error) {
	t, err := templateAt(obj.Object)
	if err != nil {
		return seen{}, fmt.Errorf("%s: %w", p, err)
	}
	s := seen{Object: obj, Template: t, At: time.Now()}
	own := stampOf(obj)
	s.Content = own.alias(t)
	makers := map[string]bool{string(obj.GetUID()): true}
	for i := range history {
		if controllerOf(&history[i]) != string(obj.GetUID()) {
			continue
		}
		makers[string(history[i].GetUID())] = true
		if o, ok := p.older(&history[i], own); ok {
			s.Old = append(s.Old, o)
		}
	}
	slices.SortFunc(s.Old, func(a, b old) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), b.Created.Compare(a.Created))
	})
	for i := range pods {
		if !makers[controllerOf(&pods[i])] {
			continue
		}
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(pods[i].Object, &pod); err != nil {
			return seen{}, fmt.Errorf("%s: pod %s: %w", p, pods[i].GetName(), err)
		}
		s.Pods = append(s.Pods, pod)
	}
	slices.SortFunc(s.Pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// older reads a ReplicaSet or a ControllerRevision.
func (p *Platform) older(obj *unstructured.Unstructured, own stamp) (old, bool) {
	o := old{Name: obj.GetName(), Hash: obj.GetLabels()[p.kind.PodHash], Created: obj.GetCreationTimestamp().Time, Stamp: stampOf(obj)}
	content := obj.Object
	if p.kind.History == replicaSets {
		o.Number, _ = strconv.ParseInt(obj.GetAnnotations()["deployment.kubernetes.io/revision"], 10, 64)
	} else {
		o.Number, _, _ = unstructured.NestedInt64(obj.Object, "revision")
		content, _, _ = unstructured.NestedMap(obj.Object, "data")
		if p.kind.Name == statefulSet.Name {
			o.Hash = o.Name // its pods carry the whole name
		}
	}
	t, err := templateAt(content)
	if err != nil {
		return old{}, false // nothing that could be restored
	}
	o.Template = t
	o.Content = own.alias(t)
	if o.Content == t.content() {
		o.Content = o.Stamp.alias(t)
	}
	return o, true
}

func controllerOf(obj *unstructured.Unstructured) string {
	for _, ref := range obj.GetOwnerReferences() {
		if ref.Controller != nil && *ref.Controller {
			return string(ref.UID)
		}
	}
	return ""
}

// current returns the label value of the pods that run the present template,
// "" while the controller has not made any.
func (s *seen) current() string {
	exact := s.Template.exact()
	for _, o := range s.Old {
		if o.Template.exact() == exact {
			return o.Hash
		}
	}
	return ""
}

// split returns the pods of the present template, and all others.
func (s *seen) split(k kind) (now, before []corev1.Pod) {
	hash := s.current()
	for i := range s.Pods {
		if hash != "" && s.Pods[i].Labels[k.PodHash] == hash {
			now = append(now, s.Pods[i])
		} else {
			before = append(before, s.Pods[i])
		}
	}
	return now, before
}

// failedCreates says why pods of a workload could not be made, from its events:
// a StatefulSet and a DaemonSet have no condition that says it. Events are a
// courtesy: without the permission to read them there are none.
func (p *Platform) failedCreates(ctx context.Context, s seen) []string {
	if p.kind.Name == deployment.Name || s.progress(p.kind).Progress == belay.Converged {
		return nil
	}
	dyn, err := p.client()
	if err != nil {
		return nil
	}
	list, err := dyn.Resource(eventResource).Namespace(p.cfg.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "reason=FailedCreate,involvedObject.uid=" + string(s.Object.GetUID()),
	})
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range list.Items {
		last, _, _ := unstructured.NestedString(e.Object, "lastTimestamp")
		at, err := time.Parse(time.RFC3339, last)
		if err != nil || s.At.Sub(at) > 5*time.Minute || at.Before(changedSince(s)) {
			continue
		}
		if msg, _, _ := unstructured.NestedString(e.Object, "message"); msg != "" {
			out = append(out, msg)
		}
	}
	return out
}

// changedSince is when the newest template of the history was made: what was
// said before does not speak of it.
func changedSince(s seen) time.Time {
	if len(s.Old) == 0 {
		return time.Time{}
	}
	return s.Old[0].Created
}

// jsonOf never fails on what came from JSON.
func jsonOf(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return text
}
