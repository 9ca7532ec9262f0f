package storage

import (
	"context"
	"errors"
	"syscall"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// CopyVDI copies a VDI to an SR, or into an existing VDI when into is not null. Of a base, whose content the destination
// is said to have, it only looks whether it is there: it writes all of the source, whatever the destination held. Progress
// shows on the task; the source may be read by others meanwhile. Errors: HANDLE_INVALID, VDI_READONLY, VDI_TOO_SMALL,
// SR_FULL, VDI_IN_USE, SR_HAS_NO_PBDS, TASK_CANCELLED.
func (s *Service) CopyVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], base, into xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
	if !base.IsNull() {
		if _, err := s.lookup(base); err != nil {
			return "", err
		}
	}
	if !into.IsNull() {
		return into, s.copyInto(ctx, t, ref, into, false)
	}
	copied, err := s.CopyTemporary(ctx, t, ref, sr, nil)
	return s.keepOrDiscard(ctx, t, copied, err)
}

// CopyTemporary copies a VDI to an SR as a VDI that belongs to the task; edit may change how it is called.
func (s *Service) CopyTemporary(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], edit func(*xenapi.VDI)) (xenapi.Ref[xenapi.VDI], error) {
	return s.copyNew(ctx, t, ref, sr, edit, s.copyInto)
}

// filler copies the content of one VDI into another, which is fresh when it holds zeroes.
type filler func(ctx context.Context, t *task.Task, from, into xenapi.Ref[xenapi.VDI], fresh bool) error

func (s *Service) copyNew(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], edit func(*xenapi.VDI), fill filler) (xenapi.Ref[xenapi.VDI], error) {
	src, _, err := s.vdiOnSR(ref)
	if err != nil && !s.canPull(err) {
		return "", err
	}
	rec := duplicate(src)
	rec.SR, rec.ReadOnly, rec.SMConfig = sr, false, nil
	if edit != nil {
		edit(&rec)
	}
	copied, err := s.CreateTemporary(ctx, t, rec)
	if err != nil {
		return "", err
	}
	if err := fill(ctx, t, ref, copied, true); err != nil {
		s.Discard(ctx, t, copied)
		return "", err
	}
	return copied, nil
}

// copyInto copies content; a fresh destination holds zeroes. The source is marked with the operation copy,
// so it cannot go meanwhile.
func (s *Service) copyInto(ctx context.Context, t *task.Task, from, into xenapi.Ref[xenapi.VDI], fresh bool) error {
	l := lock{vdi: from, vdiOp: xenapi.VDIOperationCopy}
	if err := s.acquire(ctx, t, l, func(tx *db.Tx) error { return fits(tx, from, into) }); err != nil {
		return err
	}
	err := s.fill(ctx, t, from, into, fresh)
	if rerr := s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, l) }); err == nil {
		err = rerr
	}
	return err
}

// fill copies content that the caller has marked with the operation copy, from wherever it can be had.
func (s *Service) fill(ctx context.Context, t *task.Task, from, into xenapi.Ref[xenapi.VDI], fresh bool) error {
	err := s.copyContent(ctx, t, from, into, fresh)
	if s.canPull(err) {
		err = s.pullContent(ctx, t, from, into, fresh)
	}
	return err
}

func fits(tx *db.Tx, from, into xenapi.Ref[xenapi.VDI]) error {
	src, err := db.Get(tx, from)
	if err != nil {
		return err
	}
	dst, err := db.Get(tx, into)
	switch {
	case err != nil:
		return err
	case dst.ReadOnly:
		return xenapi.ErrVDIReadonly(into)
	case dst.VirtualSize < src.VirtualSize:
		return xenapi.ErrVDITooSmall(into, src.VirtualSize)
	}
	return nil
}

func (s *Service) copyContent(ctx context.Context, t *task.Task, from, into xenapi.Ref[xenapi.VDI], fresh bool) error {
	src, err := s.Attach(ctx, t, from, ReadOnly)
	if err != nil {
		return err
	}
	defer src.Detach(ctx)
	dst, err := s.Attach(ctx, t, into, ReadWrite)
	if err != nil {
		return err
	}
	defer dst.Detach(ctx)

	var rec, target xenapi.VDI
	err = s.view(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, from); err != nil {
			return err
		}
		target, err = db.Get(tx, into)
		return err
	})
	if err != nil {
		return err
	}
	digest, err := image.Copy(ctx, dst.File, src.File, image.Options{
		Size: rec.VirtualSize, DstZeroed: fresh, Reflink: false,
		Progress: func(done, total int64) { t.Progress(ctx, float64(done)/float64(max(total, 1))) },
	})
	if err != nil {
		return s.ioError(ctx, target.SR, rec.VirtualSize, err)
	}
	if rec.Digest != "" && rec.Digest != digest.String() {
		return errSpoiled(digest.String(), rec.Digest)
	}
	return s.noteDigest(ctx, into, rec.VirtualSize, digest)
}

