package kubernetes

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/belaydev/belay/strict"
)

// DefaultTimeout bounds each request to the API server, watches excepted.
const DefaultTimeout = 10 * time.Second

// What config_changed can be.
const (
	ConfigTell   = "tell"   // say it beside the revision, and go back all the same
	ConfigRefuse = "refuse" // such a revision cannot be restored
)

// owners are the values of accept_owner.
var owners = []string{ownerArgo, ownerFlux, ownerHelm}

// Config is the key `kubernetes` of a service's platform. Exactly one of
// Deployment, StatefulSet and DaemonSet names the workload.
type Config struct {
	Namespace       string        `yaml:"namespace"`         // of the workload; required
	Deployment      string        `yaml:"deployment"`        // name of the Deployment, or
	StatefulSet     string        `yaml:"statefulset"`       // name of the StatefulSet, or
	DaemonSet       string        `yaml:"daemonset"`         // name of the DaemonSet
	Kubeconfig      string        `yaml:"kubeconfig"`        // path, relative to the configuration file; default: the pod's own service account, otherwise $KUBECONFIG or ~/.kube/config
	Context         string        `yaml:"context"`           // of the kubeconfig; default: its current one
	AcceptOwner     []string      `yaml:"accept_owner"`      // owners that do not undo a change here: argocd, flux, helm
	ConfigChanged   string        `yaml:"config_changed"`    // ConfigMaps or Secrets differ from when the good revision ran: tell (default) or refuse
	DeleteStuckPods bool          `yaml:"delete_stuck_pods"` // after going back, evict a StatefulSet's pods of the bad revision that never get ready
	Timeout         time.Duration `yaml:"timeout"`           // of each request; default 10s
}

// Decode reads and checks what stands at the path, and fills in the defaults.
func Decode(doc *strict.Doc, path ...any) (Config, strict.Problems) {
	var c Config
	if ps := doc.Decode(&c, path...); len(ps) > 0 {
		return c, ps
	}
	if c.Kubeconfig != "" && !filepath.IsAbs(c.Kubeconfig) {
		c.Kubeconfig = filepath.Join(filepath.Dir(doc.File), c.Kubeconfig)
	}
	return c.withDefaults(), c.Check(doc, path...)
}

// Check returns what is wrong with a configuration that was read from the path
// of the document. It looks at nothing but the values.
func (c Config) Check(doc *strict.Doc, path ...any) strict.Problems {
	var ps strict.Problems
	add := func(what, allowed string, key ...any) {
		ps = append(ps, doc.At(what, allowed, append(append([]any{}, path...), key...)...))
	}
	named := 0
	for _, n := range []struct {
		key, name string
		required  bool
	}{{"namespace", c.Namespace, true}, {"deployment", c.Deployment, false}, {"statefulset", c.StatefulSet, false}, {"daemonset", c.DaemonSet, false}} {
		switch {
		case n.name == "" && n.required:
			add("the kubernetes platform needs "+n.key, "the name of a "+n.key, n.key)
		case n.name != "" && !dnsName(n.name):
			add(fmt.Sprintf("%q cannot be the name of a %s", n.name, n.key), "lower-case letters, digits, '-' and '.', up to 253", n.key)
		}
		if n.name != "" && !n.required {
			named++
		}
	}
	if named != 1 {
		add(fmt.Sprintf("the kubernetes platform names %d workloads", named), "exactly one of deployment, statefulset, daemonset")
	}
	for i, o := range c.AcceptOwner {
		if !slices.Contains(owners, o) {
			add(fmt.Sprintf("accept_owner: %q is not known", o), strings.Join(owners, ", "), "accept_owner", i)
		}
	}
	if c.ConfigChanged != "" && c.ConfigChanged != ConfigTell && c.ConfigChanged != ConfigRefuse {
		add(fmt.Sprintf("unknown config_changed %q", c.ConfigChanged), ConfigTell+", "+ConfigRefuse, "config_changed")
	}
	if c.DeleteStuckPods && c.StatefulSet == "" {
		add("delete_stuck_pods has no meaning here: only a StatefulSet gets stuck like that", "leave it out", "delete_stuck_pods")
	}
	if c.Timeout < 0 || c.Timeout > 0 && c.Timeout < 100*time.Millisecond {
		add(fmt.Sprintf("timeout of %s is too short", c.Timeout), "100ms or longer, such as 10s", "timeout")
	}
	return ps
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ConfigChanged == "" {
		c.ConfigChanged = ConfigTell
	}
	return c
}

// workload returns the kind of the workload, and its name.
func (c Config) workload() (kind, string) {
	switch {
	case c.StatefulSet != "":
		return statefulSet, c.StatefulSet
	case c.DaemonSet != "":
		return daemonSet, c.DaemonSet
	}
	return deployment, c.Deployment
}

// dnsName is the shape that Kubernetes asks of most names.
func dnsName(s string) bool {
	if len(s) > 253 || strings.Trim(s, "-.") != s {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}
