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
	if n, err := db.Backup(t.Context(), store, &out, time.Now(), db.Omission{Classes: []string{"session"}}); err != nil || n != 2 {
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
	if got := saved.UUIDs("SR"); len(got) != 1 || got[0] != "uuid-of-sr" || len(saved.UUIDs("host")) != 0 {
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
		if saved, err := db.ReadBackup(strings.NewReader(text)); !errors.Is(err, db.ErrNoBackup) || len(saved.UUIDs("SR")) > 0 {
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

// What is left out of a backup is not in its text either; a field that its table does not know stays.
func TestOmission(t *testing.T) {
	t.Parallel()
	store, users := memkv.New(), []db.Table{db.TableOf[xenapi.User](), db.TableOf[xenapi.SR]()}
	d, err := db.Open(t.Context(), store, db.Options{Tables: users})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Update(t.Context(), func(tx *db.Tx) error {
		return errors.Join(db.Insert(tx, "OpaqueRef:ann", xenapi.User{UUID: "uuid-ann", ShortName: "ann", PasswordHash: "the hash"}),
			db.Insert(tx, "OpaqueRef:bob", xenapi.User{UUID: "uuid-bob", ShortName: "bob", PasswordHash: "the hash"}),
			db.Insert(tx, "OpaqueRef:sr", xenapi.SR{UUID: "uuid-sr"}))
	}); err != nil {
		t.Fatal(err)
	}
	later := []db.Op{{Key: "/poolpatch/row/user/OpaqueRef:eve", Value: []byte(`{"short_name":"eve","password_hash":"the hash","of_later":1}`)}}
	if _, err := store.Commit(t.Context(), nil, later); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		without  db.Omission
		has, not []string
	}{
		"nothing": {db.Omission{}, []string{"ann", "bob", "eve", "uuid-sr", "the hash"}, nil},
		"a class": {db.Omission{Classes: []string{"user"}}, []string{"uuid-sr"}, []string{"ann", "bob", "the hash"}},
		"a row": {db.Omission{Row: func(class, ref string) bool { return class == "user" && ref == "OpaqueRef:bob" }},
			[]string{"ann", "uuid-sr", "the hash"}, []string{`\"bob\"`}},
		"secrets": {db.Omission{Secrets: users}, []string{"ann", "bob", "eve", "of_later", "uuid-sr"}, []string{"the hash"}},
	} {
		var out bytes.Buffer
		if _, err := db.Backup(t.Context(), store, &out, time.Now(), tt.without); err != nil {
			t.Fatal(err)
		}
		for _, text := range tt.has {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is missing", name, text)
			}
		}
		for _, text := range tt.not {
			if strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is there", name, text)
			}
		}
		wholeBackup(t, out.Bytes())
	}
}
