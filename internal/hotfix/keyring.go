package hotfix

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"poolpatch/xenapi"
)

const (
	maxKeyFile = 16 << 20 // bytes
	minRSABits = 2048
)

// Key describes a key that this host trusts to sign patches.
type Key struct {
	Fingerprint string // upper-case hex
	File        string
	UserIDs     []string
	Created     time.Time
	Expires     time.Time // zero: never
	Revoked     bool
	Unusable    string // why no patch can be signed with it now; "" if one can
}

// Keyring holds the public keys that may sign patches: the primary keys found in the files of a directory,
// which are trusted because root put them there, and their signing subkeys. The zero Keyring trusts nobody.
type Keyring struct {
	dir     string
	entries []entry
}

type entry struct {
	file   string
	entity *openpgp.Entity
}

// trustedKey is a key, or a subkey, that signatures are checked with.
type trustedKey struct {
	public      *packet.PublicKey
	fingerprint string // of the primary key
}

// LoadKeyring reads every file of a directory, each with one or more public keys, binary or armored. Names
// that begin with a dot are passed over; a directory that is missing is an empty keyring. A file that cannot
// be read in full, holds a private key, or repeats a key of another file is PATCH_TRUST_UNREADABLE, which names it: a
// keyring that is half read could miss a revocation.
func LoadKeyring(dir string) (*Keyring, error) {
	k, faults := readKeyring(dir)
	if len(faults) > 0 {
		return nil, faults[0]
	}
	return k, nil
}

// ListKeys lists the keys of a directory as they are at a time, sorted by fingerprint, and a PATCH_TRUST_UNREADABLE for
// each file because of which [LoadKeyring] gives none of them.
func ListKeys(dir string, now time.Time) ([]Key, []*xenapi.Error) {
	k, faults := readKeyring(dir)
	return k.Keys(now), faults
}

func readKeyring(dir string) (k *Keyring, faults []*xenapi.Error) {
	k = &Keyring{dir: dir}
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return k, []*xenapi.Error{unreadable(dir, err)}
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") || f.IsDir() {
			continue
		}
		path := filepath.Join(dir, f.Name())
		if err := k.load(path); err != nil {
			faults = append(faults, unreadable(path, err))
		}
	}
	return k, faults
}

func unreadable(file string, err error) *xenapi.Error {
	return xenapi.ErrPatchTrustUnreadable(file, err.Error()).Because(err)
}

func (k *Keyring) load(path string) error {
	data, err := readBounded(path, maxKeyFile)
	if err != nil {
		return err
	}
	entities, err := parseKeys(data)
	if err != nil {
		return err
	}
	for _, e := range entities {
		for _, other := range k.entries {
			if bytes.Equal(other.entity.PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint) {
				return fmt.Errorf("key %s is in %s too: remove the older file", fingerprint(e), other.file)
			}
		}
		k.entries = append(k.entries, entry{path, e})
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes are too many", limit)
	}
	return data, err
}

// parseKeys reads a key file: packets, or any number of armored blocks with text between them.
func parseKeys(data []byte) (all []*openpgp.Entity, err error) {
	if len(data) > 12 && string(data[8:12]) == "KBXf" {
		return nil, errors.New("this is a gpg keybox; write the key with gpg --export")
	}
	for _, block := range splitArmor(data) {
		some, err := readEntities(block)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no public key")
	}
	return all, nil
}

// splitArmor gives a reader for each armored block, or one for everything when nothing is armored.
func splitArmor(data []byte) (blocks []io.Reader) {
	begin := []byte("-----BEGIN PGP ")
	if len(data) > 0 && data[0]&0x80 != 0 || !bytes.Contains(data, begin) {
		return []io.Reader{bytes.NewReader(data)}
	}
	for _, part := range bytes.Split(data, begin)[1:] {
		blocks = append(blocks, &armored{text: io.MultiReader(bytes.NewReader(begin), bytes.NewReader(part))})
	}
	return blocks
}

// armored decodes one block when it is first read.
type armored struct{ text, body io.Reader }

func (a *armored) Read(p []byte) (int, error) {
	if a.body == nil {
		block, err := armor.Decode(a.text)
		if err != nil {
			return 0, errors.New("its ASCII armor is broken")
		}
		a.body = block.Body
	}
	return a.body.Read(p)
}

func readEntities(r io.Reader) (all []*openpgp.Entity, err error) {
	packets := packet.NewReader(r)
	for {
		e, err := openpgp.ReadEntity(packets)
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("read key: %w", err)
		case e.PrivateKey != nil:
			return nil, errors.New("it holds a private key; only the public one belongs here (gpg --export)")
		}
		all = append(all, e)
	}
}

// only is the keyring of one file.
func (k *Keyring) only(file string) *Keyring {
	one := &Keyring{dir: filepath.Join(k.dir, file)}
	for _, e := range k.entries {
		if filepath.Base(e.file) == file {
			one.entries = append(one.entries, e)
		}
	}
	return one
}

