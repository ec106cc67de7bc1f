package alerting

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
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

func hasEnv(s string) bool { return env.MatchString(s) }

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
