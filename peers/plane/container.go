package plane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const maxBackoff = 5 * time.Minute

// A container is the process of a pod, and what is told of it. It belongs to
// the goroutine of its pod.
type container struct {
	ip       string
	digest   string // of the image that was pulled last
	process  *process
	since    time.Time // the process runs
	restarts int32
	failures int       // in a row, of whatever keeps it from running
	retryAt  time.Time // not before
	waiting  *corev1.ContainerStateWaiting
	last     *corev1.ContainerStateTerminated
	over     bool // and not to be started again
	ready    bool
	probes   []*probe
	answers  chan answer
}

func (c *container) running() bool { return c.process != nil && !c.process.ended() }

// ended is closed when the process that runs has ended; nil when none runs.
func (c *container) ended() <-chan struct{} {
	if c.process == nil {
		return nil
	}
	return c.process.done
}

func (c *container) askToEnd() {
	if c.running() {
		_ = c.process.cmd.Process.Signal(syscall.SIGTERM) // it may end at this moment
	}
}

// step starts, restarts and probes the process, and returns when to look again
// at the latest.
func (c *container) step(ctx context.Context, p *pod) time.Duration {
	if c.process != nil && c.process.ended() {
		c.bury(p)
	}
	switch {
	case c.over:
		return never
	case c.process != nil:
		return c.probe(ctx)
	case time.Now().Before(c.retryAt):
		return time.Until(c.retryAt)
	}
	if c.ip == "" {
		c.ip = p.kubelet.network.next()
	}
	if why := c.start(ctx, p); why != nil {
		c.delay(p, why)
		return time.Until(c.retryAt)
	}
	return c.probe(ctx)
}

// delay keeps the container waiting for a reason, longer each time.
func (c *container) delay(p *pod, why *corev1.ContainerStateWaiting) {
	wait := min(p.kubelet.options.Backoff<<min(c.failures, 20), maxBackoff)
	if why.Reason == "ErrImagePull" && c.failures%2 == 1 {
		why = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", p.spec().Image, why.Message)}
	}
	c.failures++
	c.waiting, c.retryAt = why, time.Now().Add(wait)
}

// start runs the image; what keeps it from running it says as a kubelet does.
func (c *container) start(ctx context.Context, p *pod) *corev1.ContainerStateWaiting {
	spec := p.spec()
	image, digest, err := p.kubelet.options.Images.pull(spec.Image)
	if err != nil {
		return &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: err.Error()}
	}
	c.digest = digest
	env, err := p.environment(ctx, c.ip)
	if err != nil {
		return &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: err.Error()}
	}
	argv := expand(argvOf(image, spec), env)
	if len(argv) == 0 {
		return &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: "no command specified"}
	}
	if err := c.exec(ctx, p, argv, env); err != nil {
		return &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: err.Error()}
	}
	c.waiting, c.since = nil, time.Now()
	c.answers = make(chan answer, 2)
	c.probes = probesOf(spec, c.ip, c.since)
	c.ready = spec.ReadinessProbe == nil || spec.ReadinessProbe.HTTPGet == nil
	return nil
}

func (c *container) exec(ctx context.Context, p *pod, argv []string, env []variable) error {
	log, err := os.OpenFile(p.kubelet.Log(p.state.Namespace, p.state.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.kubelet.dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range env {
		cmd.Env = append(cmd.Env, v.name+"="+v.value)
	}
	c.process, err = startProcess(cmd)
	return err
}

// bury takes note of how the process ended, and of when it may start again.
func (c *container) bury(p *pod) {
	code := c.process.code()
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	c.last = &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, StartedAt: metav1.NewTime(c.since), FinishedAt: metav1.Now(),
		ContainerID: c.id(),
	}
	ran := time.Since(c.since)
	c.process, c.probes, c.ready = nil, nil, false
	if policy := p.state.Spec.RestartPolicy; policy == corev1.RestartPolicyNever || (policy == corev1.RestartPolicyOnFailure && code == 0) {
		c.over = true
		return
	}
	if ran > 2*maxBackoff {
		c.failures = 0
	}
	c.restarts++
	if c.failures == 0 {
		c.failures, c.retryAt = 1, time.Now() // the first time it is started again at once
		c.waiting = nil
		return
	}
	c.failures--
	c.delay(p, &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"})
	c.failures++
	c.waiting.Message = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
		time.Until(c.retryAt).Round(time.Millisecond), p.spec().Name, p.state.Name, p.state.Namespace, p.state.UID)
}

// id is what a container runtime would call the process.
func (c *container) id() string {
	if c.process == nil {
		return ""
	}
	return fmt.Sprintf("process://%d", c.process.pid())
}

// spec is that of the pod's one container.
func (p *pod) spec() *corev1.Container { return &p.state.Spec.Containers[0] }
