package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// kindVDI is the kind of belonging that an image on an SR is, from before it is made until a record
// that is not its owner's keeps it. The object is the VDI's UUID.
const kindVDI = "vdi"

// CreateVDI makes a VDI of zeroes as rec says: name_label, name_description, SR, virtual_size in bytes
// (the driver may round it up), type, sharable, read_only, other_config, xenstore_data, sm_config, tags.
// Errors: HANDLE_INVALID, SR_HAS_NO_PBDS, SR_OPERATION_NOT_SUPPORTED, SR_FULL, INVALID_VALUE.
func (s *Service) CreateVDI(ctx context.Context, t *task.Task, rec xenapi.VDI) (xenapi.Ref[xenapi.VDI], error) {
	ref, err := s.CreateTemporary(ctx, t, rec)
	return s.keepOrDiscard(ctx, t, ref, err)
}

// keepOrDiscard makes what a call has just made lasting, or removes it.
func (s *Service) keepOrDiscard(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], err error) (xenapi.Ref[xenapi.VDI], error) {
	if err != nil {
		return "", err
	}
	if err := s.Keep(ctx, t, ref, func(*xenapi.VDI) {}, func(*db.Tx) error { return nil }); err != nil {
		s.Discard(ctx, t, ref)
		return "", err
	}
	return ref, nil
}

// CreateTemporary makes a VDI that belongs to the task until [Service.Keep] makes it a lasting one.
// Whatever ends the task first, crash or failure, the VDI goes: by [Service.Discard] or by recovery.
func (s *Service) CreateTemporary(ctx context.Context, t *task.Task, rec xenapi.VDI) (xenapi.Ref[xenapi.VDI], error) {
	if rec.VirtualSize <= 0 {
		return "", xenapi.ErrInvalidValue("virtual_size", fmt.Sprint(rec.VirtualSize))
	}
	return s.make(ctx, t, rec, lock{sr: rec.SR, srOp: xenapi.StorageOperationVDICreate},
		func(c Capabilities) bool { return c.Create },
		func(ctx context.Context, sr SR, img Image) (Image, error) { return sr.Create(ctx, img) })
}

// make is the one way in which an image and its row come to be.
func (s *Service) make(ctx context.Context, t *task.Task, rec xenapi.VDI, l lock, able func(Capabilities) bool,
	driverCall func(context.Context, SR, Image) (Image, error)) (xenapi.Ref[xenapi.VDI], error) {

	sr, err := s.open(rec.SR)
	if err != nil {
		return "", err
	}
	if !able(sr.Capabilities()) {
		return "", xenapi.ErrSROperationNotSupported(rec.SR)
	}
	if rec.UUID == "" {
		rec.UUID = xenapi.NewUUID()
	}
	ref := xenapi.NewRef[xenapi.VDI]()
	err = s.acquire(ctx, t, l, func(tx *db.Tx) error {
		return t.Own(tx, kindVDI, rec.UUID, map[string]string{"SR": rec.SR.String()})
	})
	if err != nil {
		return "", err
	}
	// A crash here leaves a belonging without an image, below one without a row: recovery's undoVDI
	// removes either.
	img := s.imageOf(rec)
	img.Temporary = true
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	img, err = driverCall(dctx, sr, img)
	if err != nil {
		s.abandon(ctx, t, rec.SR, rec.UUID, l)
		return "", located(err, rec.SR, l.vdi)
	}
	rec.Location, rec.VirtualSize, rec.PhysicalUtilisation = img.Location, img.Size, img.Used
	rec.Managed = true
	err = s.update(ctx, func(tx *db.Tx) error {
		if err := db.Insert(tx, ref, rec); err != nil {
			return err
		}
		return errOr(account(tx, rec.SR, rec.VirtualSize, unmeasured), s.release(tx, t, l))
	})
	if err != nil {
		s.abandon(ctx, t, rec.SR, rec.UUID, l)
		return "", err
	}
	return ref, nil
}

// dropVDI removes the records of an image that is gone: its belonging, and its row if it has got one. space is its SR's, if
// that was measured.
func dropVDI(tx *db.Tx, uuid string, space Space) error {
	if ref, err := db.ByUUID[xenapi.VDI](tx, uuid); err == nil {
		rec, _ := db.Lookup(tx, ref)
		if err := errOr(deleteVDI(tx, ref), account(tx, rec.SR, -rec.VirtualSize, space)); err != nil {
			return err
		}
	}
	return task.Disown(tx, kindVDI, uuid)
}

