package db

import (
	"fmt"
	"maps"
	"math"
	"strconv"
)

// snapshot is the state of the store at one revision. It never changes: readers hold it without a lock and
// for as long as they like, and neither they nor the one who follows the store ever wait for each other.
type snapshot struct {
	revision int64
	mods     tree[int64]      // ModRevision of every key, also of those that this version does not know
	tables   map[string]table // by class; copied when one changes, there are few
	gap      bool             // it was loaded: what was between it and the one before is not known
	identity string           // the database's; "" in those of older versions
	next     chan struct{}    // closed when a later snapshot has taken this one's place
	after    *snapshot        // that one, once next is closed
}

// table is the rows of one class and their indexes.
type table struct {
	Table
	rows  tree[*row]   // by ref
	order tree[*row]   // by creation, then ref
	uuids tree[string] // uuid → ref
	links tree[string] // field, target, creation, ref → ref
	count int          // of rows
}

// row is one record; rec is shared and must be cloned before anyone outside sees it.
type row struct {
	ref     string
	rec     any
	created int64 // revision; uncommitted rows come last
	mod     int64 // revision that wrote it; 0 of an uncommitted row
}

const uncommitted = math.MaxInt64

func newSnapshot(tables []Table) *snapshot {
	s := &snapshot{tables: map[string]table{}, next: make(chan struct{})}
	for _, t := range tables {
		s.tables[t.class.Name] = table{Table: t}
	}
	return s
}

// apply gives the state after a batch.
func (s *snapshot) apply(b Batch) (*snapshot, error) {
	n := &snapshot{revision: b.Revision, mods: s.mods, tables: maps.Clone(s.tables), identity: s.identity, next: make(chan struct{})}
	for _, item := range b.Items {
		if err := n.take(item); err != nil {
			return nil, fmt.Errorf("read %s at revision %d: %w", item.Key, b.Revision, err)
		}
	}
	return n, nil
}

func (s *snapshot) take(item Item) error {
	if item.Value == nil {
		s.mods = s.mods.without(item.Key)
	} else {
		s.mods = s.mods.with(item.Key, item.ModRevision)
	}
	if item.Key == schemaKey {
		return checkSchema(item.Value)
	}
	if item.Key == identityKey {
		s.identity = string(item.Value)
	}
	if class, ref, ok := splitKey(item.Key, rowPrefix); ok {
		return s.takeRow(class, ref, item)
	}
	if class, uuid, ok := splitKey(item.Key, uuidPrefix); ok {
		s.takeUUID(class, uuid, item.Value)
	}
	return nil
}

func (s *snapshot) takeRow(class, ref string, item Item) error {
	t, ok := s.tables[class]
	if !ok {
		return nil // a class of another version: kept in the store, not read
	}
	if item.Value == nil {
		s.tables[class] = t.without(ref)
		return nil
	}
	rec, err := t.decode(item.Value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.tables[class] = t.with(&row{ref: ref, rec: rec, created: item.CreateRevision, mod: item.ModRevision})
	return nil
}

func (s *snapshot) takeUUID(class, uuid string, ref []byte) {
	t, ok := s.tables[class]
	if !ok {
		return
	}
	if ref == nil {
		t.uuids = t.uuids.without(uuid)
	} else {
		t.uuids = t.uuids.with(uuid, string(ref))
	}
	s.tables[class] = t
}

// holds reports whether every guard is true of this state.
func (s *snapshot) holds(guards []Guard) bool {
	for _, g := range guards {
		if mod, _ := s.mods.get(g.Key); mod != g.ModRevision {
			return false
		}
	}
	return true
}

func (t table) with(r *row) table {
	t = t.without(r.ref)
	t.rows = t.rows.with(r.ref, r)
	t.order = t.order.with(r.age(), r)
	t.count++
	t.eachLink(r, func(key string) { t.links = t.links.with(key, r.ref) })
	return t
}

func (t table) without(ref string) table {
	r, ok := t.rows.get(ref)
	if !ok {
		return t
	}
	t.rows = t.rows.without(ref)
	t.order = t.order.without(r.age())
	t.count--
	t.eachLink(r, func(key string) { t.links = t.links.without(key) })
	return t
}

func (t table) eachLink(r *row, do func(key string)) {
	for _, f := range t.Table.links {
		for _, target := range targets(r.rec, f) {
			do(linkPrefix(f.Name, target) + r.age())
		}
	}
}

func (t table) hasLink(field string) bool {
	for _, f := range t.Table.links {
		if f.Name == field {
			return true
		}
	}
	return false
}

// age sorts rows by creation.
func (r *row) age() string { return fmt.Sprintf("%016x %s", r.created, r.ref) }

// linkPrefix starts the index keys of the rows whose field refers to target. The target's length keeps
// one target's keys apart from those of another that starts alike.
func linkPrefix(field, target string) string {
	return field + "\x00" + strconv.Itoa(len(target)) + "\x00" + target
}
