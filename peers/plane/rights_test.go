package plane_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/belaydev/belay/peers/plane"
)

func TestWithRBACAUserMayDoWhatARoleSaysAndStopLeavesNothing(t *testing.T) {
	t.Parallel()
	const user = "system:serviceaccount:belay:belay-watch"
	p, err := plane.Start(t.Context(), plane.Options{Programs: plane.Require(t), RBAC: true, Users: []string{user}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	admin, watcher := clientOf(t, p, plane.Admin), clientOf(t, p, user)
	if _, err := watcher.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without a role lists pods: %v, want forbidden", err)
	}
	_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "watch"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "belay", Name: "belay-watch"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func(ctx context.Context) (bool, string, error) { // the role is put together by a controller
		_, err := watcher.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
		return err == nil, "", err
	})
	if err := watcher.AppsV1().Deployments("default").Delete(t.Context(), "any", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user who may view deletes: %v, want forbidden", err)
	}
	ids := p.PIDs()
	p.Stop()
	if len(ids) != 3 {
		t.Errorf("%d processes, want etcd, API server and controller manager", len(ids))
	}
	for _, id := range ids {
		if said, err := exec.CommandContext(t.Context(), "kill", "-0", strconv.Itoa(id)).CombinedOutput(); err == nil {
			t.Errorf("process %d still runs %s", id, said)
		}
	}
	if _, err := os.Stat(p.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", p.Dir, err)
	}
}

func clientOf(t *testing.T, p *plane.Plane, user string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(p.Config(user))
	if err != nil {
		t.Fatal(err)
	}
	return client
}
