package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	typedapps "k8s.io/client-go/kubernetes/typed/apps/v1" // these two by themselves: the whole clientset is ten megabytes of program
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/belaydev/belay/peers/plane"
	"github.com/belaydev/belay/rollback/command/releases"
)

// A podsPlatform is a Deployment on a real control plane, whose pods are
// processes of this machine.
type podsPlatform struct {
	site
	plane   *plane.Plane
	kubelet *plane.Kubelet
	core    typedcore.CoreV1Interface
	apps    typedapps.AppsV1Interface
	port    string
	stop    context.CancelFunc
	watches sync.WaitGroup

	record recordOfDeployment
	mu     sync.Mutex
	ready  map[types.UID]string // address of each pod that takes requests
}

const (
	shopNamespace = "shop"
	shopReplicas  = 3
)

// Start starts the control plane, makes the Deployment, and waits until its pods
// are ready.
func (p *podsPlatform) Start(ctx context.Context) (wiring, error) {
	programs, err := plane.Find()
	if err != nil {
		return wiring{}, usage("--platform kubernetes: %w; `make kubernetes` builds it, once", err)
	}
	if p.plane, err = plane.Start(ctx, plane.Options{Programs: programs, Dir: p.Dir.file(planeDir)}); err != nil {
		return wiring{}, err
	}
	if p.core, err = typedcore.NewForConfig(p.plane.Config(plane.Admin)); err != nil {
		return wiring{}, err
	}
	if p.apps, err = typedapps.NewForConfig(p.plane.Config(plane.Admin)); err != nil {
		return wiring{}, err
	}
	if _, p.port, err = net.SplitHostPort(p.Shop); err != nil {
		return wiring{}, err
	}
	if p.kubelet, err = p.plane.StartKubelet(ctx, plane.KubeletOptions{Images: p.images(), Logger: p.Diary.With("by", "kubelet")}); err != nil {
		return wiring{}, err
	}
	if err := p.record.open(p.Dir.file(platformLog), p.TakesUp); err != nil {
		return wiring{}, err
	}
	p.watch(ctx)
	if err := p.deploy(ctx); err != nil {
		return wiring{}, err
	}
	return p.wiring()
}

// images are what the pods can run.
func (p *podsPlatform) images() *plane.Registry {
	images := plane.NewRegistry()
	for version, fault := range map[string]Fault{goodVersion: FaultNone, nextVersion: p.Fault} {
		images.Push(imageOf(version), plane.Image{Argv: []string{
			p.Binary, "demo", "shop", "--listen", "$(POD_IP):$(PORT)", "--version", version, "--fault", string(fault),
		}})
	}
	return images
}

func imageOf(version string) string { return serviceName + ":" + version }

// deploy makes the Deployment and waits until all its pods are available.
func (p *podsPlatform) deploy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shopNamespace}}
	if _, err := p.core.Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	deployments := p.apps.Deployments(shopNamespace)
	if _, err := deployments.Create(ctx, p.deployment(), metav1.CreateOptions{}); err != nil {
		return err
	}
	for {
		d, err := deployments.Get(ctx, serviceName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.AvailableReplicas == shopReplicas && len(p.instances()) == shopReplicas {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods became ready: %w", d.Status.AvailableReplicas, shopReplicas, ctx.Err())
		case <-time.After(look):
		}
	}
}

func (p *podsPlatform) deployment() *appsv1.Deployment {
	app, replicas, grace := map[string]string{"app": serviceName}, int32(shopReplicas), int64(5)
	port := intstr.Parse(p.port)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName, Annotations: releasedAs(goodVersion)},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: app},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: app},
				Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{
					Name: serviceName, Image: imageOf(goodVersion),
					Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: port.IntVal}},
					ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: port}}},
				}}},
			},
		},
	}
}

// Release changes the image, as `kubectl set image` does.
func (p *podsPlatform) Release(ctx context.Context, version string) error {
	container := map[string]string{"name": serviceName, "image": imageOf(version)}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": releasedAs(version)},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{container}}}},
	})
	if err != nil {
		return err
	}
	_, err = p.apps.Deployments(shopNamespace).Patch(ctx, serviceName, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "a-person"})
	return err
}

