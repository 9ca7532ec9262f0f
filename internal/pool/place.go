package pool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

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