// deleteVDI removes a VDI's row, and the VBDs that would refer to nothing. None of them is plugged: who removes a VDI has
// looked.
func deleteVDI(tx *db.Tx, ref xenapi.Ref[xenapi.VDI]) error {
	for _, vbd := range db.Referrers[xenapi.VBD](tx, "VDI", ref) {
		if err := db.Delete(tx, vbd); err != nil {
			return err
		}
	}
	return db.Delete(tx, ref)
}

// abandon removes an image whose row could not be written, and its belonging. What it cannot remove stays recorded for
// [Service.Undo].
func (s *Service) abandon(ctx context.Context, t *task.Task, sr xenapi.Ref[xenapi.SR], uuid string, l lock) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	removed := s.removeImage(ctx, sr, uuid)
	if removed != nil {
		s.log.Error("image of a failed call not removed; it is tried again", "vdi", uuid, "error", removed)
	}
	err := s.update(ctx, func(tx *db.Tx) error {
		if removed == nil {
			if err := dropVDI(tx, uuid, unmeasured); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	if err != nil {
		s.log.Error("failed call not recorded; it is tried again", "vdi", uuid, "error", err)
	}
}

// Keep makes a temporary VDI a lasting one: edit gives it its last description, which the SR remembers
// first; then one transaction records that, runs commit and ends the task's ownership.
func (s *Service) Keep(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], edit func(*xenapi.VDI), commit func(*db.Tx) error) error {
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	edit(&rec)
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	// A crash after Describe leaves an image that looks lasting, but whose belonging still stands:
	// recovery removes it as if it were temporary.
	if err := sr.Describe(dctx, s.imageOf(rec)); err != nil {
		return located(err, rec.SR, ref)
	}
	img, _, err := find(dctx, sr, func(img Image) bool { return img.Location == rec.Location })
	if err != nil {
		return err
	}
	space := measured(dctx, sr)
	return s.update(ctx, func(tx *db.Tx) error {
		if err := db.Change(tx, ref, func(vdi *xenapi.VDI) error {
			edit(vdi)
			vdi.PhysicalUtilisation = img.Used
			return nil
		}); err != nil {
			return err
		}
		if err := errOr(account(tx, rec.SR, 0, space), task.Disown(tx, kindVDI, rec.UUID)); err != nil {
			return err
		}
		return commit(tx)
	})
}

// DestroyVDI removes a VDI and its content. Errors: VDI_IN_USE while it is attached, VDI_NOT_MANAGED,
// SR_HAS_NO_PBDS, SR_OPERATION_NOT_SUPPORTED.
func (s *Service) DestroyVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	if !sr.Capabilities().Delete {
		return xenapi.ErrSROperationNotSupported(rec.SR)
	}
	l := lock{sr: rec.SR, srOp: xenapi.StorageOperationVDIDestroy, vdi: ref, vdiOp: xenapi.VDIOperationDestroy}
	temporary := false
	err = s.acquire(ctx, t, l, func(tx *db.Tx) (err error) {
		temporary, err = s.doom(tx, t, ref)
		return err
	})
	if err != nil {
		return err
	}
	// From here on the VDI will go, if not by this call then by recovery: it belongs to the task.
	dctx, cancel := cleanup(ctx)
	defer cancel()
	if err := sr.Destroy(dctx, rec.Location); err != nil {
		return s.spare(dctx, t, rec, l, temporary, err)
	}
	return s.bury(ctx, t, rec.UUID, l, measured(dctx, sr))
}

// bury records that a VDI is gone.
func (s *Service) bury(ctx context.Context, t *task.Task, uuid string, l lock, space Space) error {
	return s.update(ctx, func(tx *db.Tx) error { return errOr(dropVDI(tx, uuid, space), s.release(tx, t, l)) })
}

