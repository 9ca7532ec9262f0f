package patch

import (
	"context"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// An update is a second name of a patch: pool_patch.pool_update refers to it. What is asked of it is asked of the patch, with the
// same claims, and its errors are told in the words of updates.

// patchOf is the patch that an update is a name of.
func patchOf(tx *db.Tx, update xenapi.Ref[xenapi.PoolUpdate]) (xenapi.Ref[xenapi.PoolPatch], bool) {
	for _, ref := range db.Referrers[xenapi.PoolPatch](tx, "pool_update", update) {
		return ref, true
	}
	return "", false
}

// onPatch runs fn on the patch of an update.
func (s *Service) onPatch(update xenapi.Ref[xenapi.PoolUpdate], fn func(xenapi.Ref[xenapi.PoolPatch]) error) error {
	var patch xenapi.Ref[xenapi.PoolPatch]
	err := s.db.View(func(tx *db.Tx) error {
		var ok bool
		if patch, ok = patchOf(tx, update); !ok {
			return xenapi.ErrHandleInvalid("pool_update", update.String())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return twins{update, patch}.tell(fn(patch))
}

// PrecheckUpdate is Precheck of an update's patch.
func (s *Service) PrecheckUpdate(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate], host xenapi.Ref[xenapi.Host]) error {
	return s.onPatch(update, func(patch xenapi.Ref[xenapi.PoolPatch]) error {
		_, err := s.Precheck(ctx, t, patch, host)
		return err
	})
}

// ApplyUpdate is Apply of an update's patch.
func (s *Service) ApplyUpdate(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate], host xenapi.Ref[xenapi.Host]) error {
	return s.onPatch(update, func(patch xenapi.Ref[xenapi.PoolPatch]) error {
		_, err := s.apply(ctx, t, attempt{patch: patch, update: update}, host)
		return err
	})
}

// PoolApplyUpdate is PoolApply of an update's patch. Errors: UPDATE_ALREADY_APPLIED_IN_POOL when every host has it;
// UPDATE_POOL_APPLY_FAILED naming the hosts that have failed.
func (s *Service) PoolApplyUpdate(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate]) error {
	return s.onPatch(update, func(patch xenapi.Ref[xenapi.PoolPatch]) error { return s.roll(ctx, t, patch, update) })
}

// PoolCleanUpdate is PoolClean of an update's patch, and so of both VDIs.
func (s *Service) PoolCleanUpdate(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate]) error {
	return s.onPatch(update, func(patch xenapi.Ref[xenapi.PoolPatch]) error { return s.PoolClean(ctx, t, patch) })
}

// DestroyUpdate is Destroy of an update's patch: both records go, and both VDIs.
func (s *Service) DestroyUpdate(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate]) error {
	return s.onPatch(update, func(patch xenapi.Ref[xenapi.PoolPatch]) error { return s.Destroy(ctx, t, patch) })
}

// removeUpdateVDI destroys the VDI that an update was introduced from, where there is one.
func (s *Service) removeUpdateVDI(ctx context.Context, t *task.Task, update xenapi.Ref[xenapi.PoolUpdate]) error {
	var rec xenapi.PoolUpdate
	_ = s.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, update); return nil })
	if rec.VDI.IsNull() {
		return nil
	}
	if err := s.removeVDI(ctx, t, rec.VDI); err != nil {
		return err
	}
	s.step("clean-update-vdi")
	// A crash here leaves an update whose VDI dangles, and a patch that is cleaned by the next call.
	return s.update(ctx, func(tx *db.Tx) error { return release(tx, rec.VDI) })
}

// HostsOf lists the hosts on which an update is applied.
func HostsOf(tx *db.Tx, update xenapi.Ref[xenapi.PoolUpdate]) (hosts []xenapi.Ref[xenapi.Host]) {
	patch, _ := patchOf(tx, update)
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "pool_patch", patch) {
		if rec, _ := db.Lookup(tx, row); rec.Applied {
			hosts = append(hosts, rec.Host)
		}
	}
	return hosts
}

// UpdatesOf lists the updates that are applied on a host, and those of them for which it is to be rebooted still.
func UpdatesOf(tx *db.Tx, ref xenapi.Ref[xenapi.Host], host xenapi.Host) (applied, rebooting []xenapi.Ref[xenapi.PoolUpdate]) {
	due := slices.Contains(host.PendingGuidances, xenapi.UpdateGuidanceRebootHost)
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", ref) {
		rec, _ := db.Lookup(tx, row)
		patch, _ := db.Lookup(tx, rec.PoolPatch)
		if _, ok := db.Lookup(tx, patch.PoolUpdate); !ok || !rec.Applied {
			continue
		}
		applied = append(applied, patch.PoolUpdate)
		if due && rec.BootID != "" && rec.BootID == host.BootID {
			rebooting = append(rebooting, patch.PoolUpdate)
		}
	}
	return applied, rebooting
}

// Concerned lists the updates and hosts that look different after a patch was applied on a host, or is no more, or has got or
// lost its update.
func Concerned(tx *db.Tx, c db.RowChange) (all []db.Object) {
	switch rec := c.Record().(type) {
	case xenapi.HostPatch:
		before, _ := c.Before.(xenapi.HostPatch)
		after, _ := c.After.(xenapi.HostPatch)
		patch, _ := db.Lookup(tx, rec.PoolPatch)
		if before.Applied != after.Applied && !patch.PoolUpdate.IsNull() {
			all = append(all, db.Object{Class: "pool_update", Ref: string(patch.PoolUpdate)}, db.Object{Class: "host", Ref: string(rec.Host)})
		}
	case xenapi.PoolPatch:
		before, _ := c.Before.(xenapi.PoolPatch)
		after, _ := c.After.(xenapi.PoolPatch)
		if before.PoolUpdate == after.PoolUpdate {
			return nil
		}
		for _, row := range db.Referrers[xenapi.HostPatch](tx, "pool_patch", xenapi.Ref[xenapi.PoolPatch](c.Ref)) {
			if rec, _ := db.Lookup(tx, row); rec.Applied {
				all = append(all, db.Object{Class: "host", Ref: string(rec.Host)})
			}
		}
	}
	return all
}
