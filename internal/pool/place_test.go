package pool_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/authority"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "place.json")
	if p, err := pool.ReadPlace(file); err != nil || p.Role != pool.Founder {
		t.Errorf("no file: %+v, %v", p, err)
	}
	want := pool.Place{Role: pool.Member, Keepers: []pool.Keeper{{"a1", "https://192.0.2.1:443"}, {"b2", "https://192.0.2.2:8443"}}}
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	if p, err := pool.ReadPlace(file); err != nil || !cmp.Equal(p, want) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, text := range []string{"", "garbage", `{"role":"member","surprise":1}`} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := pool.ReadPlace(file); err == nil {
			t.Errorf("%q is the place %+v", text, p)
		}
	}
}

// home is a host's directory, with a database and an identity.
func home(t *testing.T) (pool.Files, authority.Identity) {
	t.Helper()
	dir := t.TempDir()
	f := pool.Files{
		Place: filepath.Join(dir, "place.json"), Moving: filepath.Join(dir, "moving.json"),
		Identity: filepath.Join(dir, "identity"), Database: filepath.Join(dir, "etcd"),
	}
	keys := &authority.Keyholder{}
	if err := pool.Prepare(keys, f.Identity, uuidOne, time.Now()); err != nil {
		t.Fatal(err)
	}
	fill(t, f.Database, "old")
	id, _ := keys.Current()
	return f, id
}

func fill(t *testing.T, dir, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "data"), []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// TestMove interrupts a move after each of its steps: the next start completes it.
func TestMove(t *testing.T) {
	t.Parallel()
	_, other := home(t)
	as := pool.Credential{Key: string(other.Key), Certificate: string(other.Cert), Trusted: string(other.Trust.Marshal())}
	to := pool.Place{Role: pool.Client, Keepers: []pool.Keeper{{"a1", "https://192.0.2.1:443"}}}
	for name, undone := range map[string]func(f pool.Files){
		"nothing was done": func(pool.Files) {},
		"the database was set aside": func(f pool.Files) {
			fill(t, f.Database+".former", "old")
			if err := os.RemoveAll(f.Database); err != nil {
				t.Fatal(err)
			}
		},
		"an older database stands aside": func(f pool.Files) { fill(t, f.Database+".former", "older") },
		"half of the identity was written": func(f pool.Files) {
			_, authorities := pool.CredentialFiles(f.Identity)
			if err := os.WriteFile(authorities, []byte(as.Trusted), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"the place was written": func(f pool.Files) {
			if err := to.Write(f.Place); err != nil {
				t.Fatal(err)
			}
		},
	} {
		f, _ := home(t)
		if err := f.Move(to, as); err != nil {
			t.Fatal(err)
		}
		undone(f)
		if moved, err := f.CompleteMove(); err != nil || !moved {
			t.Errorf("%s: %t, %v", name, moved, err)
		}
		if place, err := pool.ReadPlace(f.Place); err != nil || !cmp.Equal(place, to) {
			t.Errorf("%s: the place is %+v, %v", name, place, err)
		}
		if got := read(t, filepath.Join(f.Database, "data")) + "," + read(t, filepath.Join(f.Database+".former", "data")); got != ",old" {
			t.Errorf("%s: the databases are %q", name, got)
		}
		keys := &authority.Keyholder{}
		if err := pool.Prepare(keys, f.Identity, uuidOne, time.Now()); err != nil {
			t.Fatal(err)
		}
		if id, ok := keys.Current(); !ok || string(id.Cert) != as.Certificate {
			t.Errorf("%s: the host is not known as it should be", name)
		}

		// Then it lives there, and no start sets its new database aside.
		fill(t, f.Database, "new")
		if moved, err := f.CompleteMove(); err != nil || moved || read(t, filepath.Join(f.Database, "data")) != "new" {
			t.Errorf("%s: moved again: %t, %v", name, moved, err)
		}
	}
}

// A host that leaves its pool is known to nobody, and begins anew.
func TestMoveOut(t *testing.T) {
	t.Parallel()
	f, former := home(t)
	if err := (pool.Place{Role: pool.Member}).Write(f.Place); err != nil {
		t.Fatal(err)
	}
	if err := f.Move(pool.Place{}, pool.Credential{}); err != nil {
		t.Fatal(err)
	}
	if moved, err := f.CompleteMove(); err != nil || !moved {
		t.Fatalf("%t, %v", moved, err)
	}
	keys := &authority.Keyholder{}
	if err := pool.Prepare(keys, f.Identity, uuidOne, time.Now()); err != nil {
		t.Fatal(err)
	}
	if id, ok := keys.Current(); !ok || id.Authority() == former.Authority() {
		t.Error("the host is still known to the pool that it left")
	}
	if place, err := pool.ReadPlace(f.Place); err != nil || place.Role != pool.Founder {
		t.Errorf("its place is %+v, %v", place, err)
	}
}

// The authority that a first host makes before it has a database is the pool's, and its key is then in the database alone.
func TestFoundingAuthority(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "identity")
	keys := &authority.Keyholder{}
	for range 2 { // the first start was interrupted
		if err := pool.Prepare(keys, dir, uuidOne, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := keys.Current()
	d := open(t, memkv.New(), uuidOne)
	enter(t, d, pool.Identity{HostUUID: uuidOne, Hostname: "one"})
	if err := pool.NewCredentials(d, keys, dir, uuidOne, slog.New(slog.DiscardHandler)).Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, _ := keys.Current(); string(after.Cert) != string(before.Cert) {
		t.Error("the host has another certificate now than when it started")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}
