package kubernetes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belaydev/belay/strict"
)

func decode(t *testing.T, text string) (Config, strict.Problems) {
	t.Helper()
	doc, ps := strict.Parse("/etc/belay/belay.yml", []byte(text))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return Decode(doc)
}

func TestConfigIsReadWithItsDefaults(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Config
	}{
		"the least":      {"{namespace: shop, deployment: checkout}", Config{Namespace: "shop", Deployment: "checkout", ConfigChanged: ConfigTell, Timeout: DefaultTimeout}},
		"relative paths": {"{namespace: shop, daemonset: agent, kubeconfig: kube.yml}", Config{Namespace: "shop", DaemonSet: "agent", Kubeconfig: "/etc/belay/kube.yml", ConfigChanged: ConfigTell, Timeout: DefaultTimeout}},
		"everything": {
			"{namespace: shop, statefulset: db, kubeconfig: /k, context: prod, accept_owner: [helm, argocd, flux], config_changed: refuse, delete_stuck_pods: true, timeout: 3s}",
			Config{Namespace: "shop", StatefulSet: "db", Kubeconfig: "/k", Context: "prod", AcceptOwner: []string{"helm", "argocd", "flux"}, ConfigChanged: ConfigRefuse, DeleteStuckPods: true, Timeout: 3 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ps := decode(t, tc.text)
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestABadConfigSaysWhatIsAllowed(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no namespace":                 {"{deployment: a}", "needs namespace"},
		"no workload":                  {"{namespace: a}", "names 0 workloads; allowed: exactly one of deployment, statefulset, daemonset"},
		"two workloads":                {"{namespace: a, deployment: b, daemonset: c}", "names 2 workloads"},
		"a name that cannot be":        {"{namespace: Shop, deployment: a}", `"Shop" cannot be the name of a namespace`},
		"a path in a name":             {"{namespace: a, deployment: ../pods}", "cannot be the name of a deployment"},
		"an owner nobody knows":        {"{namespace: a, deployment: b, accept_owner: [jenkins]}", "allowed: argocd, flux, helm"},
		"a word for config_changed":    {"{namespace: a, deployment: b, config_changed: maybe}", "allowed: tell, refuse"},
		"stuck pods of a Deployment":   {"{namespace: a, deployment: b, delete_stuck_pods: true}", "only a StatefulSet gets stuck"},
		"a time-out that cannot work":  {"{namespace: a, deployment: b, timeout: 1ms}", "100ms or longer"},
		"a key that does not exist":    {"{namespace: a, deployment: b, colour: red}", "colour"},
		"a time-out below zero, hours": {"{namespace: a, deployment: b, timeout: -1h}", "too short"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := decode(t, tc.text)
			if len(ps) == 0 || !strings.Contains(ps.Error(), tc.want) {
				t.Errorf("problems: %v, want %q", ps, tc.want)
			}
		})
	}
}

func TestNewTouchesNothing(t *testing.T) {
	p, err := New(Config{Namespace: "a", Deployment: "b", Kubeconfig: "/nowhere/kubeconfig"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.State(t.Context(), target); err == nil || !strings.Contains(err.Error(), "/nowhere/kubeconfig") {
		t.Errorf("State returned %v, want it to name the file", err)
	}
	for _, c := range []Config{{Deployment: "b"}, {Namespace: "a"}} {
		if _, err := New(c, Options{}); err == nil {
			t.Errorf("New(%+v) returned no error", c)
		}
	}
}
