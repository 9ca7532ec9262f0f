package replica

import (
	"context"
	"errors"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// firstSize is the virtual size of a new replica, in bytes; it grows with the database.
	firstSize = 16 << 20
	// most is how many replicas a pool may have: each is written with every change.
	most = 8
)

// AssertSupported reports whether the database can be kept on an SR: every host of the pool sees it, so whichever is the
// coordinator can write, and VDIs can be made, grown and destroyed there. Errors: HANDLE_INVALID, SR_HAS_NO_PBDS,
// SR_OPERATION_NOT_SUPPORTED.
func (s *Service) AssertSupported(sr srRef) error {
	return s.db.View(func(tx *db.Tx) error { return supports(tx, sr) })
}

func supports(tx *db.Tx, sr srRef) error {
	rec, err := db.Get(tx, sr)
	if err != nil {
		return err
	}
	sees := map[xenapi.Ref[xenapi.Host]]bool{}
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", sr) {
		pbd, _ := db.Lookup(tx, ref)
		sees[pbd.Host] = pbd.CurrentlyAttached
	}
	for host := range db.All[xenapi.Host](tx) {
		if !sees[host] {
			return xenapi.ErrSRHasNoPBDs(sr)
		}
	}
	for _, needs := range []string{"VDI_CREATE", "VDI_DELETE", "VDI_RESIZE"} {
		if !slices.Contains(rec.Capabilities, needs) || rec.ContentType == "iso" {
			return xenapi.ErrSROperationNotSupported(sr)
		}
	}
	return nil
}

// Enable keeps the database on an SR from now on, and returns when it is there. Where it is kept already that is all. Errors:
// those of AssertSupported, NO_MORE_REDO_LOGS_ALLOWED, those of a VDI's creation and of writing it: then it is not kept there.
func (s *Service) Enable(ctx context.Context, t *task.Task, sr srRef) error {
	rec := newReplica(sr, xenapi.VDITypeMetadata)
	rec.NameLabel, rec.NameDescription = "Metadata for DR", "Used for disaster recovery"
	return s.enable(ctx, t, rec, func(tx *db.Tx, _ vdiRef) error { return nil })
}

// EnableRedoLog is Enable for the pool's redo log, which is written after each commit, without a pause. There is one. Errors:
// REDO_LOG_IS_ENABLED where it is on another SR.
func (s *Service) EnableRedoLog(ctx context.Context, t *task.Task, sr srRef) error {
	if err := s.db.View(func(tx *db.Tx) error { return noOtherLog(tx, sr) }); err != nil {
		return err
	}
	rec := newReplica(sr, xenapi.VDITypeRedoLog)
	rec.NameLabel, rec.NameDescription = "Metadata redo-log", "Used when HA is disabled, while extra security is still desired"
	return s.enable(ctx, t, rec, func(tx *db.Tx, vdi vdiRef) error {
		if err := noOtherLog(tx, sr); err != nil {
			return err
		}
		ref, pool := thePool(tx)
		pool.RedoLogEnabled, pool.RedoLogVDI = true, vdi
		return db.Put(tx, ref, pool)
	})
}

func newReplica(sr srRef, kind xenapi.VDIType) xenapi.VDI {
	rec := xenapi.New[xenapi.VDI]()
	rec.SR, rec.Type, rec.VirtualSize = sr, kind, firstSize
	return rec
}

func noOtherLog(tx *db.Tx, sr srRef) error {
	_, pool := thePool(tx)
	if vdi, there := db.Lookup(tx, pool.RedoLogVDI); pool.RedoLogEnabled && there && vdi.SR != sr {
		return xenapi.ErrRedoLogIsEnabled()
	}
	return nil
}

// errKept says that the database is kept on the SR already.
var errKept = errors.New("the database is kept there already")

