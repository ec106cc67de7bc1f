// Package kubernetes is the platform of Deployments, StatefulSets and
// DaemonSets, through client-go's dynamic client.
//
// What runs is the pod template: its hash is the content, and it alone is put
// back. Replicas, autoscalers, labels and everything else on the object stay as
// they are. A change is one patch that carries the resource version which was
// read together with the content, so the API server itself refuses it when the
// object has moved on; if only the status or the number of replicas has, the
// object is read again and the patch is tried again.
package kubernetes
