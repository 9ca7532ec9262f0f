package patch_test

import (
	"context"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// moving moves a VDI just before a copy of it is opened for the first time.
type moving struct {
	patch.Storage
	move func(vdi xenapi.Ref[xenapi.VDI])
}

func (m *moving) OpenCopy(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest, label string,
	elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (patch.Workspace, error) {

	if move := m.move; move != nil {
		m.move = nil
		move(vdi)
	}
	return m.Storage.OpenCopy(ctx, t, vdi, digest, label, elsewhere)
}

// TestMoved: a patch follows its VDI to another SR, under the hands of whoever applies it.
func TestMoved(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	under := &moving{}
	s.wrap = func(inner patch.Storage) patch.Storage { under.Storage = inner; return under }
	x := s.start(t, nil).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	was := get(x, ref).VDI
	x.withSR(t) // another one
	migrate := func(vdi xenapi.Ref[xenapi.VDI]) error {
		return x.do(func(ctx context.Context, tk *task.Task) error {
			_, err := x.storage.MigrateVDI(ctx, tk, vdi, get(x, xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")).DefaultSR, patch.Moved)
			return err
		})
	}

	claims := func(op string) {
		x.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error {
				rec.Claims = map[xenapi.Ref[xenapi.Task]]xenapi.PatchClaim{"OpaqueRef:t": {Operation: op}}
				return db.Put(tx, "OpaqueRef:t", xenapi.Task{Status: xenapi.TaskStatusPending})
			})
		})
	}
	claims("replace")
	wantCode(t, "while it is replaced", migrate(was), xenapi.CodeOtherOperationInProgress)
	if get(x, ref).VDI != was || get(x, was).UUID == "" {
		t.Error("it has moved all the same")
	}
	x.update(t, func(tx *db.Tx) error { return db.Delete(tx, xenapi.Ref[xenapi.Task]("OpaqueRef:t")) })

	under.move = func(vdi xenapi.Ref[xenapi.VDI]) { wantCode(t, "under an apply", migrate(vdi), "") }
	if _, err := x.apply(ref); err != nil || s.runs() != 1 {
		t.Errorf("the apply ended with %v after %d runs", err, s.runs())
	}
	if at := get(x, ref).VDI; at == was || get(x, at).UUID == "" || get(x, was).UUID != "" {
		t.Errorf("the patch is in %s", at)
	}
	x.clean(t, "at the end")
}

// TestMovedUpdate: an update follows the VDI that it was introduced from, unless that is on its way out.
func TestMovedUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	var x daemon
	var vdi vdiRef
	migrate := func() error {
		return x.do(func(ctx context.Context, tk *task.Task) error {
			_, err := x.storage.MigrateVDI(ctx, tk, vdi, get(x, xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")).DefaultSR, patch.Moved)
			return err
		})
	}
	x = s.start(t, nil).withSR(t)
	vdi = x.disk(t, s.sign(t, program{}))
	ref := x.introduced(t, vdi)
	twin, _ := x.twin(t)
	x.withSR(t) // another one
	claim := func(claims map[xenapi.Ref[xenapi.Task]]xenapi.PatchClaim) {
		x.update(t, func(tx *db.Tx) error {
			if err := db.Put(tx, "OpaqueRef:t", xenapi.Task{Status: xenapi.TaskStatusPending}); err != nil {
				return err
			}
			return db.Change(tx, twin, func(rec *xenapi.PoolPatch) error { rec.Claims = claims; return nil })
		})
	}
	claim(map[xenapi.Ref[xenapi.Task]]xenapi.PatchClaim{"OpaqueRef:t": {Operation: "clean"}})
	wantCode(t, "while it is cleaned", migrate(), xenapi.CodeOtherOperationInProgress)
	claim(nil)
	wantCode(t, "migrate", migrate(), "")
	if at := get(x, ref).VDI; at == vdi || get(x, at).UUID == "" {
		t.Errorf("the update is in %s", at)
	}
	wantCode(t, "destroy", x.onUpdate(ref, x.DestroyUpdate), "")
	if n := len(all[xenapi.VDI](x)); n != 0 {
		t.Errorf("%d VDIs are left", n)
	}
	x.clean(t, "at the end")
}
