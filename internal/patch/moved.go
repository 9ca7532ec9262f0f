package patch

import (
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Moved has the patches in a VDI refer to another one with the same content. Errors: OTHER_OPERATION_IN_PROGRESS while
// somebody replaces or destroys a patch's content; who reads it finds the content in its new place.
func Moved(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error {
	for _, ref := range db.Referrers[xenapi.PoolPatch](tx, "VDI", from) {
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
		rec.VDI = to
		if err := db.Put(tx, ref, rec); err != nil {
			return err
		}
	}
	return nil
}
