package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// Deadlines of the steps that leave the process. The copy of bytes has none of its own: it is
// cancellable and shows its progress.
const (
	driverTimeout  = 2 * time.Minute  // one driver call that moves no bulk data
	cleanupTimeout = 2 * time.Minute  // removing what a failed call made
	dbTimeout      = 30 * time.Second // one transaction
)

// Service runs the storage of one host.
type Service struct {
	db      *db.DB
	host    xenapi.Ref[xenapi.Host]
	drivers Drivers
	mounts  string // directory of mount points
	log     *slog.Logger
	others  Others // nil when this host is the only one
	step    func(string)
	lender  lender

	mu       sync.Mutex
	attached map[xenapi.Ref[xenapi.SR]]SR
	busy     map[string]*Workspace                   // by their VDIs' UUIDs, those that were still in use when they were discarded
	devices  map[xenapi.Ref[xenapi.VBD]]*volume.Loop // of the VBDs that are plugged here
}

// Options of New.
type Options struct {
	Others Others            // reaches the other hosts; nil when there are none
	Step   func(name string) // called at each named point of a copy between hosts and of a VBD's plug and unplug, for tests; nil does nothing
}

// New makes the service; nothing is attached until [Service.PlugAll]. Workspaces are mounted below the
// directory mounts.
func New(d *db.DB, host xenapi.Ref[xenapi.Host], drivers Drivers, mounts string, log *slog.Logger, o Options) *Service {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	return &Service{
		db: d, host: host, drivers: drivers, mounts: mounts, log: log, others: o.Others, step: o.Step,
		attached: map[xenapi.Ref[xenapi.SR]]SR{}, busy: map[string]*Workspace{}, devices: map[xenapi.Ref[xenapi.VBD]]*volume.Loop{},
	}
}

// open gives the attached SR: HANDLE_INVALID when there is none, SR_HAS_NO_PBDS when it is not plugged on this host.
func (s *Service) open(ref xenapi.Ref[xenapi.SR]) (SR, error) {
	s.mu.Lock()
	sr, ok := s.attached[ref]
	s.mu.Unlock()
	if ok {
		return sr, nil
	}
	if err := s.view(func(tx *db.Tx) error { _, err := db.Get(tx, ref); return err }); err != nil {
		return nil, err
	}
	return nil, xenapi.ErrSRHasNoPBDs(ref)
}

func (s *Service) setAttached(ref xenapi.Ref[xenapi.SR], sr SR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sr == nil {
		delete(s.attached, ref)
		return
	}
	s.attached[ref] = sr
}

// driver finds the driver of an SR type.
func (s *Service) driver(srType string) (Driver, error) {
	if d, ok := s.drivers[srType]; ok {
		return d, nil
	}
	return nil, xenapi.ErrSRUnknownDriver(srType)
}

// update is one transaction that must not be lost to the caller's cancelled context: it records what
// has already happened.
func (s *Service) update(ctx context.Context, fn func(*db.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dbTimeout)
	defer cancel()
	return s.db.Insist(ctx, fn)
}

// cleanup is a context for removing what a failed call made, whatever became of the call's own.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

// View runs fn on a snapshot of the database and returns its error.
func (s *Service) view(fn func(*db.Tx) error) error { return s.db.View(fn) }

// located replaces a driver's word for a missing image by the error that names the objects.
func located(err error, sr xenapi.Ref[xenapi.SR], vdi xenapi.Ref[xenapi.VDI]) error {
	if errors.Is(err, ErrNoImage) {
		return xenapi.ErrVDIMissing(sr, vdi).Because(err)
	}
	return err
}

// Undo lists how to remove what an ended task of this host left in storage, in the order in which it must
// go: nobody uses a VDI any more before it is destroyed.
func (s *Service) Undo() []task.KindUndo {
	return []task.KindUndo{
		{Kind: kindAttachment, Undo: s.undoAttachment},
		{Kind: kindReduction, Undo: s.undoReduction},
		{Kind: kindVDI, Undo: s.undoVDI},
	}
}

// Start registers the drivers, attaches the SRs of this host and settles its VBDs, before anything is recovered or called.
func (s *Service) Start(ctx context.Context) error {
	if err := s.clearMountPoints(); err != nil {
		return err
	}
	if err := s.RegisterDrivers(ctx); err != nil {
		return err
	}
	if err := s.PlugAll(ctx); err != nil {
		return err
	}
	return s.settleVBDs(ctx)
}

// Recover drops what dead tasks marked on SRs and VDIs; it comes after the tasks' own recovery.
func (s *Service) Recover(ctx context.Context) error { return s.forgetOperations(ctx) }

// clearMountPoints removes the empty directories that a dead daemon's mounts were at: the mounts went
// with it. A directory that is not empty is not ours to remove.
func (s *Service) clearMountPoints() error {
	entries, err := os.ReadDir(s.mounts)
	if err != nil {
		return fmt.Errorf("mount points: %w", err)
	}
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(s.mounts, entry.Name())); err != nil {
			s.log.Warn("old mount point left", "error", err)
		}
	}
	return nil
}
