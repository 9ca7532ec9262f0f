package task

import (
	"context"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Cancel asks the work of a pending task to stop; by is the task that asks. The work ends the task when
// it has stopped.
func (s *Service) Cancel(ctx context.Context, ref, by xenapi.Ref[xenapi.Task]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.Task) error {
			if rec.Status != xenapi.TaskStatusPending {
				return xenapi.ErrOperationNotAllowed("the task has ended: " + string(rec.Status))
			}
			// A client's own task allows nothing either, until there is work for it.
			if len(rec.AllowedOperations) == 0 && (!rec.ByClient || s.runs(ref)) {
				return xenapi.ErrOperationNotAllowed("the task is in a step that is not interrupted")
			}
			rec.CancelRequested = true
			mark(rec, by, xenapi.TaskAllowedOperationCancel)
			return nil
		})
	})
}

// Kill is Cancel for by, which also asks twice; force ends a step, too, that is not interrupted otherwise. An ended task is
// as it should be.
func (s *Service) Kill(ctx context.Context, ref, by xenapi.Ref[xenapi.Task], force bool) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, ok := db.Lookup(tx, ref)
		if !ok || rec.Status != xenapi.TaskStatusPending || rec.CancelRequested && (rec.KillRequested || !force) {
			return nil
		}
		rec.CancelRequested, rec.KillRequested = true, rec.KillRequested || force
		mark(&rec, by, xenapi.TaskAllowedOperationCancel)
		return db.Put(tx, ref, rec)
	})
}

// Abandon ends a pending task with an error, for whoever passes its work on to another host and reaches that no more. A host
// that has taken the task is asked to stop, and ends it; it cannot take it afterwards.
func (s *Service) Abandon(ctx context.Context, ref xenapi.Ref[xenapi.Task], host xenapi.Ref[xenapi.Host], err *xenapi.Error) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, ok := db.Lookup(tx, ref)
		if !ok || rec.Status != xenapi.TaskStatusPending || rec.ResidentOn != host {
			return FailUntaken(tx, ref, host, err)
		}
		rec.CancelRequested, rec.CancelReason = true, err.Description()
		return db.Put(tx, ref, rec)
	})
}

// Destroy removes an ended task, and marks a pending one so that it goes when it ends.
func (s *Service) Destroy(ctx context.Context, ref xenapi.Ref[xenapi.Task]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if rec.Status != xenapi.TaskStatusPending || (rec.ByClient && !s.runs(ref)) {
			return db.Delete(tx, ref)
		}
		mark(&rec, ref, xenapi.TaskAllowedOperationDestroy)
		return db.Put(tx, ref, rec)
	})
}

func (s *Service) runs(ref xenapi.Ref[xenapi.Task]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, held := s.running[ref]
	return held
}

func mark(rec *xenapi.Task, by xenapi.Ref[xenapi.Task], op xenapi.TaskAllowedOperation) {
	if rec.CurrentOperations == nil {
		rec.CurrentOperations = map[string]xenapi.TaskAllowedOperation{}
	}
	rec.CurrentOperations[by.String()] = op
}

// The setters of clients that run tasks of their own write the row as they are told: no state machine
// stands behind them (facts, section 3).

// SetStatus writes task.status, and the time of the end where the status is an end.
func (s *Service) SetStatus(ctx context.Context, ref xenapi.Ref[xenapi.Task], status xenapi.TaskStatus) error {
	return s.change(ctx, ref, func(rec *xenapi.Task) {
		rec.Status = status
		if status != xenapi.TaskStatusPending && rec.Finished.IsZero() {
			rec.Finished = time.Now().UTC()
		}
	})
}

// SetProgress writes task.progress, a fraction from 0 to 1.
func (s *Service) SetProgress(ctx context.Context, ref xenapi.Ref[xenapi.Task], fraction float64) error {
	return s.change(ctx, ref, func(rec *xenapi.Task) { rec.Progress = fraction })
}

// SetResult writes task.result.
func (s *Service) SetResult(ctx context.Context, ref xenapi.Ref[xenapi.Task], result string) error {
	return s.change(ctx, ref, func(rec *xenapi.Task) { rec.Result = result })
}

// SetErrorInfo writes task.error_info.
func (s *Service) SetErrorInfo(ctx context.Context, ref xenapi.Ref[xenapi.Task], info []string) error {
	return s.change(ctx, ref, func(rec *xenapi.Task) { rec.ErrorInfo = info })
}

func (s *Service) change(ctx context.Context, ref xenapi.Ref[xenapi.Task], fn func(*xenapi.Task)) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.Task) error { fn(rec); return nil })
	})
}

// Fail ends a pending task with an error from outside its work: a handler that refused the call before
// there was any.
func (s *Service) Fail(ctx context.Context, ref xenapi.Ref[xenapi.Task], err *xenapi.Error) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return end(tx, ref, func(rec *xenapi.Task) { setFailure(rec, err) })
	})
}

// Settle ends a pending task that has lost its work with success and a result as task.result holds it: the
// work was done before it was lost.
func (s *Service) Settle(ctx context.Context, ref xenapi.Ref[xenapi.Task], result string) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return end(tx, ref, func(rec *xenapi.Task) {
			rec.Status, rec.Result = xenapi.TaskStatusSuccess, result
		})
	})
}
