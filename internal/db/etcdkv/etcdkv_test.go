package etcdkv_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/db/kvtest"
	"poolpatch/internal/etcdserver"
)

func startClient(t testing.TB) *clientv3.Client {
	t.Helper()
	s, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: t.TempDir(), Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Client()
}

func TestConformance(t *testing.T) {
	store := etcdkv.New(startClient(t))
	kvtest.Run(t, func(*testing.T) db.Store { return store })
}

func TestTooManyOperations(t *testing.T) {
	store := etcdkv.New(startClient(t))
	ops := func(n int) (all []db.Op) {
		for i := range n {
			all = append(all, db.Op{Key: fmt.Sprintf("/%d", i), Value: []byte("x")})
		}
		return all
	}
	if _, err := store.Commit(t.Context(), nil, ops(1000)); err != nil {
		t.Errorf("1000 operations: %v", err)
	}
	_, err := store.Commit(t.Context(), nil, ops(etcdserver.MaxTxnOps+1))
	if !errors.Is(err, db.ErrRefused) {
		t.Errorf("one operation more than the limit: %v", err)
	}
}

// A lease that the server has ended, because it heard nothing or because somebody revoked it, is lost to its holder.
func TestLeaseIsLost(t *testing.T) {
	client := startClient(t)
	store := etcdkv.New(client)
	l, err := store.Grant(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(l.ID())); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Lost():
	case <-time.After(time.Minute):
		t.Fatal("the lease is not lost")
	}
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("released when it was lost: %v", err)
	}
}

func TestWatchEndsAtAGap(t *testing.T) {
	client := startClient(t)
	store := etcdkv.New(client)
	var last int64
	for i := range 5 {
		rev, err := store.Commit(t.Context(), nil, []db.Op{{Key: "/a", Value: fmt.Append(nil, i)}})
		if err != nil {
			t.Fatal(err)
		}
		last = rev
	}
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for _, err := range store.Watch(t.Context(), "/", 1) {
		if err == nil {
			t.Fatal("the watch goes on over compacted revisions")
		}
	}
}
