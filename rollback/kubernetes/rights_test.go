package kubernetes

import (
	"errors"
	"strings"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

func TestEachStepNeedsItsRole(t *testing.T) {
	t.Parallel()
	c := theCluster(t)
	h := handsOn(t, c, deployment)
	p, _ := h.keeping(t)
	h.deploy(t, "v1", "1")
	if _, err := p.State(t.Context(), target); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("without a role State returned %v, want what the API server says", err)
	}
	if err := p.Watch(t.Context(), target, func(belay.State) {}); err == nil {
		t.Error("without a role Watch saw something")
	}
	c.grant(t, h.ns, "belay-watch")
	good := converged(t, p, "1")
	h.deploy(t, "v2", "2")
	bad := converged(t, p, "2")
	watched(t, p)
	kept(t, p, bad, func(k spec) bool { return len(k.Digests) > 0 })
	if _, err := p.Revisions(t.Context(), target); err != nil {
		t.Errorf("Revisions: %v", err)
	}
	err := p.Restore(t.Context(), back("op-1", bad, good))
	if err == nil || errors.Is(err, belay.ErrSuperseded) || errors.Is(err, rollback.ErrTryLater) {
		t.Errorf("without the right to patch Restore returned %v", err)
	} else {
		says(t, err.Error(), "the API server would not let Belay change", "nothing was changed", "forbidden")
	}
	c.grant(t, h.ns, "belay-act")
	eventually(t, "the role is in force", func() (bool, any) {
		err := p.Restore(t.Context(), back("op-1", bad, good))
		return err == nil, err
	})
	converged(t, p, "1")
}

// TestTheRolesAllowNothingElse asks the API server itself.
func TestTheRolesAllowNothingElse(t *testing.T) {
	t.Parallel()
	c := theCluster(t)
	ns := c.namespace(t, everything...)
	elsewhere := c.namespace(t)
	client, err := kubernetes.NewForConfig(c.belay())
	if err != nil {
		t.Fatal(err)
	}
	may := func(ns, verb, group, resource, sub string) bool {
		t.Helper()
		r, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authv1.SelfSubjectAccessReview{
			Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{Namespace: ns, Verb: verb, Group: group, Resource: resource, Subresource: sub}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Allowed
	}
	eventually(t, "the roles are in force", func() (bool, any) {
		return may(ns, "get", "", "secrets", "") && may(ns, "patch", "apps", "deployments", ""), nil
	})
	for _, what := range []struct{ verb, group, resource, sub string }{
		{"delete", "apps", "deployments", ""},
		{"create", "apps", "deployments", ""},
		{"update", "apps", "deployments", ""},
		{"patch", "apps", "deployments", "scale"},
		{"patch", "apps", "deployments", "status"},
		{"patch", "apps", "replicasets", ""},
		{"delete", "", "pods", ""},
		{"create", "", "pods", ""},
		{"create", "", "pods", "exec"},
		{"get", "", "pods", "log"},
		{"list", "", "secrets", ""},
		{"watch", "", "secrets", ""},
		{"list", "", "configmaps", ""},
		{"patch", "", "configmaps", ""},
		{"create", "rbac.authorization.k8s.io", "rolebindings", ""},
	} {
		if may(ns, what.verb, what.group, what.resource, what.sub) {
			t.Errorf("the roles allow to %s %s/%s", what.verb, what.resource, what.sub)
		}
	}
	if may(elsewhere, "get", "apps", "deployments", "") {
		t.Error("the roles reach into another namespace")
	}
}
