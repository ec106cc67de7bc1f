package compose_test

import (
	"strings"
	"testing"

	"github.com/belaydev/belay/rollback/compose"
	"github.com/belaydev/belay/strict"
)

func TestConfigurationSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no project":        {"compose: {service: a}", "x.yml:1: the compose platform needs a project"},
		"no service":        {"compose: {project: a}", "needs a service"},
		"an unknown key":    {"compose: {project: a, service: b, file: c}", `unknown key "file"`},
		"a negative time":   {"compose: {project: a, service: b, steady: -1s}", "steady of -1s is negative"},
		"a negative number": {"compose: {project: a, service: b, keep_images: -1}", "keep_images of -1 is negative"},
		"no address":        {"compose: {project: a, service: b, host: here}", `"here" is no address`},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("x.yml", []byte(tc.text+"\n"))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			if _, ps := compose.Decode(doc, "compose"); !strings.Contains(ps.Error(), tc.want) {
				t.Errorf("%q, want %q", ps.Error(), tc.want)
			}
		})
	}
}
