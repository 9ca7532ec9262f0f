package db

import (
	"context"
	"iter"

	"poolpatch/xenapi"
)

// State is the database at one revision, for those who follow it. It stays as it is however long it is held; but whoever
// holds one keeps all that came after it in memory.
type State struct{ snapshot *snapshot }

// State gives the state that View shows now.
func (d *DB) State() State { return State{d.current.Load()} }

// Next waits for the state that came after s, and leaves none out. It ends with ctx's error, or why the database is no
// longer followed.
func (d *DB) Next(ctx context.Context, s State) (State, error) {
	if err := d.later(ctx, s.snapshot); err != nil {
		return State{}, err
	}
	return State{s.snapshot.after}, nil
}

// Revision is that of the commit which made the state.
func (s State) Revision() int64 { return s.snapshot.revision }

// Gap reports whether commits between this state and the one before it were not seen: the store was read anew.
func (s State) Gap() bool { return s.snapshot.gap }

// Identity names the database. Revisions of two databases that have not the same one are not to be compared; a restored
// one has its own. It is "" where the database was made by a version that gave none.
func (s State) Identity() string { return s.snapshot.identity }

// View shows fn the state.
func (s State) View(fn func(*Tx) error) error { return fn(view(s.snapshot)) }

// Object names a row.
type Object struct{ Class, Ref string }

// RowChange is a row that two states do not have alike. Before is nil of a row that was added, After of one that was
// deleted. Both are shared: whoever looks must not change them.
type RowChange struct {
	Class         *xenapi.Class
	Ref           string
	Before, After any
}

// Record is the row as it is, or as it was before it was deleted.
func (c RowChange) Record() any {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// Since gives what has changed since an earlier state, class by class, in the order of refs. A row that was written
// without changing counts. It costs what has changed, not what there is; after a [State.Gap] what there is.
func (s State) Since(earlier State) iter.Seq[RowChange] {
	return func(yield func(RowChange) bool) {
		going := true
		for _, class := range (&Tx{tables: s.snapshot.tables}).Classes() {
			before, after := earlier.snapshot.tables[class], s.snapshot.tables[class]
			before.rows.root.diff(after.rows.root, func(b, a *node[*row]) {
				if c, changed := after.change(b, a); changed && going {
					going = yield(c)
				}
			})
		}
	}
}

// change tells what two nodes of the same row have to say.
func (t table) change(before, after *node[*row]) (RowChange, bool) {
	c := RowChange{Class: t.class}
	switch {
	case before != nil && after != nil && before.value.mod == after.value.mod:
		return c, false
	case after == nil:
		c.Ref = before.key
	default:
		c.Ref, c.After = after.key, after.value.rec
	}
	if before != nil {
		c.Before = before.value.rec
	}
	return c, true
}
