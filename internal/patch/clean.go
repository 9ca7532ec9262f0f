package patch

import (
	"context"
	"fmt"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// CleanOnHost removes the patch's legacy file on this host and never its VDI (M8). A file that is not
// there is success.
func (s *Service) CleanOnHost(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], host xenapi.Ref[xenapi.Host]) error {
	if err := s.here(host); err != nil {
		return err
	}
	return s.alone(ctx, t, ref, opClean, func(rec xenapi.PoolPatch) error { return s.removeLegacy(rec.Filename) })
}

// cleanElsewhere removes the legacy file on the other hosts: one that was coordinator may have it still. Errors:
// HOST_OFFLINE.
func (s *Service) cleanElsewhere(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch) error {
	if rec.Filename == "" || s.others == nil {
		return nil
	}
	for _, host := range s.otherHosts() {
		if err := t.Delegate(ctx, "pool_patch.clean_on_host", func(ctx context.Context, sub xenapi.Ref[xenapi.Task]) error {
			return s.others.Call(ctx, host, sub, nil, "pool_patch.clean_on_host", ref, host)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) otherHosts() (hosts []xenapi.Ref[xenapi.Host]) {
	_ = s.db.View(func(tx *db.Tx) error {
		for host := range db.All[xenapi.Host](tx) {
			if host != s.host {
				hosts = append(hosts, host)
			}
		}
		return nil
	})
	return hosts
}

// Clean removes the patch's legacy file on the coordinator and never its VDI (M8).
func (s *Service) Clean(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return s.CleanOnHost(ctx, t, ref, s.host)
}

// PoolClean removes the patch's content everywhere: the legacy file of every host, the VDI (M8), and the one that it was
// introduced from as an update. The record stays for as long as collection lets it.
func (s *Service) PoolClean(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return s.alone(ctx, t, ref, opClean, func(rec xenapi.PoolPatch) error { return s.removeContent(ctx, t, ref, rec) })
}

// Destroy removes the patch's content and its record. Errors: PATCH_IS_APPLIED,
// OTHER_OPERATION_IN_PROGRESS while a host applies it, OPERATION_NOT_ALLOWED where it was interrupted.
func (s *Service) Destroy(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return s.alone(ctx, t, ref, opDestroy, func(rec xenapi.PoolPatch) error {
		if err := s.db.View(func(tx *db.Tx) error { return unapplied(tx, ref) }); err != nil {
			return err
		}
		if err := s.removeContent(ctx, t, ref, rec); err != nil {
			return err
		}
		return s.update(ctx, func(tx *db.Tx) error {
			if err := unapplied(tx, ref); err != nil {
				return err
			}
			return forget(tx, ref)
		})
	})
}

// forget removes the record of a patch, and that of its update, which is nothing without it.
func forget(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	rec, err := db.Get(tx, ref)
	if err != nil {
		return err
	}
	if _, ok := db.Lookup(tx, rec.PoolUpdate); ok {
		if err := db.Delete(tx, rec.PoolUpdate); err != nil {
			return err
		}
	}
	return db.Delete(tx, ref)
}

// unapplied refuses a patch that is on a host, or may be.
func unapplied(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "pool_patch", ref) {
		rec, ok := db.Lookup(tx, row)
		switch {
		case !ok:
		case State(rec.State).Busy():
			return xenapi.ErrOtherOperationInProgress("Pool_patch", ref.String(), opApply)
		case State(rec.State) == Interrupted:
			host, _ := db.Lookup(tx, rec.Host)
			return xenapi.ErrOperationNotAllowed(fmt.Sprintf("the patch was interrupted on host %s, which may be half patched: apply it there again", host.NameLabel))
		default:
			return xenapi.ErrPatchIsApplied()
		}
	}
	return nil
}

// alone runs fn while the patch is claimed for an operation that goes beside no other.
func (s *Service) alone(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], op string, fn func(xenapi.PoolPatch) error) error {
	release, err := s.hold(ctx, t, ref, op)
	if err != nil {
		return err
	}
	defer release()
	var rec xenapi.PoolPatch
	if err := s.db.View(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	return fn(rec)
}

// removeContent removes file and VDIs. A record loses its pointers only after what they point at has
// gone: a VDI that could not be destroyed is not forgotten.
func (s *Service) removeContent(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch) error {
	if err := s.cleanElsewhere(ctx, t, ref, rec); err != nil {
		return err
	}
	if err := s.removeLegacy(rec.Filename); err != nil {
		return err
	}
	// The update's VDI goes first: while the patch has its own, neither of them is collected (M9), so that a VDI which cannot
	// be destroyed now keeps its place in a record.
	if err := s.removeUpdateVDI(ctx, t, rec.PoolUpdate); err != nil {
		return err
	}
	if err := s.removeVDI(ctx, t, rec.VDI); err != nil {
		return err
	}
	return s.update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error {
			rec.Filename, rec.VDI, rec.ImageDigest = "", "", ""
			return nil
		})
	})
}

// removeVDI destroys a VDI. One that is not there is success.
func (s *Service) removeVDI(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
	if vdi.IsNull() {
		return nil
	}
	if err := s.storage.DestroyVDI(ctx, t, vdi); err != nil && !vdiGone(err, vdi) {
		return err
	}
	return nil
}

// vdiGone reports whether destroying failed because there is no such VDI any more.
func vdiGone(err error, vdi xenapi.Ref[xenapi.VDI]) bool {
	gone := xenapi.ErrHandleInvalid("VDI", vdi.String())
	e, ok := err.(*xenapi.Error)
	return ok && e.Code == gone.Code && e.Params[1] == gone.Params[1]
}
