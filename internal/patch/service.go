package patch

import (
	"context"
	"io"
	"log/slog"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Deadlines of the steps.
const (
	infoTimeout     = 1 * time.Minute
	precheckTimeout = 10 * time.Minute
	applyTimeout    = 6 * time.Hour
	dbTimeout       = 30 * time.Second // one transaction
)

// Options are what the daemon chooses. Paths are absolute and below its root.
type Options struct {
	Root   string // the host's root file system: what patches change
	Legacy string // /var/patch: files of old patches, and the stamps below applied/
	Logs   string // where the output of programs is kept
	// Booted and Started are since when the kernel and the daemon's process run: what was applied before has been followed
	// by their restart. The zero times are before everything.
	Booted, Started time.Time
	// Encode writes a result as task.result holds it.
	Encode func(any) string
	// Coordinating says in a transaction whether this host is the coordinator when that commits; nil: it always is.
	Coordinating func(*db.Tx) bool
	// Alive says whether a host lives; nil: this one does, and no other.
	Alive func(tx *db.Tx, host xenapi.Ref[xenapi.Host]) bool
	// Others are the other hosts of the pool; nil: there are none.
	Others Others
	// Fetch gives the signed file of a patch as the coordinator has it, and its length in bytes, for a host that is not
	// the coordinator; nil where there is only one host.
	Fetch func(ctx context.Context, uuid string) (io.ReadCloser, int64, error)
	// Step is called at each named point of the protocols, for tests that stop the world there.
	Step func(name string)
}

// Others has another host run a message as a task. It gives the message's error, or HOST_OFFLINE.
type Others interface {
	Call(ctx context.Context, host xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error
}

// Service runs patches on one host.
type Service struct {
	db       *db.DB
	host     xenapi.Ref[xenapi.Host]
	tasks    *task.Service
	storage  Storage
	verifier Verifier
	stamps   stamps
	legacy   string
	root     string
	logs     string
	encode   func(any) string
	step     func(string)
	log      *slog.Logger

	booted, started time.Time // of the kernel and of the daemon's process

	coordinating func(*db.Tx) bool
	alive        func(*db.Tx, xenapi.Ref[xenapi.Host]) bool
	driving      drivers
	others       Others
	fetch        func(ctx context.Context, uuid string) (io.ReadCloser, int64, error)
}

// New makes the service of one host.
func New(d *db.DB, host xenapi.Ref[xenapi.Host], tasks *task.Service, storage Storage, verifier Verifier, log *slog.Logger, o Options) *Service {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if o.Alive == nil {
		o.Alive = func(_ *db.Tx, other xenapi.Ref[xenapi.Host]) bool { return other == host }
	}
	if o.Coordinating == nil {
		o.Coordinating = func(*db.Tx) bool { return true }
	}
	return &Service{
		db: d, host: host, tasks: tasks, storage: storage, verifier: verifier,
		stamps: stamps{dir: stampDir(o.Legacy)}, legacy: o.Legacy, root: o.Root, logs: o.Logs,
		encode: o.Encode, step: o.Step, log: log, booted: o.Booted, started: o.Started, coordinating: o.Coordinating, alive: o.Alive, others: o.Others, fetch: o.Fetch,
	}
}

// update is one transaction that must not be lost to the caller's cancelled context: it records what
// has already happened.
func (s *Service) update(ctx context.Context, fn func(*db.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dbTimeout)
	defer cancel()
	return s.db.Insist(ctx, fn)
}
