package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// loadDeadline bounds reading the whole database: at the start and after a gap in the watch.
	loadDeadline = 2 * time.Minute
	// reloadPause lies between two attempts to reach a store that was lost.
	reloadPause = 500 * time.Millisecond
)

var (
	// ErrClosed is returned by what waits on a DB that was closed.
	ErrClosed = errors.New("database closed")
	// ErrNewerSchema says that a newer poolpatch has written the database: this one must not touch it.
	ErrNewerSchema = errors.New("the database was written by a newer poolpatch")
	// ErrDamaged says that the store holds what no poolpatch writes.
	ErrDamaged = errors.New("the database is damaged")

	errEmpty = errors.New("the store is empty")
)

// Options of Open.
type Options struct {
	// Tables are the classes to read. Rows of other classes stay in the store untouched.
	Tables []Table
	// Writer names this process in the store, where one small key remembers its last commit: a host's
	// uuid. Two processes that share it slow each other down. "" makes a new name, which stays behind.
	Writer string
}

// DB is a database of typed tables. It follows the store in one goroutine, which Close ends.
type DB struct {
	store   Store
	tables  []Table
	writer  string // key of its last commit
	current atomic.Pointer[snapshot]
	turn    chan struct{} // holds a token while a commit is in flight
	lost    atomic.Bool   // the store cannot be read: nor would it take commits
	stop    context.CancelFunc
	done    chan struct{} // closed when the store is no longer followed
	cause   error         // why; read after done
}

// Open reads the database and follows it from then on. An empty store becomes an empty database.
// It refuses a newer schema with ErrNewerSchema and an unreadable store with ErrDamaged.
func Open(ctx context.Context, store Store, o Options) (*DB, error) {
	if o.Writer == "" {
		o.Writer = rand.Text()
	}
	d := &DB{
		store: store, tables: o.Tables, writer: commitPrefix + o.Writer,
		turn: make(chan struct{}, 1), done: make(chan struct{}),
	}
	first, err := d.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	d.current.Store(first)
	follow, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	go d.follow(follow)
	return d, nil
}

// Close stops following the store and waits until that has ended. It closes neither the store nor
// transactions: views go on to see the last state.
func (d *DB) Close() {
	d.stop()
	<-d.done
}

// Revision is that of the state which View shows.
func (d *DB) Revision() int64 { return d.current.Load().revision }

// read loads the database, and makes it first in an empty store.
func (d *DB) read(ctx context.Context) (*snapshot, error) {
	s, err := d.load(ctx)
	if !errors.Is(err, errEmpty) {
		return s, err
	}
	if err := d.create(ctx); err != nil {
		return nil, err
	}
	return d.load(ctx)
}

// create writes the schema's version into an empty store. Hosts that start at once may all try: one wins.
// If its outcome is not known the open fails; the next one reads what it was.
func (d *DB) create(ctx context.Context) error {
	version := []byte(strconv.Itoa(SchemaVersion))
	_, err := d.send(ctx, []Guard{{schemaKey, 0}}, []Op{{Key: identityKey, Value: []byte(rand.Text())}, {Key: schemaKey, Value: version}})
	if err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("create schema: %w", err)
	}
	return nil
}

// Rename gives a database another identity. Its history is not the one that it was, as when the commits that the other copies
// had are lost with them: what anybody remembers of its revisions must not count any more.
func Rename(ctx context.Context, store Store) error {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	if _, err := store.Commit(ctx, nil, []Op{{Key: identityKey, Value: []byte(rand.Text())}}); err != nil {
		return fmt.Errorf("rename the database: %w", err)
	}
	return nil
}

// checkSchema takes the value of the schema key; nil is absent.
func checkSchema(value []byte) error {
	version, err := strconv.Atoi(string(value))
	switch {
	case err != nil || version < 1:
		return fmt.Errorf("schema version %q: %w", value, ErrDamaged)
	case version > SchemaVersion:
		return fmt.Errorf("schema version %d, this one reads %d: %w", version, SchemaVersion, ErrNewerSchema)
	}
	return nil
}

func (d *DB) load(ctx context.Context) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, loadDeadline)
	defer cancel()
	items, revision, err := d.store.Load(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if len(items) == 0 {
		return nil, errEmpty
	}
	s, err := newSnapshot(d.tables).apply(Batch{revision, items})
	if err != nil {
		return nil, err
	}
	if _, ok := s.mods.get(schemaKey); !ok {
		return nil, checkSchema(nil)
	}
	s.gap = true
	return s, nil
}

// follow keeps current in step with the store until ctx ends or the store holds what cannot be read. A
// watch that ends with a gap costs one reload; until it succeeds, readers see the last state.
func (d *DB) follow(ctx context.Context) {
	defer close(d.done)
	for ctx.Err() == nil {
		// A store that was lost is loaded before it is watched again: a watch that goes on may last for ever, and lost would stay.
		if !d.lost.Load() {
			if err := d.stream(ctx); unreadable(err) {
				d.cause = err
				return
			}
		}
		s, err := d.load(ctx)
		switch {
		case err == nil:
			d.publish(s)
			d.lost.Store(false)
		case unreadable(err):
			d.cause = err
			return
		case ctx.Err() == nil:
			d.lost.Store(true)
			_ = pause(ctx, reloadPause)
		}
	}
	d.cause = ErrClosed
}

// stream publishes every batch that the store reports, until the watch ends.
func (d *DB) stream(ctx context.Context) error {
	for batch, err := range d.store.Watch(ctx, prefix, d.Revision()) {
		if err != nil {
			return err
		}
		s, err := d.current.Load().apply(batch)
		if err != nil {
			return err
		}
		d.publish(s)
	}
	return nil
}

func (d *DB) publish(s *snapshot) {
	old := d.current.Swap(s)
	old.after = s
	close(old.next)
}

// unreadable reports whether reading again cannot help.
func unreadable(err error) bool {
	return errors.Is(err, ErrNewerSchema) || errors.Is(err, ErrDamaged)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
