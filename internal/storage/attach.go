package storage

import (
	"context"
	"os"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// kindAttachment is the kind of belonging that the use of a VDI's content on a host is. The object is
// the VDI's UUID and the task that uses it.
const kindAttachment = "attachment"

// Attachment is a VDI whose content this host uses. The database knows of it, so nobody destroys,
// resizes or writes the VDI meanwhile.
type Attachment struct {
	VDI  xenapi.Ref[xenapi.VDI]
	Mode Mode
	File *os.File // of the VDI's virtual size; closed by Detach
	// Digest is what was recorded of the content when the VDI was attached for writing.
	Digest string

	service *Service
	object  string
	replica bool
}

// Attach opens a VDI for the task. Several tasks may read a VDI at once; one that writes is alone.
// Attaching for writing makes the recorded content digest void. It waits while an operation changes the
// VDI. Errors: VDI_IN_USE, VDI_READONLY, VDI_MISSING, SR_HAS_NO_PBDS, VDI_INCOMPATIBLE_TYPE for one whose data was destroyed.
func (s *Service) Attach(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], mode Mode) (*Attachment, error) {
	if err := s.hasData(ref); err != nil {
		return nil, err
	}
	return s.attachImage(ctx, t, &Attachment{VDI: ref, Mode: mode})
}

// hasData refuses a VDI whose content is no disk's any more.
func (s *Service) hasData(ref xenapi.Ref[xenapi.VDI]) error {
	rec, err := s.lookup(ref)
	if err == nil && rec.Type == xenapi.VDITypeCBTMetadata {
		err = xenapi.ErrVDIIncompatibleType(ref, string(rec.Type))
	}
	return err
}

// AttachReplica is Attach for writing by whoever keeps the pool's database in a VDI; nobody else may write to that. Errors:
// those of Attach, OPERATION_NOT_ALLOWED when the database is not kept there any more.
func (s *Service) AttachReplica(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (*Attachment, error) {
	return s.attachImage(ctx, t, &Attachment{VDI: ref, Mode: ReadWrite, replica: true})
}

func (s *Service) attachImage(ctx context.Context, t *task.Task, a *Attachment) (*Attachment, error) {
	ref, mode := a.VDI, a.Mode
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return nil, err
	}
	a.service, a.object = s, rec.UUID+" "+t.Ref().String()
	if err := s.patiently(ctx, func(tx *db.Tx) error { return a.claim(tx, t, ref) }); err != nil {
		return nil, err
	}
	// A crash from here on leaves only the row: files, loop devices and mounts go with the process.
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	if a.File, err = sr.Open(dctx, rec.Location, mode); err != nil {
		a.Detach(ctx)
		return nil, located(err, rec.SR, ref)
	}
	return a, nil
}

func (a *Attachment) claim(tx *db.Tx, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	vdi, err := db.Get(tx, ref)
	if err != nil {
		return err
	}
	if err := claimable(tx, ref, vdi, a.Mode); err != nil {
		return err
	}
	switch {
	case a.replica && !vdi.MetadataLatest:
		return xenapi.ErrOperationNotAllowed("the pool's database is not kept in the VDI")
	case a.Mode == ReadWrite && vdi.MetadataLatest && !a.replica:
		return xenapi.ErrVDIInUse(ref, "attach")
	}
	dropDead(tx, vdi.CurrentOperations)
	for by, op := range vdi.CurrentOperations {
		if by != t.Ref().String() && !(a.Mode == ReadOnly && shareable(op, op)) {
			return xenapi.ErrOtherOperationInProgress("VDI", ref.String(), string(op))
		}
	}
	if a.Mode == ReadWrite {
		a.Digest, vdi.Digest = vdi.Digest, ""
		if err := db.Put(tx, ref, vdi); err != nil {
			return err
		}
	}
	return t.Own(tx, kindAttachment, a.object, map[string]string{"VDI": ref.String(), "mode": modeNames[a.Mode]})
}

