package pool_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// TestAHostKeepsItsName: the name that an administrator gave a host is the one by which it makes the next pool.
func TestAHostKeepsItsName(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "name")
	kept := func() string {
		t.Helper()
		name, err := pool.Name(file)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	synctest.Test(t, func(t *testing.T) {
		d := open(t, memkv.New(), "one")
		m := enter(t, d, one)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- pool.KeepName(ctx, d, m.Host, file) }()
		for _, name := range []string{"named", "named again\n"} {
			change(t, d, m.Host, func(rec *xenapi.Host) { rec.NameLabel = name })
			synctest.Wait()
			if got := kept(); got != name {
				t.Errorf("kept is %q, want %q", got, name)
			}
		}
		// The pool takes the host out, and says nothing more of it.
		if err := d.Update(t.Context(), func(tx *db.Tx) error { return db.Delete(tx, m.Host) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		d.Close()
	})
	id := one
	id.Name = kept()
	d := open(t, memkv.New(), "one")
	if got := get(t, d, enter(t, d, id).Host); got.NameLabel != "named again\n" || got.Hostname != one.Hostname {
		t.Errorf("in the next pool it is %q", got.NameLabel)
	}
}