func (s *Service) enable(ctx context.Context, t *task.Task, rec xenapi.VDI, note func(*db.Tx, vdiRef) error) error {
	err := s.db.View(func(tx *db.Tx) error { return errOr(supports(tx, rec.SR), mayBegin(tx, rec)) })
	if errors.Is(err, errKept) {
		return nil
	}
	if err != nil {
		return err
	}
	vdi, err := s.storage.CreateTemporary(ctx, t, rec)
	if err != nil {
		return err
	}
	// A crash here leaves a VDI of a dead task, which recovery removes.
	err = s.storage.Keep(ctx, t, vdi, func(*xenapi.VDI) {}, func(tx *db.Tx) error {
		if err := errOr(supports(tx, rec.SR), mayBegin(tx, rec)); err != nil {
			return err
		}
		pool, _ := thePool(tx)
		err := db.Change(tx, vdi, func(rec *xenapi.VDI) error {
			rec.MetadataLatest = true
			if rec.Type == xenapi.VDITypeMetadata {
				rec.MetadataOfPool = pool
			}
			return nil
		})
		return errOr(err, note(tx, vdi))
	})
	if err != nil {
		s.storage.Discard(ctx, t, vdi)
		if errors.Is(err, errKept) {
			return nil
		}
		return err
	}
	// A crash here leaves a replica without content. Whoever writes it next, as after any start, gives it that.
	s.step("replica-enabled")
	if err := patiently(ctx, func() error { _, err := s.write(ctx, vdi); return err }); err != nil {
		return errors.Join(err, s.end(ctx, t, vdi))
	}
	s.storage.Remeasure(ctx, vdi)
	return nil
}

// mayBegin refuses one replica too many. Errors: errKept, NO_MORE_REDO_LOGS_ALLOWED.
func mayBegin(tx *db.Tx, rec xenapi.VDI) error {
	n := 0
	for _, other := range db.All[xenapi.VDI](tx) {
		if !other.MetadataLatest {
			continue
		}
		if n++; other.SR == rec.SR && other.Type == rec.Type {
			return errKept
		}
	}
	if n >= most {
		return xenapi.ErrNoMoreRedoLogsAllowed()
	}
	return nil
}

func errOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// Disable keeps the database on an SR no longer, and destroys the VDI that it was in. Errors: those of VDI.destroy; it is kept
// there no longer all the same, and may be called again.
func (s *Service) Disable(ctx context.Context, t *task.Task, sr srRef) error {
	var replicas []vdiRef
	err := s.db.View(func(tx *db.Tx) error {
		pool, _ := thePool(tx)
		for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", sr) {
			if rec, _ := db.Lookup(tx, vdi); rec.Type == xenapi.VDITypeMetadata && rec.MetadataOfPool == pool {
				replicas = append(replicas, vdi)
			}
		}
		_, err := db.Get(tx, sr)
		return err
	})
	for _, vdi := range replicas {
		err = errOr(err, s.end(ctx, t, vdi))
	}
	return err
}

// DisableRedoLog ends the pool's redo log and destroys its VDI; where there is none it does nothing. Errors: as of Disable.
func (s *Service) DisableRedoLog(ctx context.Context, t *task.Task) error {
	var vdi vdiRef
	if err := s.db.Update(ctx, func(tx *db.Tx) error {
		ref, pool := thePool(tx)
		if vdi = pool.RedoLogVDI; !pool.RedoLogEnabled && vdi.IsNull() {
			return nil
		}
		pool.RedoLogEnabled, pool.RedoLogVDI = false, ""
		return errOr(s.release(tx, vdi), db.Put(tx, ref, pool))
	}); err != nil || vdi.IsNull() {
		return err
	}
	return s.end(ctx, t, vdi)
}

// RedoLog is the VDI of the pool's redo log, null where there is none.
func RedoLog(tx *db.Tx) xenapi.Ref[xenapi.VDI] {
	_, pool := thePool(tx)
	return pool.RedoLogVDI
}

// end has nobody write a replica any more, and destroys it when its last writer is done.
func (s *Service) end(ctx context.Context, t *task.Task, vdi vdiRef) error {
	if err := s.db.Update(ctx, func(tx *db.Tx) error { return s.release(tx, vdi) }); err != nil {
		return err
	}
	// A crash here leaves a VDI like any other, which still says of which pool it is: the call may be made again.
	s.step("replica-ended")
	return patiently(ctx, func() error { return s.storage.DestroyVDI(ctx, t, vdi) })
}

func (s *Service) release(tx *db.Tx, vdi vdiRef) error {
	if _, there := db.Lookup(tx, vdi); !there {
		return nil
	}
	return db.Change(tx, vdi, func(rec *xenapi.VDI) error { rec.MetadataLatest = false; return nil })
}
