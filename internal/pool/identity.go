package pool

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/durable"
	"poolpatch/xenapi"
)

// renewalInterval lies between two looks at how old the host's certificate is.
const renewalInterval = 12 * time.Hour

// renewalPause lies between two attempts to follow the pool's trust.
const renewalPause = time.Minute

// trust is how the hosts of the pool know one another: its one row.
type trust struct {
	// Authority signs the certificates of hosts: certificate and private key in PEM.
	Authority string `json:"authority" xenapi:"internal,secret"`
	// Next is the authority that is to sign once every host trusts it; "" when none is. See rotate.go.
	Next string `json:"next" xenapi:"internal,secret"`
	// Trusted are the certificates of the authorities that count, in PEM: two while one is replaced.
	Trusted string `json:"trusted" xenapi:"internal"`
}

// Class names the table.
func (trust) Class() string { return "trust" }

const theTrust = xenapi.Ref[trust]("trust")

// Credentials are this host's identity among the hosts of its pool, on its disk and in its Keyholder.
type Credentials struct {
	db     *db.DB
	keys   *authority.Keyholder
	dir    string
	host   string // UUID
	log    *slog.Logger
	pinned []byte // see Pin; nil where this host has no copy of the database
}

// Roster tells which hosts are of the pool: those that the database names, and as long as there is none, all that have a
// certificate of the pool's.
type Roster struct{ db atomic.Pointer[db.DB] }

// Read has the roster ask a database.
func (r *Roster) Read(d *db.DB) { r.db.Store(d) }

// Names reports whether a host, by its UUID, is of the pool.
func (r *Roster) Names(host string) bool {
	d := r.db.Load()
	return d == nil || d.View(func(tx *db.Tx) error { _, err := db.ByUUID[xenapi.Host](tx, host); return err }) == nil
}

// Knows is Names as a majority of the database's copies says it at this moment: what this host has seen may be old, and a
// host that is told that it was ejected gives its place up. The error says that this host cannot know.
func (r *Roster) Knows(ctx context.Context, host string) (bool, error) {
	d := r.db.Load()
	if d == nil {
		return false, errors.New("this host has no database yet")
	}
	ctx, cancel := context.WithTimeout(ctx, rollTimeout)
	defer cancel()
	if err := d.Sync(ctx); err != nil {
		return false, err
	}
	return r.Names(host), nil
}

// NewCredentials makes a host's credentials, which are kept in dir.
func NewCredentials(d *db.DB, keys *authority.Keyholder, dir, hostUUID string, log *slog.Logger) *Credentials {
	return &Credentials{db: d, keys: keys, dir: dir, host: hostUUID, log: log}
}

// Files are PEM files of the credentials, for what reads them itself, as etcd does: the certificate together with its key,
// so that they are never of two minds, and the authorities.
func (c *Credentials) Files() (identity, authorities string) { return CredentialFiles(c.dir) }

// CredentialFiles are the Files of credentials in a directory.
func CredentialFiles(dir string) (identity, authorities string) {
	return filepath.Join(dir, "host.pem"), filepath.Join(dir, "authorities.pem")
}

// founding is the file of an authority that no database knows yet. It is gone once one does.
func founding(dir string) string { return filepath.Join(dir, "founding-authority.pem") }

// Prepare makes this host known to others by what is on its disk, before there is a database: etcd's members need one
// another to have one. A host that is in no pool yet makes the authority of its own, which its database gets when it
// is first opened. A crash at any point is made good by the next call.
func Prepare(keys *authority.Keyholder, dir, hostUUID string, now time.Time) error {
	c := &Credentials{keys: keys, dir: dir, host: hostUUID, log: slog.New(slog.DiscardHandler)}
	identity, authorities := c.Files()
	cert, key, err := readIdentity(identity)
	if err != nil {
		return fmt.Errorf("certificate of this host: %w", err)
	}
	if text, err := os.ReadFile(authorities); err == nil && cert != nil {
		if trusted, err := authority.ParseTrust(text); err == nil && keys.Set(key, cert, trusted) == nil {
			return nil
		}
	}
	if err := durable.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	signer, err := found(dir, now)
	if err != nil {
		return fmt.Errorf("authority of a new pool: %w", err)
	}
	if err := durable.WriteFile(authorities, signer.Trust().Marshal(), 0o644); err != nil {
		return err
	}
	return c.renew(signer, signer.Trust(), now)
}

