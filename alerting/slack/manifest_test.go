package slack

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// needs says which bot scope each method that this package calls asks for, by
// Slack's reference of methods; "" for none. A private channel has its own.
var needs = map[string][]string{
	"chat.postMessage": {"chat:write"}, "chat.update": {"chat:write"}, "PostEphemeral": {"chat:write"},
	"conversations.list": {"channels:read", "groups:read"}, "conversations.history": {"channels:history", "groups:history"},
	"conversations.replies": {"channels:history", "groups:history"}, "GetBotInfo": {"users:read"}, "files.getUploadURLExternal": {"files:write"}, "AuthTest": nil, "OpenView": nil,
}

func TestTheManifestAsksForTheScopesOfWhatIsCalled(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "slack-manifest.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		OAuth struct {
			Scopes struct {
				Bot []string `yaml:"bot"`
			} `yaml:"scopes"`
		} `yaml:"oauth_config"`
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	called := regexp.MustCompile(`n\.call\(ctx, "([a-z.A-Z]+)"|d\.api\.([A-Za-z]+)Context\(`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		code, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range called.FindAllStringSubmatch(string(code), -1) {
			n++
			method := m[1] + m[2]
			scopes, known := needs[method]
			if !known {
				t.Errorf("%s calls %s: which scope does it need?", f, method)
			}
			for _, s := range scopes {
				if !slices.Contains(manifest.OAuth.Scopes.Bot, s) {
					t.Errorf("%s needs the scope %s, which the manifest does not ask for", method, s)
				}
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d calls were found", n)
	}
}
