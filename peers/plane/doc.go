// Package plane starts a real Kubernetes control plane on this machine: etcd,
// kube-apiserver and kube-controller-manager, built once from their sources
// (peers/kubernetes), with a stand-in for kubelet and scheduler that runs one
// real process for each pod. What a Deployment does here is therefore what it
// does anywhere: the same controllers write the same ReplicaSets, and a pod is
// ready when its process answers.
//
//	programs := plane.Require(t)         // skips, or builds with BELAY_TEST_REQUIRE=all
//	p, err := plane.Start(ctx, plane.Options{Dir: t.TempDir(), Programs: programs})
//	defer p.Stop()
//	images := plane.NewRegistry()
//	images.Push("shop:1.41.3", plane.Image{Argv: []string{programs.Pod, "-version", "1.41.3"}})
//	k, err := p.StartKubelet(ctx, plane.KubeletOptions{Images: images})
//	defer k.Stop()
//	config := p.Config("admin")          // or p.Kubeconfig("admin") for kubectl and Belay
//
// A control plane is up in some seconds, so a package's tests share one and each
// test takes a namespace of its own. A pod has an address of its own out of
// 127.0.0.0/8, which Linux answers on without any setup, and its process listens
// on the port that the pod names; no Service, no DNS and no network policy works.
//
// Everything listens on loopback addresses only. Stop ends every process that
// was started, and so does the kernel when the starting process is killed (on
// Linux).
package plane
