package storage

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// MigrateVDI moves a VDI to another SR and gives the VDI that it is there: everything that refers to it refers to that from
// one transaction on, in which moved may do the same for records that storage does not know. What reads the VDI meanwhile
// goes on; who would write it waits. A VDI that is on the SR already stays what it is. Errors: those of [Service.CopyVDI],
// VDI_NOT_MANAGED, VDI_IN_USE while a VBD of it is plugged or a task's, and those of moved.
func (s *Service) MigrateVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR],
	moved func(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error) (xenapi.Ref[xenapi.VDI], error) {

	rec, err := s.lookup(ref)
	if err != nil || rec.SR == sr {
		return ref, err
	}
	// The mark lets others read and keeps all others waiting, from the first byte that is copied to the transaction that moves.
	reading := lock{vdi: ref, vdiOp: xenapi.VDIOperationCopy}
	if err := s.acquire(ctx, t, reading, func(tx *db.Tx) error { return movable(tx, ref) }); err != nil {
		return "", err
	}
	to, err := s.migrate(ctx, t, ref, sr, moved)
	if err != nil {
		_ = s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, reading) }) // or the mark counts no longer than the task
		return "", err
	}
	// The original is still marked: nobody writes what would go with it.
	s.discardWherever(ctx, t, ref, rec.SR)
	return to, nil
}

// discardWherever is [Service.Discard] by a host that sees the SR.
func (s *Service) discardWherever(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR]) {
	if _, unseen := s.open(sr); unseen == nil {
		s.Discard(ctx, t, ref)
		return
	}
	for _, host := range s.seenBy(sr) {
		err := s.callAs(ctx, t, host, "VDI.destroy", ref)
		if err == nil {
			return
		}
		s.log.Warn("temporary VDI of another host not removed; it goes when the task has ended", "vdi", ref, "host", host, "error", err)
	}
}

// migrate copies and moves. From the transaction that moves on, the original is the task's, in the care of a host that sees
// its SR: that removes it, if this task does not, once the task has ended.
func (s *Service) migrate(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR],
	moved func(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error) (xenapi.Ref[xenapi.VDI], error) {

	rec, err := s.lookup(ref)
	if err != nil {
		return "", err
	}
	to, err := s.copyNew(ctx, t, ref, sr, nil, s.fill)
	if err != nil {
		return "", err
	}
	alone := lock{vdi: ref, vdiOp: xenapi.VDIOperationMirror}
	if err := s.acquire(ctx, t, alone, func(tx *db.Tx) error { return idle(tx, ref) }); err != nil {
		s.Discard(ctx, t, to)
		return "", err
	}
	// A crash up to here leaves the copy, the task's. One from here on leaves the original, the task's.
	err = s.Keep(ctx, t, to, func(vdi *xenapi.VDI) {
		vdi.ReadOnly, vdi.IsASnapshot, vdi.SnapshotOf, vdi.SnapshotTime = rec.ReadOnly, rec.IsASnapshot, rec.SnapshotOf, rec.SnapshotTime
	}, func(tx *db.Tx) error {
		return cmp.Or(vouched(tx, rec, to), s.give(tx, t, ref), repoint(tx, ref, to), moved(tx, ref, to))
	})
	// Where it is in doubt whether that has landed, the one of the two that is the task's goes after its end.
	if err != nil && !errors.Is(err, db.ErrUnknownOutcome) && !errors.Is(err, db.ErrBehind) {
		s.Discard(ctx, t, to)
	}
	return to, err
}

// vouched refuses a copy whose recorded digest is not that of the original: its SR has rounded the size up, and a digest is of
// the size too.
func vouched(tx *db.Tx, rec xenapi.VDI, to xenapi.Ref[xenapi.VDI]) error {
	if made, err := db.Get(tx, to); err != nil || rec.Digest != "" && made.Digest != rec.Digest {
		return errOr(err, xenapi.ErrSROperationNotSupported(made.SR))
	}
	return nil
}

// movable reports why a VDI cannot be moved.
func movable(tx *db.Tx, ref xenapi.Ref[xenapi.VDI]) error {
	rec, err := db.Get(tx, ref)
	switch {
	case err != nil:
		return err
	case !rec.Managed:
		return xenapi.ErrVDINotManaged(ref)
	}
	if _, owned := task.Owner(tx, kindVDI, rec.UUID); owned || anyPlugged(tx, ref) {
		return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationMirror))
	}
	return nil
}

func anyPlugged(tx *db.Tx, ref xenapi.Ref[xenapi.VDI]) bool {
	return slices.ContainsFunc(db.Referrers[xenapi.VBD](tx, "VDI", ref), func(vbd xenapi.Ref[xenapi.VBD]) bool {
		rec, _ := db.Lookup(tx, vbd)
		return rec.CurrentlyAttached
	})
}

// idle is movable, and OTHER_OPERATION_IN_PROGRESS as long as a task reads the VDI.
func idle(tx *db.Tx, ref xenapi.Ref[xenapi.VDI]) error {
	if err := movable(tx, ref); err != nil {
		return err
	}
	rec, _ := db.Lookup(tx, ref)
	if len(attachments(tx, rec.UUID)) > 0 {
		return xenapi.ErrOtherOperationInProgress("VDI", ref.String(), "attach")
	}
	return nil
}

// give makes a lasting VDI the task's, in the care of a host that sees its SR.
func (s *Service) give(tx *db.Tx, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	if err := idle(tx, ref); err != nil {
		return err
	}
	rec, _ := db.Lookup(tx, ref)
	host := s.host
	if _, unseen := s.open(rec.SR); unseen != nil {
		others := s.seenBy(rec.SR)
		if len(others) == 0 {
			return xenapi.ErrSRHasNoPBDs(rec.SR)
		}
		host = others[0]
	}
	return t.OwnAt(tx, host, kindVDI, rec.UUID, map[string]string{"SR": rec.SR.String()})
}

// repoint has the VBDs of a VDI refer to another. Its snapshots are of a VDI that has gone, as after VDI.destroy.
func repoint(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error {
	for _, vbd := range db.Referrers[xenapi.VBD](tx, "VDI", from) {
		if err := db.Change(tx, vbd, func(rec *xenapi.VBD) error { rec.VDI = to; return nil }); err != nil {
			return err
		}
	}
	return nil
}
