package kubernetes

import "k8s.io/apimachinery/pkg/runtime/schema"

// A kind is one of the workloads that keep a pod template and its history.
type kind struct {
	Name     string // as in manifests
	Resource schema.GroupVersionResource
	History  schema.GroupVersionResource // objects that hold older templates
	PodHash  string                      // label of a pod that says which of them it was made from
}

var (
	replicaSets         = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	controllerRevisions = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "controllerrevisions"}
	podResource         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	configMaps          = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets             = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	eventResource       = schema.GroupVersionResource{Version: "v1", Resource: "events"}

	deployment  = kind{"Deployment", apps("deployments"), replicaSets, "pod-template-hash"}
	statefulSet = kind{"StatefulSet", apps("statefulsets"), controllerRevisions, "controller-revision-hash"}
	daemonSet   = kind{"DaemonSet", apps("daemonsets"), controllerRevisions, "controller-revision-hash"}
)

func apps(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}
}
