package db_test

import (
	"errors"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// sign is a record without a uuid, as those under a lease are.
type sign struct {
	Text string `json:"text" xenapi:"internal"`
}

func (sign) Class() string { return "sign" }

func leased(t *testing.T) (*memkv.Store, *db.DB, *db.DB) {
	t.Helper()
	store := memkv.New()
	var all [2]*db.DB
	for i := range all {
		d, err := db.Open(t.Context(), store, db.Options{Tables: append(tables, db.TableOf[sign]())})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		all[i] = d
	}
	return store, all[0], all[1]
}

func put(t *testing.T, d *db.DB, text string) db.Lease {
	t.Helper()
	lease, err := d.Grant(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Update(t.Context(), func(tx *db.Tx) error { return db.PutUnder(tx, lease, "s", sign{text}) }); err != nil {
		t.Fatal(err)
	}
	return lease
}

// await waits until the record says text; "" is no record.
func await(t *testing.T, d *db.DB, text string) {
	t.Helper()
	err := d.Wait(t.Context(), func(tx *db.Tx) (bool, error) {
		rec, ok := db.Lookup(tx, xenapi.Ref[sign]("s"))
		return rec.Text == text && ok == (text != ""), nil
	})
	if err != nil {
		t.Fatalf("the record never says %q: %v", text, err)
	}
}

func TestPutUnderALease(t *testing.T) {
	t.Parallel()
	store, here, there := leased(t)
	put(t, here, "alive")
	await(t, there, "alive")
	store.EndLeases()
	await(t, here, "")
	await(t, there, "")

	// A new lease takes the record over: the end of the old one does not take it along.
	old := put(t, here, "first")
	put(t, here, "second")
	if err := old.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, there, "second")

	// And so does a Put without one.
	if err := here.Update(t.Context(), func(tx *db.Tx) error { return db.Put(tx, xenapi.Ref[sign]("s"), sign{"lasts"}) }); err != nil {
		t.Fatal(err)
	}
	store.EndLeases()
	await(t, there, "lasts")
}

func TestPutUnderRefuses(t *testing.T) {
	t.Parallel()
	store, here, _ := leased(t)
	lease := put(t, here, "alive")
	store.EndLeases()
	err := here.Update(t.Context(), func(tx *db.Tx) error { return db.PutUnder(tx, lease, "s", sign{"again"}) })
	if !errors.Is(err, db.ErrLeaseEnded) {
		t.Errorf("under a lease that has ended: %v", err)
	}
	err = here.Update(t.Context(), func(tx *db.Tx) error {
		return db.PutUnder(tx, lease, "OpaqueRef:h", xenapi.New[xenapi.Host]())
	})
	if err == nil {
		t.Error("a record with a uuid went under a lease")
	}
}

// TestTheEndOfALeaseConflicts: who decides on a sign of life that has gone meanwhile decides again.
func TestTheEndOfALeaseConflicts(t *testing.T) {
	t.Parallel()
	store, here, there := leased(t)
	put(t, here, "alive")
	await(t, there, "alive")
	seen := []bool{}
	err := there.Update(t.Context(), func(tx *db.Tx) error {
		_, alive := db.Lookup(tx, xenapi.Ref[sign]("s"))
		if seen = append(seen, alive); alive {
			store.EndLeases()
		}
		return db.Put(tx, xenapi.Ref[sign]("decision"), sign{"made"})
	})
	if err != nil || len(seen) != 2 || !seen[0] || seen[1] {
		t.Errorf("the decision saw a sign of life %v, %v", seen, err)
	}
}
