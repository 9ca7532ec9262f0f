package patch

import (
	"context"
	"fmt"
	"io"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Download gives fn the signed patch, as it was uploaded, and its size in bytes; it lies in a VDI or in
// a legacy file (M7). Errors: UUID_INVALID, CANNOT_FIND_PATCH.
func (s *Service) Download(ctx context.Context, t *task.Task, uuid string, fn func(r io.Reader, size int64) error) error {
	ref, err := s.byUUID(uuid)
	if err != nil {
		return err
	}
	release, err := s.hold(ctx, t, ref, opDownload)
	if err != nil {
		return err
	}
	defer release()
	var rec xenapi.PoolPatch
	inVDI := false
	if err := s.db.View(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, ref); err == nil {
			_, inVDI = db.Lookup(tx, rec.VDI)
		}
		return err
	}); err != nil {
		return err
	}
	if !inVDI {
		return s.downloadLegacy(rec.Filename, fn)
	}
	space, err := s.openContent(ctx, t, ref)
	if err != nil {
		return err
	}
	defer space.Discard(ctx)
	file, err := space.Open(patchFile)
	if err != nil {
		return fmt.Errorf("patch file of its VDI: %w", err)
	}
	defer file.Close()
	return fn(file, rec.Size)
}

func (s *Service) byUUID(text string) (ref xenapi.Ref[xenapi.PoolPatch], err error) {
	uuid, ok := xenapi.ParseUUID(text)
	if !ok {
		return "", xenapi.ErrUUIDInvalid("pool_patch", text)
	}
	err = s.db.View(func(tx *db.Tx) error {
		ref, err = db.ByUUID[xenapi.PoolPatch](tx, uuid)
		return err
	})
	return ref, err
}

func (s *Service) downloadLegacy(filename string, fn func(io.Reader, int64) error) error {
	file, err := s.openLegacyFile(filename)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("legacy file: %w", err)
	}
	return fn(file, info.Size())
}
