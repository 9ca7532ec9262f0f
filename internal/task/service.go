package task

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Service runs the tasks of one host.
type Service struct {
	db       *db.DB
	host     xenapi.Ref[xenapi.Host]
	log      *slog.Logger
	internal func(error) *xenapi.Error // makes INTERNAL_ERROR of what is no domain error, and logs it

	mu      sync.Mutex
	running map[xenapi.Ref[xenapi.Task]]*Task // nil until the row is there and the work begins
	work    sync.WaitGroup
}

// New makes the service. internal turns an error that is not of the domain into INTERNAL_ERROR.
func New(d *db.DB, host xenapi.Ref[xenapi.Host], log *slog.Logger, internal func(error) *xenapi.Error) *Service {
	return &Service{db: d, host: host, log: log, internal: internal, running: map[xenapi.Ref[xenapi.Task]]*Task{}}
}

// Do runs work as a task and returns when it has ended. The task's row goes with the call.
func (s *Service) Do(ctx context.Context, spec Spec, work Func) (any, error) {
	t, err := s.begin(ctx, spec)
	if err != nil {
		return nil, err
	}
	result, err := t.run(ctx, work)
	if derr := s.forget(ctx, t.ref); derr != nil {
		s.log.Warn("task row not removed; collection will", "task", t.ref, "error", derr)
	}
	return result, err
}

// Keep runs work as a task and returns when it has ended. The task's row stays for its creator to read.
func (s *Service) Keep(ctx context.Context, spec Spec, work Func) (any, error) {
	t, err := s.begin(ctx, spec)
	if err != nil {
		return nil, err
	}
	return t.run(ctx, work)
}

// Go runs work as a task in the background, whatever becomes of the caller, and returns the task's ref.
func (s *Service) Go(ctx context.Context, spec Spec, work Func) (xenapi.Ref[xenapi.Task], error) {
	t, err := s.begin(ctx, spec)
	if err != nil {
		return "", err
	}
	s.work.Go(func() { _, _ = t.run(context.WithoutCancel(ctx), work) })
	return t.ref, nil
}

// Part runs a part of the task's work, here, as a subtask, which ends with ctx at the latest.
func (t *Task) Part(ctx context.Context, label string, work Func) (any, error) {
	return t.service.Do(ctx, Spec{Label: label, Parent: t.ref, User: t.spec.User}, work)
}

// Delegate has another host do a part of the task's work as a subtask: call sends it there with the subtask's ref. When
// ctx ends the subtask is cancelled, and Delegate returns once the other host has ended it.
func (t *Task) Delegate(ctx context.Context, label string, call func(ctx context.Context, sub xenapi.Ref[xenapi.Task]) error) error {
	patient := context.WithoutCancel(ctx)
	_, err := t.service.Do(patient, Spec{Label: label, Parent: t.ref, User: t.spec.User}, func(_ context.Context, sub *Task) (any, error) {
		sub.Elsewhere()
		stop := context.AfterFunc(ctx, func() {
			if err := t.service.Cancel(patient, sub.ref, t.ref); err != nil {
				t.service.log.Info("subtask on another host goes on", "task", sub.ref, "label", label, "reason", err)
			}
		})
		defer stop()
		return "", call(patient, sub.ref)
	})
	return err
}

// Join runs work under a task that exists, made by a client with task.create or by another host, and
// ends that task with it. The task must be pending, and not be run here already.
func (s *Service) Join(ctx context.Context, ref xenapi.Ref[xenapi.Task], spec Spec, work Func) (any, error) {
	if !s.hold(ref) {
		return nil, xenapi.ErrOperationNotAllowed("the task has other work already")
	}
	defer s.leave(ref)
	t := &Task{ref: ref, spec: spec, service: s}
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.Task) error {
			if rec.Status != xenapi.TaskStatusPending {
				return xenapi.ErrOperationNotAllowed("the task has ended: " + string(rec.Status))
			}
			if t.spec.User == "" {
				t.spec.User = rec.AuthUser // another host calls, for the one whose task it is
			}
			rec.ResidentOn, rec.Roams = s.host, false
			rec.AllowedOperations = []xenapi.TaskAllowedOperation{xenapi.TaskAllowedOperationCancel}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return t.run(ctx, work)
}

// Create makes a pending task that nobody runs yet (task.create). Its creator destroys it.
func (s *Service) Create(ctx context.Context, spec Spec) (xenapi.Ref[xenapi.Task], error) {
	ref := xenapi.NewRef[xenapi.Task]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error {
		rec := s.record(spec)
		rec.ByClient = true
		rec.AllowedOperations = nil
		return db.Insert(tx, ref, rec)
	})
}

