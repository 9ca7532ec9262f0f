package memkv

import (
	"context"
	"time"

	"poolpatch/internal/db"
)

// lease is a db.Lease whose time never comes by itself: a test ends it.
type lease struct {
	store *Store
	id    int64
	lost  chan struct{}
}

// Grant implements db.Store. No time passes for the lease: EndLeases is what the death of its holder does.
func (s *Store) Grant(ctx context.Context, _ time.Duration) (db.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted++
	l := &lease{s, s.granted, make(chan struct{})}
	s.leases[l.id] = l
	return l, nil
}

// EndLeases ends every lease, as if the hosts that hold them had not been heard of for long enough.
func (s *Store) EndLeases() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.leases {
		s.end(l)
	}
}

// end ends a lease that lives. The caller holds the lock.
func (s *Store) end(l *lease) {
	delete(s.leases, l.id)
	close(l.lost)
	var gone []db.Op
	for key, id := range s.under {
		if id == l.id {
			gone = append(gone, db.Op{Key: key})
		}
	}
	s.apply(gone)
}

// ID implements db.Lease.
func (l *lease) ID() int64 { return l.id }

// Lost implements db.Lease.
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Release implements db.Lease.
func (l *lease) Release(context.Context) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.store.leases[l.id] != nil {
		l.store.end(l)
	}
	return nil
}
