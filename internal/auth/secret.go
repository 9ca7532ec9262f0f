package auth

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// RotateSecret gives the pool another secret. Who knew the old one is let in no more, and out: its sessions end.
func (s *Service) RotateSecret(ctx context.Context, secret string) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Pool](tx) {
			rec.Secret = secret
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
		for ref, rec := range db.All[xenapi.Session](tx) {
			if rec.Kind != kindPool {
				continue
			}
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
		return nil
	})
}
