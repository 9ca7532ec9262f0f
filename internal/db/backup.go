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

// ErrNotEmpty says that a store holds a pool already.
var ErrNotEmpty = errors.New("the store is not empty")

// Backup writes a store's records as they are at one revision, and gives how many keys there were. Classes that mean
// nothing after the daemons that wrote them (signs of life, sessions) are left out by name. It holds secrets.
func Backup(ctx context.Context, store Store, w io.Writer, made time.Time, without ...string) (keys int, err error) {
	items, _, err := store.Load(ctx, prefix)
	if err != nil {
		return 0, fmt.Errorf("back up: %w", err)
	}
	sum := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(w, sum))
	enc := json.NewEncoder(out)
	err = enc.Encode(heading{backupFormat, SchemaVersion, made.UTC()})
	for _, item := range items {
		if key, ok := lasting(item.Key, without); ok && err == nil {
			keys++
			err = enc.Encode(line{key, string(item.Value)})
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
func lasting(key string, without []string) (string, bool) {
	for _, kind := range []string{rowPrefix, uuidPrefix} {
		if class, _, ok := splitKey(key, kind); ok {
			return key[len(prefix):], !slices.Contains(without, class)
		}
	}
	return "", false
}

// Restore writes a backup into an empty store. Nothing is written unless the backup is whole. A store that was left in
// the middle of it is one that no daemon opens. Errors: ErrNotEmpty, ErrNewerSchema, ErrDamaged.
func Restore(ctx context.Context, store Store, r io.Reader) (keys int, err error) {
	lines, schema, err := readBackup(r)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if items, _, err := store.Load(ctx, prefix); err != nil || len(items) > 0 {
		return 0, fmt.Errorf("restore: %w", errors.Join(err, notEmpty(items)))
	}
	absent := []Guard{{schemaKey, 0}}
	for chunk := range slices.Chunk(lines, restoreOps) {
		ops := make([]Op, len(chunk))
		for i, l := range chunk {
			ops[i] = Op{Key: prefix + l.Key, Value: []byte(l.Value)}
		}
		if _, err := store.Commit(ctx, absent, ops); err != nil {
			return 0, fmt.Errorf("restore: %w", err)
		}
	}
	// The version makes it a database, and comes last. It is another one than that which was backed up: revisions start anew.
	last := []Op{{Key: identityKey, Value: []byte(rand.Text())}, {Key: schemaKey, Value: []byte(schema)}}
	if _, err := store.Commit(ctx, absent, last); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return len(lines), nil
}

func notEmpty(items []Item) error {
	if len(items) > 0 {
		return ErrNotEmpty
	}
	return nil
}

// readBackup takes a backup apart that is whole.
func readBackup(r io.Reader) (lines []line, schema string, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBackup))
	if err != nil {
		return nil, "", err
	}
	body, last := cutLastLine(text)
	var end seal
	var head heading
	sum := sha256.Sum256(body)
	if json.Unmarshal(last, &end) != nil || end.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, "", fmt.Errorf("this is not a backup, or not all of it: %w", ErrDamaged)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&head); err != nil || head.Backup != backupFormat {
		return nil, "", fmt.Errorf("a backup of the format %q: %w", head.Backup, ErrDamaged)
	}
	if err := checkSchema(fmt.Append(nil, head.Schema)); err != nil {
		return nil, "", err
	}
	for dec.More() {
		var l line
		if err := dec.Decode(&l); err != nil {
			return nil, "", fmt.Errorf("key %d: %w: %w", len(lines)+1, err, ErrDamaged)
		}
		if _, ok := lasting(prefix+l.Key, nil); !ok {
			return nil, "", fmt.Errorf("key %q: %w", l.Key, ErrDamaged)
		}
		lines = append(lines, l)
	}
	if len(lines) != end.Keys {
		return nil, "", fmt.Errorf("%d keys of %d: %w", len(lines), end.Keys, ErrDamaged)
	}
	return lines, fmt.Sprint(head.Schema), nil
}

// cutLastLine parts a text before its last line.
func cutLastLine(text []byte) (body, last []byte) {
	at := bytes.LastIndexByte(bytes.TrimRight(text, "\n"), '\n') + 1
	return text[:at], text[at:]
}
