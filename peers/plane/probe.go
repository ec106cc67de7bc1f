package plane

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eager is how often a readiness probe asks until the first good answer.
const eager = 50 * time.Millisecond

// A probe asks one process again and again by HTTP.
type probe struct {
	url              string
	liveness         bool
	period, timeout  time.Duration
	enough, tooMuch  int32 // answers in a row
	next             time.Time
	asking, answered bool
	good, bad        int32 // in a row
}

// An answer is what one probe was told.
type answer struct {
	of *probe
	ok bool
}

// probesOf returns the probes by HTTP of a container that began at a time.
func probesOf(spec *corev1.Container, ip string, began time.Time) []*probe {
	var probes []*probe
	for i, p := range []*corev1.Probe{spec.ReadinessProbe, spec.LivenessProbe} {
		if p == nil || p.HTTPGet == nil {
			continue
		}
		address := net.JoinHostPort(ip, strconv.Itoa(portOf(spec, p.HTTPGet.Port)))
		made := &probe{
			url: "http://" + address + p.HTTPGet.Path, liveness: i == 1,
			period: time.Duration(p.PeriodSeconds) * time.Second, timeout: time.Duration(p.TimeoutSeconds) * time.Second,
			enough: max(p.SuccessThreshold, 1), tooMuch: max(p.FailureThreshold, 1),
			next: began.Add(time.Duration(p.InitialDelaySeconds) * time.Second),
		}
		if made.liveness {
			made.next = made.next.Add(made.period)
		}
		probes = append(probes, made)
	}
	return probes
}

func portOf(spec *corev1.Container, port intstr.IntOrString) int {
	for _, p := range spec.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal {
			return int(p.ContainerPort)
		}
	}
	return port.IntValue()
}

// probe asks whom it is time to ask, and returns when to look again at the
// latest.
func (c *container) probe(ctx context.Context) time.Duration {
	wait := never
	for _, p := range c.probes {
		if p.asking {
			continue // the answer comes by itself
		}
		if left := time.Until(p.next); left > 0 {
			wait = min(wait, left)
			continue
		}
		p.asking = true
		answers := c.answers // of this process; it has room for one answer of each probe
		go func() { answers <- answer{p, p.ask(ctx)} }()
	}
	return wait
}

// ask says whether the process answers well.
func (p *probe) ask(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("User-Agent", "kube-probe/stand-in")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode >= 200 && res.StatusCode < 400
}

// take draws the conclusions from an answer.
func (c *container) take(a answer) {
	p := a.of
	p.asking = false
	p.answered = p.answered || a.ok
	p.next = time.Now().Add(p.period)
	if !p.liveness && !p.answered {
		p.next = time.Now().Add(eager)
	}
	if a.ok {
		p.good, p.bad = p.good+1, 0
	} else {
		p.good, p.bad = 0, p.bad+1
	}
	switch {
	case p.liveness && p.bad >= p.tooMuch:
		c.askToEnd()
	case !p.liveness && p.good >= p.enough:
		c.ready = true
	case !p.liveness && p.bad >= p.tooMuch:
		c.ready = false
	}
}
