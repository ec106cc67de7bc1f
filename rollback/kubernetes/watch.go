package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/belaydev/belay"
)

const (
	gather = 50 * time.Millisecond // changes that follow each other within this are told as one
	look   = 5 * time.Second       // what is under way is looked at this often, whatever is told
)

// Watch follows the workload, its history and its pods through three watches,
// each of which is taken up anew when the API server ends it, restarts, or has
// forgotten where it was. It returns an error when the workload is gone, or when
// the API server is out of reach for Options.Lost.
func (p *Platform) Watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	if err := p.watch(ctx, t, emit); ctx.Err() == nil {
		return err
	}
	return nil
}

func (p *Platform) watch(ctx context.Context, t belay.Target, emit func(belay.State)) error {
	first, err := p.read(ctx, true)
	if err != nil {
		return err
	}
	sel, err := selectorOf(first.Object)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	dyn, err := p.client()
	if err != nil {
		return err
	}
	m := newMirror()
	in := func(r dynamic.NamespaceableResourceInterface, opts metav1.ListOptions) *stream {
		return &stream{what: r.Namespace(p.cfg.Namespace), opts: opts, lost: p.opts.Lost, timeout: p.cfg.Timeout, tell: m.tell}
	}
	object := in(dyn.Resource(p.kind.Resource), metav1.ListOptions{FieldSelector: "metadata.name=" + p.name})
	history := in(dyn.Resource(p.kind.History), metav1.ListOptions{LabelSelector: sel})
	pods := in(dyn.Resource(podResource), metav1.ListOptions{LabelSelector: sel})
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []*stream{object, history, pods} {
		g.Go(func() error {
			if err := s.run(ctx); err != nil {
				return fmt.Errorf("watch %s: %w", p, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		if !m.filled(ctx, object, history, pods) {
			return nil
		}
		return p.follow(ctx, t, m, emit, object, history, pods)
	})
	return g.Wait()
}

// follow emits what the mirror shows each time that it differs.
func (p *Platform) follow(ctx context.Context, t belay.Target, m *mirror, emit func(belay.State), object, history, pods *stream) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last belay.State
	for {
		objects := object.items()
		if len(objects) == 0 {
			return fmt.Errorf("%s is gone", p)
		}
		s, err := p.assemble(&objects[0], history.items(), pods.items())
		if err != nil {
			return err
		}
		s.Events = p.failedCreates(ctx, s)
		now := p.stateOf(&s, t)
		if ctx.Err() != nil {
			return nil
		}
		if !same(last, now) {
			emit(now)
			last = now
		}
		if err := p.keep(ctx, &s, t); err != nil && ctx.Err() == nil {
			p.log.Warn("what runs cannot be kept for later", "service", t.Service.String(), "content", string(s.Content), "err", err)
		}
		if !m.changed(ctx, tick.C, last.Progress) {
			return nil
		}
	}
}

// same compares two states without the time at which they were read, and
// without the token, which changes with everything.
func same(a, b belay.State) bool {
	sameTimes := a.ChangedAt.Equal(b.ChangedAt)
	a.At, b.At, a.ChangedAt, b.ChangedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	a.Token, b.Token = "", ""
	return a == b && sameTimes
}

// A mirror tells its reader that a stream has changed.
type mirror struct{ news chan struct{} }

func newMirror() *mirror { return &mirror{news: make(chan struct{}, 1)} }

func (m *mirror) tell() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// filled waits until each stream has listed what there is.
func (m *mirror) filled(ctx context.Context, streams ...*stream) bool {
	for {
		full := true
		for _, s := range streams {
			full = full && s.listed()
		}
		if full {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-m.news:
		}
	}
}

// changed waits for news and gathers what follows closely. While something is
// under way it returns at each tick as well. It is false once ctx has ended.
func (m *mirror) changed(ctx context.Context, tick <-chan time.Time, p belay.Progress) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			if p == belay.Converged {
				continue
			}
			return true
		case <-m.news:
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(gather):
			return true
		}
	}
}

// objectsByUID is what a stream knows.
type objectsByUID struct {
	mu   sync.Mutex
	all  map[types.UID]unstructured.Unstructured
	full bool
}

func (o *objectsByUID) items() []unstructured.Unstructured {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]unstructured.Unstructured, 0, len(o.all))
	for _, u := range o.all {
		out = append(out, u)
	}
	return out
}

func (o *objectsByUID) listed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.full
}

func (o *objectsByUID) replace(list []unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full, o.all = true, make(map[types.UID]unstructured.Unstructured, len(list))
	for _, u := range list {
		o.all[u.GetUID()] = u
	}
}

func (o *objectsByUID) put(u unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[u.GetUID()] = u
}

func (o *objectsByUID) drop(u unstructured.Unstructured) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, u.GetUID())
}
