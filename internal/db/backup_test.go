package db_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// pooled is a database with a few rows, and a backup of it.
func pooled(t *testing.T) (sr xenapi.Ref[xenapi.SR], backup []byte) {
	t.Helper()
	store := memkv.New()
	d := openTables(t, store)
	sr = xenapi.NewRef[xenapi.SR]()
	if err := d.Update(t.Context(), func(tx *db.Tx) error {
		if err := db.Insert(tx, xenapi.NewRef[xenapi.Session](), xenapi.Session{UUID: xenapi.NewUUID()}); err != nil {
			return err
		}
		return db.Insert(tx, sr, xenapi.SR{UUID: "uuid-of-sr", NameLabel: "line\nbreak \"quoted\" <ü>"})
	}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := db.Backup(t.Context(), store, &out, time.Now(), "session"); err != nil || n != 2 {
		t.Fatalf("%d keys, %v", n, err)
	}
	return sr, out.Bytes()
}

func wholeBackup(t *testing.T, backup []byte) db.Saved {
	t.Helper()
	saved, err := db.ReadBackup(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func openTables(t *testing.T, store db.Store) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), store, db.Options{Tables: []db.Table{db.TableOf[xenapi.SR](), db.TableOf[xenapi.Session]()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestBackupComesBack(t *testing.T) {
	t.Parallel()
	sr, backup := pooled(t)
	store, saved := memkv.New(), wholeBackup(t, backup)
	if !saved.Has("SR", "uuid-of-sr") || saved.Has("SR", "another") || saved.Has("host", "uuid-of-sr") {
		t.Error("the backup does not know what is in it")
	}
	if n, err := db.Restore(t.Context(), store, saved); err != nil || n != 2 {
		t.Fatalf("%d keys, %v", n, err)
	}
	d := openTables(t, store)
	_ = d.View(func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, sr); !ok || rec.NameLabel != "line\nbreak \"quoted\" <ü>" {
			t.Errorf("the row is %+v", rec)
		}
		for ref := range db.All[xenapi.Session](tx) {
			t.Errorf("session %s has come back", ref)
		}
		return nil
	})
	if err := d.Update(t.Context(), func(tx *db.Tx) error {
		return db.Insert(tx, xenapi.NewRef[xenapi.SR](), xenapi.SR{UUID: "uuid-of-sr"})
	}); err == nil {
		t.Error("a uuid that came back was given again")
	}
	if _, err := db.Restore(t.Context(), store, saved); !errors.Is(err, db.ErrNotEmpty) {
		t.Errorf("over a pool: %v", err)
	}
}

// Nothing of a backup that is not whole, or not one, is taken.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	_, backup := pooled(t)
	lines := strings.SplitAfter(string(backup), "\n")
	for name, text := range map[string]string{
		"empty":             "",
		"garbage":           "garbage",
		"without its end":   strings.Join(lines[:len(lines)-2], ""),
		"without a line":    lines[0] + strings.Join(lines[2:], ""),
		"with a line twice": lines[0] + lines[1] + strings.Join(lines[1:], ""),
		"one byte changed":  strings.Replace(string(backup), "uuid-of-sr", "uuid-of-sR", 1),
	} {
		if saved, err := db.ReadBackup(strings.NewReader(text)); !errors.Is(err, db.ErrNoBackup) || saved.Has("SR", "uuid-of-sr") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A restoration that broke off is not taken for a pool.
func TestInterruptedRestoration(t *testing.T) {
	t.Parallel()
	_, backup := pooled(t)
	store := memkv.New(memkv.WithFaults(func(n int, _ []db.Guard, _ []db.Op) memkv.Fault {
		if n == 2 {
			return memkv.FailNotPersisted
		}
		return memkv.None
	}))
	if _, err := db.Restore(t.Context(), store, wholeBackup(t, backup)); !errors.Is(err, memkv.ErrInjected) {
		t.Fatalf("%v", err)
	}
	if _, err := db.Open(context.Background(), store, db.Options{}); !errors.Is(err, db.ErrDamaged) {
		t.Errorf("it opens: %v", err)
	}
}