// Changes are what the API server told of the Deployment.
func (p *podsPlatform) Changes() ([]releases.Change, error) { return p.record.all(), nil }

// watch follows pods and Deployment until Stop.
func (p *podsPlatform) watch(ctx context.Context) {
	p.ready = map[types.UID]string{}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.follow(ctx, p.core.RESTClient(), "pods", &corev1.Pod{}, cache.ResourceEventHandlerFuncs{
		AddFunc: p.seePod, UpdateFunc: func(_, now any) { p.seePod(now) }, DeleteFunc: p.losePod,
	})
	p.follow(ctx, p.apps.RESTClient(), "deployments", &appsv1.Deployment{}, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { p.record.see(nil, now) },
		UpdateFunc: func(before, now any) { p.record.see(before, now) },
	})
}

func (p *podsPlatform) follow(ctx context.Context, client cache.Getter, resource string, object runtime.Object, handler cache.ResourceEventHandler) {
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client, resource, shopNamespace, fields.Everything()), ObjectType: object, Handler: handler,
	})
	p.watches.Go(func() { controller.RunWithContext(ctx) })
}

// seePod takes a pod into the round, or out of it.
func (p *podsPlatform) seePod(now any) {
	pod, ok := now.(*corev1.Pod)
	if !ok {
		return
	}
	ready := pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ready, pod.UID)
	if ready {
		p.ready[pod.UID] = net.JoinHostPort(pod.Status.PodIP, p.port)
	}
}

func (p *podsPlatform) losePod(last any) {
	if gone, ok := last.(cache.DeletedFinalStateUnknown); ok {
		last = gone.Obj
	}
	if pod, ok := last.(*corev1.Pod); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.ready, pod.UID)
	}
}

// Stop ends pods and control plane. Each change of content that was seen must be
// a revision in the Deployment's own history, and the other way round.
func (p *podsPlatform) Stop(ctx context.Context) error {
	var err error
	if p.apps != nil && len(p.record.all()) > 0 {
		err = p.compareHistories(ctx)
	}
	if p.stop != nil {
		p.stop()
		p.watches.Wait()
	}
	if p.kubelet != nil {
		p.kubelet.Stop()
	}
	if p.plane != nil {
		p.plane.Stop()
	}
	return errors.Join(err, p.record.close())
}

// compareHistories waits a little: the controller counts its revisions after the
// change.
func (p *podsPlatform) compareHistories(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		d, err := p.apps.Deployments(shopNamespace).Get(ctx, serviceName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		seen := count(p.record.all(), func(c releases.Change) bool { return !c.Repeat })
		revision := d.Annotations["deployment.kubernetes.io/revision"]
		if revision == strconv.Itoa(seen) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the Deployment is at revision %s of its history, and %d changes of content were seen", revision, seen)
		case <-time.After(look):
		}
	}
}

func (p *podsPlatform) wiring() (wiring, error) {
	kubeconfig, err := p.plane.Kubeconfig(plane.Admin)
	if err != nil {
		return wiring{}, err
	}
	var scrape, platform bytes.Buffer
	values := map[string]any{"Service": serviceName, "Namespace": shopNamespace, "Kubeconfig": kubeconfig}
	err = errors.Join(podsScrape.Execute(&scrape, values), podsText.Execute(&platform, values))
	return wiring{Scrape: scrape.String(), Platform: platform.String(), Rolling: true, Instances: p.instances}, err
}

var podsScrape = parse("scrape", `  - job_name: pods
    kubernetes_sd_configs:
      - role: pod
        kubeconfig_file: <<q .Kubeconfig>>
        namespaces: {names: [<<.Namespace>>]}
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_phase], regex: Succeeded|Failed, action: drop}
      - {source_labels: [__meta_kubernetes_pod_label_app], target_label: service}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}`)

var podsText = parse("platform", `      kubernetes:
        namespace: <<.Namespace>>
        deployment: <<.Service>>
        kubeconfig: <<q .Kubeconfig>>`)

// instances are the addresses of the pods that are ready and may stay.
func (p *podsPlatform) instances() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, address := range p.ready {
		out = append(out, address)
	}
	slices.Sort(out)
	return out
}
