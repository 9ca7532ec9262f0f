package pool_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

const (
	uuidOne   = "11111111-1111-4111-8111-111111111111"
	uuidTwo   = "22222222-2222-4222-8222-222222222222"
	uuidThree = "33333333-3333-4333-8333-333333333333"
)

// known is a host with its credentials.
type known struct {
	*pool.Credentials
	d    *db.DB
	keys *authority.Keyholder
	host xenapi.Ref[xenapi.Host]
	dir  string
}

func newKnown(t *testing.T, store db.Store, uuid string) known {
	t.Helper()
	k := known{d: open(t, store, uuid), keys: &authority.Keyholder{}, dir: filepath.Join(t.TempDir(), "identity")}
	k.host = enter(t, k.d, pool.Identity{HostUUID: uuid, Hostname: uuid[:1]}).Host
	roster := &pool.Roster{}
	roster.Read(k.d)
	k.keys.Allowed = roster.Names
	k.Credentials = pool.NewCredentials(k.d, k.keys, k.dir, uuid, slog.New(slog.DiscardHandler))
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

// reaches dials to as a host, and gives whom each end takes the other for.
func (k known) reaches(t *testing.T, to known) (there, here string, err error) {
	t.Helper()
	a, b := net.Pipe()
	server := tls.Server(b, to.keys.ServerConfig(&tls.Config{}))
	done := make(chan error, 1)
	go func() {
		err := server.HandshakeContext(t.Context())
		here, _ = to.keys.Peer(server.ConnectionState())
		b.Close()
		done <- err
	}()
	client := tls.Client(a, k.keys.ClientConfig())
	err = client.HandshakeContext(t.Context())
	there, _ = k.keys.Peer(client.ConnectionState())
	a.Close()
	err = errors.Join(err, <-done)
	return there, here, err
}

func TestHostsKnowOneAnother(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	one, two := newKnown(t, store, uuidOne), newKnown(t, store, uuidTwo)
	if there, here, err := one.reaches(t, two); err != nil || there != uuidTwo || here != uuidOne {
		t.Errorf("host 1 met %q, host 2 met %q, %v", there, here, err)
	}
	stranger := newKnown(t, memkv.New(), uuidThree)
	if _, _, err := stranger.reaches(t, one); err == nil {
		t.Error("a host of another pool got in")
	}

	// A host that is ejected is refused at once, its certificate notwithstanding.
	if err := one.d.Update(t.Context(), func(tx *db.Tx) error { return db.Delete(tx, two.host) }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.reaches(t, one); err == nil {
		t.Error("a host that is no longer of the pool got in")
	}
}

// What is on the disk serves for the next start; what is damaged there is made anew.
func TestCredentialsLast(t *testing.T) {
	t.Parallel()
	k := newKnown(t, memkv.New(), uuidOne)
	first, _ := k.keys.Current()
	file, authorities := k.Files()
	if _, err := tls.LoadX509KeyPair(file, file); err != nil {
		t.Errorf("the file does not serve for both certificate and key: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file has mode %v, %v", info.Mode(), err)
	}
	if text, err := os.ReadFile(authorities); err != nil || string(text) != string(first.Trust.Marshal()) {
		t.Errorf("the authorities' file holds %q, %v", text, err)
	}
	again := func() authority.Identity {
		t.Helper()
		keys := &authority.Keyholder{}
		if err := pool.NewCredentials(k.d, keys, k.dir, uuidOne, slog.New(slog.DiscardHandler)).Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		id, ok := keys.Current()
		if !ok || id.Host != uuidOne {
			t.Fatalf("the identity is of %q", id.Host)
		}
		return id
	}
	if string(again().Cert) != string(first.Cert) {
		t.Error("a second start made another certificate")
	}
	for name, text := range map[string]string{"empty": "", "garbage": "garbage", "half": string(first.Cert)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if string(again().Cert) == string(first.Cert) {
			t.Errorf("%s: there is no new certificate", name)
		}
	}
}

// A certificate is renewed long before its time is over, while the host runs.
func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, memkv.New(), uuidOne)
		enter(t, d, pool.Identity{HostUUID: uuidOne, Hostname: "one"})
		keys := &authority.Keyholder{}
		c := pool.NewCredentials(d, keys, filepath.Join(dir, "identity"), uuidOne, slog.New(slog.DiscardHandler))
		if err := c.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Follow(ctx) }()
		first, _ := keys.Current()
		time.Sleep(7 * 30 * 24 * time.Hour)
		if now, _ := keys.Current(); string(now.Cert) != string(first.Cert) {
			t.Error("a certificate was renewed that has half a year to go")
		}
		time.Sleep(3 * 30 * 24 * time.Hour)
		synctest.Wait()
		now, _ := keys.Current()
		if string(now.Cert) == string(first.Cert) || now.NeedsRenewal(time.Now()) || now.Authority() != first.Authority() {
			t.Error("the certificate was not renewed by the same authority")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
		d.Close()
	})
}