// Keys lists the keys as they are at a time, sorted by fingerprint.
func (k *Keyring) Keys(now time.Time) []Key {
	var all []Key
	for _, e := range k.entries {
		key := Key{
			Fingerprint: fingerprint(e.entity), File: e.file,
			Created: e.entity.PrimaryKey.CreationTime.UTC(), Revoked: len(e.entity.Revocations) > 0,
			Expires: expiry(e.entity.PrimaryKey, selfSignature(e.entity)),
		}
		for name := range e.entity.Identities {
			key.UserIDs = append(key.UserIDs, name)
		}
		slices.Sort(key.UserIDs)
		if err := anyUsable(e.entity, now); err != nil {
			key.Unusable = err.Error()
		}
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b Key) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) })
	return all
}

// find gives the keys of an id that may sign now. It refuses, with the reason, when there is none.
func (k *Keyring) find(id uint64, now time.Time) (found []*trustedKey, err error) {
	err = refusef("the file is signed by key %s, which is not trusted", keyName(id))
	if len(k.entries) == 0 {
		err = refusef("the file is signed by key %s, but this host trusts no key (%s is empty)", keyName(id), k.dir)
	}
	for _, e := range k.entries {
		for _, public := range publicKeys(e.entity) {
			if public.KeyId != id {
				continue
			}
			if why := unusable(e.entity, public, now); why != nil {
				err = refusef("the file is signed by key %s, which cannot be used: %v", fingerprint(e.entity), why)
				continue
			}
			found = append(found, &trustedKey{public, fingerprint(e.entity)})
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

func publicKeys(e *openpgp.Entity) []*packet.PublicKey {
	all := []*packet.PublicKey{e.PrimaryKey}
	for _, sub := range e.Subkeys {
		all = append(all, sub.PublicKey)
	}
	return all
}

// anyUsable says why none of an entity's keys can sign; the primary's reason speaks for all.
func anyUsable(e *openpgp.Entity, now time.Time) error {
	first := unusable(e, e.PrimaryKey, now)
	for _, sub := range e.Subkeys {
		if first == nil || unusable(e, sub.PublicKey, now) == nil {
			return nil
		}
	}
	return first
}

// unusable says why a key of an entity may not sign patches now, or nil. A subkey is as good as its primary
// key at best. A revocation counts whatever its date.
func unusable(e *openpgp.Entity, public *packet.PublicKey, now time.Time) error {
	self := selfSignature(e)
	switch {
	case len(e.Revocations) > 0:
		return refusal("it was revoked")
	case self == nil:
		return refusal("all its user ids were revoked")
	}
	if err := outOfTime(e.PrimaryKey, self, now); err != nil {
		return err
	}
	for _, sub := range e.Subkeys {
		if sub.PublicKey == public {
			return subkeyUnusable(sub, now)
		}
	}
	if self.FlagsValid && !self.FlagSign {
		return refusal("it is not for signing")
	}
	return tooWeak(public)
}

func subkeyUnusable(sub openpgp.Subkey, now time.Time) error {
	switch {
	case len(sub.Revocations) > 0:
		return refusal("its subkey was revoked")
	case !sub.Sig.FlagSign:
		return refusal("its subkey is not for signing")
	}
	if err := outOfTime(sub.PublicKey, sub.Sig, now); err != nil {
		return err
	}
	return tooWeak(sub.PublicKey)
}

func outOfTime(public *packet.PublicKey, self *packet.Signature, now time.Time) error {
	if public.CreationTime.After(now.Add(clockSkew)) {
		return refusal("it is from the future; check this host's clock")
	}
	if end := expiry(public, self); !end.IsZero() && !now.Before(end) {
		return refusef("it expired on %s", end.Format(time.RFC3339))
	}
	return nil
}

func tooWeak(public *packet.PublicKey) error {
	switch public.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if bits, err := public.BitLength(); err != nil || bits < minRSABits {
			return refusef("its %d bits are too few, RSA needs %d", bits, minRSABits)
		}
	}
	return nil
}

// expiry is when a key ends, as its self-signature says; zero is never.
func expiry(public *packet.PublicKey, self *packet.Signature) time.Time {
	if self == nil || self.KeyLifetimeSecs == nil || *self.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return public.CreationTime.Add(time.Duration(*self.KeyLifetimeSecs) * time.Second).UTC()
}

// selfSignature gives the newest self-signature of a user id that was not revoked: it is the one that says
// how long the key lives and what it is for. Of two of one second, the one that lets it end first counts.
func selfSignature(e *openpgp.Entity) *packet.Signature {
	var newest *packet.Signature
	for _, id := range e.Identities {
		self := id.SelfSignature
		if self == nil || len(id.Revocations) > 0 {
			continue
		}
		if newest == nil || self.CreationTime.After(newest.CreationTime) ||
			self.CreationTime.Equal(newest.CreationTime) && endsBefore(e.PrimaryKey, self, newest) {
			newest = self
		}
	}
	return newest
}

func endsBefore(public *packet.PublicKey, a, b *packet.Signature) bool {
	x, y := expiry(public, a), expiry(public, b)
	return !x.IsZero() && (y.IsZero() || x.Before(y))
}

func fingerprint(e *openpgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }

// keyName writes a key id as gpg does.
func keyName(id uint64) string { return fmt.Sprintf("%016X", id) }
