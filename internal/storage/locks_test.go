package storage_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// gate holds a driver's method up until it is opened.
func gate(method string) (fault memsr.Fault, open func()) {
	opened := make(chan struct{})
	return func(called, _ string) error {
		if called == method {
			<-opened
		}
		return nil
	}, func() { close(opened) }
}

// TestOperationsWait starts a second call while the first is held up in the driver. Calls that do not go together wait
// and go on when the first one ends; calls that do, do not wait.
func TestOperationsWait(t *testing.T) {
	t.Parallel()
	type call = func(ctx context.Context, p pool, tk *task.Task, vdi xenapi.Ref[xenapi.VDI]) error
	create := func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) error {
		_, err := p.CreateVDI(ctx, tk, vdiOf(p.sr))
		return err
	}
	destroy := func(ctx context.Context, p pool, tk *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
		return p.DestroyVDI(ctx, tk, vdi)
	}
	attach := func(ctx context.Context, p pool, tk *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
		a, err := p.Attach(ctx, tk, vdi, storage.ReadOnly)
		if err == nil {
			a.Detach(ctx)
		}
		return err
	}
	copyOut := func(ctx context.Context, p pool, tk *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
		_, err := p.CopyVDI(ctx, tk, vdi, p.sr, "", "")
		return err
	}
	scan := func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) error {
		return p.ScanSR(ctx, tk, p.sr)
	}
	update := func(ctx context.Context, p pool, _ *task.Task, _ xenapi.Ref[xenapi.VDI]) error {
		return p.UpdateSR(ctx, p.sr)
	}
	for _, tt := range []struct {
		name          string
		method        string // of the driver, that holds the first call up
		first, second call
		waits         bool
		code          string // of the second call, when the first has ended
	}{
		{"create after create", "Create", create, create, true, ""},
		{"create after scan", "List", scan, create, true, ""},
		{"unplug after scan", "List", scan, func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) error {
			return p.UnplugPBD(ctx, tk, p.pbd)
		}, true, ""},
		{"attach after resize", "Resize", func(ctx context.Context, p pool, tk *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
			return p.ResizeVDI(ctx, tk, vdi, 4*mib)
		}, attach, true, ""},
		{"attach after destroy", "Destroy", destroy, attach, true, xenapi.CodeHandleInvalid},
		{"destroy after destroy", "Destroy", destroy, destroy, true, xenapi.CodeHandleInvalid},
		{"copy after copy", "Open", copyOut, copyOut, false, ""},
		{"attach after copy", "Open", copyOut, attach, false, ""},
		{"update after create", "Create", create, update, false, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t, memsr.Options{})
			vdi := p.newVDI(t, p.sr)
			fault, open := gate(tt.method)
			p.driver.Inject(fault, nil)
			errs := [2]chan error{make(chan error, 1), make(chan error, 1)}
			go func() {
				errs[0] <- p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return tt.first(ctx, p, tk, vdi) })
			}()
			synctest.Wait()
			p.driver.Inject(nil, nil) // the second call is not held up
			start := time.Now()
			go func() {
				errs[1] <- p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return tt.second(ctx, p, tk, vdi) })
			}()
			synctest.Wait()
			if waits := len(errs[1]) == 0; waits != tt.waits {
				t.Errorf("%s: the second call waits: %t", tt.name, waits)
			}
			open()
			wantCode(t, tt.name+": first", <-errs[0], "")
			wantCode(t, tt.name+": second", <-errs[1], tt.code)
			if waited := time.Since(start); waited != 0 {
				t.Errorf("%s: the second call was woken after %v", tt.name, waited)
			}
			if get(p.host, p.pbd).CurrentlyAttached {
				p.consistent(t, p.host, tt.name)
			}
		})
	}
}

// TestWaitEnds by a cancellation, and after two hours with the error that it waited for.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		fault, open := gate("List")
		p.driver.Inject(fault, nil)
		first := make(chan error, 1)
		go func() {
			first <- p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ScanSR(ctx, tk, p.sr) })
		}()
		synctest.Wait()
		begin := time.Now()
		_, err := p.create(t, vdiOf(p.sr))
		wantError(t, "waited", err, xenapi.ErrOtherOperationInProgress("SR", p.sr.String(), "scan"))
		if waited := time.Since(begin); waited != 2*time.Hour {
			t.Errorf("it waited for %v", waited)
		}
		second := make(chan error, 1)
		go func() { _, err := p.create(t, vdiOf(p.sr)); second <- err }()
		synctest.Wait()
		p.tasks.CancelAll()
		synctest.Wait()
		select {
		case err := <-second:
			wantCode(t, "cancelled", err, xenapi.CodeTaskCancelled)
		default:
			t.Error("the call that waits is not cancelled")
		}
		open()
		<-first
		p.driver.CheckEmpty()
		p.consistent(t, p.host, "afterwards")
	})
}

// TestMarksOfDeadTasks hold nobody up, and are gone after a start.
func TestMarksOfDeadTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		vdi := p.newVDI(t, p.sr)
		mark := func() {
			p.update(t, func(tx *db.Tx) error {
				if err := db.Change(tx, p.sr, func(sr *xenapi.SR) error {
					sr.CurrentOperations = map[string]xenapi.StorageOperation{"OpaqueRef:dead": xenapi.StorageOperationScan}
					return nil
				}); err != nil {
					return err
				}
				return db.Change(tx, vdi, func(vdi *xenapi.VDI) error {
					vdi.CurrentOperations = map[string]xenapi.VDIOperation{"OpaqueRef:dead": xenapi.VDIOperationDestroy}
					return nil
				})
			})
		}
		mark()
		begin := time.Now()
		if got := p.read(t, vdi); got != "original" {
			t.Errorf("it holds %q", got)
		}
		wantCode(t, "resize", p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, vdi, 4*mib) }), "")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a dead mark held calls up for %v", waited)
		}
		mark()
		p.consistent(t, start(t, p.store, here, p.drivers()), "after a start")
	})
}
