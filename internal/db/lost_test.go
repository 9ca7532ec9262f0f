package db_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// leaving is a store that can be away.
type leaving struct {
	db.Store
	away  atomic.Bool
	watch atomic.Pointer[context.CancelFunc]
}

var errAway = errors.New("the store is away")

func (l *leaving) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	if l.away.Load() {
		return nil, 0, errAway
	}
	return l.Store.Load(ctx, prefix)
}

func (l *leaving) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[db.Batch, error] {
	ctx, cancel := context.WithCancel(ctx)
	l.watch.Store(&cancel)
	return l.Store.Watch(ctx, prefix, after)
}

func (l *leaving) leave() {
	l.away.Store(true)
	(*l.watch.Load())()
}

// A store that was away takes changes when it is back, also where nobody else changes anything.
func TestStoreComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &leaving{Store: memkv.New()}
		d, err := db.Open(t.Context(), store, db.Options{Tables: tables})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		insert := func() error {
			return d.Update(t.Context(), func(tx *db.Tx) error { return db.Insert(tx, xenapi.NewRef[thing](), thing{}) })
		}
		synctest.Wait() // it watches
		store.leave()
		synctest.Wait()
		if err := insert(); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("a change while the store is away: %v", err)
		}
		store.away.Store(false)
		time.Sleep(time.Minute)
		if err := insert(); err != nil {
			t.Errorf("a change when the store is back: %v", err)
		}
	})
}
