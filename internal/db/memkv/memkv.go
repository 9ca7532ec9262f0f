// Package memkv is a db.Store in memory, for tests and for backups that are opened to be read: it keeps the rules of the real
// one and fails where it is told to.
//
// It is not for data that must last, and it never forgets a revision unless Compact is called. Its
// invariant: a commit is one revision, seen whole or not at all by every load and watch. Two databases
// opened over one Store are two hosts of a pool. Start reading with Commit.
package memkv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"poolpatch/internal/db"
)

// Fault is what goes wrong with a commit. Its zero value is nothing.
type Fault int

// The faults of a commit whose guards hold. FailNotPersisted changes nothing; FailButPersisted applies the
// commit. Both return ErrInjected, so the caller cannot tell them apart. Unavailable changes nothing and says so.
const (
	None Fault = iota
	FailNotPersisted
	FailButPersisted
	Unavailable
)

var (
	// ErrInjected is the error of a Fault.
	ErrInjected = errors.New("injected fault")
	// ErrCompacted ends a watch that asks for revisions which are gone.
	ErrCompacted = errors.New("revision compacted")
	// ErrInterrupted ends the watches that Interrupt cuts.
	ErrInterrupted = errors.New("watch interrupted")
)

// Store is a db.Store in memory.
type Store struct {
	fault func(n int, guards []db.Guard, ops []db.Op) Fault

	mu        sync.Mutex
	commits   int
	items     map[string]db.Item
	log       []db.Batch // every revision that was not compacted
	revision  int64
	compacted int64         // the last revision that is not in log
	changed   chan struct{} // closed and replaced at each commit and interruption
	cuts      int           // interruptions so far
	leases    map[int64]*lease
	granted   int64            // leases so far
	under     map[string]int64 // key → lease
}

// Option of New.
type Option func(*Store)

// WithFaults asks fault before each commit whose guards hold, numbered from 1. It must not use the store.
func WithFaults(fault func(n int, guards []db.Guard, ops []db.Op) Fault) Option {
	return func(s *Store) { s.fault = fault }
}

// New makes an empty store.
func New(options ...Option) *Store {
	s := &Store{
		items: map[string]db.Item{}, revision: 1, compacted: 1, changed: make(chan struct{}),
		leases: map[int64]*lease{}, under: map[string]int64{},
	}
	s.fault = func(int, []db.Guard, []db.Op) Fault { return None }
	for _, o := range options {
		o(s)
	}
	return s
}

// Load implements db.Store.
func (s *Store) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []db.Item
	for _, key := range slices.Sorted(maps.Keys(s.items)) {
		if strings.HasPrefix(key, prefix) {
			items = append(items, clone(s.items[key]))
		}
	}
	return items, s.revision, nil
}

// Commit implements db.Store.
func (s *Store) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key, ok := twice(ops); ok {
		return 0, fmt.Errorf("key %s stands twice: %w", key, db.ErrRefused)
	}
	for _, g := range guards {
		if s.items[g.Key].ModRevision != g.ModRevision {
			return s.revision, db.ErrConflict
		}
	}
	for _, op := range ops {
		if op.Lease != 0 && s.leases[op.Lease] == nil {
			return 0, fmt.Errorf("%w: %w: %d", db.ErrRefused, db.ErrLeaseEnded, op.Lease)
		}
	}
	s.commits++
	fault := s.fault(s.commits, guards, ops)
	switch fault {
	case FailNotPersisted:
		return 0, ErrInjected
	case Unavailable:
		return 0, fmt.Errorf("%w: %w", db.ErrRefused, db.ErrUnavailable)
	}
	s.apply(ops)
	if fault == FailButPersisted {
		return 0, ErrInjected
	}
	return s.revision, nil
}

// Compact forgets what led to the current state: a watch from an earlier revision ends with ErrCompacted.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.compacted = nil, s.revision
}

// Interrupt ends every running watch with ErrInterrupted.
func (s *Store) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts++
	s.wake()
}

// apply makes the ops one revision. Ops that change nothing make none, as in etcd.
func (s *Store) apply(ops []db.Op) {
	batch := db.Batch{Revision: s.revision + 1}
	for _, op := range ops {
		old, exists := s.items[op.Key]
		item := db.Item{Key: op.Key, Value: op.Value, CreateRevision: old.CreateRevision, ModRevision: batch.Revision}
		switch {
		case op.Value == nil && !exists:
			continue
		case op.Value == nil:
			item.CreateRevision = 0
			delete(s.items, op.Key)
			delete(s.under, op.Key)
		default:
			if !exists {
				item.CreateRevision = batch.Revision
			}
			item = clone(item)
			s.items[op.Key] = item
			if s.under[op.Key] = op.Lease; op.Lease == 0 {
				delete(s.under, op.Key)
			}
		}
		batch.Items = append(batch.Items, item)
	}
	if len(batch.Items) == 0 {
		return
	}
	slices.SortFunc(batch.Items, func(a, b db.Item) int { return strings.Compare(a.Key, b.Key) })
	s.revision = batch.Revision
	s.log = append(s.log, batch)
	s.wake()
}

func (s *Store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Watch implements db.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[db.Batch, error] {
	return func(yield func(db.Batch, error) bool) {
		cuts := s.interruptions()
		for {
			batches, changed, err := s.since(after, cuts)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(db.Batch{}, err)
				return
			}
			for _, b := range batches {
				after = b.Revision
				if b = below(b, prefix); len(b.Items) > 0 && !yield(b, nil) {
					return
				}
			}
			if len(batches) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

func (s *Store) interruptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts
}

// since gives the batches later than a revision, and what is closed when there are more.
func (s *Store) since(after int64, cuts int) ([]db.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cuts != cuts:
		return nil, nil, ErrInterrupted
	case after < s.compacted:
		return nil, nil, ErrCompacted
	case after >= s.revision:
		return nil, s.changed, nil
	}
	return slices.Clone(s.log[after-s.compacted:]), s.changed, nil
}

// below copies the part of a batch that has the prefix.
func below(b db.Batch, prefix string) db.Batch {
	part := db.Batch{Revision: b.Revision}
	for _, item := range b.Items {
		if strings.HasPrefix(item.Key, prefix) {
			part.Items = append(part.Items, clone(item))
		}
	}
	return part
}

func clone(item db.Item) db.Item {
	item.Value = slices.Clone(item.Value)
	return item
}

func twice(ops []db.Op) (string, bool) {
	seen := map[string]bool{}
	for _, op := range ops {
		if seen[op.Key] {
			return op.Key, true
		}
		seen[op.Key] = true
	}
	return "", false
}
