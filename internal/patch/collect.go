package patch

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Collect removes the records of patches that are nowhere any more (M9): no VDI, no legacy file on the
// coordinator, on no host, and nothing works on them. On any other host it does nothing.
func (s *Service) Collect(ctx context.Context) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		if !s.coordinating(tx) {
			return nil
		}
		for ref, rec := range db.All[xenapi.PoolPatch](tx) {
			if !s.collectible(tx, ref, rec) {
				continue
			}
			s.log.Info("collected the record of a patch without content", "patch", rec.UUID)
			if err := forget(tx, ref); err != nil {
				return err
			}
		}
		return s.dropOrphans(tx)
	})
}

// CollectWhenever collects after every change that makes it possible, until ctx ends.
func (s *Service) CollectWhenever(ctx context.Context) error {
	for {
		err := s.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
			if !s.coordinating(tx) {
				return false, nil
			}
			for ref, rec := range db.All[xenapi.PoolPatch](tx) {
				if s.collectible(tx, ref, rec) {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return err
		}
		if err := s.Collect(ctx); err != nil {
			return err
		}
	}
}

func (s *Service) collectible(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch) bool {
	return len(rec.Claims) == 0 && len(db.Referrers[xenapi.HostPatch](tx, "pool_patch", ref)) == 0 && !s.hasContent(tx, rec)
}

// dropOrphans removes host_patch rows whose host or patch is gone, and updates whose patch is.
func (s *Service) dropOrphans(tx *db.Tx) error {
	for ref := range db.All[xenapi.PoolUpdate](tx) {
		if _, ok := patchOf(tx, ref); !ok {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	for row, rec := range db.All[xenapi.HostPatch](tx) {
		_, host := db.Lookup(tx, rec.Host)
		_, patch := db.Lookup(tx, rec.PoolPatch)
		if host && patch {
			continue
		}
		if err := db.Delete(tx, row); err != nil {
			return err
		}
	}
	return nil
}
