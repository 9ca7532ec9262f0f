package task

import (
	"context"
	"errors"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// progressInterval is the least time between two writes of a task's progress.
const progressInterval = 500 * time.Millisecond

// finishTimeout bounds the transaction that ends a task, which must not depend on the caller's context:
// a client that went away does not leave its task pending.
const finishTimeout = 30 * time.Second

// Func is the work of a task. Its context is cancelled, with cause TASK_CANCELLED, when somebody cancels
// the task. The value it returns becomes the task's result, written as Spec.Encode says.
type Func func(ctx context.Context, t *Task) (any, error)

// Spec says what a new task looks like.
type Spec struct {
	Label, Description string
	// Session and User own the task (facts, section 3).
	Session xenapi.Ref[xenapi.Session]
	User    string
	// Parent makes the task a subtask.
	Parent      xenapi.Ref[xenapi.Task]
	OtherConfig map[string]string
	// Audit has the log say how the work ended; nil for what changes nothing, or is the daemon's own.
	Audit *Audit
	// Encode writes a result for task.result; nil takes only strings, and takes them as they are.
	Encode func(any) string
}

func (s Spec) encode(result any) string {
	if s.Encode != nil {
		return s.Encode(result)
	}
	text, _ := result.(string)
	return text
}

// Task is work that runs in this process.
type Task struct {
	ref      xenapi.Ref[xenapi.Task]
	spec     Spec
	service  *Service
	cancel   context.CancelCauseFunc
	unkilled context.Context // of the run, until somebody kills the task
	kill     context.CancelCauseFunc

	mu        sync.Mutex
	written   time.Time // when progress was written last
	progress  float64   // of the whole
	part      part
	elsewhere bool // another host does the work
	object    string
}

// part is what Progress is told of: it takes the task from one fraction to another. The zero value is the whole.
type part struct{ from, to float64 }

func (p part) of(fraction float64) float64 {
	if p.to == 0 {
		return fraction
	}
	return p.from + fraction*(p.to-p.from)
}

// Stage begins a part of the work that takes the task from one fraction to another: what Progress is told from now on is of
// that part. What it is called shows as the task's description.
func (t *Task) Stage(tx *db.Tx, what string, from, to float64) error {
	t.mu.Lock()
	t.part, t.progress, t.written = part{from, to}, max(t.progress, from), time.Now()
	t.mu.Unlock()
	return db.Change(tx, t.ref, func(rec *xenapi.Task) error {
		if rec.Status == xenapi.TaskStatusPending {
			rec.NameDescription, rec.Progress = what, max(rec.Progress, from)
		}
		return nil
	})
}

// Ref names the task's row.
func (t *Task) Ref() xenapi.Ref[xenapi.Task] { return t.ref }

// Progress records how much of the work, or of its stage, is done, from 0 to 1. It never goes back, and is written at most
// twice a second: a lost update costs nothing, so errors are left for the next write to meet.
func (t *Task) Progress(ctx context.Context, fraction float64) {
	fraction, due := t.due(fraction)
	if !due {
		return
	}
	_ = t.service.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, t.ref, func(rec *xenapi.Task) error {
			if rec.Status == xenapi.TaskStatusPending {
				rec.Progress = max(rec.Progress, fraction)
			}
			return nil
		})
	})
}

// due gives the fraction of the whole, and whether it is time to write it.
func (t *Task) due(fraction float64) (float64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fraction = t.part.of(fraction)
	now := time.Now()
	if fraction <= t.progress || now.Sub(t.written) < progressInterval {
		return fraction, false
	}
	t.progress, t.written = fraction, now
	return fraction, true
}

// Shield makes the task uncancellable from this transaction on: its work has reached a step that must
// not be torn. It fails with TASK_CANCELLED if somebody cancelled the task before.
func (t *Task) Shield(tx *db.Tx) error {
	return db.Change(tx, t.ref, func(rec *xenapi.Task) error {
		if rec.CancelRequested {
			return reason(t.ref, *rec)
		}
		rec.AllowedOperations = nil
		return nil
	})
}

// Elsewhere says that the work is to ask another host to join the task: then that host hears of a cancellation and ends
// the task. What the work returns still is the result, or the error, of the call.
func (t *Task) Elsewhere() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.elsewhere = true
}