// doom checks that a VDI may go and makes it the task's. What an ended task left may go too.
func (s *Service) doom(tx *db.Tx, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (temporary bool, err error) {
	rec, err := db.Get(tx, ref)
	switch {
	case err != nil:
		return false, err
	case !rec.Managed:
		return false, xenapi.ErrVDINotManaged(ref)
	case rec.MetadataLatest, len(attachments(tx, rec.UUID)) > 0:
		return false, xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDestroy))
	}
	owner, owned := task.Owner(tx, kindVDI, rec.UUID)
	switch {
	case !owned:
		return false, t.Own(tx, kindVDI, rec.UUID, map[string]string{"SR": rec.SR.String()})
	case owner.Task == t.Ref():
		return true, nil
	case pending(tx, owner.Task) && owner.Task != wholeOf(tx, t.Ref()):
		return false, xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDestroy))
	}
	if err := task.Disown(tx, kindVDI, rec.UUID); err != nil {
		return false, err
	}
	return true, t.Own(tx, kindVDI, rec.UUID, owner.Detail)
}

// spare settles a destruction that the driver has failed. A lasting VDI whose image is whole is given back
// to its row, and one whose image is gone all the same is buried. Anything else stays the task's: another
// call or [Service.Undo] destroys it.
func (s *Service) spare(ctx context.Context, t *task.Task, rec xenapi.VDI, l lock, temporary bool, cause error) error {
	sr, err := s.open(rec.SR)
	if err != nil {
		return cause
	}
	img, there, err := find(ctx, sr, func(img Image) bool { return img.Location == rec.Location })
	if err == nil && !there {
		return s.bury(ctx, t, rec.UUID, l, unmeasured)
	}
	err = s.update(ctx, func(tx *db.Tx) error {
		if err == nil && !img.Incomplete && !temporary {
			if err := task.Disown(tx, kindVDI, rec.UUID); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	if err != nil {
		s.log.Error("failed destruction not recorded; it is tried again", "vdi", rec.UUID, "error", err)
	}
	return cause
}

// discardAttempts is how often Discard tries: a database that fails once has often recovered the next time.
const discardAttempts = 3

// Discard destroys a temporary VDI of the task, with a context of its own. What cannot be removed now
// stays recorded, and goes by [Service.Undo].
func (s *Service) Discard(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	var err error
	for range discardAttempts {
		err = s.DestroyVDI(ctx, t, ref)
		if code := xenapi.CodeOf(err); err == nil || code == xenapi.CodeHandleInvalid {
			return
		} else if code != "" {
			break
		}
	}
	s.log.Error("temporary VDI not removed; it is tried again", "vdi", ref, "error", err)
}

// ForgetVDI removes a VDI's row and leaves its content, until the next scan finds it. Errors: VDI_IN_USE while it is attached
// or a task's.
func (s *Service) ForgetVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	l := lock{vdi: ref, vdiOp: xenapi.VDIOperationForget}
	return s.acquire(ctx, t, l, func(tx *db.Tx) error {
		rec, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if inUse(tx, rec.UUID) || rec.MetadataLatest {
			return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationForget))
		}
		if err := db.Change(tx, rec.SR, func(sr *xenapi.SR) error { sr.Forgotten = append(sr.Forgotten, rec.UUID); return nil }); err != nil {
			return err
		}
		return errOr(account(tx, rec.SR, -rec.VirtualSize, unmeasured), deleteVDI(tx, ref))
	})
}

// IntroduceVDI makes a row for an image that is on the SR already, at rec.Location.
// Errors: VDI_MISSING, LOCATION_NOT_UNIQUE.
func (s *Service) IntroduceVDI(ctx context.Context, t *task.Task, rec xenapi.VDI) (xenapi.Ref[xenapi.VDI], error) {
	sr, err := s.open(rec.SR)
	if err != nil {
		return "", err
	}
	l := lock{sr: rec.SR, srOp: xenapi.StorageOperationVDIIntroduce}
	if err := s.acquire(ctx, t, l, func(*db.Tx) error { return nil }); err != nil {
		return "", err
	}
	ref := xenapi.NewRef[xenapi.VDI]()
	err = s.introduce(ctx, sr, ref, rec)
	if rerr := s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, l) }); err == nil {
		err = rerr
	}
	return ref, err
}

func (s *Service) introduce(ctx context.Context, sr SR, ref xenapi.Ref[xenapi.VDI], rec xenapi.VDI) error {
	img, ok, err := find(ctx, sr, func(img Image) bool { return img.Location == rec.Location && !img.Incomplete })
	if err != nil {
		return err
	}
	if !ok {
		return xenapi.ErrVDIMissing(rec.SR, xenapi.Ref[xenapi.VDI](rec.Location))
	}
	rec.VirtualSize, rec.PhysicalUtilisation, rec.Managed = img.Size, img.Used, true
	if rec.UUID == "" {
		rec.UUID = img.UUID
	}
	return s.update(ctx, func(tx *db.Tx) error {
		for _, other := range db.Referrers[xenapi.VDI](tx, "SR", rec.SR) {
			if vdi, ok := db.Lookup(tx, other); ok && vdi.Location == rec.Location {
				return xenapi.ErrLocationNotUnique(rec.SR, rec.Location)
			}
		}
		return errOr(account(tx, rec.SR, rec.VirtualSize, unmeasured), db.Insert(tx, ref, rec))
	})
}

