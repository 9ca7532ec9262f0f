package db_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

func TestInsistOutlastsAStoreThatFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []memkv.Fault{memkv.FailNotPersisted, memkv.Unavailable} {
		insistThrough(t, fault)
	}
}

func insistThrough(t *testing.T, fault memkv.Fault) {
	t.Helper()
	failures := 0
	store := memkv.New(memkv.WithFaults(func(n int, _ []db.Guard, _ []db.Op) memkv.Fault {
		if n > 1 && failures < 3 {
			failures++
			return fault
		}
		return memkv.None
	}))
	d, err := db.Open(t.Context(), store, db.Options{Tables: []db.Table{db.TableOf[xenapi.Message]()}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	insert := func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:m", xenapi.Message{UUID: "u", Name: "kept"}) }
	if err := d.Insist(t.Context(), insert); err != nil || failures != 3 {
		t.Errorf("fault %d: ended with %v after %d failures", fault, err, failures)
	}
	// fn's own error is not the store's: it ends at once.
	if err := d.Insist(t.Context(), insert); xenapi.CodeOf(err) != xenapi.CodeDBUniquenessConstraintViolation {
		t.Errorf("the same row again: %v", err)
	}
}

// In fake time: what became of a commit that failed is looked into for a while.
func TestInsistEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New(memkv.WithFaults(func(n int, _ []db.Guard, _ []db.Op) memkv.Fault {
			if n > 1 {
				return memkv.FailNotPersisted
			}
			return memkv.None
		}))
		d, err := db.Open(t.Context(), store, db.Options{Tables: []db.Table{db.TableOf[xenapi.Message]()}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err = d.Insist(ctx, func(tx *db.Tx) error {
			if calls++; calls == 2 {
				cancel()
			}
			return db.Insert(tx, "OpaqueRef:m", xenapi.Message{UUID: "u"})
		})
		if !errors.Is(err, memkv.ErrInjected) && !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}