// errOtherContent is in the chain of what errSpoiled gives.
var errOtherContent = errors.New("the content has another digest than is recorded")

// errSpoiled says that an image is not what was written into it. A copy of it would pass for whole.
func errSpoiled(found, recorded string) error {
	return xenapi.ErrVDIIOError("the content of the VDI is not what was written: " + found + " instead of " + recorded).Because(errOtherContent)
}

// noteDigest records what was copied into a VDI from an image of size bytes, if that is all of its content.
func (s *Service) noteDigest(ctx context.Context, into xenapi.Ref[xenapi.VDI], size int64, digest image.Digest) error {
	return s.update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, into, func(vdi *xenapi.VDI) error {
			if vdi.VirtualSize == size {
				vdi.Digest = digest.String()
			}
			return nil
		})
	})
}

// CloneVDI makes a VDI with the same content on the same SR, without copying it. Errors:
// SR_OPERATION_NOT_SUPPORTED where the SR lacks VDI_CLONE.
func (s *Service) CloneVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
	cloned, err := s.CloneTemporary(ctx, t, ref, nil)
	return s.keepOrDiscard(ctx, t, cloned, err)
}

// CloneTemporary clones a VDI as one that belongs to the task; edit may change how it is called.
func (s *Service) CloneTemporary(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], edit func(*xenapi.VDI)) (xenapi.Ref[xenapi.VDI], error) {
	return s.clone(ctx, t, ref, xenapi.StorageOperationVDIClone, xenapi.VDIOperationClone,
		func(c Capabilities) bool { return c.Clone }, edit)
}

// SnapshotVDI makes a clone that remembers what it is a snapshot of and when it was taken.
func (s *Service) SnapshotVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
	taken, err := s.clone(ctx, t, ref, xenapi.StorageOperationVDISnapshot, xenapi.VDIOperationSnapshot,
		func(c Capabilities) bool { return c.Snapshot },
		func(rec *xenapi.VDI) {
			rec.IsASnapshot, rec.SnapshotOf, rec.SnapshotTime = true, ref, time.Now().UTC().Truncate(time.Second)
		})
	return s.keepOrDiscard(ctx, t, taken, err)
}

func (s *Service) clone(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], srOp xenapi.StorageOperation, vdiOp xenapi.VDIOperation,
	able func(Capabilities) bool, edit func(*xenapi.VDI)) (xenapi.Ref[xenapi.VDI], error) {

	src, _, err := s.vdiOnSR(ref)
	if err = errOr(err, s.hasData(ref)); err != nil {
		return "", err
	}
	rec := duplicate(src)
	rec.Digest = src.Digest
	rec.CBTEnabled = src.CBTEnabled && vdiOp == xenapi.VDIOperationSnapshot
	if edit != nil {
		edit(&rec)
	}
	return s.make(ctx, t, rec, lock{sr: src.SR, srOp: srOp, vdi: ref, vdiOp: vdiOp}, able,
		func(ctx context.Context, sr SR, img Image) (Image, error) { return sr.Clone(ctx, src.Location, img) })
}

// duplicate is what a copy, clone or snapshot takes over of its original (facts, section 9).
func duplicate(src xenapi.VDI) xenapi.VDI {
	rec := xenapi.New[xenapi.VDI]()
	rec.SR = src.SR
	rec.NameLabel, rec.NameDescription, rec.VirtualSize = src.NameLabel, src.NameDescription, src.VirtualSize
	rec.Type, rec.Sharable, rec.ReadOnly = src.Type, src.Sharable, src.ReadOnly
	rec.OtherConfig, rec.XenstoreData, rec.Tags, rec.SMConfig = src.OtherConfig, src.XenstoreData, src.Tags, src.SMConfig
	rec.AllowCaching, rec.OnBoot = src.AllowCaching, src.OnBoot
	return xenapi.Clone(rec)
}

// ioError makes a domain error of a failed read or write of an image's content: needed is how many
// bytes the SR had to take.
func (s *Service) ioError(ctx context.Context, ref xenapi.Ref[xenapi.SR], needed int64, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		free, _ := s.Free(ctx, ref)
		return xenapi.ErrSRFull(needed, free).Because(err)
	case errors.Is(err, syscall.EIO):
		return xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	return err
}
