package plane

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A variable is one of a process's environment.
type variable struct{ name, value string }

// environment is what the pod's process finds; an error says what is missing.
func (p *pod) environment(ctx context.Context, ip string) ([]variable, error) {
	spec, port := p.spec(), 8080
	if len(spec.Ports) > 0 {
		port = int(spec.Ports[0].ContainerPort)
	}
	env := []variable{
		{"POD_IP", ip}, {"PORT", strconv.Itoa(port)}, {"POD_NAME", p.state.Name}, {"POD_NAMESPACE", p.state.Namespace},
	}
	for _, from := range spec.EnvFrom {
		data, err := p.sourced(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			env = append(env, variable{from.Prefix + key, data[key]})
		}
	}
	for _, v := range spec.Env {
		value, ok, err := p.value(ctx, v, ip)
		if err != nil {
			return nil, err
		}
		if ok {
			env = append(env, variable{v.Name, expand([]string{value}, env)[0]})
		}
	}
	return env, nil
}

// sourced reads all of a ConfigMap or Secret.
func (p *pod) sourced(ctx context.Context, from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		return p.configMap(ctx, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		return p.secret(ctx, from.SecretRef.Name, from.SecretRef.Optional)
	}
	return nil, nil
}

// value returns what one variable holds, and whether there is one.
func (p *pod) value(ctx context.Context, v corev1.EnvVar, ip string) (value string, ok bool, err error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return v.Value, true, nil
	case from.FieldRef != nil:
		return p.field(from.FieldRef.FieldPath, ip), true, nil
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := p.configMap(ctx, ref.Name, ref.Optional)
		return keyed(data, ref.Key, ref.Optional, err)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := p.secret(ctx, ref.Name, ref.Optional)
		return keyed(data, ref.Key, ref.Optional, err)
	}
	return "", false, nil
}

func keyed(data map[string]string, key string, optional *bool, err error) (value string, ok bool, _ error) {
	if err != nil {
		return "", false, err
	}
	value, ok = data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s", key)
	}
	return value, ok, nil
}

func (p *pod) configMap(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	found, err := p.kubelet.client.ConfigMaps(p.state.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found.Data, nil
}

func (p *pod) secret(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	found, err := p.kubelet.client.Secrets(p.state.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range found.Data {
		data[key] = string(value)
	}
	return data, nil
}

// field returns what a field of the pod holds, "" for those that nobody asked
// for yet.
func (p *pod) field(path, ip string) string {
	switch path {
	case "metadata.name":
		return p.state.Name
	case "metadata.namespace":
		return p.state.Namespace
	case "metadata.uid":
		return string(p.state.UID)
	case "spec.nodeName":
		return p.state.Spec.NodeName
	case "status.podIP":
		return ip
	case "status.hostIP":
		return "127.0.0.1"
	}
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return p.state.Labels[strings.TrimSuffix(key, "']")]
	}
	if key, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return p.state.Annotations[strings.TrimSuffix(key, "']")]
	}
	return ""
}

// argvOf is what a container runs: its command takes the place of the image's
// entrypoint, its args come after.
func argvOf(image Image, spec *corev1.Container) []string {
	argv := image.Argv
	if len(spec.Command) > 0 {
		argv = spec.Command
	}
	return append(slices.Clone(argv), spec.Args...)
}

// expand replaces $(NAME) by what the environment holds; what it does not hold
// stays as it is.
func expand(words []string, env []variable) []string {
	var pairs []string
	for i := len(env) - 1; i >= 0; i-- { // the newest wins
		pairs = append(pairs, "$("+env[i].name+")", env[i].value)
	}
	replace, out := strings.NewReplacer(pairs...), make([]string, len(words))
	for i, w := range words {
		out[i] = replace.Replace(w)
	}
	return out
}
