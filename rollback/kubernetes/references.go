package kubernetes

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
)

// A reference is a ConfigMap or a Secret that a pod template names. Kubernetes
// keeps no older contents of them, so going back does not bring those back.
type reference struct {
	Kind     string // ConfigMap or Secret
	Name     string
	Optional bool
}

func (r reference) String() string { return r.Kind + " " + r.Name }

// referencesOf returns what a pod template names, once each, by kind and name.
// One that is optional in one place and required in another is required.
func referencesOf(t corev1.PodTemplateSpec) []reference {
	var all []reference
	add := func(kind, name string, optional *bool) {
		if name != "" {
			all = append(all, reference{kind, name, optional != nil && *optional})
		}
	}
	for i := range t.Spec.Volumes {
		v := &t.Spec.Volumes[i]
		if v.ConfigMap != nil {
			add("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Optional)
		}
		if v.Secret != nil {
			add("Secret", v.Secret.SecretName, v.Secret.Optional)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				add("ConfigMap", s.ConfigMap.Name, s.ConfigMap.Optional)
			}
			if s.Secret != nil {
				add("Secret", s.Secret.Name, s.Secret.Optional)
			}
		}
	}
	for _, c := range slices.Concat(t.Spec.InitContainers, t.Spec.Containers) {
		environment(c, add)
	}
	slices.SortFunc(all, func(a, b reference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), boolOrder(a.Optional, b.Optional))
	})
	return slices.CompactFunc(all, func(a, b reference) bool { return a.Kind == b.Kind && a.Name == b.Name })
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func environment(c corev1.Container, add func(kind, name string, optional *bool)) {
	for _, e := range c.EnvFrom {
		if e.ConfigMapRef != nil {
			add("ConfigMap", e.ConfigMapRef.Name, e.ConfigMapRef.Optional)
		}
		if e.SecretRef != nil {
			add("Secret", e.SecretRef.Name, e.SecretRef.Optional)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if k := e.ValueFrom.ConfigMapKeyRef; k != nil {
			add("ConfigMap", k.Name, k.Optional)
		}
		if k := e.ValueFrom.SecretKeyRef; k != nil {
			add("Secret", k.Name, k.Optional)
		}
	}
}

// What there is to say of a reference besides its data.
var (
	errGone      = errors.New("it is gone")
	errForbidden = errors.New("there is no permission to read it")
)

// referenced holds the data of references for some seconds: Revisions asks for
// the same ones again and again while a decision is pending.
type referenced struct {
	mu    sync.Mutex
	until time.Time
	data  map[string]found
}

type found struct {
	data []byte // never leaves this process
	err  error
}

// freshFor is how long data is held.
const freshFor = 2 * time.Second

// lookup returns the data of a reference as JSON, errGone or errForbidden.
func (p *Platform) lookup(ctx context.Context, r reference) ([]byte, error) {
	p.refs.mu.Lock()
	if now := time.Now(); now.After(p.refs.until) {
		p.refs.until, p.refs.data = now.Add(freshFor), map[string]found{}
	}
	f, ok := p.refs.data[r.String()]
	p.refs.mu.Unlock()
	if ok {
		return f.data, f.err
	}
	dyn, err := p.client()
	if err != nil {
		return nil, err
	}
	f.data, f.err = p.fetch(ctx, dyn, r)
	if f.err == nil || errors.Is(f.err, errGone) || errors.Is(f.err, errForbidden) {
		p.refs.mu.Lock()
		p.refs.data[r.String()] = f
		p.refs.mu.Unlock()
	}
	return f.data, f.err
}

func (p *Platform) fetch(ctx context.Context, dyn dynamic.Interface, r reference) ([]byte, error) {
	resource := configMaps
	if r.Kind == "Secret" {
		resource = secrets
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	obj, err := dyn.Resource(resource).Namespace(p.cfg.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, errGone
	case apierrors.IsForbidden(err):
		return nil, errForbidden
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	return jsonOf([]any{obj.Object["data"], obj.Object["binaryData"]}), nil
}

// fingerprint returns a keyed hash of each reference of a template that can be
// read. Whoever finds the hashes cannot look them up in a table.
func (p *Platform) fingerprint(ctx context.Context, refs []reference, key []byte) (map[string]string, error) {
	prints := map[string]string{}
	for _, r := range refs {
		data, err := p.lookup(ctx, r)
		switch {
		case err == nil:
			prints[r.String()] = fmt.Sprintf("%x", keyed(key, data))
		case !errors.Is(err, errGone) && !errors.Is(err, errForbidden):
			return nil, err
		}
	}
	return prints, nil
}

func keyed(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(data) // a hash takes everything
	return h.Sum(nil)
}

// compare says which references of a template are gone, and which differ from
// their fingerprints.
func (p *Platform) compare(ctx context.Context, refs []reference, k spec) (gone, changed []string, err error) {
	for _, r := range refs {
		data, err := p.lookup(ctx, r)
		was := k.Prints[r.String()]
		switch {
		case errors.Is(err, errForbidden):
		case errors.Is(err, errGone) && r.Optional:
			if was != "" {
				changed = append(changed, r.String())
			}
		case errors.Is(err, errGone):
			gone = append(gone, r.String())
		case err != nil:
			return nil, nil, err
		case was != "" && was != fmt.Sprintf("%x", keyed(k.Key, data)):
			changed = append(changed, r.String())
		}
	}
	return gone, changed, nil
}

func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
