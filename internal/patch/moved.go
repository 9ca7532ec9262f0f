package patch

import (
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Moved has the patches in a VDI, and the updates that were introduced from it, refer to another one with the same content. Errors:
// OTHER_OPERATION_IN_PROGRESS while somebody replaces or destroys a patch's content; who reads it finds the content in its new
// place.
func Moved(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error {
	for _, ref := range db.Referrers[xenapi.PoolPatch](tx, "VDI", from) {
		if err := movable(tx, ref); err != nil {
			return err
		}
		if err := db.Change(tx, ref, func(rec *xenapi.PoolPatch) error { rec.VDI = to; return nil }); err != nil {
			return err
		}
	}
	for _, ref := range db.Referrers[xenapi.PoolUpdate](tx, "vdi", from) {
		if patch, ok := patchOf(tx, ref); ok {
			if err := movable(tx, patch); err != nil {
				return err
			}
		}
		if err := db.Change(tx, ref, func(rec *xenapi.PoolUpdate) error { rec.VDI = to; return nil }); err != nil {
			return err
		}
	}
	return nil
}

// movable refuses a patch whose content somebody changes.
func movable(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	rec, err := db.Get(tx, ref)
	if err != nil {
		return err
	}
	dropDead(tx, &rec)
	for _, held := range rec.Claims {
		if !readsContent(held.Operation) && held.Operation != opPoolApply {
			return xenapi.ErrOtherOperationInProgress("Pool_patch", ref.String(), held.Operation)
		}
	}
	return nil
}
