package alerting

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"

	promconfig "github.com/prometheus/common/config"
)

// A Secret is shown as "<secret>" wherever it is printed. Value reveals it.
type Secret string

const masked = "<secret>"

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the secret out of JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML keeps the secret out of YAML.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

var env = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// Value returns the secret with each ${NAME} replaced by that variable of the
// environment. One that is not set is an error.
func (s Secret) Value() (string, error) {
	var missing string
	out := env.ReplaceAllStringFunc(string(s), func(ref string) string {
		name := ref[2 : len(ref)-1]
		v, ok := os.LookupEnv(name)
		if !ok {
			missing = name
		}
		return v
	})
	if missing != "" {
		return "", fmt.Errorf("the environment variable %s is not set", missing)
	}
	return out, nil
}

// Expanded returns the webhook with every ${NAME} in the secrets of its
// http_config replaced by that variable of the environment.
func (w Webhook) Expanded() (Webhook, error) {
	if w.HTTPConfig == nil {
		return w, nil
	}
	w.HTTPConfig = deepCopy(*w.HTTPConfig)
	return w, expand(reflect.ValueOf(w.HTTPConfig))
}

// deepCopy copies what a client configuration points to, so that the original
// keeps its references.
func deepCopy(in promconfig.HTTPClientConfig) *promconfig.HTTPClientConfig {
	out := in
	for _, p := range []reflect.Value{reflect.ValueOf(&out.BasicAuth), reflect.ValueOf(&out.Authorization), reflect.ValueOf(&out.OAuth2), reflect.ValueOf(&out.HTTPHeaders)} {
		if v := p.Elem(); !v.IsNil() {
			c := reflect.New(v.Type().Elem())
			c.Elem().Set(v.Elem())
			v.Set(c)
		}
	}
	if out.HTTPHeaders != nil {
		out.HTTPHeaders.Headers = maps.Clone(out.HTTPHeaders.Headers)
		for name, h := range out.HTTPHeaders.Headers {
			h.Secrets = slices.Clone(h.Secrets)
			out.HTTPHeaders.Headers[name] = h
		}
	}
	return &out
}

// expand replaces the references in every secret below v.
func expand(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return expand(v.Elem())
	case v.Type() == reflect.TypeFor[promconfig.Secret]():
		value, err := Secret(v.String()).Value()
		if err == nil && v.CanSet() {
			v.SetString(value)
		}
		return err
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				if err := expand(v.Field(i)); err != nil {
					return err
				}
			}
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := expand(v.Index(i)); err != nil {
				return err
			}
		}
	case v.Kind() == reflect.Map:
		for _, k := range v.MapKeys() {
			if err := expand(v.MapIndex(k)); err != nil {
				return err
			}
		}
	}
	return nil
}
