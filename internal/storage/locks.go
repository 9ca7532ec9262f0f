package storage

import (
	"context"
	"errors"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// lockTimeout bounds the wait for another operation on the same object (facts, section 9).
const lockTimeout = 2 * time.Hour

// lock is what one operation marks in current_operations while it runs.
type lock struct {
	sr    xenapi.Ref[xenapi.SR]
	srOp  xenapi.StorageOperation
	vdi   xenapi.Ref[xenapi.VDI]
	vdiOp xenapi.VDIOperation
	vbd   xenapi.Ref[xenapi.VBD]
	vbdOp xenapi.VBDOperation
}

// A mark counts only while its task is pending: one that could not be taken away holds nobody up for longer.

// acquire marks the objects of l as used by t, waiting while another operation has them, and runs check
// in the transaction that marks: what check found holds until release. An error of check, other than
// OTHER_OPERATION_IN_PROGRESS, ends the wait.
func (s *Service) acquire(ctx context.Context, t *task.Task, l lock, check func(*db.Tx) error) error {
	return s.patiently(ctx, func(tx *db.Tx) error {
		if err := l.mark(tx, t.Ref()); err != nil {
			return err
		}
		return check(tx)
	})
}

// patiently is one transaction that is tried again after each change of the database as long as it meets
// OTHER_OPERATION_IN_PROGRESS.
func (s *Service) patiently(ctx context.Context, fn func(*db.Tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, context.DeadlineExceeded)
	defer cancel()
	for {
		seen := s.db.Revision()
		err := s.db.Update(ctx, fn)
		if xenapi.CodeOf(err) != xenapi.CodeOtherOperationInProgress {
			return err
		}
		if werr := s.db.Wait(ctx, func(*db.Tx) (bool, error) { return s.db.Revision() > seen, nil }); werr != nil {
			if errors.Is(werr, context.DeadlineExceeded) {
				return err
			}
			return werr
		}
	}
}

// release unmarks what acquire marked, in the transaction that records what the operation did.
func (s *Service) release(tx *db.Tx, t *task.Task, l lock) error {
	key := t.Ref().String()
	if _, ok := db.Lookup(tx, l.sr); ok && l.srOp != "" {
		if err := db.Change(tx, l.sr, func(sr *xenapi.SR) error { delete(sr.CurrentOperations, key); return nil }); err != nil {
			return err
		}
	}
	if _, ok := db.Lookup(tx, l.vdi); ok && l.vdiOp != "" {
		if err := db.Change(tx, l.vdi, func(vdi *xenapi.VDI) error { delete(vdi.CurrentOperations, key); return nil }); err != nil {
			return err
		}
	}
	if _, ok := db.Lookup(tx, l.vbd); ok && l.vbdOp != "" {
		return db.Change(tx, l.vbd, func(vbd *xenapi.VBD) error { delete(vbd.CurrentOperations, key); return nil })
	}
	return nil
}

func (l lock) mark(tx *db.Tx, t xenapi.Ref[xenapi.Task]) error {
	if l.srOp != "" {
		if err := db.Change(tx, l.sr, func(sr *xenapi.SR) error {
			dropDead(tx, sr.CurrentOperations)
			return enter(tx, &sr.CurrentOperations, t, l.srOp, "SR", l.sr.String(), nil)
		}); err != nil {
			return err
		}
	}
	if l.vdiOp != "" {
		if err := db.Change(tx, l.vdi, func(vdi *xenapi.VDI) error {
			dropDead(tx, vdi.CurrentOperations)
			return enter(tx, &vdi.CurrentOperations, t, l.vdiOp, "VDI", l.vdi.String(), shareable)
		}); err != nil {
			return err
		}
	}
	if l.vbdOp == "" {
		return nil
	}
	return db.Change(tx, l.vbd, func(vbd *xenapi.VBD) error {
		dropDead(tx, vbd.CurrentOperations)
		return enter(tx, &vbd.CurrentOperations, t, l.vbdOp, "VBD", l.vbd.String(), nil)
	})
}

// shareable are the operations on a VDI that only read it: they may run beside one another.
func shareable(a, b xenapi.VDIOperation) bool {
	reads := func(op xenapi.VDIOperation) bool {
		return op == xenapi.VDIOperationCopy || op == xenapi.VDIOperationClone || op == xenapi.VDIOperationSnapshot
	}
	return reads(a) && reads(b)
}

// enter adds t's operation to the map unless another task, but for the one that t is a part of, has an operation there that
// does not go beside it.
func enter[Op ~string](tx *db.Tx, ops *map[string]Op, t xenapi.Ref[xenapi.Task], op Op, class, object string, beside func(a, b Op) bool) error {
	whole := wholeOf(tx, t).String()
	for other, running := range *ops {
		if other != t.String() && other != whole && (beside == nil || !beside(op, running)) {
			return xenapi.ErrOtherOperationInProgress(class, object, string(running))
		}
	}
	if *ops == nil {
		*ops = map[string]Op{}
	}
	(*ops)[t.String()] = op
	return nil
}

// forgetOperations removes the marks of tasks that have ended: a dead daemon left them.
func (s *Service) forgetOperations(ctx context.Context) error {
	return s.update(ctx, func(tx *db.Tx) error {
		for ref, sr := range db.All[xenapi.SR](tx) {
			if dropDead(tx, sr.CurrentOperations) {
				if err := db.Put(tx, ref, sr); err != nil {
					return err
				}
			}
		}
		for ref, vdi := range db.All[xenapi.VDI](tx) {
			if dropDead(tx, vdi.CurrentOperations) {
				if err := db.Put(tx, ref, vdi); err != nil {
					return err
				}
			}
		}
		for ref, vbd := range db.All[xenapi.VBD](tx) {
			if dropDead(tx, vbd.CurrentOperations) {
				if err := db.Put(tx, ref, vbd); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func dropDead[Op any](tx *db.Tx, ops map[string]Op) bool {
	dropped := false
	for key := range ops {
		if !pending(tx, xenapi.Ref[xenapi.Task](key)) {
			delete(ops, key)
			dropped = true
		}
	}
	return dropped
}

// wholeOf is the task that another is a part of.
func wholeOf(tx *db.Tx, t xenapi.Ref[xenapi.Task]) xenapi.Ref[xenapi.Task] {
	rec, _ := db.Lookup(tx, t)
	return rec.SubtaskOf
}

func pending(tx *db.Tx, ref xenapi.Ref[xenapi.Task]) bool {
	rec, ok := db.Lookup(tx, ref)
	return ok && rec.Status == xenapi.TaskStatusPending
}
