package plane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1" // by itself: the whole clientset is ten megabytes of program
	"k8s.io/client-go/tools/cache"
)

// KubeletOptions say how the stand-in for kubelet and scheduler works. Images is
// required.
type KubeletOptions struct {
	Images  *Registry
	Nodes   int           // how many it plays; 0 is one. They are called node-1, node-2, …
	Backoff time.Duration // before the first restart of a crashed container and the first new pull of a missing image, doubled each time up to 5 minutes; 0 is 1 s (the real one waits 10 s)
	Logger  *slog.Logger  // nil discards
}

// A Kubelet plays the nodes of a Plane: it binds each pod to a node that has
// room for it, runs the pod's first container as a process, and reports on it as
// a kubelet does.
//
// It knows, of a pod: nodeSelector, affinity to nodes by name, requests of cpu
// and memory (a node has 16 and 64Gi), restartPolicy, the container's image,
// command, args, ports, env and envFrom with ConfigMaps, Secrets and fields, its
// readiness and liveness probes by HTTP, terminationGracePeriodSeconds. It
// reports Unschedulable, ErrImagePull and ImagePullBackOff,
// CreateContainerConfigError, CrashLoopBackOff with restart counts, Ready. It
// does not know init containers, sidecars, volumes, start-up probes, hooks.
type Kubelet struct {
	options KubeletOptions
	client  typedcore.CoreV1Interface
	dir     string // of the logs of the pods' processes
	network *network
	nodes   []string

	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	pods    map[types.UID]*pod
}

// StartKubelet registers the nodes and begins to run pods. The processes' output
// lies in Dir/pods.
func (p *Plane) StartKubelet(ctx context.Context, opts KubeletOptions) (*Kubelet, error) {
	if opts.Images == nil {
		return nil, errors.New("plane: a kubelet needs a registry of images")
	}
	client, err := typedcore.NewForConfig(p.Config(Admin))
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Backoff <= 0 {
		opts.Backoff = time.Second
	}
	k := &Kubelet{options: opts, client: client, dir: p.file("pods"), network: newNetwork(), pods: map[types.UID]*pod{}}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return nil, err
	}
	for i := range max(opts.Nodes, 1) {
		name := fmt.Sprintf("node-%d", i+1)
		if err := k.register(ctx, name); err != nil {
			return nil, fmt.Errorf("plane: node %s: %w", name, err)
		}
		k.nodes = append(k.nodes, name)
	}
	ctx, k.stop = context.WithCancel(context.WithoutCancel(ctx))
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client.RESTClient(), "pods", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.see(ctx, o) },
			UpdateFunc: func(_, o any) { k.see(ctx, o) },
			DeleteFunc: k.forget,
		},
	})
	k.running.Go(func() { controller.RunWithContext(ctx) })
	return k, nil
}

// Stop ends the processes of all pods at once and waits for them, as if the
// nodes had lost their power. The pods stay as they are in the API.
func (k *Kubelet) Stop() {
	k.stop()
	k.running.Wait()
}

// Log returns the path of the file in which the output of a pod's process lies.
func (k *Kubelet) Log(namespace, pod string) string {
	return filepath.Join(k.dir, namespace+"_"+pod+".log")
}

// register makes a node that is ready, or takes over the one that an earlier
// Kubelet made.
func (k *Kubelet) register(ctx context.Context, name string) error {
	now := metav1.Now()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsOf(name)},
		Status: corev1.NodeStatus{
			Capacity: capacity(), Allocatable: capacity(),
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				Message: "kubelet is posting ready status", LastHeartbeatTime: now, LastTransitionTime: now,
			}},
			NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", KubeletVersion: "stand-in"},
		},
	}
	nodes := k.client.Nodes()
	made, err := nodes.Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return ignoreExists(err)
	}
	if len(made.Spec.Taints) > 0 {
		made.Spec.Taints = nil // admission taints every new node as not ready
		if made, err = nodes.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	made.Status = node.Status
	_, err = nodes.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

// see hands the newest state of a pod to the goroutine that plays it.
func (k *Kubelet) see(ctx context.Context, o any) {
	state, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.pods[state.UID]
	if p == nil {
		p = newPod(k, state)
		k.pods[state.UID] = p
		k.running.Go(func() { p.run(ctx) })
	}
	p.tell(state)
}

// forget ends what runs for a pod that is gone.
func (k *Kubelet) forget(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	state, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pods[state.UID]; p != nil {
		close(p.gone)
		delete(k.pods, state.UID)
	}
}
