package db_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// labels are the SRs of a state.
func labels(s db.State) map[string]string {
	all := map[string]string{}
	_ = s.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.SR](tx) {
			all[string(ref)] = rec.NameLabel
		}
		if n := tx.Count("SR"); n != len(all) {
			panic(fmt.Sprintf("Count is %d of %d", n, len(all)))
		}
		return nil
	})
	return all
}

// follow makes the SRs of a state from those of an earlier one and what Since says has changed.
func follow(t interface {
	Helper()
	Fatalf(string, ...any)
}, earlier, later db.State) map[string]string {
	t.Helper()
	all := labels(earlier)
	for c := range later.Since(earlier) {
		if c.Class.Name != "SR" {
			continue
		}
		if before, had := all[c.Ref]; had != (c.Before != nil) || had && c.Before.(xenapi.SR).NameLabel != before {
			t.Fatalf("%s was %v, before is %+v", c.Ref, before, c.Before)
		}
		if c.After == nil {
			delete(all, c.Ref)
			continue
		}
		all[c.Ref] = c.After.(xenapi.SR).NameLabel
	}
	return all
}

// Whatever two states are taken, the changes between them lead from one to the other; each step of the store is one.
func TestChangesLeadFromStateToState(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, err := db.Open(context.Background(), memkv.New(), db.Options{Tables: tables})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		states := []db.State{d.State()}
		for i := range rapid.IntRange(1, 20).Draw(t, "commits") {
			ref := xenapi.Ref[xenapi.SR](rapid.StringMatching(`[a-e]`).Draw(t, "ref"))
			remove := rapid.Bool().Draw(t, "delete")
			if err := d.Update(context.Background(), func(tx *db.Tx) error {
				if _, there := db.Lookup(tx, ref); there && remove {
					return db.Delete(tx, ref)
				}
				return db.Put(tx, ref, xenapi.SR{NameLabel: fmt.Sprint(i)})
			}); err != nil {
				t.Fatal(err)
			}
			next, err := d.Next(context.Background(), states[len(states)-1])
			if err != nil || next.Gap() || next.Revision() != d.Revision() {
				t.Fatalf("the next state is %d of %d, gap %v, %v", next.Revision(), d.Revision(), next.Gap(), err)
			}
			states = append(states, next)
		}
		from := rapid.IntRange(0, len(states)-1).Draw(t, "from")
		to := rapid.IntRange(from, len(states)-1).Draw(t, "to")
		if got, want := follow(t, states[from], states[to]), labels(states[to]); !maps.Equal(got, want) {
			t.Fatalf("followed to %v, want %v", got, want)
		}
	})
}

// A store that is read anew tells what has changed meanwhile, deletions too, and that something may be missing.
func TestAStateAfterAGap(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	d, other := open(t, store), open(t, store)
	put := func(ref, label string) {
		update(t, other, func(tx *db.Tx) error {
			return db.Put(tx, xenapi.Ref[xenapi.SR](ref), xenapi.SR{NameLabel: label})
		})
	}
	put("kept", "1")
	put("gone", "2")
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := d.State()
	store.Interrupt()
	update(t, other, func(tx *db.Tx) error { return db.Delete(tx, xenapi.Ref[xenapi.SR]("gone")) })
	put("new", "3")
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	later, gap := old, false
	for later.Revision() < d.Revision() {
		var err error
		if later, err = d.Next(t.Context(), later); err != nil {
			t.Fatal(err)
		}
		gap = gap || later.Gap()
	}
	if !gap {
		t.Error("the gap is not told")
	}
	if got := follow(t, old, later); !maps.Equal(got, map[string]string{"kept": "1", "new": "3"}) {
		t.Errorf("followed to %v", got)
	}
	for c := range later.Since(old) {
		if c.Ref == "kept" {
			t.Error("what was read anew and is the same counts as changed")
		}
	}
}

func TestNextEndsWithTheDatabase(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Next(ctx, d.State()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	d.Close()
	if _, err := d.Next(t.Context(), d.State()); !errors.Is(err, db.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// Hosts of one pool see the same identity; a database that was restored has another.
func TestIdentity(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	a, b, other := open(t, store), open(t, store), open(t, memkv.New())
	if a.State().Identity() == "" || a.State().Identity() != b.State().Identity() {
		t.Errorf("identities %q and %q", a.State().Identity(), b.State().Identity())
	}
	was := a.State().Identity()
	if err := db.Rename(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := a.State().Identity(); now == "" || now == was {
		t.Errorf("renamed from %q, it is %q", was, now)
	}
	if a.State().Identity() == other.State().Identity() {
		t.Error("two databases have the same identity")
	}
}
