package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"poolpatch/internal/db"
)

// leaseDeadline bounds granting and releasing a lease.
const leaseDeadline = 5 * time.Second

// lease is a db.Lease; the client gives signs of life until alive ends.
type lease struct {
	client *clientv3.Client
	id     clientv3.LeaseID
	lost   chan struct{}
	stop   context.CancelFunc
}

// Grant implements db.Store. The server raises a ttl that is shorter than its elections, which take some two
// seconds. The lease is kept alive until it is released or the client is closed.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (db.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseDeadline)
	defer cancel()
	granted, err := s.client.Grant(ctx, max(1, int64(ttl/time.Second)))
	if err != nil {
		return nil, err
	}
	alive, stop := context.WithCancel(context.Background())
	signs, err := s.client.KeepAlive(alive, granted.ID)
	if err != nil {
		stop()
		return nil, fmt.Errorf("keep alive: %w", err)
	}
	l := &lease{client: s.client, id: granted.ID, lost: make(chan struct{}), stop: stop}
	go l.follow(signs)
	return l, nil
}

// follow ends with the signs: the client closes them when the lease has ended, or when its time is over
// without an answer.
func (l *lease) follow(signs <-chan *clientv3.LeaseKeepAliveResponse) {
	defer close(l.lost)
	for range signs {
	}
}

// ID implements db.Lease.
func (l *lease) ID() int64 { return int64(l.id) }

// Lost implements db.Lease.
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Release implements db.Lease.
func (l *lease) Release(ctx context.Context) error {
	l.stop()
	<-l.lost
	ctx, cancel := context.WithTimeout(ctx, leaseDeadline)
	defer cancel()
	if _, err := l.client.Revoke(ctx, l.id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("release a lease: %w", err)
	}
	return nil
}
