// Package etcdkv is the db.Store of production: etcd, embedded or a cluster of your own.
//
// It is not for starting etcd or connecting to it: package etcdserver does that. Its invariant: an answer
// that is neither a revision, nor db.ErrConflict, nor db.ErrRefused leaves the outcome open; nothing is
// tried twice here. Start reading with Commit.
package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"poolpatch/internal/db"
)

const (
	// commitDeadline bounds one commit. The server gives up on its own after 7 s.
	commitDeadline = 10 * time.Second
	// pageDeadline bounds reading one page.
	pageDeadline = 10 * time.Second
	// pageSize is the number of keys that Load asks for at once.
	pageSize = 256
	// loadAttempts is how often Load starts again when its revision is compacted under it.
	loadAttempts = 3
)

// Store is a db.Store in etcd.
type Store struct{ client *clientv3.Client }

// New makes a Store over a client, which the caller closes when the store is no longer used.
func New(client *clientv3.Client) *Store { return &Store{client} }

// Load implements db.Store. All pages are of one revision.
func (s *Store) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	for attempt := 1; ; attempt++ {
		items, revision, err := s.pages(ctx, prefix)
		if errors.Is(err, rpctypes.ErrCompacted) && attempt < loadAttempts {
			continue
		}
		if errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			err = fmt.Errorf("%w: %w", db.ErrUnavailable, err)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("load %s: %w", prefix, err)
		}
		return items, revision, nil
	}
}

func (s *Store) pages(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	var items []db.Item
	var revision int64 // 0, for the first page, is the latest
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		page, err := s.page(ctx, from, end, revision)
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			items = append(items, item(kv))
		}
		if !page.More {
			return items, revision, nil
		}
		from = items[len(items)-1].Key + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, pageDeadline)
	defer cancel()
	return s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
}

// Commit implements db.Store. A server takes a limited number of operations, and as many guards, in one
// commit (--max-txn-ops, 128 unless told otherwise), and a request of limited size (--max-request-bytes,
// 1.5 MiB): more is db.ErrRefused.
func (s *Store) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	reply, err := s.client.Txn(ctx).If(compares(guards)...).Then(puts(ops)...).Commit()
	if err != nil {
		return 0, classify(err, len(guards), len(ops))
	}
	if !reply.Succeeded {
		return reply.Header.Revision, db.ErrConflict
	}
	return reply.Header.Revision, nil
}

// classify tells refusals, which the server makes before it proposes anything, from all else.
func classify(err error, guards, ops int) error {
	switch {
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %d guards and %d operations are too many for the etcd server (see --max-txn-ops): %w",
			db.ErrRefused, guards, ops, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrNoSpace),
		errors.Is(err, rpctypes.ErrDuplicateKey), errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: %w", db.ErrRefused, err)
	case errors.Is(err, rpctypes.ErrNoLeader), errors.Is(err, rpctypes.ErrGRPCNoLeader):
		return fmt.Errorf("%w: %w: %w", db.ErrRefused, db.ErrUnavailable, err)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fmt.Errorf("%w: %w: %w", db.ErrRefused, db.ErrLeaseEnded, err)
	}
	return err
}

func compares(guards []db.Guard) []clientv3.Cmp {
	all := make([]clientv3.Cmp, len(guards))
	for i, g := range guards {
		all[i] = clientv3.Compare(clientv3.ModRevision(g.Key), "=", g.ModRevision)
	}
	return all
}

func puts(ops []db.Op) []clientv3.Op {
	all := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Value == nil {
			all[i] = clientv3.OpDelete(op.Key)
		} else {
			all[i] = clientv3.OpPut(op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		}
	}
	return all
}

// Watch implements db.Store. The client resumes by itself after a lost connection, without a gap; it ends
// when that is impossible, or when its server has no leader.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[db.Batch, error] {
	return func(yield func(db.Batch, error) bool) {
		watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		defer cancel()
		for reply := range s.client.Watch(watch, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
			if err := reply.Err(); err != nil {
				yield(db.Batch{}, fmt.Errorf("watch %s: %w", prefix, err))
				return
			}
			for _, b := range batches(reply.Events) {
				if !yield(b, nil) {
					return
				}
			}
		}
		err := ctx.Err()
		if err == nil {
			err = errors.New("the server ended it")
		}
		yield(db.Batch{}, fmt.Errorf("watch %s: %w", prefix, err))
	}
}

// batches parts events, which come in the order of revisions, by revision. Without fragmentation, which is
// not asked for, a reply never holds part of a revision.
func batches(events []*clientv3.Event) []db.Batch {
	var all []db.Batch
	for _, e := range events {
		if n := len(all); n == 0 || all[n-1].Revision != e.Kv.ModRevision {
			all = append(all, db.Batch{Revision: e.Kv.ModRevision})
		}
		b := &all[len(all)-1]
		b.Items = append(b.Items, change(e))
	}
	for _, b := range all {
		slices.SortFunc(b.Items, func(x, y db.Item) int { return strings.Compare(x.Key, y.Key) })
	}
	return all
}

func change(e *clientv3.Event) db.Item {
	if e.Type == mvccpb.DELETE {
		return db.Item{Key: string(e.Kv.Key), ModRevision: e.Kv.ModRevision}
	}
	return item(e.Kv)
}

// item keeps an empty value apart from a deletion, which nil would be.
func item(kv *mvccpb.KeyValue) db.Item {
	value := kv.Value
	if value == nil {
		value = []byte{}
	}
	return db.Item{Key: string(kv.Key), Value: value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
}