func (t *Task) isElsewhere() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.elsewhere
}

// Roam makes the task one that goes on when this host does not: whichever host is the coordinator ends it.
func (t *Task) Roam(tx *db.Tx) error {
	return db.Change(tx, t.ref, func(rec *xenapi.Task) error { rec.Roams = true; return nil })
}

// UntilKilled is for a step that a cancellation does not interrupt: it ends only when somebody kills the task.
func (t *Task) UntilKilled() context.Context { return t.unkilled }

// FailUntaken ends a pending task with an error, unless the host that was asked to has taken it. It can take it no more
// then.
func FailUntaken(tx *db.Tx, ref xenapi.Ref[xenapi.Task], host xenapi.Ref[xenapi.Host], err *xenapi.Error) error {
	if rec, ok := db.Lookup(tx, ref); !ok || rec.ResidentOn == host {
		return nil
	}
	return end(tx, ref, func(rec *xenapi.Task) { setFailure(rec, err) })
}

// notice passes a request to cancel the task on to its work, unless that is in a step that must not be torn.
func (t *Task) notice(tx *db.Tx) {
	rec, ok := db.Lookup(tx, t.ref)
	if ok && rec.KillRequested {
		t.kill(xenapi.ErrTaskCancelled(t.ref))
	}
	if ok && rec.CancelRequested && len(rec.AllowedOperations) > 0 && !t.isElsewhere() {
		t.cancel(reason(t.ref, rec))
	}
}

// reason is the error that a task ends with which was asked to stop.
func reason(ref xenapi.Ref[xenapi.Task], rec xenapi.Task) *xenapi.Error {
	if len(rec.CancelReason) > 0 {
		return xenapi.NewError(rec.CancelReason[0], rec.CancelReason[1:]...)
	}
	return xenapi.ErrTaskCancelled(ref)
}

// Succeed ends the task in a transaction of the work itself, so that the task says success exactly when
// what it did is in the database.
func (t *Task) Succeed(tx *db.Tx, result any) error {
	return end(tx, t.ref, func(rec *xenapi.Task) {
		rec.Status = xenapi.TaskStatusSuccess
		rec.Result = t.spec.encode(result)
	})
}

// fail ends the task with an error, as cancelled when it is TASK_CANCELLED.
func (t *Task) fail(tx *db.Tx, err *xenapi.Error) error {
	return end(tx, t.ref, func(rec *xenapi.Task) { setFailure(rec, err) })
}

func setFailure(rec *xenapi.Task, err *xenapi.Error) {
	rec.Status = xenapi.TaskStatusFailure
	if err.Code == xenapi.CodeTaskCancelled {
		rec.Status = xenapi.TaskStatusCancelled
	}
	rec.ErrorInfo = err.Description()
}

// run does the work and records how it ended. The error it returns is a domain error.
func (t *Task) run(ctx context.Context, work Func) (any, error) {
	t.service.work.Add(1)
	defer t.service.work.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.cancel = cancel
	t.unkilled, t.kill = context.WithCancelCause(context.WithoutCancel(ctx))
	defer t.kill(nil)
	t.service.enter(t)
	defer t.service.leave(t.ref)

	began := time.Now()
	result, err := work(ctx, t)
	if err != nil {
		err = t.service.classify(ctx, t.ref, err)
	}
	err = t.record(ctx, result, err)
	if !t.isElsewhere() {
		t.service.Ended(ctx, t.audited(), began, err)
	}
	return result, err
}

// record writes the end of the task unless the work has done so itself.
func (t *Task) record(ctx context.Context, result any, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	dberr := t.service.db.Insist(ctx, func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, t.ref); ok && (rec.ResidentOn != t.service.host || rec.Roams) && t.isElsewhere() {
			return nil // another host's to end
		}
		if domain, ok := errors.AsType[*xenapi.Error](err); ok {
			return t.fail(tx, domain)
		}
		return t.Succeed(tx, result)
	})
	switch {
	case dberr == nil:
		return err
	case err == nil:
		// The work is done, but nobody can be told so: not a success.
		return t.service.classify(ctx, t.ref, dberr)
	}
	t.service.log.Error("end of a task not recorded; the next collection ends it as cancelled", "task", t.ref, "error", dberr)
	return err
}
