package patch

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Forget removes the row of a patch on a host (host_patch.destroy), and nothing else: while the stamp is
// there, the next start makes the row anew. It is also how a person dismisses an interrupted attempt.
func (s *Service) Forget(ctx context.Context, row xenapi.Ref[xenapi.HostPatch]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, row)
		if err != nil {
			return err
		}
		if State(rec.State).Busy() {
			return xenapi.ErrOtherOperationInProgress("Pool_patch", rec.PoolPatch.String(), opApply)
		}
		return change(tx, row, Forget, func(*xenapi.HostPatch) {})
	})
}
