package plane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Admin is the user who may do everything, with and without RBAC.
const Admin = "admin"

// Options say how a control plane is started. All but Programs may be left out.
type Options struct {
	Programs Programs
	Dir      string   // for its files; "" makes a new folder, which Stop removes
	RBAC     bool     // whether users need permissions; without it everybody may do everything
	Users    []string // who has a token, beside Admin; system:serviceaccount:NAMESPACE:NAME stands for a service account
}

// A Plane is a running control plane. Its methods may be called from several
// goroutines.
type Plane struct {
	URL string // https://127.0.0.1:port of the API server
	Dir string // with the log of each program

	options Options
	tokens  map[string]string
	owned   bool // Dir
	running []*process
}

// attempts is how often a free port is looked for: another process may take the
// port between the looking and the listening.
const attempts = 3

// Start starts a control plane and returns when its API server is ready, which
// takes some seconds. Nothing of it ends with ctx: call Stop.
func Start(ctx context.Context, opts Options) (*Plane, error) {
	if opts.Programs == (Programs{}) {
		return nil, errors.New("plane: no programs; see Find, Build and Require")
	}
	p := &Plane{Dir: opts.Dir, options: opts, tokens: map[string]string{}}
	if opts.Dir == "" {
		dir, err := os.MkdirTemp("", "belay-plane-")
		if err != nil {
			return nil, err
		}
		p.Dir, p.owned = dir, true
	}
	err := p.prepare()
	for attempt := 1; err == nil; attempt++ {
		if err = p.start(ctx); err == nil {
			return p, nil
		}
		p.stopProcesses()
		if attempt < attempts && ctx.Err() == nil {
			err = nil
		}
	}
	p.Stop()
	return nil, fmt.Errorf("plane: %w", err)
}

// Stop ends every program and removes its data; where Start made the folder, all
// of it, and otherwise what people read stays. It may be called more than once.
func (p *Plane) Stop() {
	p.stopProcesses()
	if p.owned {
		_ = os.RemoveAll(p.Dir) // of temporary files
	}
	_ = os.RemoveAll(p.file("etcd")) // large, and nobody reads it
}

func (p *Plane) stopProcesses() {
	for i := len(p.running) - 1; i >= 0; i-- {
		p.running[i].kill() // nothing that they could save is wanted
	}
	p.running = nil
}

// PIDs are the ids of the processes of the control plane.
func (p *Plane) PIDs() []int {
	var ids []int
	for _, r := range p.running {
		ids = append(ids, r.pid())
	}
	return ids
}

// KillAPIServer ends the API server without a warning, and returns what starts
// the same program on the same data and port: that returns when it is ready, or
// why it is not. No other method but Config may be called meanwhile.
func (p *Plane) KillAPIServer() (start func(context.Context) error, err error) {
	is := func(r *process) bool { return r.path == p.options.Programs.APIServer }
	at := slices.IndexFunc(p.running, is)
	if at < 0 {
		return nil, errors.New("plane: no API server runs")
	}
	args := p.running[at].cmd.Args[1:]
	kill := func() {
		for _, r := range p.running {
			if is(r) {
				r.kill()
			}
		}
		p.running = slices.DeleteFunc(p.running, is)
	}
	kill()
	return func(ctx context.Context) error {
		var err error
		for range attempts {
			kill() // what the attempt before has left
			if err = p.run(ctx, p.options.Programs.APIServer, args...); err == nil {
				err = p.awaitReady(ctx)
			}
			if err == nil {
				return nil
			}
		}
		return fmt.Errorf("plane: %w", err)
	}, nil
}

func (p *Plane) file(name string) string { return filepath.Join(p.Dir, name) }

// prepare writes the files that the programs read.
func (p *Plane) prepare() error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	var lines strings.Builder
	for i, user := range append([]string{Admin}, p.options.Users...) {
		p.tokens[user] = rand.Text()
		fmt.Fprintf(&lines, "%s,%s,%d", p.tokens[user], user, 1000+i)
		if user == Admin {
			lines.WriteString(`,"system:masters"`)
		}
		lines.WriteString("\n")
	}
	if err := os.WriteFile(p.file("tokens.csv"), []byte(lines.String()), 0o600); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(p.file("service-accounts.key"), pem.EncodeToMemory(block), 0o600)
}

