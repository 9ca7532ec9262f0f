package harness

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"poolpatch/xenapi"
)

// Call makes a call that must succeed and gives its result.
func Call[T any](d *Daemon, method string, args ...any) T {
	d.t.Helper()
	result, err := Try[T](d, method, args...)
	if err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
	return result
}

// Do makes a call that must succeed and gives nothing.
func (d *Daemon) Do(method string, args ...any) {
	d.t.Helper()
	Call[any](d, method, args...)
}

// Refused makes a call that must fail with a code, and gives the error.
func (d *Daemon) Refused(code, method string, args ...any) *xenapi.Error {
	d.t.Helper()
	_, err := Try[any](d, method, args...)
	return WantCode(d.t, method, err, code)
}

// WantCode checks the code of an error and gives it.
func WantCode(t testing.TB, what string, err error, code string) *xenapi.Error {
	t.Helper()
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("%s: %v, want %s", what, err, code)
	}
	return e
}

// Records gives every record of a class.
func Records[T xenapi.Object](d *Daemon) map[xenapi.Ref[T]]T {
	d.t.Helper()
	var class T
	return Call[map[xenapi.Ref[T]]T](d, class.Class()+".get_all_records")
}

// Record gives one record.
func Record[T xenapi.Object](d *Daemon, ref xenapi.Ref[T]) T {
	d.t.Helper()
	return Call[T](d, ref.Target()+".get_record", ref)
}

// Only gives the one record of a class that there is.
func Only[T xenapi.Object](d *Daemon) (xenapi.Ref[T], T) {
	d.t.Helper()
	all := Records[T](d)
	for ref, rec := range all {
		if len(all) == 1 {
			return ref, rec
		}
	}
	var class T
	d.t.Fatalf("there are %d records of %s, not one", len(all), class.Class())
	return "", class
}

// Host is the daemon's host.
func (d *Daemon) Host() xenapi.Ref[xenapi.Host] {
	d.t.Helper()
	host, _ := Only[xenapi.Host](d)
	return host
}

// Async starts a call in the background and gives its task.
func (d *Daemon) Async(method string, args ...any) xenapi.Ref[xenapi.Task] {
	d.t.Helper()
	task, err := d.Client().Async(d.t.Context(), method, args...)
	if err != nil {
		d.t.Fatalf("Async.%s: %v", method, err)
	}
	return task
}

// Wait waits until a task has ended and gives its record.
func Wait(d *Daemon, task xenapi.Ref[xenapi.Task]) (rec xenapi.Task) {
	d.t.Helper()
	Eventually(d.t, "task "+string(task)+" has ended", func() bool {
		rec = Record(d, task)
		return rec.Status != xenapi.TaskStatusPending
	})
	return rec
}

// Died waits until a task has ended or the daemon has, and reports whether it was the daemon.
func (d *Daemon) Died(task xenapi.Ref[xenapi.Task]) bool {
	d.t.Helper()
	died := false
	Eventually(d.t, "task "+string(task)+" or its daemon has ended", func() bool {
		if died = !d.alive(); died {
			return true
		}
		rec, err := Try[xenapi.Task](d, "task.get_record", task)
		return err == nil && rec.Status != xenapi.TaskStatusPending
	})
	return died
}

// NewTask makes a task for a transfer.
func (d *Daemon) NewTask(label string) xenapi.Ref[xenapi.Task] {
	d.t.Helper()
	return Call[xenapi.Ref[xenapi.Task]](d, "task.create", label, "")
}

// TryUpload uploads a patch of a length in bytes, -1 when it is not known, and gives its record or why
// there is none.
func (d *Daemon) TryUpload(body io.Reader, length int64) (xenapi.Ref[xenapi.PoolPatch], error) {
	d.t.Helper()
	task := d.NewTask("upload")
	_ = d.Put(task, body, length) // the task says why
	rec := Wait(d, task)
	d.Do("task.destroy", task)
	return xenapi.Ref[xenapi.PoolPatch](rec.Result), Failure(rec)
}

// Upload uploads a patch that is good.
func (d *Daemon) Upload(patch []byte) xenapi.Ref[xenapi.PoolPatch] {
	d.t.Helper()
	ref, err := d.TryUpload(bytes.NewReader(patch), int64(len(patch)))
	if err != nil {
		d.t.Fatalf("upload: %v", err)
	}
	return ref
}

// Apply applies a patch that can be applied.
func (d *Daemon) Apply(patch xenapi.Ref[xenapi.PoolPatch]) string {
	d.t.Helper()
	return Call[string](d, "pool_patch.apply", patch, d.Host())
}

// Failure is the error that a task ended with, nil when it succeeded.
func Failure(rec xenapi.Task) error {
	if len(rec.ErrorInfo) == 0 {
		return nil
	}
	return xenapi.NewError(rec.ErrorInfo[0], rec.ErrorInfo[1:]...)
}

// HostPatch gives the row of a patch on the daemon's host, if there is one.
func HostPatch(d *Daemon, patch xenapi.Ref[xenapi.PoolPatch]) (xenapi.HostPatch, bool) {
	d.t.Helper()
	for _, rec := range Records[xenapi.HostPatch](d) {
		if rec.PoolPatch == patch {
			return rec, true
		}
	}
	return xenapi.HostPatch{}, false
}
