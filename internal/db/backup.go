package db

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A backup is lines of JSON: a heading, one line for each key, and an end that seals what stands above it.
type (
	heading struct {
		Backup string    `json:"backup"` // backupFormat
		Schema int       `json:"schema"`
		Made   time.Time `json:"made"`
	}
	line struct {
		Key   string `json:"key"` // without the prefix
		Value string `json:"value"`
	}
	seal struct {
		Keys   int    `json:"keys"`
		SHA256 string `json:"sha256"` // of all lines above, in hexadecimal
	}
)

const (
	backupFormat = "poolpatch database 1"
	// maxBackup bounds a backup that is restored, in bytes: it is read whole before anything is written.
	maxBackup = 4 << 30
	// restoreOps is how many keys one commit of a restoration writes.
	restoreOps = 1000
)

// ErrNotEmpty says that a store holds a pool already, ErrNoBackup that a file is no backup, or not a whole one.
var (
	ErrNotEmpty = errors.New("the store is not empty")
	ErrNoBackup = errors.New("the file is not a whole backup of a pool")
)

// Saved is what a whole backup holds.
type Saved struct {
	lines  []line
	schema string
}

// UUIDs lists the uuids of a class, sorted.
func (s Saved) UUIDs(class string) (uuids []string) {
	for _, l := range s.lines {
		if of, uuid, ok := splitKey(prefix+l.Key, uuidPrefix); ok && of == class {
			uuids = append(uuids, uuid)
		}
	}
	slices.Sort(uuids)
	return uuids
}

// Omission is what a backup leaves out. The zero value leaves nothing out.
type Omission struct {
	// Classes, by name: those that mean nothing after the daemons that wrote them (signs of life, sessions).
	Classes []string
	// Row tells single rows; nil is none.
	Row func(class, ref string) bool
	// Secrets are the tables whose secret fields are left empty. A table that is not named keeps them.
	Secrets []Table
}

// Backup writes a store's records as they are at one revision, and gives how many keys there were. It holds secrets, but for
// those that are left out.
func Backup(ctx context.Context, store Store, w io.Writer, made time.Time, without Omission) (keys int, err error) {
	items, _, err := store.Load(ctx, prefix)
	if err != nil {
		return 0, fmt.Errorf("back up: %w", err)
	}
	sum := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(w, sum))
	enc := json.NewEncoder(out)
	err = enc.Encode(heading{backupFormat, SchemaVersion, made.UTC()})
	for _, item := range items {
		key, ok := lasting(item.Key)
		if !ok || err != nil || without.leaves(item.Key) {
			continue
		}
		keys++
		var value []byte
		if value, err = without.blank(item); err == nil {
			err = enc.Encode(line{key, string(value)})
		}
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return 0, fmt.Errorf("back up: %w", err)
	}
	if err := json.NewEncoder(w).Encode(seal{keys, hex.EncodeToString(sum.Sum(nil))}); err != nil {
		return 0, fmt.Errorf("back up: %w", err)
	}
	return keys, nil
}

// lasting gives the part of a key that a backup keeps: rows, and the uuids that make them unique.
func lasting(key string) (string, bool) {
	for _, kind := range []string{rowPrefix, uuidPrefix} {
		if _, _, ok := splitKey(key, kind); ok {
			return key[len(prefix):], true
		}
	}
	return "", false
}

// leaves reports whether a key is left out.
func (o Omission) leaves(key string) bool {
	for _, kind := range []string{rowPrefix, uuidPrefix} {
		if class, name, ok := splitKey(key, kind); ok {
			return slices.Contains(o.Classes, class) || kind == rowPrefix && o.Row != nil && o.Row(class, name)
		}
	}
	return false
}

// blank gives the value of a key without what is secret in it. Fields that no table knows stay.
func (o Omission) blank(item Item) ([]byte, error) {
	class, _, ok := splitKey(item.Key, rowPrefix)
	at := slices.IndexFunc(o.Secrets, func(t Table) bool { return t.class.Name == class && t.secret })
	if !ok || at < 0 {
		return item.Value, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(item.Value, &fields); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, item.Key, err)
	}
	for _, f := range o.Secrets[at].class.Fields {
		if f.Secret {
			delete(fields, f.Name)
		}
	}
	return json.Marshal(fields)
}

// Restore writes a backup into an empty store. A store that was left in the middle of it is one that no daemon opens.
// Errors: ErrNotEmpty.
func Restore(ctx context.Context, store Store, saved Saved) (keys int, err error) {
	if items, _, err := store.Load(ctx, prefix); err != nil || len(items) > 0 {
		return 0, fmt.Errorf("restore: %w", errors.Join(err, notEmpty(items)))
	}
	absent := []Guard{{schemaKey, 0}}
	for chunk := range slices.Chunk(saved.lines, restoreOps) {
		ops := make([]Op, len(chunk))
		for i, l := range chunk {
			ops[i] = Op{Key: prefix + l.Key, Value: []byte(l.Value)}
		}
		if _, err := store.Commit(ctx, absent, ops); err != nil {
			return 0, fmt.Errorf("restore: %w", err)
		}
	}
	// The version makes it a database, and comes last. It is another one than that which was backed up: revisions start anew.
	last := []Op{{Key: identityKey, Value: []byte(rand.Text())}, {Key: schemaKey, Value: []byte(saved.schema)}}
	if _, err := store.Commit(ctx, absent, last); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return len(saved.lines), nil
}

func notEmpty(items []Item) error {
	if len(items) > 0 {
		return ErrNotEmpty
	}
	return nil
}

// ReadBackup reads a backup to its end, and takes it only if it is whole. Errors: ErrNoBackup, ErrNewerSchema.
func ReadBackup(r io.Reader) (Saved, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBackup))
	if err != nil {
		return Saved{}, fmt.Errorf("read backup: %w", err)
	}
	body, last := cutLastLine(text)
	var end seal
	var head heading
	sum := sha256.Sum256(body)
	if json.Unmarshal(last, &end) != nil || end.SHA256 != hex.EncodeToString(sum[:]) {
		return Saved{}, ErrNoBackup
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&head); err != nil || head.Backup != backupFormat {
		return Saved{}, fmt.Errorf("%w: its format is %q", ErrNoBackup, head.Backup)
	}
	if err := checkSchema(fmt.Append(nil, head.Schema)); err != nil {
		return Saved{}, err
	}
	saved := Saved{schema: fmt.Sprint(head.Schema)}
	for dec.More() {
		var l line
		if err := dec.Decode(&l); err != nil {
			return Saved{}, fmt.Errorf("%w: key %d: %w", ErrNoBackup, len(saved.lines)+1, err)
		}
		if _, ok := lasting(prefix + l.Key); !ok {
			return Saved{}, fmt.Errorf("%w: key %q", ErrNoBackup, l.Key)
		}
		saved.lines = append(saved.lines, l)
	}
	if len(saved.lines) != end.Keys {
		return Saved{}, fmt.Errorf("%w: %d keys of %d", ErrNoBackup, len(saved.lines), end.Keys)
	}
	return saved, nil
}

// cutLastLine parts a text before its last line.
func cutLastLine(text []byte) (body, last []byte) {
	at := bytes.LastIndexByte(bytes.TrimRight(text, "\n"), '\n') + 1
	return text[:at], text[at:]
}