// start starts the three programs, each when the one before is ready.
func (p *Plane) start(ctx context.Context) error {
	etcd, peer, api := freeAddress(ctx), freeAddress(ctx), freeAddress(ctx)
	err := p.run(ctx, p.options.Programs.Etcd,
		"--name=plane", "--data-dir="+p.file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://"+etcd, "--advertise-client-urls=http://"+etcd,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=plane=http://"+peer)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(api)
	if err != nil {
		return err
	}
	authorization := "AlwaysAllow"
	if p.options.RBAC {
		authorization = "RBAC"
	}
	err = p.run(ctx, p.options.Programs.APIServer,
		"--etcd-servers=http://"+etcd, "--bind-address="+host, "--secure-port="+port, "--cert-dir="+p.file("certs"),
		"--token-auth-file="+p.file("tokens.csv"), "--authorization-mode="+authorization,
		"--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
		"--service-account-issuer=https://plane.invalid", "--service-account-key-file="+p.file("service-accounts.key"),
		"--service-account-signing-key-file="+p.file("service-accounts.key"), "--profiling=false")
	if err != nil {
		return err
	}
	p.URL = "https://" + api
	if err := p.awaitReady(ctx); err != nil {
		return err
	}
	kubeconfig, err := p.Kubeconfig(Admin)
	if err != nil {
		return err
	}
	return p.run(ctx, p.options.Programs.ControllerManager,
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000",
		"--controllers="+strings.Join(controllers, ","), "--horizontal-pod-autoscaler-sync-period=1s", "--profiling=false")
}

// controllers are those that matter to workloads. A Service's endpoints may not
// be loopback addresses, and there is no heart-beat of a node to watch over.
var controllers = []string{
	"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller", "job-controller",
	"disruption-controller", "resourcequota-controller", "garbage-collector-controller", "namespace-controller",
	"horizontal-pod-autoscaler-controller", "clusterrole-aggregation-controller",
}

// run starts a program whose output goes to a file.
func (p *Plane) run(ctx context.Context, path string, args ...string) error {
	log, err := os.OpenFile(p.file(filepath.Base(path)+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, log, log
	started, err := startProcess(cmd)
	if err != nil {
		return err
	}
	p.running = append(p.running, started)
	return nil
}

// awaitReady returns when the API server is ready, when a program has ended, or
// after two minutes: several may start on one busy machine.
func (p *Plane) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		for _, r := range p.running {
			if r.ended() {
				return fmt.Errorf("%s has ended; it said: %s", filepath.Base(r.path), p.said(r))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready: %w; see %s", err, p.Dir)
		case <-tick.C:
		}
	}
}

func (p *Plane) ready(ctx context.Context) error {
	if _, err := os.Stat(p.file("certs/apiserver.crt")); err != nil {
		return err
	}
	config := p.Config(Admin)
	config.Timeout = 2 * time.Second
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", res.Status)
	}
	return nil
}

// said returns the end of what a program printed.
func (p *Plane) said(r *process) string {
	text, err := os.ReadFile(p.file(filepath.Base(r.path) + ".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}

// Config is how a user of Options.Users, or Admin, reaches the API server from Go. Its
// rate limit does not get in the way of tests.
func (p *Plane) Config(user string) *rest.Config {
	return &rest.Config{
		Host: p.URL, BearerToken: p.tokens[user], QPS: 1000, Burst: 2000,
		TLSClientConfig: rest.TLSClientConfig{CAFile: p.file("certs/apiserver.crt")},
	}
}

// Kubeconfig writes a kubeconfig for a user of Options.Users, or Admin, and
// returns its path. The namespace is "default".
func (p *Plane) Kubeconfig(user string) (string, error) {
	if p.tokens[user] == "" {
		return "", fmt.Errorf("plane: no user %q; name it in Options.Users", user)
	}
	config := api.NewConfig()
	config.Clusters["plane"] = &api.Cluster{Server: p.URL, CertificateAuthority: p.file("certs/apiserver.crt")}
	config.AuthInfos[user] = &api.AuthInfo{Token: p.tokens[user]}
	config.Contexts["plane"] = &api.Context{Cluster: "plane", AuthInfo: user, Namespace: "default"}
	config.CurrentContext = "plane"
	path := p.file(strings.ReplaceAll(user, ":", "-") + ".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

// Kubectl runs kubectl as Admin, with a text on its standard input ("" for
// none), and returns what it printed.
func (p *Plane) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	kubeconfig, err := p.Kubeconfig(Admin)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, p.options.Programs.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return string(said), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(said)))
	}
	return string(said), nil
}

// freeAddress returns an address on which nobody listens, below the ranges from
// which systems take the ports of outgoing connections; "127.0.0.1:0" if there
// is none, which the program that gets it will refuse.
func freeAddress(ctx context.Context) string {
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(15000))
		if err != nil {
			break
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.FormatInt(15000+n.Int64(), 10)))
		if err == nil && l.Close() == nil {
			return l.Addr().String()
		}
	}
	return "127.0.0.1:0"
}
