package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// A script is an API server that answers each call with the next thing it was
// told to, and then hangs.
type script struct {
	dynamic.ResourceInterface

	mu    sync.Mutex
	calls []string
	next  []func() (any, error)
}

func (s *script) answer(call string) (any, error) {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	if len(s.next) == 0 {
		s.mu.Unlock()
		return nil, nil //nolint:nilnil // the end of the script
	}
	do := s.next[0]
	s.next = s.next[1:]
	s.mu.Unlock()
	return do() // which may take its time
}

func (s *script) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	v, err := s.answer("list")
	list, ok := v.(*unstructured.UnstructuredList)
	if !ok {
		list = &unstructured.UnstructuredList{}
	}
	return list, err
}

func (s *script) Watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	v, err := s.answer("watch from " + o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	w := watch.NewFakeWithChanSize(100, false)
	events, _ := v.([]watch.Event)
	for _, e := range events {
		w.Action(e.Type, e.Object)
	}
	if v != nil {
		w.Stop()
	}
	return w, nil
}

func object(name, version string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}
	u.SetName(name)
	u.SetUID(types.UID(name))
	u.SetResourceVersion(version)
	return u
}

func listed(version string, names ...string) func() (any, error) {
	return func() (any, error) {
		l := &unstructured.UnstructuredList{}
		l.SetResourceVersion(version)
		for _, n := range names {
			l.Items = append(l.Items, *object(n, version))
		}
		return l, nil
	}
}

func happened(events ...watch.Event) func() (any, error) {
	return func() (any, error) { return events, nil }
}

func fails(err error) func() (any, error) { return func() (any, error) { return nil, err } }

func TestAStreamIsTakenUpWhereItWas(t *testing.T) {
	gone := apierrors.NewResourceExpired("too old")
	for name, tc := range map[string]struct {
		next  []func() (any, error)
		calls []string
		names []string
	}{
		"a watch that is cut goes on from the last bookmark": {
			[]func() (any, error){listed("5", "a"), happened(watch.Event{Type: watch.Added, Object: object("b", "6")}, watch.Event{Type: watch.Bookmark, Object: object("", "9")})},
			[]string{"list", "watch from 5", "watch from 9"},
			[]string{"a", "b"},
		},
		"410 when it begins lists anew": {
			[]func() (any, error){listed("5", "a"), fails(gone), listed("20", "b")},
			[]string{"list", "watch from 5", "list", "watch from 20"},
			[]string{"b"},
		},
		"410 in the middle lists anew": {
			[]func() (any, error){listed("5", "a"), happened(watch.Event{Type: watch.Error, Object: &gone.ErrStatus}), listed("20", "b")},
			[]string{"list", "watch from 5", "list", "watch from 20"},
			[]string{"b"},
		},
		"a server that is away for a while is waited for": {
			[]func() (any, error){listed("5", "a"), fails(errors.New("connection refused")), fails(errors.New("connection refused")), fails(apierrors.NewForbidden(apps("x").GroupResource(), "", nil)), listed("7", "c")},
			[]string{"list", "watch from 5", "list", "list", "list", "watch from 7"},
			[]string{"c"},
		},
		"what is deleted is gone": {
			[]func() (any, error){listed("5", "a", "b"), happened(watch.Event{Type: watch.Deleted, Object: object("a", "6")})},
			[]string{"list", "watch from 5", "watch from 6"},
			[]string{"b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &script{next: tc.next}
				s := &stream{what: api, lost: 15 * time.Second, timeout: time.Second, tell: func() {}}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.run(ctx) }()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				var names []string
				for _, u := range s.items() {
					names = append(names, u.GetName())
				}
				slices.Sort(names)
				if !slices.Equal(api.calls, tc.calls) || !slices.Equal(names, tc.names) {
					t.Errorf("it called %q and knows %q, want %q and %q", api.calls, names, tc.calls, tc.names)
				}
				stop()
				if err := <-done; err != nil {
					t.Errorf("run returned %v after its context had ended", err)
				}
			})
		})
	}
}

func TestAStreamSaysThatItHasLostSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, "list", apps("x").GroupResource(), "", "down", 0, false)
		api := &script{next: slices.Repeat([]func() (any, error){fails(refused)}, 1000)}
		s := &stream{what: api, lost: 15 * time.Second, timeout: time.Second, tell: func() {}}
		began := time.Now()
		err := s.run(t.Context())
		if away := time.Since(began); err == nil || away < 15*time.Second || away > 30*time.Second {
			t.Errorf("run returned %v after %s, want an error after about 15 s", err, away)
		}
		if n := len(api.calls); n > 30 {
			t.Errorf("%d calls in that time: it does not wait between them", n)
		}
	})
}

func TestEverythingIsListedAnewNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &script{next: []func() (any, error){listed("5", "a")}}
		for range 8 { // each watch is ended by the server after a minute
			api.next = append(api.next, func() (any, error) { time.Sleep(time.Minute); return []watch.Event{}, nil })
		}
		s := &stream{what: api, lost: time.Second, timeout: time.Second, tell: func() {}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.run(ctx) }()
		time.Sleep(7 * time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Errorf("run returned %v after its context had ended", err)
		}
		lists := 0
		for _, c := range api.calls {
			if c == "list" {
				lists++
			}
		}
		if lists != 2 {
			t.Errorf("%d lists in seven minutes, want two: %q", lists, api.calls)
		}
	})
}
