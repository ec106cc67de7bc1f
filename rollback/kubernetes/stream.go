package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// resync is how long a watch lasts at least before everything is listed anew.
const resync = 5 * time.Minute

// errRelist says that the API server has forgotten where a watch was (410 Gone).
var errRelist = errors.New("the watch must begin anew")

// A stream keeps one kind of objects by list and watch.
type stream struct {
	what    dynamic.ResourceInterface
	opts    metav1.ListOptions
	lost    time.Duration // out of reach for longer than this ends the stream
	timeout time.Duration // of a list
	tell    func()        // after each change

	objectsByUID
}

// run keeps the stream until ctx ends, or nothing could be read for too long.
func (s *stream) run(ctx context.Context) error {
	well := time.Now()
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		began, err := s.once(ctx)
		if began {
			well, wait = time.Now(), 100*time.Millisecond
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errRelist) && began {
			continue
		}
		// An API server that has just started forbids everything until it has
		// read its roles: no error is final at once.
		if away := time.Since(well); away > s.lost {
			return fmt.Errorf("nothing could be read for %s: %w", away.Round(time.Second), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // it spreads load
		}
		wait = min(2*wait, 5*time.Second)
	}
	return nil
}

// once lists, and then watches for the time of a resync. A watch that is cut is
// taken up from where it was. began is whether the list was read.
func (s *stream) once(ctx context.Context) (began bool, err error) {
	from, err := s.list(ctx)
	if err != nil {
		return false, err
	}
	until := time.Now().Add(resync + rand.N(resync/5)) //nolint:gosec // it spreads load
	for time.Now().Before(until) && ctx.Err() == nil {
		cut := time.Now()
		if from, err = s.watch(ctx, from, until); err != nil {
			return true, err
		}
		if time.Since(cut) < 100*time.Millisecond { // a server that is about to stop ends watches at once
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return true, nil
}

func (s *stream) list(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	list, err := s.what.List(ctx, s.opts)
	if err != nil {
		return "", err
	}
	s.replace(list.Items)
	s.tell()
	return list.GetResourceVersion(), nil
}

// watch returns the version up to which it has seen everything when the server
// ends the watch.
func (s *stream) watch(ctx context.Context, from string, until time.Time) (string, error) {
	opts := s.opts
	seconds := int64(max(time.Until(until), time.Second).Seconds())
	opts.ResourceVersion, opts.AllowWatchBookmarks, opts.TimeoutSeconds = from, true, &seconds
	w, err := s.what.Watch(ctx, opts)
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return from, errRelist
		}
		return from, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return from, nil
		case ev, open := <-w.ResultChan():
			if !open {
				return from, nil
			}
			if from, err = s.take(ev, from); err != nil {
				return from, err
			}
		}
	}
}

// take applies one event.
func (s *stream) take(ev watch.Event, from string) (string, error) {
	u, ok := ev.Object.(*unstructured.Unstructured)
	if ev.Type == watch.Error || !ok {
		err := apierrors.FromObject(ev.Object)
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return from, errRelist
		}
		return from, err
	}
	switch ev.Type {
	case watch.Added, watch.Modified:
		s.put(*u)
		s.tell()
	case watch.Deleted:
		s.drop(*u)
		s.tell()
	case watch.Bookmark, watch.Error:
	}
	return u.GetResourceVersion(), nil
}