// ResizeVDI grows a VDI to size bytes. Errors: VDI_TOO_SMALL when it would shrink, VDI_IN_USE while
// attached by others, SR_FULL.
func (s *Service) ResizeVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], size int64) error {
	return s.resize(ctx, t, ref, size, func(tx *db.Tx, rec xenapi.VDI) error {
		if rec.MetadataLatest || len(attachments(tx, rec.UUID)) > 0 {
			return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationResize))
		}
		return nil
	})
}

func (s *Service) resize(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], size int64, check func(*db.Tx, xenapi.VDI) error) error {
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	if !sr.Capabilities().Resize {
		return xenapi.ErrSROperationNotSupported(rec.SR)
	}
	if err := s.hasData(ref); err != nil {
		return err
	}
	l := lock{sr: rec.SR, srOp: xenapi.StorageOperationVDIResize, vdi: ref, vdiOp: xenapi.VDIOperationResize}
	err = s.acquire(ctx, t, l, func(tx *db.Tx) error {
		if rec, err = db.Get(tx, ref); err != nil {
			return err
		}
		if size < rec.VirtualSize {
			return xenapi.ErrVDITooSmall(ref, rec.VirtualSize)
		}
		return check(tx, rec)
	})
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	// A crash after this leaves an image that is larger than its row says; a scan puts the row right.
	img, resized := sr.Resize(dctx, rec.Location, size)
	space := measured(dctx, sr)
	err = s.update(ctx, func(tx *db.Tx) error {
		if resized == nil {
			if err := resizeRow(tx, ref, img, space); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	if resized != nil {
		return located(resized, rec.SR, ref)
	}
	return err
}

func resizeRow(tx *db.Tx, ref xenapi.Ref[xenapi.VDI], img Image, space Space) error {
	rec, err := db.Get(tx, ref)
	if err != nil {
		return err
	}
	grown := img.Size - rec.VirtualSize
	rec.VirtualSize, rec.PhysicalUtilisation, rec.Digest = img.Size, img.Used, ""
	return errOr(db.Put(tx, ref, rec), account(tx, rec.SR, grown, space))
}

// DescribeVDI changes what a VDI is called or remembered as: fn edits the row, and the SR remembers it.
func (s *Service) DescribeVDI(ctx context.Context, ref xenapi.Ref[xenapi.VDI], fn func(*xenapi.VDI)) error {
	_, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	var rec xenapi.VDI
	err = s.update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(vdi *xenapi.VDI) error {
			fn(vdi)
			rec = *vdi
			return nil
		})
	})
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	// A crash before this leaves an older name on the SR: the row is what counts.
	return located(sr.Describe(dctx, s.imageOf(rec)), rec.SR, ref)
}

// vdiOnSR finds a VDI's row and its attached SR.
func (s *Service) vdiOnSR(ref xenapi.Ref[xenapi.VDI]) (rec xenapi.VDI, sr SR, err error) {
	err = s.view(func(tx *db.Tx) (err error) {
		rec, err = db.Get(tx, ref)
		return err
	})
	if err != nil {
		return rec, nil, err
	}
	sr, err = s.open(rec.SR)
	return rec, sr, err
}

// HasImage reports whether a VDI has its image. One that this host does not see counts as there.
func (s *Service) HasImage(ctx context.Context, vdi xenapi.Ref[xenapi.VDI]) bool {
	rec, sr, err := s.vdiOnSR(vdi)
	if err != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	file, err := sr.Open(ctx, rec.Location, ReadOnly)
	if err != nil {
		return !errors.Is(err, ErrNoImage)
	}
	file.Close()
	return true
}

