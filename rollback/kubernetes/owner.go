package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Owners as accept_owner names them.
const (
	ownerArgo = "argocd"
	ownerFlux = "flux"
	ownerHelm = "helm"
)

// ownerOf says who else would undo a change of the pod template, "" if nobody.
// An autoscaler is no owner: it changes replicas, which are left alone.
func ownerOf(obj *unstructured.Unstructured, accepted []string) string {
	labels, notes := obj.GetLabels(), obj.GetAnnotations()
	for _, ref := range obj.GetOwnerReferences() {
		if ref.Controller != nil && *ref.Controller {
			return fmt.Sprintf("the %s %s", ref.Kind, ref.Name)
		}
	}
	if id := notes["argocd.argoproj.io/tracking-id"]; id != "" && !slices.Contains(accepted, ownerArgo) {
		app, _, _ := strings.Cut(id, ":")
		return "the Argo CD application " + app
	}
	if app := labels["argocd.argoproj.io/instance"]; app != "" && !slices.Contains(accepted, ownerArgo) {
		return "the Argo CD application " + app
	}
	if owner := fluxOwner(labels, notes); owner != "" && !slices.Contains(accepted, ownerFlux) {
		return owner
	}
	if release := notes["meta.helm.sh/release-name"]; release != "" && labels["app.kubernetes.io/managed-by"] == "Helm" && !slices.Contains(accepted, ownerHelm) {
		return "the Helm release " + release
	}
	return ""
}

func fluxOwner(labels, notes map[string]string) string {
	switch {
	case notes["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled":
	case labels["kustomize.toolkit.fluxcd.io/name"] != "":
		return "the Flux Kustomization " + labels["kustomize.toolkit.fluxcd.io/namespace"] + "/" + labels["kustomize.toolkit.fluxcd.io/name"]
	case labels["helm.toolkit.fluxcd.io/name"] != "":
		return "the Flux HelmRelease " + labels["helm.toolkit.fluxcd.io/namespace"] + "/" + labels["helm.toolkit.fluxcd.io/name"]
	}
	return ""
}
