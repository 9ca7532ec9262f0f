package db

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Store is a key-value store with revisions: every commit that changes something makes the next one.
// Package etcdkv and package memkv implement it; package kvtest is what they must obey.
type Store interface {
	// Load gives every item below prefix, in key order, and the revision of that state.
	Load(ctx context.Context, prefix string) ([]Item, int64, error)
	// Commit makes all ops durable, or none of them, if every guard holds, and gives the revision that it
	// made. It returns ErrConflict when a guard does not hold, and ErrRefused when the store will not
	// take the ops: nothing has changed then. After any other error the outcome is not known. No key may
	// stand twice in ops.
	Commit(ctx context.Context, guards []Guard, ops []Op) (revision int64, err error)
	// Watch gives every commit below prefix later than revision after, in order, one batch per revision.
	// It ends with an error, which is the last element: when ctx ends, when a revision was compacted
	// away, when the store is lost.
	Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Batch, error]
	// Grant makes a lease and keeps it alive. It ends ttl, in whole seconds, after the last sign of life of
	// this process, at once when it is released, and whenever the store says so. Its end is a commit that
	// deletes the keys which were last written under it.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
}

// Lease is a sign of life that a process keeps giving: what is written under it shows others that it lives.
type Lease interface {
	// ID is what Op.Lease takes. It is never 0.
	ID() int64
	// Lost is closed when the lease has ended, or when this process cannot know any more that it lives.
	Lost() <-chan struct{}
	// Release ends it. A lease that has ended already is no error.
	Release(ctx context.Context) error
}

// Item is a key and its value. Revisions start at 1.
type Item struct {
	Key            string
	Value          []byte // nil in a Batch: the key was deleted
	CreateRevision int64  // of the commit that made the key; 0 for a deletion
	ModRevision    int64  // of the commit that last wrote (in a Batch: or deleted) it
}

// Guard is a condition of a commit: the key was last written at ModRevision; 0 says that it is absent.
type Guard struct {
	Key         string
	ModRevision int64
}

// Op writes a key, or deletes it when Value is nil. Deleting an absent key does nothing.
type Op struct {
	Key   string
	Value []byte
	Lease int64 // the key goes with the lease of this ID; 0: it lasts
}

// Batch is what one commit changed below the watched prefix, in key order.
type Batch struct {
	Revision int64
	Items    []Item
}

var (
	// ErrConflict is a Store's answer when a guard does not hold.
	ErrConflict = errors.New("guard does not hold")
	// ErrRefused is wrapped in a Store's error when it has not done what was asked and never will: too
	// many operations, too large a value, no space.
	ErrRefused = errors.New("store refuses the commit")
	// ErrLeaseEnded comes with ErrRefused when an op names a lease that has ended.
	ErrLeaseEnded = errors.New("lease has ended")
)
