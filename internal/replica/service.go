package replica

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// writeTimeout bounds one write of the database into a VDI, or one look into it.
	writeTimeout = 2 * time.Minute
	// attachTimeout bounds the wait for an operation on a VDI that is to be written.
	attachTimeout = 10 * time.Second
	// usedPause lies between two attempts to attach a VDI that somebody uses.
	usedPause = 200 * time.Millisecond
	// usedTimeout bounds the wait for a VDI that somebody uses.
	usedTimeout = 30 * time.Second
)

type (
	vdiRef = xenapi.Ref[xenapi.VDI]
	srRef  = xenapi.Ref[xenapi.SR]
)

// Options of New.
type Options struct {
	// Backup writes the records of the pool as they are now, without what is secret and without the rows that are left out.
	Backup func(ctx context.Context, w io.Writer, out func(class, ref string) bool) error
	// Writes tells whether it is this host that writes what is kept on an SR.
	Writes func(tx *db.Tx, sr srRef) bool
	// Passing are the classes whose changes alone make no write: those of what ends with the daemons.
	Passing []string
	// Tables are those of a database that is opened.
	Tables []db.Table
	// Root is the directory that the files of backups are below.
	Root string
	// Step is called at each named point of a write, for tests; nil does nothing.
	Step func(name string)
}

// Service keeps replicas on behalf of one host.
type Service struct {
	db      *db.DB
	tasks   *task.Service
	storage *storage.Service
	log     *slog.Logger
	options Options
	step    func(string)

	changes atomic.Uint64 // of the database, that make a write
	moved   atomic.Bool   // which replicas this host writes may be others than keep knows
	writing atomic.Bool   // keep knows one
	wake    chan struct{} // holds a token when there is something to do
	pen     chan struct{} // holds a token while a replica is written
	turn    chan struct{} // holds a token while a database is read: one at a time is in memory
}

// New makes the service of a host.
func New(d *db.DB, tasks *task.Service, s *storage.Service, log *slog.Logger, o Options) *Service {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	return &Service{
		db: d, tasks: tasks, storage: s, log: log, options: o, step: o.Step,
		wake: make(chan struct{}, 1), pen: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
}

// hold takes the one token of a channel, and gives the function that gives it back.
func hold(ctx context.Context, token chan struct{}) (release func(), err error) {
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// patiently tries again while somebody else uses the VDI.
func patiently(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, usedTimeout)
	defer cancel()
	for {
		err := try()
		if !used(err) {
			return err
		}
		select {
		case <-time.After(usedPause):
		case <-ctx.Done():
			return err
		}
	}
}

// thePool is the one row of its class.
func thePool(tx *db.Tx) (xenapi.Ref[xenapi.Pool], xenapi.Pool) {
	for ref, rec := range db.All[xenapi.Pool](tx) {
		return ref, rec
	}
	return "", xenapi.Pool{}
}
