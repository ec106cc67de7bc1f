package web

import "slices"

// keepNewest is how many of each noun a View remembers.
const keepNewest = 1000

// recent remembers the newest items by the order in which their keys first
// came. When it is full the oldest item goes that nobody needs any more.
type recent[K comparable, V any] struct {
	max    int
	needed func(V) bool // nil: nothing is
	order  []K
	items  map[K]V
}

func newRecent[K comparable, V any](limit int, needed func(V) bool) *recent[K, V] {
	return &recent[K, V]{max: limit, needed: needed, items: map[K]V{}}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.items[k]
	return v, ok
}

// put sets the item, and returns what it was before.
func (r *recent[K, V]) put(k K, v V) (old V, existed bool) {
	old, existed = r.items[k]
	r.items[k] = v
	if existed {
		return old, true
	}
	r.order = append(r.order, k)
	if len(r.order) > r.max {
		r.evict()
	}
	return old, false
}

func (r *recent[K, V]) evict() {
	at := 0
	if r.needed != nil {
		at = max(0, slices.IndexFunc(r.order, func(k K) bool { return !r.needed(r.items[k]) }))
	}
	delete(r.items, r.order[at])
	r.order = slices.Delete(r.order, at, at+1)
}

// newest returns up to limit items that match, the newest first. A limit of 0
// means all; a nil match takes every item.
func (r *recent[K, V]) newest(limit int, match func(V) bool) []V {
	out := []V{}
	for _, k := range slices.Backward(r.order) {
		if limit > 0 && len(out) == limit {
			break
		}
		if v := r.items[k]; match == nil || match(v) {
			out = append(out, v)
		}
	}
	return out
}
