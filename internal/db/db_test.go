package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

var tables = []db.Table{db.TableOf[xenapi.SR](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.Host](), db.TableOf[thing]()}

// thing is a class without a uuid, and with references of both shapes.
type thing struct {
	SR   xenapi.Ref[xenapi.SR]     `json:"SR" xenapi:"internal"`
	Many []xenapi.Ref[xenapi.Host] `json:"many" xenapi:"internal"`
	Note map[string]string         `json:"note" xenapi:"internal"`
}

func (thing) Class() string { return "thing" }

func open(t testing.TB, store db.Store) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), store, db.Options{Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func update(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, d *db.DB, fn func(*db.Tx)) {
	t.Helper()
	err := d.View(func(tx *db.Tx) error {
		fn(tx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, want *xenapi.Error) {
	t.Helper()
	got, ok := errors.AsType[*xenapi.Error](err)
	if !ok || got.Code != want.Code || !slices.Equal(got.Params, want.Params) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

func srs(tx *db.Tx) (refs []xenapi.Ref[xenapi.SR]) {
	for ref := range db.All[xenapi.SR](tx) {
		refs = append(refs, ref)
	}
	return refs
}

// The rows of both tests below are checked inside the transaction that wrote them, after it, and by a
// database opened later: all three must be alike.
func everywhere(t *testing.T, write func(*db.Tx) error, check func(t *testing.T, tx *db.Tx)) {
	t.Helper()
	store := memkv.New()
	d := open(t, store)
	update(t, d, func(tx *db.Tx) error {
		if err := write(tx); err != nil {
			return err
		}
		t.Run("inside", func(t *testing.T) { check(t, tx) })
		return nil
	})
	t.Run("after", func(t *testing.T) { read(t, d, func(tx *db.Tx) { check(t, tx) }) })
	again := open(t, store)
	t.Run("reopened", func(t *testing.T) { read(t, again, func(tx *db.Tx) { check(t, tx) }) })
}

func TestRecordsAndIndexes(t *testing.T) {
	t.Parallel()
	write := func(tx *db.Tx) error {
		return errors.Join(
			db.Insert(tx, "sr1", xenapi.SR{UUID: "u1", NameLabel: "one"}),
			db.Insert(tx, "sr2", xenapi.SR{UUID: "u2"}),
			db.Insert(tx, "v1", xenapi.VDI{UUID: "v1", SR: "sr1"}),
			db.Insert(tx, "v2", xenapi.VDI{UUID: "v2", SR: "sr1"}),
			db.Insert(tx, "v3", xenapi.VDI{UUID: "v3", SR: "sr2", Parent: "OpaqueRef:NULL"}),
			db.Change(tx, "v2", func(v *xenapi.VDI) error { v.SR = "sr2"; return nil }),
			db.Put(tx, "a/b:c", thing{SR: "sr1", Many: []xenapi.Ref[xenapi.Host]{"h1", "", "h2"}}),
			db.Insert(tx, "gone", xenapi.SR{UUID: "u3"}),
			db.Delete[xenapi.SR](tx, "gone"),
		)
	}
	everywhere(t, write, func(t *testing.T, tx *db.Tx) {
		if sr, err := db.Get[xenapi.SR](tx, "sr1"); err != nil || sr.NameLabel != "one" {
			t.Errorf("sr1 is %+v, %v", sr, err)
		}
		if ref, err := db.ByUUID[xenapi.SR](tx, "u2"); err != nil || ref != "sr2" {
			t.Errorf("u2 is %v, %v", ref, err)
		}
		_, err := db.ByUUID[xenapi.SR](tx, "u3")
		wantCode(t, err, xenapi.ErrUUIDInvalid("SR", "u3"))
		_, err = db.Get[xenapi.SR](tx, "gone")
		wantCode(t, err, xenapi.ErrHandleInvalid("SR", "gone"))
		_, err = db.Get[xenapi.SR](tx, "")
		wantCode(t, err, xenapi.ErrHandleInvalid("SR", "OpaqueRef:NULL"))
		if diff := cmp.Diff([]xenapi.Ref[xenapi.SR]{"sr1", "sr2"}, srs(tx)); diff != "" {
			t.Errorf("all SRs differ:\n%s", diff)
		}
		wantReferrers(t, tx, "VDI", "SR", "sr1", "v1")
		wantReferrers(t, tx, "VDI", "SR", "sr2", "v2", "v3")
		wantReferrers(t, tx, "VDI", "SR", "sr")
		wantReferrers(t, tx, "VDI", "parent", "OpaqueRef:NULL")
		wantReferrers(t, tx, "thing", "many", "h2", "a/b:c")
		wantReferrers(t, tx, "thing", "SR", "sr1", "a/b:c")
		if got := db.Referrers[xenapi.VDI](tx, "SR", xenapi.Ref[xenapi.SR]("sr1")); !slices.Equal(got, []xenapi.Ref[xenapi.VDI]{"v1"}) {
			t.Errorf("the VDIs of sr1 are %v", got)
		}
	})
}

func wantReferrers(t *testing.T, tx *db.Tx, class, field, target string, want ...string) {
	t.Helper()
	if got := tx.ReferrersOf(class, field, target); !slices.Equal(got, want) {
		t.Errorf("%s.%s refers to %s in %q, want %q", class, field, target, got, want)
	}
}

func TestUntyped(t *testing.T) {
	t.Parallel()
	write := func(tx *db.Tx) error {
		return errors.Join(tx.PutRecord("SR", "sr2", xenapi.SR{UUID: "u2"}), tx.PutRecord("SR", "sr1", xenapi.SR{UUID: "u1"}))
	}
	everywhere(t, write, func(t *testing.T, tx *db.Tx) {
		if rec, ok := tx.Record("SR", "sr1"); !ok || rec.(xenapi.SR).UUID != "u1" {
			t.Errorf("sr1 is %v, %v", rec, ok)
		}
		if ref, ok := tx.RefByUUID("SR", "u2"); !ok || ref != "sr2" {
			t.Errorf("u2 is %v, %v", ref, ok)
		}
		if refs := tx.Refs("SR"); !slices.Equal(refs, []string{"sr1", "sr2"}) {
			t.Errorf("refs are %q", refs)
		}
		if got := tx.Classes(); !slices.Equal(got, []string{"SR", "VDI", "host", "thing"}) {
			t.Errorf("classes are %q", got)
		}
		_, record := tx.Record("VM", "vm1")
		_, uuid := tx.RefByUUID("VM", "u1")
		if record || uuid || tx.Refs("VM") != nil || tx.ReferrersOf("VM", "resident_on", "h1") != nil {
			t.Error("a class without a table has rows")
		}
	})
	update(t, open(t, memkv.New()), func(tx *db.Tx) error {
		if tx.PutRecord("VM", "vm1", xenapi.VM{}) == nil || tx.PutRecord("SR", "sr1", xenapi.VDI{}) == nil {
			t.Error("a record went into the wrong table")
		}
		return nil
	})
}

func TestUniqueness(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	update(t, d, func(tx *db.Tx) error { return db.Insert(tx, "sr1", xenapi.SR{UUID: "u1"}) })
	update(t, d, func(tx *db.Tx) error {
		wantCode(t, db.Insert(tx, "sr1", xenapi.SR{UUID: "u9"}), xenapi.ErrDBUniquenessConstraintViolation("SR", "_ref", "sr1"))
		wantCode(t, db.Insert(tx, "sr2", xenapi.SR{UUID: "u1"}), xenapi.ErrDBUniquenessConstraintViolation("SR", "uuid", "u1"))
		wantCode(t, db.Put(tx, "sr2", xenapi.SR{UUID: "u1"}), xenapi.ErrDBUniquenessConstraintViolation("SR", "uuid", "u1"))
		wantCode(t, db.Delete[xenapi.SR](tx, "sr2"), xenapi.ErrHandleInvalid("SR", "sr2"))
		wantCode(t, db.Insert(tx, "", xenapi.SR{}), xenapi.ErrHandleInvalid("SR", "OpaqueRef:NULL"))
		// A uuid given up is free at once, in this transaction too.
		return errors.Join(
			db.Put(tx, "sr1", xenapi.SR{UUID: "u2"}),
			db.Insert(tx, "sr2", xenapi.SR{UUID: "u1"}),
		)
	})
	read(t, d, func(tx *db.Tx) {
		for uuid, want := range map[string]xenapi.Ref[xenapi.SR]{"u1": "sr2", "u2": "sr1"} {
			if ref, err := db.ByUUID[xenapi.SR](tx, uuid); err != nil || ref != want {
				t.Errorf("%s is %v, %v, want %v", uuid, ref, err, want)
			}
		}
	})
}

func TestAllIsInTheOrderOfCreation(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	for _, ref := range []xenapi.Ref[xenapi.SR]{"c", "a", "b"} {
		update(t, d, func(tx *db.Tx) error { return db.Insert(tx, ref, xenapi.SR{}) })
	}
	update(t, d, func(tx *db.Tx) error {
		// The loop sees neither its own writes nor stumbles over them.
		for ref, rec := range db.All[xenapi.SR](tx) {
			rec.NameLabel = "seen"
			if err := errors.Join(db.Put(tx, ref, rec), db.Insert(tx, "0"+ref, rec)); err != nil {
				return err
			}
		}
		return db.Delete[xenapi.SR](tx, "a")
	})
	read(t, d, func(tx *db.Tx) {
		if diff := cmp.Diff([]xenapi.Ref[xenapi.SR]{"c", "b", "0a", "0b", "0c"}, srs(tx)); diff != "" {
			t.Errorf("order differs:\n%s", diff)
		}
	})
}

func TestRecordsAreCopies(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	given := thing{Note: map[string]string{"k": "v"}}
	update(t, d, func(tx *db.Tx) error {
		if err := db.Insert(tx, "t", given); err != nil {
			return err
		}
		given.Note["k"] = "changed after insert"
		return nil
	})
	spoil := func(tx *db.Tx) error {
		got, _ := db.Lookup[thing](tx, "t")
		got.Note["k"] = "changed after lookup"
		for _, rec := range db.All[thing](tx) {
			rec.Note["k"] = "changed in a loop"
		}
		rec, _ := tx.Record("thing", "t")
		rec.(thing).Note["k"] = "changed untyped"
		return nil
	}
	update(t, d, spoil)
	_ = d.View(spoil)
	read(t, d, func(tx *db.Tx) {
		if got, _ := db.Lookup[thing](tx, "t"); got.Note["k"] != "v" {
			t.Errorf("the record was %s", got.Note["k"])
		}
	})
}

func TestComputedFieldsAreNotStored(t *testing.T) {
	t.Parallel()
	write := func(tx *db.Tx) error {
		return db.Insert(tx, "sr1", xenapi.SR{UUID: "u1", VDIs: []xenapi.Ref[xenapi.VDI]{"v1"}})
	}
	everywhere(t, write, func(t *testing.T, tx *db.Tx) {
		if sr, _ := db.Lookup[xenapi.SR](tx, "sr1"); sr.VDIs != nil {
			t.Errorf("VDIs are stored: %v", sr.VDIs)
		}
	})
}

func TestViewsDoNotWriteAndErrorsChangeNothing(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	err := d.View(func(tx *db.Tx) error { return db.Insert(tx, "sr1", xenapi.SR{}) })
	if err == nil {
		t.Error("a view wrote")
	}
	sentinel := errors.New("no")
	err = d.Update(context.Background(), func(tx *db.Tx) error {
		if err := db.Insert(tx, "sr1", xenapi.SR{}); err != nil {
			return err
		}
		return sentinel
	})
	if err != sentinel {
		t.Errorf("update gave %v", err)
	}
	before := d.Revision()
	update(t, d, func(tx *db.Tx) error { _ = srs(tx); return nil })
	if d.Revision() != before {
		t.Error("an update that wrote nothing committed")
	}
	read(t, d, func(tx *db.Tx) {
		if got := srs(tx); got != nil {
			t.Errorf("there are %v", got)
		}
	})
}

// A view keeps its state while updates go on.
func TestAViewIsOneState(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	update(t, d, func(tx *db.Tx) error { return db.Insert(tx, "sr1", xenapi.SR{NameLabel: "old"}) })
	read(t, d, func(tx *db.Tx) {
		update(t, d, func(tx *db.Tx) error { return db.Put(tx, "sr1", xenapi.SR{NameLabel: "new"}) })
		if sr, _ := db.Lookup[xenapi.SR](tx, "sr1"); sr.NameLabel != "old" {
			t.Errorf("the view has changed to %q", sr.NameLabel)
		}
	})
}

func TestMisuseIsLoud(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	misuses := map[string]func(*db.Tx){
		"a class without a table":     func(tx *db.Tx) { db.Lookup[xenapi.VM](tx, "vm1") },
		"a field that is no ref":      func(tx *db.Tx) { tx.ReferrersOf("SR", "name_label", "x") },
		"a field that does not exist": func(tx *db.Tx) { tx.ReferrersOf("SR", "nonsense", "x") },
	}
	for name, misuse := range misuses {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = d.View(func(tx *db.Tx) error { misuse(tx); return nil })
		}()
	}
}
