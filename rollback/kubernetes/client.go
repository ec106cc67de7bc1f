package kubernetes

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belaydev/belay/rollback"
)

// Options are what a Platform needs beside its configuration.
type Options struct {
	Logger *slog.Logger    // nil discards
	Specs  *rollback.Specs // keeps the templates that Kubernetes forgets; nil keeps nothing
	REST   *rest.Config    // in place of what Config says of the cluster; nil is what Config says
	Lost   time.Duration   // how long the API server may be out of reach before Watch gives up; 0 is 15 s
}

// A Platform watches and restores one workload. Its methods may be called from
// any goroutine.
type Platform struct {
	cfg  Config
	opts Options
	log  *slog.Logger
	kind kind
	name string // of the workload

	changes changes
	refs    referenced

	mu  sync.Mutex
	dyn dynamic.Interface
}

var (
	_ rollback.Platform = (*Platform)(nil)
	_ rollback.Capable  = (*Platform)(nil)
)

// New returns a platform. It touches neither network nor files.
func New(cfg Config, opts Options) (*Platform, error) {
	cfg = cfg.withDefaults()
	k, name := cfg.workload()
	if cfg.Namespace == "" || name == "" {
		return nil, fmt.Errorf("kubernetes platform: the namespace is %q and the workload %q; both are needed", cfg.Namespace, name)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Lost <= 0 {
		opts.Lost = 15 * time.Second
	}
	return &Platform{cfg: cfg, opts: opts, log: opts.Logger, kind: k, name: name}, nil
}

// Capabilities returns Atomic: the API server refuses a patch whose resource
// version is not the present one.
func (p *Platform) Capabilities() rollback.Capabilities {
	return rollback.Capabilities{CAS: rollback.Atomic, Stamped: true}
}

// String names the workload as kubectl does.
func (p *Platform) String() string {
	return fmt.Sprintf("%s %s/%s", p.kind.Name, p.cfg.Namespace, p.name)
}

// client returns the client, which is made when it is first needed: reading a
// configuration touches nothing.
func (p *Platform) client() (dynamic.Interface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dyn != nil {
		return p.dyn, nil
	}
	cfg, err := p.rest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	p.dyn = dyn
	return dyn, nil
}

func (p *Platform) rest() (*rest.Config, error) {
	var cfg *rest.Config
	switch {
	case p.opts.REST != nil:
		cfg = rest.CopyConfig(p.opts.REST)
	default:
		rules := clientcmd.NewDefaultClientConfigLoadingRules() // in a pod without a kubeconfig this ends with its service account
		rules.ExplicitPath = p.cfg.Kubeconfig
		found, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: p.cfg.Context}).ClientConfig()
		if err != nil {
			return nil, err
		}
		cfg = found
	}
	cfg.UserAgent = "belay"
	if cfg.QPS == 0 {
		cfg.QPS, cfg.Burst = 20, 40
	}
	cfg.WarningHandler = rest.NoWarnings{}
	return cfg, nil
}