// found makes an authority, or takes the one that an interrupted start has made.
func found(dir string, now time.Time) (*authority.Authority, error) {
	if text, err := os.ReadFile(founding(dir)); err == nil {
		return authority.Parse(text)
	}
	made, err := authority.New("poolpatch pool", now)
	if err != nil {
		return nil, err
	}
	secret, err := made.Marshal()
	if err != nil {
		return nil, err
	}
	return made, durable.WriteFile(founding(dir), secret, 0o600)
}

// Pin says that this host's copy of the database knows these authorities alone, in PEM, until the daemon starts again: the
// pool does not go on without those before.
func (c *Credentials) Pin(trusted []byte) { c.pinned = trusted }

// Load makes the credentials count that the database and the disk say, and makes what is missing: the pool's authority, if
// this is its first host, and the host's certificate, if there is none, or it is too old or another authority's.
func (c *Credentials) Load(ctx context.Context) error {
	if err := c.ensureTrust(ctx); err != nil {
		return fmt.Errorf("pool authority: %w", err)
	}
	if err := c.refresh(time.Now()); err != nil {
		return fmt.Errorf("certificate of this host: %w", err)
	}
	return nil
}

// Follow keeps the credentials true to the pool's trust, says so in the database, and renews the certificate in time, until
// ctx ends.
func (c *Credentials) Follow(ctx context.Context) error {
	var seen trust // none: the trust may have changed since Load
	for {
		look, cancel := context.WithTimeout(ctx, renewalInterval)
		err := c.db.Wait(look, func(tx *db.Tx) (bool, error) {
			now, _ := db.Lookup(tx, theTrust)
			return now != seen, nil
		})
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		seen = c.trust()
		if err = c.refresh(time.Now()); err == nil {
			err = c.report(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.log.Error("certificate of this host among its pool not renewed", "error", err)
			seen = trust{}
			_ = pause(ctx, renewalPause)
		}
	}
}

func (c *Credentials) trust() (now trust) {
	_ = c.db.View(func(tx *db.Tx) error { now, _ = db.Lookup(tx, theTrust); return nil })
	return now
}

// ensureTrust makes the pool's authority once: two hosts that try at the same time end up with one. It is the one that
// Prepare has made, where it has.
func (c *Credentials) ensureTrust(ctx context.Context) error {
	if err := durable.Mkdir(c.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	err := c.db.Update(ctx, func(tx *db.Tx) error {
		if _, ok := db.Lookup(tx, theTrust); ok {
			return nil
		}
		made, err := found(c.dir, time.Now())
		if err != nil {
			return err
		}
		secret, err := made.Marshal()
		if err != nil {
			return err
		}
		return db.Insert(tx, theTrust, trust{Authority: string(secret), Trusted: string(made.Trust().Marshal())})
	})
	if err != nil {
		return err
	}
	return durable.Remove(founding(c.dir))
}

// refresh takes the certificate on the disk, if it is good for the trust that is, or has a new one made.
func (c *Credentials) refresh(now time.Time) error {
	pool := c.trust()
	signer, err := authority.Parse([]byte(pool.Authority))
	if err != nil {
		return err
	}
	trusted, err := authority.ParseTrust([]byte(pool.Trusted))
	if err != nil {
		return err
	}
	identity, authorities := c.Files()
	if old, err := os.ReadFile(authorities); err != nil || !bytes.Equal(old, trusted.Marshal()) {
		if err := durable.WriteFile(authorities, trusted.Marshal(), 0o644); err != nil {
			return err
		}
	}
	cert, key, err := readIdentity(identity)
	if err != nil {
		return err
	}
	if c.keys.Set(key, cert, trusted) == nil && c.current(signer, now) {
		return nil
	}
	return c.renew(signer, trusted, now)
}

// current says whether the identity that counts is this host's, young, and of the authority that signs now.
func (c *Credentials) current(signer *authority.Authority, now time.Time) bool {
	id, ok := c.keys.Current()
	return ok && id.Host == c.host && id.Authority() == signer.Fingerprint() && !id.NeedsRenewal(now)
}

// renew makes a key and a certificate.
func (c *Credentials) renew(signer *authority.Authority, trusted authority.Trust, now time.Time) error {
	key, request, err := authority.NewHost()
	if err != nil {
		return err
	}
	cert, err := signer.Issue(request, c.host, now)
	if err != nil {
		return err
	}
	identity, _ := c.Files()
	if err := durable.WriteFile(identity, slices.Concat(cert, key), 0o600); err != nil {
		return err
	}
	c.log.Info("this host has a new certificate among its pool", "authority", signer.Fingerprint())
	return c.keys.Set(key, cert, trusted)
}

// readIdentity parts the file that renew writes. One that is not there is empty.
func readIdentity(path string) (cert, key []byte, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	block, rest := pem.Decode(text)
	if block == nil || err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), rest, nil
}
