package auth_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// openFor opens a database for a session, and says when it is closed.
func (p pool) openFor(t testing.TB, parent xenapi.Ref[xenapi.Session]) (ref xenapi.Ref[xenapi.Session], opened *db.DB, err error) {
	t.Helper()
	caller, err := p.Session(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	opened, err = db.Open(t.Context(), memkv.New(), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ref, err = p.OpenDatabase(parent, caller, opened)
	return ref, opened, err
}

// closed reports whether a database is followed no more.
func closed(t testing.TB, d *db.DB) bool {
	t.Helper()
	_, err := d.Next(t.Context(), d.State())
	return err != nil
}

// TestOpenedDatabase: the session reads that database and is none of the pool's, and it hangs on the one that opened it: on its
// role, and on its end, whatever ends it.
func TestOpenedDatabase(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(ctx context.Context, p pool, parent, ref xenapi.Ref[xenapi.Session]) error{
		"its logout": func(ctx context.Context, p pool, _, ref xenapi.Ref[xenapi.Session]) error { return p.Logout(ctx, ref) },
		"its parent's": func(ctx context.Context, p pool, parent, _ xenapi.Ref[xenapi.Session]) error {
			return p.Logout(ctx, parent)
		},
		"the user is out": func(ctx context.Context, p pool, _, _ xenapi.Ref[xenapi.Session]) error {
			return p.LogoutSubject(ctx, "ann", "")
		},
		"the user goes": func(ctx context.Context, p pool, _, _ xenapi.Ref[xenapi.Session]) error {
			return p.DestroyUser(ctx, p.users()["ann"])
		},
		"nobody uses it": func(_ context.Context, _ pool, _, _ xenapi.Ref[xenapi.Session]) error {
			time.Sleep(25 * time.Hour)
			return nil
		},
		"the daemon ends": func(_ context.Context, p pool, _, _ xenapi.Ref[xenapi.Session]) error { p.CloseDatabases(); return nil },
	} {
		for _, used := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t)
				parent, err := p.Login(t.Context(), "ann", "a", anyone)
				if err != nil {
					t.Fatal(err)
				}
				ref, opened, err := p.openFor(t, parent)
				if err != nil {
					t.Fatal(err)
				}
				rec, d, err := p.Database(t.Context(), ref)
				if err != nil || d != opened || rec.AuthUserName != "ann" || rec.Role != xenapi.RoleVMAdmin || rec.Parent != parent {
					t.Errorf("%s: before: %v, %+v", name, err, rec)
				}
				_, err = p.Session(t.Context(), ref)
				wantCode(t, err, xenapi.CodeSessionInvalid) // for whoever does not ask for such sessions
				if _, d, err := p.Database(t.Context(), parent); d != nil || err != nil {
					t.Errorf("%s: the session that opened it: %v", name, err)
				}
				if err := end(t.Context(), p, parent, ref); err != nil {
					t.Fatal(err)
				}
				if used {
					if _, d, _ := p.Database(t.Context(), ref); d != nil {
						t.Errorf("%s: it is still open", name)
					}
				} else if err := p.Collect(t.Context(), time.Now()); err != nil {
					t.Error(err)
				}
				if !closed(t, opened) {
					t.Errorf("%s, used afterwards: %t: it is still in memory", name, used)
				}
			})
		}
	}
}

// TestOpenedDatabasesAreFew: they are in memory.
func TestOpenedDatabasesAreFew(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	defer p.CloseDatabases()
	parent, err := p.Login(t.Context(), "ann", "a", anyone)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, _, err := p.openFor(t, parent); err != nil {
			t.Fatal(err)
		}
	}
	_, refused, err := p.openFor(t, parent)
	wantCode(t, err, xenapi.CodeTooBusy)
	if !closed(t, refused) {
		t.Error("the one that was refused is still followed")
	}
}
