package storage_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// follow has the patch of a test follow the VDI that holds it.
func follow(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error {
	return db.Put(tx, "OpaqueRef:p", xenapi.PoolPatch{VDI: to})
}

func (h host) migrate(ctx context.Context, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR],
	moved func(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error) (to xenapi.Ref[xenapi.VDI], err error) {

	err = h.do(ctx, func(ctx context.Context, tk *task.Task) error {
		to, err = h.MigrateVDI(ctx, tk, ref, sr, moved)
		return err
	})
	return to, err
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	second := p.newSR(t, true)
	ref, _ := p.upload(t, "a patch")
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.ReadOnly = true })
	was := get(p.host, ref)
	vbd := p.newVBD(t, vbdOf(dom0, ref, xenapi.VBDModeRO))

	stays, err := p.migrate(t.Context(), ref, p.sr, follow)
	if err != nil || stays != ref || len(all[xenapi.VDI](p.host)) != 1 {
		t.Errorf("to where it is: %s, %v", stays, err)
	}
	to, err := p.migrate(t.Context(), ref, second, follow)
	got := get(p.host, to)
	if err != nil || got.SR != second || !got.ReadOnly || got.Digest != was.Digest || got.NameLabel != was.NameLabel {
		t.Errorf("it has become %+v, %v; it was %+v", got, err, was)
	}
	if left := get(p.host, ref); left.UUID != "" {
		t.Errorf("the original is there: %+v", left)
	}
	if at := get(p.host, vbd).VDI; at != to {
		t.Errorf("the VBD refers to %s", at)
	}
	if at := get(p.host, xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p")).VDI; at != to {
		t.Errorf("the patch refers to %s", at)
	}
	p.consistent(t, p.host, "moved")
}

func TestMigrateIsRefused(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	second := p.newSR(t, true)
	ref := p.newVDI(t, p.sr)
	refused := func(what, code string, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], moved func(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error) {
		t.Helper()
		_, err := p.migrate(t.Context(), ref, sr, moved)
		wantCode(t, what, err, code)
		if n := len(all[xenapi.VDI](p.host)); n != 1 {
			t.Errorf("%s: %d VDIs are there", what, n)
		}
	}
	refused("nothing", xenapi.CodeHandleInvalid, "OpaqueRef:x", second, follow)
	refused("to nowhere", xenapi.CodeHandleInvalid, ref, "OpaqueRef:x", follow)
	refused("what others will not let go", xenapi.CodePatchIsApplied, ref, second,
		func(*db.Tx, xenapi.Ref[xenapi.VDI], xenapi.Ref[xenapi.VDI]) error { return xenapi.ErrPatchIsApplied() })
	vbd := p.newVBD(t, vbdOf(dom0, ref, xenapi.VBDModeRO))
	wantCode(t, "plug", p.plug(t, vbd), "")
	refused("what is plugged", xenapi.CodeVDIInUse, ref, second, follow)
	wantCode(t, "unplug", p.unplug(t, vbd, false), "")
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Managed = false })
	refused("what is not managed", xenapi.CodeVDINotManaged, ref, second, follow)
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Managed = true })
	p.consistent(t, p.host, "afterwards")
}

// TestMigrateUnderAReader: it is copied, and goes when nobody reads it any more.
func TestMigrateUnderAReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		second := p.newSR(t, true)
		ref := p.newVDI(t, p.sr)
		moved := make(chan error, 1)
		err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
			reader, err := p.Attach(ctx, tk, ref, storage.ReadOnly)
			if err != nil {
				return err
			}
			go func() {
				_, err := p.migrate(t.Context(), ref, second, follow)
				moved <- err
			}()
			synctest.Wait()
			if get(p.host, ref).UUID == "" || len(all[xenapi.VDI](p.host)) != 2 {
				t.Error("it is not copied, or has gone under a reader")
			}
			reader.Detach(ctx)
			return nil
		})
		if err := errors.Join(err, <-moved); err != nil {
			t.Error(err)
		}
		if get(p.host, ref).UUID != "" {
			t.Error("it is there still")
		}
		p.consistent(t, p.host, "afterwards")
	})
}

// TestWriteWhileMigrating: what is written after it was copied would be lost, so who comes to write waits, and finds nothing.
func TestWriteWhileMigrating(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		second := p.newSR(t, true)
		ref := p.newVDI(t, p.sr)
		copied, goOn := make(chan struct{}), make(chan struct{})
		p.driver.Inject(func(method, _ string) error {
			if method == "Describe" {
				close(copied)
				<-goOn
			}
			return nil
		}, nil)
		moved, written := make(chan error, 1), make(chan error, 1)
		var to xenapi.Ref[xenapi.VDI]
		go func() {
			var err error
			to, err = p.migrate(t.Context(), ref, second, follow)
			moved <- err
		}()
		<-copied
		go func() {
			written <- p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.write(ctx, tk, ref, "too late") })
		}()
		synctest.Wait()
		select {
		case err := <-written:
			t.Errorf("the writer did not wait: %v", err)
			written <- err
		default:
		}
		close(goOn)
		wantCode(t, "migrate", <-moved, "")
		wantCode(t, "write", <-written, xenapi.CodeHandleInvalid)
		if got := p.read(t, to); got != "original" {
			t.Errorf("it holds %q", got)
		}
		p.consistent(t, p.host, "afterwards")
	})
}

// forgetful is a store that, from when it is told to, does what is asked of it and tells nobody.
type forgetful struct {
	*memkv.Store
	now atomic.Bool
}

func (s *forgetful) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	if s.now.Load() {
		return nil, 0, memkv.ErrInjected
	}
	return s.Store.Load(ctx, prefix)
}

func (s *forgetful) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	revision, err := s.Store.Commit(ctx, guards, ops)
	if s.now.Load() {
		return 0, memkv.ErrInjected
	}
	return revision, err
}

// TestMigrateInDoubt: where nobody can say whether the VDI has moved, neither of the two goes before that is known.
func TestMigrateInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		second := p.newSR(t, true)
		ref := p.newVDI(t, p.sr)
		p.db.Close()
		store := &forgetful{Store: p.store}
		h := start(t, store, here, p.drivers())
		_, err := h.migrate(t.Context(), ref, second, func(tx *db.Tx, from, to xenapi.Ref[xenapi.VDI]) error {
			store.now.Store(true)
			time.AfterFunc(time.Minute, func() { store.now.Store(false) })
			return follow(tx, from, to)
		})
		if !errors.Is(err, db.ErrUnknownOutcome) {
			t.Errorf("it was told %v", err)
		}
		time.Sleep(time.Minute)
		if err := h.tasks.EndWorkless(t.Context()); err != nil {
			t.Error(err)
		}
		h.tasks.UndoEnded(t.Context(), h.Undo())
		if got := h.read(t, get(h, xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p")).VDI); got != "original" {
			t.Errorf("the patch points at %q", got)
		}
		p.consistent(t, h, "afterwards")
	})
}
