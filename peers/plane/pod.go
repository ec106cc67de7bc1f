package plane

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// never is how long a pod waits that has nothing to do until it hears something.
const never = 24 * time.Hour

// A pod is played by one goroutine: whatever happens, it looks at the newest
// state that the API has, takes the next step, and reports.
type pod struct {
	kubelet *Kubelet
	news    chan *corev1.Pod // the newest state, if it was not read yet
	gone    chan struct{}    // closed when the API has forgotten the pod

	state     *corev1.Pod
	container container
	asked     time.Time // to end; zero while it may run
	reported  string    // the newest status that was sent

	first  *corev1.Pod // as it was seen first
	booked string      // the node that has room for it; guarded by the Kubelet's lock
}

func newPod(k *Kubelet, state *corev1.Pod) *pod {
	return &pod{kubelet: k, news: make(chan *corev1.Pod, 1), gone: make(chan struct{}), state: state, first: state, booked: state.Spec.NodeName}
}

// tell puts the newest state where run finds it. It is not called by two at once.
func (p *pod) tell(state *corev1.Pod) {
	select {
	case <-p.news: // which is old now
	default:
	}
	p.news <- state
}

func (p *pod) run(ctx context.Context) {
	defer p.end()
	for {
		timer := time.NewTimer(p.step(ctx))
		select {
		case <-ctx.Done():
			return
		case <-p.gone:
			return
		case p.state = <-p.news:
		case <-p.container.ended():
		case r := <-p.container.answers:
			p.container.take(r)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// end leaves nothing running.
func (p *pod) end() {
	if p.container.process != nil {
		p.container.process.kill()
	}
}

// step does what the state asks for and returns when to look again at the
// latest.
func (p *pod) step(ctx context.Context) time.Duration {
	switch phase := p.state.Status.Phase; {
	case p.state.DeletionTimestamp != nil:
		return p.terminate(ctx)
	case phase == corev1.PodSucceeded, phase == corev1.PodFailed:
		return never
	case p.state.Spec.NodeName == "":
		return p.schedule(ctx)
	case !p.kubelet.plays(p.state.Spec.NodeName):
		return never
	}
	wait := p.container.step(ctx, p)
	if err := p.report(ctx); err != nil {
		return p.again(ctx, "status not written", err)
	}
	return wait
}

// again says that a call to the API did not succeed, and is tried anew.
func (p *pod) again(ctx context.Context, what string, err error) time.Duration {
	if ctx.Err() == nil && !isGone(err) {
		p.kubelet.options.Logger.Warn("pod not served", "what", what, "pod", p.state.Namespace+"/"+p.state.Name, "error", err)
	}
	return 100 * time.Millisecond
}

// terminate asks the process to end, kills it when its time is over, and lets
// the API forget the pod.
func (p *pod) terminate(ctx context.Context) time.Duration {
	c := &p.container
	if p.asked.IsZero() {
		p.asked = time.Now()
		c.askToEnd()
	}
	if c.running() {
		deadline := p.asked
		if s := p.state.DeletionGracePeriodSeconds; s != nil {
			deadline = deadline.Add(time.Duration(*s) * time.Second)
		}
		if left := time.Until(deadline); left > 0 {
			c.ready = false
			if err := p.report(ctx); err != nil {
				return p.again(ctx, "status not written", err)
			}
			return left
		}
		c.process.kill()
	}
	c.process = nil
	now, uid := int64(0), p.state.UID
	err := p.kubelet.client.Pods(p.state.Namespace).Delete(ctx, p.state.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil && !isGone(err) {
		return p.again(ctx, "not deleted", err)
	}
	return never
}
