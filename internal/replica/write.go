package replica

import (
	"bytes"
	"context"
	"errors"
	"syscall"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// burst bounds how often a redo log is written under one attachment.
const burst = 64

// write brings a replica up to date, as a task of its own, and gives the count of changes that it holds. Errors: VDI_IN_USE
// while another host writes it, or has died while it did; OPERATION_NOT_ALLOWED when it is no replica any more; SR_FULL.
func (s *Service) write(ctx context.Context, vdi vdiRef) (upTo uint64, err error) {
	release, err := hold(ctx, s.pen)
	if err != nil {
		return 0, err
	}
	defer release()
	_, err = s.tasks.Do(ctx, task.Spec{Label: "write the database into a VDI"}, func(ctx context.Context, t *task.Task) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		a, err := s.attach(ctx, t, vdi)
		if err != nil {
			return "", err
		}
		// A crash from here on leaves the attachment of a dead task, which recovery removes; until then no other host writes.
		defer a.Detach(ctx)
		s.step("replica-attached")
		for range burst {
			upTo = s.changes.Load()
			rec, err := s.update(ctx, t, a)
			if err != nil || rec.Type != xenapi.VDITypeRedoLog || s.changes.Load() == upTo {
				return "", err
			}
		}
		return "", nil
	})
	return upTo, err
}

func (s *Service) attach(ctx context.Context, t *task.Task, vdi vdiRef) (*storage.Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	return s.storage.AttachReplica(ctx, t, vdi)
}

// update writes the pool's records as they are now.
func (s *Service) update(ctx context.Context, t *task.Task, a *storage.Attachment) (rec xenapi.VDI, err error) {
	var pool xenapi.Pool
	if err := s.db.View(func(tx *db.Tx) (err error) {
		_, pool = thePool(tx)
		rec, err = db.Get(tx, a.VDI)
		return err
	}); err != nil {
		return rec, err
	}
	var body bytes.Buffer
	own := func(class, ref string) bool {
		return a.Owned(class, ref) || class == xenapi.Task{}.Class() && ref == t.Ref().String()
	}
	if err := s.options.Backup(ctx, &body, own); err != nil {
		return rec, err
	}
	info, err := a.File.Stat()
	if err != nil {
		return rec, err
	}
	size := max(rec.VirtualSize, info.Size()) // what a crash left grown is not yet in the record
	w := writer{a.File, size, func(ctx context.Context, size int64) error { return a.Grow(ctx, t, size) }, s.step}
	if err = w.write(ctx, body.Bytes(), pool.UUID); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		free, _ := s.storage.Free(ctx, rec.SR)
		err = xenapi.ErrSRFull(int64(body.Len()), free).Because(err)
	}
	return rec, err
}