// undoVDI removes an image that an ended task left, with its row if it had got one. Errors: VDI_IN_USE.
func (s *Service) undoVDI(ctx context.Context, b task.Belonging) error {
	var ref xenapi.Ref[xenapi.VDI]
	var users []use
	_ = s.view(func(tx *db.Tx) error {
		ref, _ = db.ByUUID[xenapi.VDI](tx, b.Object)
		users = attachments(tx, b.Object)
		return nil
	})
	if len(users) > 0 {
		return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDestroy))
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := s.removeImage(ctx, xenapi.Ref[xenapi.SR](b.Detail["SR"]), b.Object); err != nil {
		return err
	}
	s.log.Info("removed a VDI that an unfinished task left", "vdi", b.Object)
	return s.update(ctx, func(tx *db.Tx) error { return dropVDI(tx, b.Object, unmeasured) })
}

// removeImage destroys the image with a UUID, wherever its SR has it.
func (s *Service) removeImage(ctx context.Context, ref xenapi.Ref[xenapi.SR], uuid string) error {
	sr, err := s.open(ref)
	if err != nil {
		return err
	}
	img, ok, err := find(ctx, sr, func(img Image) bool { return img.UUID == uuid })
	if err != nil || !ok {
		return err
	}
	return sr.Destroy(ctx, img.Location)
}

// Remeasure records how much of its SR a VDI takes after its content was written. Where that cannot be told now, the next scan
// tells it.
func (s *Service) Remeasure(ctx context.Context, ref xenapi.Ref[xenapi.VDI]) {
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), driverTimeout)
	defer cancel()
	img, ok, err := find(ctx, sr, func(img Image) bool { return img.Location == rec.Location })
	if ok {
		space := measured(ctx, sr)
		err = s.update(ctx, func(tx *db.Tx) error {
			change := func(vdi *xenapi.VDI) error { vdi.PhysicalUtilisation = img.Used; return nil }
			return errOr(db.Change(tx, ref, change), account(tx, rec.SR, 0, space))
		})
	}
	if err != nil {
		s.log.Info("it is not known how much a VDI takes now", "vdi", rec.UUID, "error", err)
	}
}

func find(ctx context.Context, sr SR, match func(Image) bool) (Image, bool, error) {
	images, err := sr.List(ctx)
	if err != nil {
		return Image{}, false, err
	}
	for _, img := range images {
		if match(img) {
			return img, true, nil
		}
	}
	return Image{}, false, nil
}

// imageOf is what an SR remembers of a VDI.
func (s *Service) imageOf(rec xenapi.VDI) Image {
	img := Image{
		Location: rec.Location, UUID: rec.UUID, Size: rec.VirtualSize,
		NameLabel: rec.NameLabel, NameDescription: rec.NameDescription, Type: rec.Type,
		CBTEnabled: rec.CBTEnabled, Sharable: rec.Sharable, ReadOnly: rec.ReadOnly, IsASnapshot: rec.IsASnapshot, SnapshotTime: rec.SnapshotTime,
		OtherConfig: rec.OtherConfig, SMConfig: rec.SMConfig, Digest: rec.Digest,
	}
	_ = s.view(func(tx *db.Tx) error {
		original, _ := db.Lookup(tx, rec.SnapshotOf)
		img.SnapshotOf = original.UUID
		return nil
	})
	return img
}

// recordOf is the row of an image that a scan found.
func recordOf(tx *db.Tx, sr xenapi.Ref[xenapi.SR], img Image) xenapi.VDI {
	rec := xenapi.New[xenapi.VDI]()
	rec.SR, rec.Location, rec.UUID, rec.Managed = sr, img.Location, img.UUID, true
	adopt(tx, &rec, img)
	return rec
}

// adopt takes over what the SR remembers.
func adopt(tx *db.Tx, rec *xenapi.VDI, img Image) {
	rec.VirtualSize, rec.PhysicalUtilisation = img.Size, img.Used
	rec.NameLabel, rec.NameDescription, rec.Type = img.NameLabel, img.NameDescription, img.Type
	rec.CBTEnabled, rec.Sharable, rec.ReadOnly = img.CBTEnabled, img.Sharable, img.ReadOnly
	rec.IsASnapshot, rec.SnapshotTime = img.IsASnapshot, img.SnapshotTime.Truncate(time.Second)
	if original, err := db.ByUUID[xenapi.VDI](tx, img.SnapshotOf); err == nil {
		rec.SnapshotOf = original
	}
	rec.OtherConfig, rec.SMConfig, rec.Digest = img.OtherConfig, img.SMConfig, img.Digest
}
