package storage_test

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"testing/synctest"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

func (h host) changed(t testing.TB, from, to xenapi.Ref[xenapi.VDI]) (bits string, err error) {
	t.Helper()
	err = h.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		changes, err := h.ChangedBlocks(ctx, tk, from, to)
		bits = hex.EncodeToString(changes)
		return err
	})
	return bits, err
}

func (h host) snapshot(t testing.TB, of xenapi.Ref[xenapi.VDI]) (ref xenapi.Ref[xenapi.VDI]) {
	t.Helper()
	err := h.do(t.Context(), func(ctx context.Context, tk *task.Task) (err error) {
		ref, err = h.SnapshotVDI(ctx, tk, of)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (h host) destroyData(t testing.TB, ref xenapi.Ref[xenapi.VDI]) error {
	return h.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return h.DestroyData(ctx, tk, ref) })
}

func (h host) writeAt(t testing.TB, ref xenapi.Ref[xenapi.VDI], offset int64) {
	t.Helper()
	err := h.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := h.Attach(ctx, tk, ref, storage.ReadWrite)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		_, err = a.File.WriteAt([]byte("changed"), offset)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestChangedBlocks: what a backup does with a VDI, from one snapshot to the next.
func TestChangedBlocks(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{Clone: true})
	ref := p.newVDI(t, p.sr)
	_, err := p.changed(t, ref, ref)
	wantCode(t, "with itself", err, xenapi.CodeOperationNotAllowed)
	first := p.snapshot(t, ref)
	_, err = p.changed(t, first, ref)
	wantError(t, "of what is not tracked", err, xenapi.ErrVDINoCBTMetadata(first))
	wantCode(t, "enable", errors.Join(p.SetCBT(t.Context(), ref, true), p.SetCBT(t.Context(), ref, true)), "")
	first = p.snapshot(t, ref)
	p.writeAt(t, ref, mib+65536)
	second := p.snapshot(t, ref)
	if bits, err := p.changed(t, first, second); bits != "00004000" || err != nil {
		t.Errorf("between two snapshots: %s, %v", bits, err)
	}
	if bits, err := p.changed(t, first, ref); bits != "00004000" || err != nil {
		t.Errorf("since a snapshot: %s, %v", bits, err)
	}
	vbd := p.newVBD(t, vbdOf(dom0, first, xenapi.VBDModeRO))
	wantCode(t, "plug", p.plug(t, vbd), "")
	wantError(t, "destroy the data of what is plugged", p.destroyData(t, first), xenapi.ErrVDIInUse(first, "data_destroy"))
	wantCode(t, "unplug", p.unplug(t, vbd, false), "")

	wantCode(t, "destroy the data", p.destroyData(t, first), "")
	left := get(p.host, first)
	if left.Type != xenapi.VDITypeCBTMetadata || !left.CBTEnabled || !left.IsASnapshot || left.SnapshotOf != ref || left.VirtualSize != 4096 || get(p.host, vbd).UUID != "" {
		t.Errorf("it has become %+v, VBD %+v", left, get(p.host, vbd))
	}
	if bits, err := p.changed(t, first, second); bits != "0000ffff" || err != nil {
		t.Errorf("since a snapshot without data: %s, %v", bits, err)
	}
	p.consistent(t, p.host, "without the data")
	wantError(t, "destroy the data again", p.destroyData(t, first), xenapi.ErrVDIIncompatibleType(first, "cbt_metadata"))
	for name, call := range map[string]func(ctx context.Context, tk *task.Task) error{
		"attach": func(ctx context.Context, tk *task.Task) error {
			_, err := p.Attach(ctx, tk, first, storage.ReadOnly)
			return err
		},
		"copy": func(ctx context.Context, tk *task.Task) error {
			_, err := p.CopyVDI(ctx, tk, first, p.sr, "", "")
			return err
		},
		"clone":  func(ctx context.Context, tk *task.Task) error { _, err := p.CloneVDI(ctx, tk, first); return err },
		"resize": func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, first, 8*mib) },
		"migrate": func(ctx context.Context, tk *task.Task) error {
			_, err := p.MigrateVDI(ctx, tk, first, p.newSR(t, true), follow)
			return err
		},
		"plug": func(ctx context.Context, tk *task.Task) error {
			return p.PlugVBD(ctx, tk, p.newVBD(t, vbdOf(dom0, first, xenapi.VBDModeRO)))
		},
	} {
		wantError(t, name, p.do(t.Context(), call), xenapi.ErrVDIIncompatibleType(first, "cbt_metadata"))
	}
	wantCode(t, "destroy", p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.DestroyVDI(ctx, tk, first) }), "")
	p.consistent(t, p.host, "afterwards")
}

func TestCBTIsRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	plain := p.newVDI(t, p.sr)
	wantError(t, "enable where it cannot be", p.SetCBT(t.Context(), plain, true), xenapi.ErrSROperationNotSupported(p.sr))
	wantError(t, "destroy data where it cannot be", p.destroyData(t, plain), xenapi.ErrSROperationNotSupported(p.sr))
	p = newPool(t, memsr.Options{Clone: true})
	ref := p.newVDI(t, p.sr)
	snapshot := p.snapshot(t, ref)
	wantCode(t, "enable for a snapshot", p.SetCBT(t.Context(), snapshot, true), xenapi.CodeOperationNotAllowed)
	wantCode(t, "destroy data of no snapshot", p.destroyData(t, ref), xenapi.CodeOperationNotAllowed)
	wantError(t, "destroy data of what was not tracked", p.destroyData(t, snapshot), xenapi.ErrVDINoCBTMetadata(snapshot))
	p.change(t, ref, func(rec *xenapi.VDI) { rec.Type = xenapi.VDITypeMetadata })
	wantError(t, "enable for metadata", p.SetCBT(t.Context(), ref, true), xenapi.ErrVDIIncompatibleType(ref, "metadata"))
	if got := p.read(t, snapshot); got != "original" {
		t.Errorf("what was refused has left %q", got)
	}
}

// TestSpoiledList: of a list that was changed on its SR nothing is told.
func TestSpoiledList(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	ref := p.newVDI(t, p.sr)
	wantCode(t, "enable", p.SetCBT(t.Context(), ref, true), "")
	snapshot := p.snapshot(t, ref)
	wantCode(t, "destroy the data", p.destroyData(t, snapshot), "")
	on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(p.host, p.sr).UUID})
	if err != nil {
		t.Fatal(err)
	}
	f, err := on.Open(t.Context(), get(p.host, snapshot).Location, storage.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 60); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	_, err = p.changed(t, snapshot, ref)
	wantCode(t, "compare", err, xenapi.CodeVDIIOError)
	if err := p.db.View(func(tx *db.Tx) error { _, err := db.Get(tx, snapshot); return err }); err != nil {
		t.Error(err)
	}
	p.consistent(t, p.host, "spoiled")
}

// TestListsOfUnknownImages: that no digest is known of two images does not make them one. Who waits for the wrong one waits for
// ever.
func TestListsOfUnknownImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{Clone: true})
		ref := p.newVDI(t, p.sr)
		wantCode(t, "enable", p.SetCBT(t.Context(), ref, true), "")
		snapshot := p.snapshot(t, ref)
		p.writeAt(t, ref, 0)
		if rec := get(p.host, ref); rec.Digest != "" {
			t.Fatalf("its digest is known: %s", rec.Digest)
		}
		defer p.ListSomethingUnknown()()
		if bits, err := p.changed(t, snapshot, ref); bits != "80000000" || err != nil {
			t.Errorf("changed: %s, %v", bits, err)
		}
	})
}
