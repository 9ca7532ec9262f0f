package pool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"poolpatch/internal/durable"
)

// Role says how a host has the pool's database. The zero value is a host whose own directory says it all.
type Role string

const (
	// Founder has the database in its own directory, and made it. It is also what a host is that is in no pool yet.
	Founder Role = ""
	// Member has a copy of the database, and a vote.
	Member Role = "member"
	// Client reaches the database on the members.
	Client Role = "client"
)

// Keeper is a host that has a copy of the database.
type Keeper struct {
	ID  string `json:"id"`  // of etcd's member, in hexadecimal
	URL string `json:"url"` // https://address:port
}

// Place is where a host's database is. It is a file on the host, because the host must know it before it has a database.
type Place struct {
	Role Role `json:"role"`
	// Keepers are the members: for a Member those that it joins at its first start, itself included; for a Client those
	// that it asks.
	Keepers []Keeper `json:"keepers,omitempty"`
	// Alone makes the copy in the host's own directory the only one at the next start: the others are lost.
	Alone bool `json:"alone,omitempty"`
}

// Credential is by what a host is known in the pool that it moves to, in PEM.
type Credential struct {
	Key         string `json:"key"`
	Certificate string `json:"certificate"`
	Trusted     string `json:"trusted"` // certificates of the pool's authorities
}

// ReadPlace reads the file of a host's place. No file is a Founder's.
func ReadPlace(file string) (p Place, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Place{}, nil
	}
	if err != nil {
		return Place{}, fmt.Errorf("place of the database: %w", err)
	}
	return p, parse(text, file, &p)
}

// Write makes the place the one that ReadPlace gives.
func (p Place) Write(file string) error { return writeJSON(file, p, 0o644) }

func writeJSON(file string, what any, mode fs.FileMode) error {
	text, err := json.MarshalIndent(what, "", "\t")
	if err != nil {
		return err
	}
	return durable.WriteFile(file, append(text, '\n'), mode)
}

// parse refuses words that it does not know: a newer version has written them.
func parse(text []byte, file string, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// Files are where a host keeps its place, its credential and its database.
type Files struct {
	Place    string // file
	Moving   string // file, while the host moves
	Identity string // directory, as of Credentials
	Database string // directory
}

// move is a change of place that was decided. Its file is there until the change is complete.
type move struct {
	To Place      `json:"to"`
	As Credential `json:"as"`
}

// Move decides that this host's database is elsewhere from the next start on: in the pool that the credential is of, or in
// a pool of its own where there is none. The database that it has now stays beside the new one until the next move.
func (f Files) Move(to Place, as Credential) error {
	return writeJSON(f.Moving, move{to, as}, 0o600)
}

// CompleteMove does what Move has decided, before anything is started. Each step can be done again, so a crash between two
// of them is made good by the next start: a database directory that is there while the file of the move is, is the old
// one, since nothing makes a new one before the file has gone.
func (f Files) CompleteMove() (moved bool, err error) {
	text, err := os.ReadFile(f.Moving)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var m move
	if err == nil {
		err = parse(text, f.Moving, &m)
	}
	if err != nil {
		return false, fmt.Errorf("move to another pool: %w", err)
	}
	for _, step := range []func() error{
		f.setDatabaseAside,
		func() error { return f.setIdentity(m.As) },
		func() error { return m.To.Write(f.Place) },
		func() error { return durable.Remove(f.Moving) },
	} {
		if err := step(); err != nil {
			return false, fmt.Errorf("move to another pool: %w", err)
		}
	}
	return true, nil
}

func (f Files) setDatabaseAside() error {
	if _, err := os.Stat(f.Database); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	former := f.Database + ".former"
	if err := os.RemoveAll(former); err != nil {
		return err
	}
	if err := os.Rename(f.Database, former); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(f.Database))
}

// setIdentity takes away what the host was known by, and writes what it is known by now.
func (f Files) setIdentity(as Credential) error {
	identity, authorities := CredentialFiles(f.Identity)
	if as == (Credential{}) {
		return errors.Join(durable.Remove(founding(f.Identity)), durable.Remove(identity), durable.Remove(authorities))
	}
	if err := durable.Mkdir(f.Identity, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(
		durable.Remove(founding(f.Identity)),
		durable.WriteFile(authorities, []byte(as.Trusted), 0o644),
		durable.WriteFile(identity, []byte(as.Certificate+as.Key), 0o600))
}
