package db

import (
	"hash/maphash"
	"iter"
	"strings"
)

// tree is a sorted map from strings that never changes: with and without give a new tree that shares all
// but O(log n) nodes with the old one. So a snapshot costs nothing to keep, readers need no lock, and a
// transaction's own writes are simply its own tree. It is a treap whose priorities are hashes of the
// keys, so its shape depends on the keys alone. The zero tree is empty.
type tree[V any] struct{ root *node[V] }

type node[V any] struct {
	key         string
	value       V
	priority    uint64
	left, right *node[V]
}

var seed = maphash.MakeSeed()

func (t tree[V]) get(key string) (V, bool) {
	n := t.root
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	if n == nil {
		var zero V
		return zero, false
	}
	return n.value, true
}

func (t tree[V]) with(key string, value V) tree[V] {
	below, above := t.without(key).root.split(key)
	single := &node[V]{key: key, value: value, priority: maphash.String(seed, key)}
	return tree[V]{join(join(below, single), above)}
}

func (t tree[V]) without(key string) tree[V] {
	if _, ok := t.get(key); !ok {
		return t
	}
	return tree[V]{t.root.without(key)}
}

// below lists what has the prefix, in key order.
func (t tree[V]) below(prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.walk(prefix, yield) }
}

func (n *node[V]) walk(prefix string, yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	match := strings.HasPrefix(n.key, prefix)
	if (match || n.key > prefix) && !n.left.walk(prefix, yield) {
		return false
	}
	if match && !yield(n.key, n.value) {
		return false
	}
	if match || n.key < prefix {
		return n.right.walk(prefix, yield)
	}
	return true
}

// without removes a key that is there.
func (n *node[V]) without(key string) *node[V] {
	if n.key == key {
		return join(n.left, n.right)
	}
	c := *n
	if key < n.key {
		c.left = n.left.without(key)
	} else {
		c.right = n.right.without(key)
	}
	return &c
}

// split parts the nodes below key from those above it; key itself is not there.
func (n *node[V]) split(key string) (below, above *node[V]) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.key < key {
		c.right, above = n.right.split(key)
		return &c, above
	}
	below, c.left = n.left.split(key)
	return below, &c
}

// join makes one tree of two, where every key of a is less than every key of b.
func join[V any](a, b *node[V]) *node[V] {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	if a.priority > b.priority {
		c := *a
		c.right = join(a.right, b)
		return &c
	}
	c := *b
	c.left = join(a, b.left)
	return &c
}

// diff gives do what differs, in key order: each key whose nodes are not the same, nil where there is none. Parts that the
// two trees share are not walked, so two versions of a large tree cost what lies between them.
func (n *node[V]) diff(later *node[V], do func(before, after *node[V])) {
	switch {
	case n == later:
	case n == nil || later != nil && later.priority > n.priority:
		below, same, above := n.cut(later.key)
		below.diff(later.left, do)
		do(same, later)
		above.diff(later.right, do)
	default:
		below, same, above := later.cut(n.key)
		n.left.diff(below, do)
		do(n, same)
		n.right.diff(above, do)
	}
}

// cut parts a tree at a key that may be in it.
func (n *node[V]) cut(key string) (below, at, above *node[V]) {
	if n != nil && n.key == key {
		return n.left, n, n.right
	}
	below, above = n.split(key)
	return below, nil, above
}
