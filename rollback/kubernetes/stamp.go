package kubernetes

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/belaydev/belay"
)

// Annotations on the workload, never on the pod template.
const (
	stampKey = "belay.dev/operation" // JSON of a stamp: Belay's newest operation on this object
	spentKey = "belay.dev/spent"     // ids of operations that were applied, newest last, separated by spaces
	causeKey = "kubernetes.io/change-cause"
)

// manager is what Belay is called in metadata.managedFields.
const manager = "belay"

// keepSpent is how many operations an object remembers.
const keepSpent = 50

// A stamp says which operation put which template in place.
type stamp struct {
	ID      string        `json:"id"`
	Content belay.Content `json:"content"`
	Written belay.Content `json:"written"`           // content of the template as Belay wrote it; differs from Content when names of images were bound to digests
	Manages bool          `json:"manages,omitempty"` // Belay managed a field of the template right after it had written it
	At      time.Time     `json:"at"`
	Spent   []string      `json:"-"`
}

// stampOf reads what an object carries. People and controllers copy
// annotations, so a stamp is believed only for the content that it names.
func stampOf(obj *unstructured.Unstructured) stamp {
	var s stamp
	notes := obj.GetAnnotations()
	if err := json.Unmarshal([]byte(notes[stampKey]), &s); err != nil {
		s = stamp{}
	}
	s.Spent = strings.Fields(notes[spentKey])
	return s
}

// alias returns the content of a template. One that Belay wrote with digests in
// place of tags is the content that it stands for.
func (s stamp) alias(t template) belay.Content {
	c := t.content()
	if s.Written == c {
		return s.Content
	}
	return c
}

// with returns the annotations of an object after an operation.
func (s stamp) with(notes map[string]string, op belay.Operation) map[string]string {
	out := map[string]string{}
	for k, v := range notes {
		out[k] = v
	}
	spent := append(slices.Clone(s.Spent), op.ID)
	out[spentKey] = strings.Join(spent[max(0, len(spent)-keepSpent):], " ")
	s.Spent = nil
	out[stampKey] = string(jsonOf(s))
	out[causeKey] = fmt.Sprintf("Belay went back to %s (%s)", op.To, op.ID)
	return out
}

// spent says whether an operation was applied, as the object or one of the
// ReplicaSets remembers, to which its annotations were copied: `kubectl rollout
// undo` brings older annotations back.
func (s *seen) spent(id string) bool {
	if slices.Contains(stampOf(s.Object).Spent, id) {
		return true
	}
	return slices.ContainsFunc(s.Old, func(o old) bool { return slices.Contains(o.Stamp.Spent, id) })
}

// operation returns the operation that put the present content in place, "" if
// somebody else did. The stamp must name this content, which it may survive when
// people deploy something else and then this again; so Belay must still manage a
// field of the template. Where it never did, because going back only took fields
// away, nobody who does may have written since.
func (s *seen) operation() (string, time.Time) {
	st := stampOf(s.Object)
	if st.ID == "" || st.Written != s.Template.content() {
		return "", time.Time{}
	}
	ours, others := writers(s.Object)
	if st.Manages && !ours.template || !st.Manages && others.at.After(ours.at) {
		return "", time.Time{}
	}
	return st.ID, st.At
}

// A writer is what managedFields say of one manager, or of several.
type writer struct {
	template bool      // manages a field below spec.template
	at       time.Time // of its newest write; to whichever field, since Kubernetes keeps no more
}

// writers returns what Belay has written, and what the others have who manage
// fields of the template.
func writers(obj *unstructured.Unstructured) (ours, others writer) {
	for _, m := range obj.GetManagedFields() {
		if m.Subresource != "" || m.FieldsV1 == nil {
			continue
		}
		at, below := time.Time{}, ownsTemplate(m.FieldsV1.GetRawBytes())
		if m.Time != nil {
			at = m.Time.Time
		}
		w := &others
		if m.Manager == manager {
			w = &ours
		} else if !below {
			continue
		}
		w.template = w.template || below
		if at.After(w.at) {
			w.at = at
		}
	}
	return ours, others
}

// ownsTemplate says whether a set of fields has one below spec.template.
func ownsTemplate(raw []byte) bool {
	var fields struct {
		Spec struct {
			Template map[string]json.RawMessage `json:"f:template"`
		} `json:"f:spec"`
	}
	return json.Unmarshal(raw, &fields) == nil && len(fields.Spec.Template) > 0
}
