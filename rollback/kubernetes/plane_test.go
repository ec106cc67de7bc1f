package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/peers/plane"
)

// belayUser is whom the platforms of all tests are: it has the permissions of
// deploy/kubernetes and no others.
const belayUser = "system:serviceaccount:belay:belay"

var target = belay.Target{Service: belay.ServiceID{Environment: "production", Name: "checkout"}, Platform: "kubernetes"}

// A cluster is a real control plane.
type cluster struct {
	programs plane.Programs
	plane    *plane.Plane
	kube     *plane.Kubelet
	images   *plane.Registry
	admin    kubernetes.Interface
}

// shared is the one control plane of all tests but those that harm theirs.
var shared struct {
	once sync.Once
	c    *cluster
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.c != nil {
		shared.c.stop()
	}
	os.Exit(code)
}

func theCluster(t *testing.T) *cluster {
	t.Helper()
	programs := plane.Require(t)
	shared.once.Do(func() { shared.c, shared.err = startCluster(context.Background(), programs) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.c
}

func startCluster(ctx context.Context, programs plane.Programs) (*cluster, error) {
	p, err := plane.Start(ctx, plane.Options{Programs: programs, RBAC: true, Users: []string{belayUser, "watcher"}})
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: programs, plane: p, images: plane.NewRegistry()}
	for tag, flags := range map[string][]string{"crashes": {"-exit", "3"}, "unready": {"-unready"}} {
		c.images.Push("shop:"+tag, plane.Image{Argv: append([]string{programs.Pod, "-version", tag}, flags...)})
	}
	for _, tag := range []string{"a", "b", "c", "1", "2", "3"} {
		c.images.Push("shop:"+tag, c.image(tag))
	}
	err = c.begin(ctx)
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) begin(ctx context.Context) (err error) {
	if c.kube, err = c.plane.StartKubelet(ctx, plane.KubeletOptions{Images: c.images, Nodes: 2, Backoff: 200 * time.Millisecond}); err != nil {
		return err
	}
	if c.admin, err = kubernetes.NewForConfig(c.plane.Config(plane.Admin)); err != nil {
		return err
	}
	for _, file := range []string{"watch", "act", "evict", "secrets"} {
		role, err := clusterRole(file)
		if err != nil {
			return err
		}
		if _, err := c.admin.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// image is a program that calls itself a version.
func (c *cluster) image(version string) plane.Image {
	return plane.Image{Argv: []string{c.programs.Pod, "-version", version}}
}

func (c *cluster) stop() {
	if c.kube != nil {
		c.kube.Stop()
	}
	c.plane.Stop()
}

// clusterRole returns the role of a file that is shipped.
func clusterRole(file string) (*rbacv1.ClusterRole, error) {
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "kubernetes", file+".yaml"))
	if err != nil {
		return nil, err
	}
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var raw json.RawMessage
		if err := docs.Decode(&raw); errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s.yaml holds no ClusterRole", file)
		} else if err != nil {
			return nil, err
		}
		var role rbacv1.ClusterRole
		if err := json.Unmarshal(raw, &role); err == nil && role.Kind == "ClusterRole" {
			return &role, nil
		}
	}
}

// namespace makes a namespace in which Belay has the roles that are named.
func (c *cluster) namespace(t testing.TB, roles ...string) string {
	t.Helper()
	ns, err := c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // its processes end; the rest is not waited for
		_ = c.admin.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	for _, role := range roles {
		c.grant(t, ns.Name, role)
	}
	return ns.Name
}

func (c *cluster) grant(t testing.TB, ns, role string) {
	t.Helper()
	_, err := c.admin.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "belay", Namespace: "belay"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) belay() *rest.Config { return c.plane.Config(belayUser) }

// patience is for machines that do much else meanwhile, such as building the
// other tests; what is waited for takes seconds.
const patience = 2 * time.Minute

// eventually looks until ok, and fails the test with what was seen last.
func eventually(t testing.TB, what string, ok func() (bool, any)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, last := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; last seen: %+v", what, patience, last)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func says(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}