// claimable reports whether the uses that a VDI has leave room for one more.
func claimable(tx *db.Tx, ref xenapi.Ref[xenapi.VDI], vdi xenapi.VDI, mode Mode) error {
	for _, other := range attachments(tx, vdi.UUID) {
		if mode == ReadWrite || other.writes {
			return xenapi.ErrVDIInUse(ref, "attach")
		}
	}
	if owner, owned := task.Owner(tx, kindVDI, vdi.UUID); owned && !pending(tx, owner.Task) {
		return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDestroy)) // an ended task has left it, and it goes
	}
	if _, reduced := task.Owner(tx, kindReduction, vdi.UUID); reduced {
		return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDataDestroy)) // nobody knows now what its content is
	}
	if mode == ReadWrite && vdi.ReadOnly {
		return xenapi.ErrVDIReadonly(ref)
	}
	return nil
}

var modeNames = map[Mode]string{ReadOnly: "RO", ReadWrite: "RW"}

// Detach ends the use. It may be called twice, and what it cannot record now is recorded once the task has ended.
func (a *Attachment) Detach(ctx context.Context) {
	if a.File != nil {
		if err := a.File.Close(); err != nil && !strings.Contains(err.Error(), os.ErrClosed.Error()) {
			a.service.log.Error("detach", "vdi", a.VDI, "error", err)
		}
	}
	err := a.service.update(ctx, func(tx *db.Tx) error { return task.Disown(tx, kindAttachment, a.object) })
	if err != nil {
		a.service.log.Error("detached VDI still recorded as attached until the next collection", "vdi", a.VDI, "error", err)
	}
}

// Grow makes an attached image larger, for whoever writes it. The file sees the new size at once.
func (a *Attachment) Grow(ctx context.Context, t *task.Task, size int64) error {
	return a.service.resize(ctx, t, a.VDI, size, func(tx *db.Tx, rec xenapi.VDI) error {
		for _, other := range attachments(tx, rec.UUID) {
			if other.by != a.object {
				return xenapi.ErrVDIInUse(a.VDI, string(xenapi.VDIOperationResizeOnline))
			}
		}
		return nil
	})
}

// Owned reports whether a row of the database is the record of this attachment.
func (a *Attachment) Owned(class, ref string) bool {
	return task.IsBelonging(class, ref, kindAttachment, a.object)
}

// uuidOfVDI is the UUID of the VDI that a belonging is, or uses.
func uuidOfVDI(b task.Belonging) string {
	uuid, _, _ := strings.Cut(b.Object, " ")
	return uuid
}

// use is what somebody does with a VDI's content: a task that has it attached, or a VBD that is plugged.
type use struct {
	by     string // a belonging's object, or a VBD
	writes bool
}

// attachments lists who uses a VDI.
func attachments(tx *db.Tx, uuid string) (users []use) {
	for _, b := range task.Belongings(tx, kindAttachment) {
		if uuidOfVDI(b) == uuid {
			users = append(users, use{b.Object, b.Detail["mode"] == modeNames[ReadWrite]})
		}
	}
	ref, _ := db.ByUUID[xenapi.VDI](tx, uuid) // an image without a row has no VBD
	for _, vbd := range db.Referrers[xenapi.VBD](tx, "VDI", ref) {
		if rec, _ := db.Lookup(tx, vbd); rec.CurrentlyAttached {
			users = append(users, use{vbd.String(), rec.Mode == xenapi.VBDModeRW})
		}
	}
	return users
}

// undoAttachment ends the use that an ended task made of a VDI. With a dead daemon its files and mounts have gone;
// a process of a patch may still use those of this one.
func (s *Service) undoAttachment(ctx context.Context, b task.Belonging) error {
	if err := s.unmountBusy(ctx, b); err != nil {
		return err
	}
	return s.update(ctx, func(tx *db.Tx) error { return task.Disown(tx, kindAttachment, b.Object) })
}