// Prepare makes, in a transaction, a pending task that a host is to take with Join.
func (s *Service) Prepare(tx *db.Tx, spec Spec) (xenapi.Ref[xenapi.Task], error) {
	ref, rec := xenapi.NewRef[xenapi.Task](), s.record(spec)
	rec.ResidentOn, rec.Roams = "", true
	return ref, db.Insert(tx, ref, rec)
}

// Wait returns when every task that runs in this process has ended.
func (s *Service) Wait() { s.work.Wait() }

// CancelAll cancels every task that runs here, for the daemon's stop.
func (s *Service) CancelAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, t := range s.running {
		if t != nil {
			t.cancel(xenapi.ErrTaskCancelled(ref))
		}
	}
}

// WatchCancels passes requests to cancel a task on to its work until ctx ends. The requests are rows of
// the database, so they may come from any host.
func (s *Service) WatchCancels(ctx context.Context) error {
	return s.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, t := range s.running {
			if t != nil {
				t.notice(tx)
			}
		}
		return false, nil
	})
}

func (s *Service) begin(ctx context.Context, spec Spec) (*Task, error) {
	t := &Task{ref: xenapi.NewRef[xenapi.Task](), spec: spec, service: s}
	s.hold(t.ref)
	err := s.db.Update(ctx, func(tx *db.Tx) error { return db.Insert(tx, t.ref, s.record(spec)) })
	if err != nil {
		s.leave(t.ref) // should the row be there all the same, EndWorkless ends it
	}
	return t, err
}

func (s *Service) record(spec Spec) xenapi.Task {
	rec := xenapi.New[xenapi.Task]()
	rec.UUID = xenapi.NewUUID()
	rec.NameLabel, rec.NameDescription = spec.Label, spec.Description
	rec.Created = time.Now().UTC()
	rec.Status = xenapi.TaskStatusPending
	rec.Type = "<none/>"
	rec.ResidentOn = s.host
	rec.SubtaskOf = spec.Parent
	rec.OtherConfig = spec.OtherConfig
	rec.Session, rec.AuthUser = spec.Session, spec.User
	rec.AllowedOperations = []xenapi.TaskAllowedOperation{xenapi.TaskAllowedOperationCancel}
	return rec
}

// end changes a pending task to ended; an ended one stays as it is. A task that was destroyed while it
// ran goes away now.
func end(tx *db.Tx, ref xenapi.Ref[xenapi.Task], outcome func(*xenapi.Task)) error {
	rec, ok := db.Lookup(tx, ref)
	if !ok || rec.Status != xenapi.TaskStatusPending {
		return nil
	}
	if destroyRequested(rec) {
		return db.Delete(tx, ref)
	}
	rec.AllowedOperations, rec.CurrentOperations = nil, nil
	rec.Finished = time.Now().UTC()
	rec.Progress = 1
	outcome(&rec)
	return db.Put(tx, ref, rec)
}

func destroyRequested(rec xenapi.Task) bool {
	for _, op := range rec.CurrentOperations {
		if op == xenapi.TaskAllowedOperationDestroy {
			return true
		}
	}
	return false
}

// classify makes a domain error of whatever ended the work: the reason of the cancellation where that
// is what stopped it.
func (s *Service) classify(ctx context.Context, ref xenapi.Ref[xenapi.Task], err error) error {
	if cause, ok := errors.AsType[*xenapi.Error](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		return cause
	}
	if domain, ok := errors.AsType[*xenapi.Error](err); ok {
		return domain
	}
	if errors.Is(err, context.Canceled) {
		return xenapi.ErrTaskCancelled(ref)
	}
	return s.internal(err)
}

// forget removes the row of a call that has its answer. A row that is pending still is of work that goes on elsewhere.
func (s *Service) forget(ctx context.Context, ref xenapi.Ref[xenapi.Task]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	return s.db.Update(ctx, func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, ref); !ok || rec.Status == xenapi.TaskStatusPending {
			return nil
		}
		return db.Delete(tx, ref)
	})
}

// enter makes a task one that can be cancelled. A request may have come before: the ref was known since
// the row was written.
func (s *Service) enter(t *Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[t.ref] = t
	_ = s.db.View(func(tx *db.Tx) error { t.notice(tx); return nil })
}

// hold says that there will be work for a task, before its row says that it is this host's; it is false where there is already.
func (s *Service) hold(ref xenapi.Ref[xenapi.Task]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.running[ref]; held {
		return false
	}
	s.running[ref] = nil
	return true
}

func (s *Service) leave(ref xenapi.Ref[xenapi.Task]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, ref)
}
