package repository

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// dbTimeout bounds one transaction that must not be lost to the caller's cancelled context.
const dbTimeout = 30 * time.Second

type (
	poolRef = xenapi.Ref[xenapi.Pool]
	hostRef = xenapi.Ref[xenapi.Host]
	repoRef = xenapi.Ref[xenapi.Repository]
	taskRef = xenapi.Ref[xenapi.Task]
)

// Patches are what the package needs of package patch.
type Patches interface {
	// Take uploads a patch that must turn out to have the UUID; nothing is left of another one.
	Take(ctx context.Context, t *task.Task, body io.Reader, length int64, uuid string) (xenapi.Ref[xenapi.PoolPatch], error)
	// Holds reports whether the pool has the content of a patch.
	Holds(tx *db.Tx, uuid string) bool
	// ApplyUnattended applies a patch on this host, unless it was interrupted there.
	ApplyUnattended(ctx context.Context, t *task.Task, patch xenapi.Ref[xenapi.PoolPatch], host hostRef) (string, error)
}

// Options are what the daemon chooses.
type Options struct {
	// Keys is the directory of the public keys that sign indexes.
	Keys string
	// TLS says how servers are known; it is asked for each sync. nil: by the authorities that the system knows.
	TLS func() *tls.Config
	// Coordinating says in a transaction whether this host is the coordinator when that commits; nil: it always is.
	Coordinating func(*db.Tx) bool
	// Alive says whether a host lives; nil: all do.
	Alive func(tx *db.Tx, host hostRef) bool
	// Silence is how long a server may say nothing; 0 is a minute.
	Silence time.Duration
	// Location is where days begin; nil is the host's.
	Location *time.Location
	// Step is called at each named point of a sync, for tests that stop the world there.
	Step func(name string)
}

// Service is the repositories of the pool, as one host sees them.
type Service struct {
	db       *db.DB
	host     hostRef
	tasks    *task.Service
	patches  Patches
	verifier *hotfix.Verifier
	log      *slog.Logger
	Options
}

// New makes the service of one host.
func New(d *db.DB, host hostRef, tasks *task.Service, patches Patches, log *slog.Logger, o Options) *Service {
	if o.TLS == nil {
		o.TLS = func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }
	}
	if o.Coordinating == nil {
		o.Coordinating = func(*db.Tx) bool { return true }
	}
	if o.Alive == nil {
		o.Alive = func(*db.Tx, hostRef) bool { return true }
	}
	if o.Silence == 0 {
		o.Silence = defaultSilence
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	// An index is never one of the unsigned files that a host may allow: the verifier knows of no such list.
	verifier := hotfix.NewVerifier(hotfix.Options{KeyDir: o.Keys, Log: log})
	return &Service{db: d, host: host, tasks: tasks, patches: patches, verifier: verifier, log: log, Options: o}
}

// Tables are what the package keeps in the database.
func Tables() []db.Table {
	return []db.Table{db.TableOf[xenapi.Repository](), db.TableOf[xenapi.Secret]()}
}

// Recover drops the marks of tasks that have ended with the last daemon of this host.
func (s *Service) Recover(ctx context.Context) error {
	return s.update(ctx, func(tx *db.Tx) error {
		if host, ok := db.Lookup(tx, s.host); ok && dropDead(tx, host.CurrentOperations) {
			if err := db.Put(tx, s.host, host); err != nil {
				return err
			}
		}
		return s.dropDeadMarks(tx)
	})
}

// dropDeadMarks takes the marks of ended tasks off the pool.
func (s *Service) dropDeadMarks(tx *db.Tx) error {
	ref, pool, ok := thePool(tx)
	if !ok || !dropDead(tx, pool.CurrentOperations) {
		return nil
	}
	return db.Put(tx, ref, pool)
}

// thePool is the one row of its class.
func thePool(tx *db.Tx) (poolRef, xenapi.Pool, bool) {
	for ref, rec := range db.All[xenapi.Pool](tx) {
		return ref, rec, true
	}
	return "", xenapi.Pool{}, false
}

// update is one transaction that must not be lost to the caller's cancelled context: it records what has already happened.
func (s *Service) update(ctx context.Context, fn func(*db.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dbTimeout)
	defer cancel()
	return s.db.Insist(ctx, fn)
}

// mark enters a task's operation into current_operations.
func mark[Op ~string](ops *map[string]Op, t taskRef, op Op) {
	if *ops == nil {
		*ops = map[string]Op{}
	}
	(*ops)[t.String()] = op
}

// dropDead takes out the marks of tasks that have ended: they hold nobody up.
func dropDead[Op any](tx *db.Tx, ops map[string]Op) (dropped bool) {
	for key := range ops {
		if rec, ok := db.Lookup(tx, taskRef(key)); !ok || rec.Status != xenapi.TaskStatusPending {
			delete(ops, key)
			dropped = true
		}
	}
	return dropped
}
