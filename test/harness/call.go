package harness

import (
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
	e, ok := err.(*xenapi.Error)
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
	return Call[xenapi.Ref[xenapi.Task]](d, "Async."+method, args...)
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

// Failure is the error that a task ended with, nil when it succeeded.
func Failure(rec xenapi.Task) error {
	if rec.Status == xenapi.TaskStatusSuccess || len(rec.ErrorInfo) == 0 {
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
