package e2e

import (
	"bytes"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestCancel cancels what can be cancelled, each time with something under way on the machine: the task
// ends as cancelled and nothing is left (I4).
func TestCancel(t *testing.T) {
	t.Parallel()
	d := start(t)
	cancelled := func(t *testing.T, d *harness.Daemon, task xenapi.Ref[xenapi.Task]) {
		t.Helper()
		d.Do("task.cancel", task)
		rec := harness.Wait(d, task)
		harness.WantCode(t, "the cancelled task", harness.Failure(rec), xenapi.CodeTaskCancelled)
		if rec.Status != xenapi.TaskStatusCancelled {
			t.Errorf("the task's status is %s", rec.Status)
		}
		d.Clean()
	}
	t.Run("upload", func(t *testing.T) {
		d := d.For(t)
		task := d.NewTask("upload")
		conn, err := d.Begin(task)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := harness.Program{Tail: strings.Repeat("z", 1<<20)}
		if _, err := conn.Write(p.Signed(t)[:1<<20]); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the upload has its VDI", func() bool { return len(harness.Records[xenapi.VDI](d)) == 1 })
		cancelled(t, d, task)
	})
	t.Run("info", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{Info: harness.GateWait("info-gate")}
		gate := harness.NewGate(t, d, "info-gate")
		task, patch := d.NewTask("upload"), p.Signed(t)
		go func() { _ = d.Put(task, bytes.NewReader(patch), int64(len(patch))) }()
		gate.Arrived()
		cancelled(t, d, task)
	})
	t.Run("precheck", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{Precheck: "sleep 3600 &\n" + harness.GateWait("precheck-gate")}
		ref := d.Upload(p.Signed(t))
		gate := harness.NewGate(t, d, "precheck-gate")
		task := d.Async("pool_patch.precheck", ref, d.Host())
		gate.Arrived()
		cancelled(t, d, task)
		d.Do("pool_patch.destroy", ref)
	})
	t.Run("apply, while it still prechecks", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{Precheck: harness.GateWait("early-gate")}
		ref := d.Upload(p.Signed(t))
		gate := harness.NewGate(t, d, "early-gate")
		task := d.Async("pool_patch.apply", ref, d.Host())
		gate.Arrived()
		cancelled(t, d, task)
		if row, there := harness.HostPatch(d, ref); there {
			t.Errorf("the host says of a patch that never ran: %+v", row)
		}
		d.Do("pool_patch.destroy", ref)
	})
	t.Run("client gone", func(t *testing.T) {
		d := d.For(t)
		task := d.NewTask("upload")
		conn, err := d.Begin(task, "Content-Length: 10000000")
		if err != nil {
			t.Fatal(err)
		}
		p := harness.Program{Tail: strings.Repeat("z", 1<<20)}
		if _, err := conn.Write(p.Signed(t)[:1<<19]); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the upload has its VDI", func() bool { return len(harness.Records[xenapi.VDI](d)) == 1 })
		conn.Close()
		if err := harness.Failure(harness.Wait(d, task)); err == nil {
			t.Error("an upload whose client went away succeeded")
		}
		d.Clean()
	})
}

// TestDuringApply asks for what cannot be while a patch is applied; the apply goes on.
func TestDuringApply(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{Apply: harness.GateWait("gate") + "\necho through"}
	ref := d.Upload(p.Signed(t))
	vdi := harness.Record(d, ref).VDI
	gate := harness.NewGate(t, d, "gate")
	task := d.Async("pool_patch.apply", ref, d.Host())
	open := gate.Arrived()

	d.Refused(xenapi.CodeOperationNotAllowed, "task.cancel", task)
	d.Refused(xenapi.CodeOtherOperationInProgress, "pool_patch.apply", ref, d.Host())
	d.Refused(xenapi.CodeOtherOperationInProgress, "pool_patch.destroy", ref)
	d.Refused(xenapi.CodeOtherOperationInProgress, "pool_patch.pool_clean", ref)
	// The host works on a copy of its own, so the original may go.
	d.Do("VDI.destroy", vdi)
	open()
	if err := harness.Failure(harness.Wait(d, task)); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if n := strings.Count(d.Read(harness.Ran), "\n"); n != 1 {
		t.Errorf("the patch ran %d times", n)
	}
	if row, there := harness.HostPatch(d, ref); !there || !row.Applied {
		t.Errorf("the host_patch is %+v", row)
	}
	d.Clean()
}
