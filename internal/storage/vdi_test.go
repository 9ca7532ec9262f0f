package storage_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// made runs a call that makes a VDI.
func (h host) made(t testing.TB, call func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error)) (ref xenapi.Ref[xenapi.VDI], err error) {
	t.Helper()
	err = h.do(t.Context(), func(ctx context.Context, tk *task.Task) (err error) {
		ref, err = call(ctx, tk)
		return err
	})
	return ref, err
}

func (h host) create(t testing.TB, rec xenapi.VDI) (xenapi.Ref[xenapi.VDI], error) {
	t.Helper()
	return h.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
		return h.CreateVDI(ctx, tk, rec)
	})
}

func (h host) destroy(t testing.TB, ref xenapi.Ref[xenapi.VDI]) error {
	t.Helper()
	return h.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return h.DestroyVDI(ctx, tk, ref) })
}

func (h host) copy(t testing.TB, ref xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], into xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
	t.Helper()
	return h.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
		return h.CopyVDI(ctx, tk, ref, sr, "", into)
	})
}

func (h host) change(t testing.TB, ref xenapi.Ref[xenapi.VDI], fn func(*xenapi.VDI)) {
	t.Helper()
	h.update(t, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(vdi *xenapi.VDI) error { fn(vdi); return nil })
	})
}

func TestCreateVDI(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 8 * mib})
	rec := vdiOf(p.sr)
	rec.VirtualSize = 2*mib - 1
	ref, err := p.create(t, rec)
	got := get(p.host, ref)
	if err != nil || got.VirtualSize != 2*mib || got.Location == "" || !got.Managed || got.UUID == "" || got.PhysicalUtilisation != 2*mib ||
		got.NameLabel != "label" || got.NameDescription != "description" || got.Type != xenapi.VDITypeUser || !got.Sharable || got.ReadOnly ||
		got.OtherConfig["o"] != "1" || got.XenstoreData["x"] != "1" || got.SMConfig["s"] != "1" || got.Tags[0] != "tag" {
		t.Errorf("a new VDI: %+v, %v", got, err)
	}
	if got := p.read(t, ref); got != strings.Repeat("\x00", 8) {
		t.Errorf("it holds %q", got)
	}
	p.consistent(t, p.host, "create")

	for _, size := range []int64{0, -1} {
		rec.VirtualSize = size
		_, err = p.create(t, rec)
		wantCode(t, "no size", err, xenapi.CodeInvalidValue)
	}
	rec.VirtualSize = mib
	for _, rec.SR = range []xenapi.Ref[xenapi.SR]{"OpaqueRef:x", ""} {
		_, err = p.create(t, rec)
		wantError(t, "no SR", err, xenapi.ErrHandleInvalid("SR", rec.SR.String()))
	}
	rec.SR = p.newSR(t, true)
	if err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbdOf(rec.SR)) }); err != nil {
		t.Fatal(err)
	}
	_, err = p.create(t, rec)
	wantError(t, "an SR that is not plugged here", err, xenapi.ErrSRHasNoPBDs(rec.SR))
	rec.SR, rec.VirtualSize = p.sr, 7*mib
	_, err = p.create(t, rec)
	wantError(t, "full", err, xenapi.ErrSRFull(7*mib, 6*mib))
	p.consistent(t, p.host, "full")
	p.driver.CheckEmpty(got.UUID)
}

// unable is a driver whose SRs can do nothing but hold what they have.
type unable struct{ storage.Driver }

func (u unable) Attach(ctx context.Context, cfg storage.Config) (storage.SR, error) {
	sr, err := u.Driver.Attach(ctx, cfg)
	return rigid{sr}, err
}

type rigid struct{ storage.SR }

func (rigid) Capabilities() storage.Capabilities { return storage.Capabilities{} }

func TestWhatAnSRCannotDo(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	ref := p.newVDI(t, p.sr)
	p.DetachAll(t.Context())
	h := start(t, p.store, here, storage.Drivers{"mem": unable{p.driver}})
	for name, call := range map[string]func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error){
		"create": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return h.CreateVDI(ctx, tk, vdiOf(p.sr))
		},
		"clone": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return h.CloneVDI(ctx, tk, ref)
		},
		"snapshot": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return h.SnapshotVDI(ctx, tk, ref)
		},
		"copy": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return h.CopyVDI(ctx, tk, ref, p.sr, "", "")
		},
		"destroy": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return "", h.DestroyVDI(ctx, tk, ref)
		},
		"resize": func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return "", h.ResizeVDI(ctx, tk, ref, 4*mib)
		},
	} {
		_, err := h.made(t, call)
		wantError(t, name, err, xenapi.ErrSROperationNotSupported(p.sr))
	}
	p.consistent(t, h, "afterwards")
}

func TestDestroyVDI(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref := p.newVDI(t, p.sr)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, ref, storage.ReadOnly)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		wantError(t, "an attached VDI", p.destroy(t, ref), xenapi.ErrVDIInUse(ref, "destroy"))
		return nil
	})
	wantCode(t, "attach", err, "")
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Managed = false })
	wantError(t, "a VDI that is not managed", p.destroy(t, ref), xenapi.ErrVDINotManaged(ref))
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Managed = true })
	wantCode(t, "destroy", p.destroy(t, ref), "")
	wantError(t, "destroy again", p.destroy(t, ref), xenapi.ErrHandleInvalid("VDI", ref.String()))
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

// TestTemporaryVDI is out of the reach of other tasks until it is kept.
func TestTemporaryVDI(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err != nil {
			return err
		}
		wantError(t, "destroy by another task", p.destroy(t, ref), xenapi.ErrVDIInUse(ref, "destroy"))
		err = p.do(ctx, func(ctx context.Context, tk *task.Task) error { return p.ForgetVDI(ctx, tk, ref) })
		wantError(t, "forget by another task", err, xenapi.ErrVDIInUse(ref, "forget"))
		if img := p.images(t, p.sr)[0]; !img.Temporary {
			t.Error("the SR takes a temporary VDI for a lasting one")
		}
		err = p.Keep(ctx, tk, ref, func(vdi *xenapi.VDI) { vdi.NameLabel = "kept" }, func(tx *db.Tx) error {
			return db.Insert(tx, "OpaqueRef:p", xenapi.PoolPatch{VDI: ref})
		})
		if img := p.images(t, p.sr)[0]; img.Temporary || img.NameLabel != "kept" || get(p.host, ref).NameLabel != "kept" {
			t.Errorf("kept: %+v", img)
		}
		if get(p.host, xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p")).VDI != ref {
			t.Error("what was to be committed with it is not there")
		}
		return err
	})
	wantCode(t, "keep", err, "")
	p.consistent(t, p.host, "afterwards")
}

// TestKeepFails in the caller's part of the transaction: the VDI stays temporary and goes with its task.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err != nil {
			return err
		}
		defer p.Discard(ctx, tk, ref)
		return p.Keep(ctx, tk, ref, func(*xenapi.VDI) {}, func(*db.Tx) error { return xenapi.ErrPatchAlreadyExists("u") })
	})
	wantCode(t, "keep", err, xenapi.CodePatchAlreadyExists)
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

// TestForgetAndIntroduce a VDI: the content stays on its SR.
func TestForgetAndIntroduce(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref := p.newVDI(t, p.sr)
	location := get(p.host, ref).Location
	introduce := func(location string) (xenapi.Ref[xenapi.VDI], error) {
		rec := vdiOf(p.sr)
		rec.Location = location
		return p.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
			return p.IntroduceVDI(ctx, tk, rec)
		})
	}
	_, err := introduce(location)
	wantError(t, "a location that has a row", err, xenapi.ErrLocationNotUnique(p.sr, location))
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, ref, storage.ReadOnly)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		wantError(t, "forget an attached VDI", p.ForgetVDI(ctx, tk, ref), xenapi.ErrVDIInUse(ref, "forget"))
		return nil
	})
	wantCode(t, "attach", err, "")
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ForgetVDI(ctx, tk, ref) })
	if len(all[xenapi.VDI](p.host)) != 0 || len(p.images(t, p.sr)) != 1 || err != nil {
		t.Errorf("forgotten: %v", err)
	}
	faults, err := p.Audit(t.Context(), false)
	if err != nil || len(faults) != 1 || faults[0].Invariant != "" || faults[0].Fix != nil || !strings.Contains(faults[0].Problem, "VDI.forget") {
		t.Errorf("the audit says of what was forgotten %+v, %v", faults, err)
	}
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, p.sr, func(sr *xenapi.SR) error { sr.Forgotten = nil; return nil })
	})
	if faults, err := p.Audit(t.Context(), false); err != nil || len(faults) != 1 || faults[0].Invariant != "I4" {
		t.Errorf("the audit says of what nobody forgot %+v, %v", faults, err)
	}
	again, err := introduce(location)
	if err != nil || get(p.host, again).VirtualSize != 2*mib || p.read(t, again) != "original" {
		t.Errorf("introduced: %+v, %v", get(p.host, again), err)
	}
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		return errors.Join(p.ForgetVDI(ctx, tk, again), p.ScanSR(ctx, tk, p.sr))
	})
	if vdis := all[xenapi.VDI](p.host); len(vdis) != 1 || len(get(p.host, p.sr).Forgotten) != 0 || err != nil {
		t.Errorf("a scan finds %v and leaves %v, %v", vdis, get(p.host, p.sr).Forgotten, err)
	}
	_, err = introduce("../x")
	wantCode(t, "a location that is not there", err, xenapi.CodeVDIMissing)
	p.consistent(t, p.host, "afterwards")
}

func TestResize(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 8 * mib})
	ref := p.newVDI(t, p.sr)
	resize := func(size int64) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, ref, size) })
	}
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Digest = "of two MiB" })
	wantError(t, "shrink", resize(mib), xenapi.ErrVDITooSmall(ref, 2*mib))
	wantError(t, "beyond the SR", resize(9*mib), xenapi.ErrSRFull(7*mib, 6*mib))
	p.consistent(t, p.host, "refused")
	wantCode(t, "grow", resize(3*mib+1), "")
	if rec := get(p.host, ref); rec.VirtualSize != 3*mib+4096 || rec.Digest != "" || p.read(t, ref) != "original" {
		t.Errorf("grown: %d bytes, digest %q", rec.VirtualSize, rec.Digest)
	}
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, ref, storage.ReadWrite)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		wantError(t, "resize an attached VDI", resize(4*mib), xenapi.ErrVDIInUse(ref, "resize"))
		err = a.Grow(ctx, tk, 5*mib)
		if info, serr := a.File.Stat(); serr != nil || info.Size() != 5*mib {
			t.Errorf("the attached file has %d bytes, %v", info.Size(), serr)
		}
		return err
	})
	wantCode(t, "grow while it is written", err, "")
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, ref, storage.ReadOnly)
		b, berr := p.Attach(ctx, p.someTask(t), ref, storage.ReadOnly)
		if err := errors.Join(err, berr); err != nil {
			return err
		}
		defer a.Detach(ctx)
		defer b.Detach(ctx)
		wantError(t, "grow under another reader", a.Grow(ctx, tk, 6*mib), xenapi.ErrVDIInUse(ref, "resize_online"))
		return nil
	})
	wantCode(t, "attach twice", err, "")
	p.consistent(t, p.host, "afterwards")
}

// someTask is a task that runs until the test ends.
func (h host) someTask(t testing.TB) *task.Task {
	t.Helper()
	started, end := make(chan *task.Task), make(chan struct{})
	if _, err := h.tasks.Go(t.Context(), task.Spec{}, func(_ context.Context, tk *task.Task) (any, error) {
		started <- tk
		<-end
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(end) })
	return <-started
}

func TestCopy(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 16 * mib})
	second := p.newSR(t, true)
	src := p.newVDI(t, p.sr)
	p.change(t, src, func(vdi *xenapi.VDI) { vdi.ReadOnly, vdi.AllowCaching, vdi.IsASnapshot = true, true, true })
	ref, err := p.copy(t, src, second, "")
	got := get(p.host, ref)
	if err != nil || got.SR != second || got.ReadOnly || len(got.SMConfig) != 0 || got.NameLabel != "label" || got.NameDescription != "description" ||
		got.VirtualSize != 2*mib || got.Type != xenapi.VDITypeUser || !got.Sharable || got.OtherConfig["o"] != "1" || got.XenstoreData["x"] != "1" ||
		got.Tags[0] != "tag" || !got.AllowCaching || got.OnBoot != xenapi.OnBootPersist || got.IsASnapshot || got.Digest == "" {
		t.Errorf("the copy: %+v, %v", got, err)
	}
	if got := p.read(t, ref); got != "original" {
		t.Errorf("the copy holds %q", got)
	}
	same, err := p.copy(t, src, p.sr, "")
	if err != nil || get(p.host, same).Digest != got.Digest || get(p.host, same).UUID == got.UUID {
		t.Errorf("a copy on the same SR: %+v, %v", get(p.host, same), err)
	}
	_, err = p.copy(t, src, "OpaqueRef:x", "")
	wantError(t, "to an SR that is not there", err, xenapi.ErrHandleInvalid("SR", "OpaqueRef:x"))
	_, err = p.copy(t, "OpaqueRef:x", second, "")
	wantCode(t, "of nothing", err, xenapi.CodeHandleInvalid)
	p.consistent(t, p.host, "afterwards")
}

// A copy of what is not the content that was written would pass for whole ever after.
func TestCopyOfSpoiledContent(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref, _ := p.upload(t, "a patch")
	on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(p.host, p.sr).UUID})
	if err != nil {
		t.Fatal(err)
	}
	f, err := on.Open(t.Context(), get(p.host, ref).Location, storage.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), 5*mib); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		_, err := p.CopyVDI(ctx, tk, ref, p.sr, "", "")
		return err
	})
	wantCode(t, "copy", err, xenapi.CodeVDIIOError)
	p.driver.CheckEmpty(get(p.host, ref).UUID)
	p.consistent(t, p.host, "spoiled")
}

func TestCopyInto(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	src, dst := p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	small := vdiOf(p.sr)
	small.VirtualSize = mib
	tiny, err := p.create(t, small)
	large := vdiOf(p.sr)
	large.VirtualSize = 4 * mib
	huge, herr := p.create(t, large)
	werr := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.write(ctx, tk, dst, "overwritten") })
	if err := errors.Join(err, herr, werr); err != nil {
		t.Fatal(err)
	}
	into, err := p.copy(t, src, "OpaqueRef:ignored", dst)
	if err != nil || into != dst || get(p.host, dst).Digest == "" {
		t.Errorf("copied into %s, %v", into, err)
	}
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, dst, storage.ReadOnly)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		text := make([]byte, 11)
		_, err = a.File.ReadAt(text, 0)
		if string(text) != "original\x00\x00\x00" {
			t.Errorf("it holds %q: what was there shines through", text)
		}
		return err
	})
	wantCode(t, "read", err, "")
	if _, err := p.copy(t, src, "", huge); err != nil || get(p.host, huge).Digest != "" || p.read(t, huge) != "original" {
		t.Errorf("into a larger one: digest %q of another size, %v", get(p.host, huge).Digest, err)
	}
	_, err = p.copy(t, src, "", tiny)
	wantError(t, "into a smaller one", err, xenapi.ErrVDITooSmall(tiny, 2*mib))
	p.change(t, dst, func(vdi *xenapi.VDI) { vdi.ReadOnly = true })
	_, err = p.copy(t, src, "", dst)
	wantError(t, "into a read-only one", err, xenapi.ErrVDIReadonly(dst))
	_, err = p.copy(t, src, "", src)
	wantCode(t, "into itself", err, xenapi.CodeVDIInUse)
	if len(all[xenapi.VDI](p.host)) != 4 {
		t.Error("a failed copy into a VDI has destroyed it")
	}
	p.consistent(t, p.host, "afterwards")
}

// TestCopyWithABase: the copy is the source, whatever the base and the destination hold.
func TestCopyWithABase(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	base, src, dst := p.newVDI(t, p.sr), p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	copyOver := func(ctx context.Context, tk *task.Task, base xenapi.Ref[xenapi.VDI]) error {
		made, err := p.CopyVDI(ctx, tk, src, p.sr, base, "")
		_, ierr := p.CopyVDI(ctx, tk, src, "", base, dst)
		if err := errors.Join(err, ierr); err != nil {
			return err
		}
		for _, ref := range []xenapi.Ref[xenapi.VDI]{made, dst} {
			if got := p.read(t, ref); got != "modified" {
				t.Errorf("a copy holds %q", got)
			}
		}
		return nil
	}
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		if err := errors.Join(p.write(ctx, tk, src, "modified"), p.write(ctx, tk, dst, "something else")); err != nil {
			return err
		}
		wantError(t, "a base that is not there", copyOver(ctx, tk, "OpaqueRef:x"), xenapi.ErrHandleInvalid("VDI", "OpaqueRef:x"))
		if got := p.read(t, dst); got != "somethin" || len(all[xenapi.VDI](p.host)) != 3 {
			t.Errorf("a copy that was refused wrote %q", got)
		}
		return copyOver(ctx, tk, base)
	})
	wantCode(t, "copy", err, "")
	p.consistent(t, p.host, "afterwards")
}

// TestCopyIntoWhatATaskOwns: another task's VDI is no empty one.
func TestCopyIntoWhatATaskOwns(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	empty, err := p.create(t, vdiOf(p.sr))
	if err != nil {
		t.Fatal(err)
	}
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err := errors.Join(err, p.write(ctx, tk, ref, "original")); err != nil {
			return err
		}
		defer p.Discard(ctx, tk, ref)
		if _, err := p.copy(t, empty, "", ref); err != nil {
			return err
		}
		if got := p.read(t, ref); got != strings.Repeat("\x00", 8) {
			t.Errorf("the copy of an empty VDI holds %q", got)
		}
		return nil
	})
	wantCode(t, "copy", err, "")
}

// TestCopyWhileUsed: the source may be read by others, not written.
func TestCopyWhileUsed(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 9 * mib})
	src := p.newVDI(t, p.sr)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		reader, err := p.Attach(ctx, tk, src, storage.ReadOnly)
		if err != nil {
			return err
		}
		_, err = p.copy(t, src, p.sr, "")
		reader.Detach(ctx)
		wantCode(t, "while it is read", err, "")
		writer, err := p.Attach(ctx, tk, src, storage.ReadWrite)
		if err != nil {
			return err
		}
		_, err = p.copy(t, src, p.sr, "")
		writer.Detach(ctx)
		wantCode(t, "while it is written", err, xenapi.CodeVDIInUse)
		return nil
	})
	wantCode(t, "attach", err, "")
	_, err = p.copy(t, src, p.sr, "")
	wantCode(t, "again", err, "")
	_, err = p.copy(t, src, p.sr, "")
	wantCode(t, "to a full SR", err, "")
	_, err = p.copy(t, src, p.sr, "")
	wantError(t, "to a full SR", err, xenapi.ErrSRFull(2*mib, mib))
	if got := len(p.images(t, p.sr)); got != 4 {
		t.Errorf("%d images", got)
	}
	p.consistent(t, p.host, "afterwards")
}

func TestCloneAndSnapshot(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true, Size: 7 * mib})
	src := p.newVDI(t, p.sr)
	p.change(t, src, func(vdi *xenapi.VDI) { vdi.Digest = "d" })
	clone, err := p.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
		return p.CloneVDI(ctx, tk, src)
	})
	got := get(p.host, clone)
	if err != nil || got.SR != p.sr || got.IsASnapshot || got.Digest != "d" || got.NameLabel != "label" || got.Tags[0] != "tag" || got.UUID == get(p.host, src).UUID {
		t.Errorf("the clone: %+v, %v", got, err)
	}
	snap, err := p.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
		return p.SnapshotVDI(ctx, tk, src)
	})
	got = get(p.host, snap)
	if err != nil || !got.IsASnapshot || got.SnapshotOf != src || got.SnapshotTime.IsZero() {
		t.Errorf("the snapshot: %+v, %v", got, err)
	}
	if err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.write(ctx, tk, src, "modified") }); err != nil {
		t.Fatal(err)
	}
	if a, b := p.read(t, clone), p.read(t, snap); a != "original" || b != "original" {
		t.Errorf("the clone holds %q, the snapshot %q", a, b)
	}
	_, err = p.made(t, func(ctx context.Context, tk *task.Task) (xenapi.Ref[xenapi.VDI], error) {
		return p.CloneVDI(ctx, tk, src)
	})
	wantError(t, "on a full SR", err, xenapi.ErrSRFull(2*mib, mib))
	p.consistent(t, p.host, "afterwards")
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref := p.newVDI(t, p.sr)
	err := p.DescribeVDI(t.Context(), ref, func(vdi *xenapi.VDI) { vdi.NameLabel, vdi.OtherConfig = "new", map[string]string{"k": "v"} })
	if img := p.images(t, p.sr)[0]; err != nil || img.NameLabel != "new" || img.OtherConfig["k"] != "v" || get(p.host, ref).NameLabel != "new" {
		t.Errorf("renamed: %+v, %v", img, err)
	}
	wantCode(t, "nothing", p.DescribeVDI(t.Context(), "OpaqueRef:x", func(*xenapi.VDI) {}), xenapi.CodeHandleInvalid)
}

// TestMissingImage removes an image behind the database's back.
func TestMissingImage(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref := p.newVDI(t, p.sr)
	p.driver.Break(get(p.host, p.sr).UUID, get(p.host, ref).Location)
	_, err := p.copy(t, ref, p.sr, "")
	wantError(t, "copy", err, xenapi.ErrVDIMissing(p.sr, ref))
	wantError(t, "resize", p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, ref, 4*mib) }), xenapi.ErrVDIMissing(p.sr, ref))
	wantCode(t, "destroy", p.destroy(t, ref), "")
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

func TestAttach(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref, readOnly := p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	p.change(t, readOnly, func(vdi *xenapi.VDI) { vdi.ReadOnly = true })
	first, second := p.someTask(t), p.someTask(t)
	digest := func(want string) {
		t.Helper()
		if got := get(p.host, ref).Digest; got != want {
			t.Errorf("the digest is %q, want %q", got, want)
		}
	}
	attach := func(tk *task.Task, ref xenapi.Ref[xenapi.VDI], mode storage.Mode, code string) *storage.Attachment {
		t.Helper()
		a, err := p.Attach(t.Context(), tk, ref, mode)
		wantCode(t, "attach", err, code)
		return a
	}
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Digest, vdi.PhysicalUtilisation = "d", 0 })
	a, b := attach(first, ref, storage.ReadOnly, ""), attach(second, ref, storage.ReadOnly, "")
	attach(p.someTask(t), ref, storage.ReadWrite, xenapi.CodeVDIInUse)
	if _, err := a.File.Write([]byte("x")); err == nil {
		t.Error("a reader could write")
	}
	digest("d") // nobody was allowed to write
	a.Detach(t.Context())
	attach(first, ref, storage.ReadWrite, xenapi.CodeVDIInUse)
	b.Detach(t.Context())
	b.Detach(t.Context()) // twice is once

	w := attach(first, ref, storage.ReadWrite, "")
	digest("")
	attach(second, ref, storage.ReadOnly, xenapi.CodeVDIInUse)
	attach(second, ref, storage.ReadWrite, xenapi.CodeVDIInUse)
	if owned := p.belongings(); len(owned) != 1 {
		t.Errorf("owned: %v", owned)
	}
	w.Detach(t.Context())
	if _, err := w.File.Write(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file of a detached VDI: %v", err)
	}
	attach(second, readOnly, storage.ReadWrite, xenapi.CodeVDIReadonly)
	attach(second, readOnly, storage.ReadOnly, "").Detach(t.Context())
	attach(second, "OpaqueRef:x", storage.ReadOnly, xenapi.CodeHandleInvalid)
	p.driver.Inject(failing("Open"), nil)
	attach(second, ref, storage.ReadOnly, xenapi.CodeSRBackendFailure)
	p.driver.Inject(nil, nil)
	p.consistent(t, p.host, "afterwards")
}

// TestTransfer imports a stream, exports it again, and a part of it.
func TestTransfer(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ref := p.newVDI(t, p.sr)
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.Digest, vdi.PhysicalUtilisation = "d", 0 })
	send := func(text string) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
			err := p.ImportRaw(ctx, tk, ref, strings.NewReader(text), int64(len(text)))
			if rec := get(p.host, tk.Ref()); err == nil && rec.Progress == 0 {
				t.Error("an import shows no progress")
			}
			return err
		})
	}
	wantCode(t, "import", send("imported"), "")
	if get(p.host, ref).Digest != "" {
		t.Error("the digest outlives an import")
	}
	if get(p.host, ref).PhysicalUtilisation == 0 {
		t.Error("after an import the VDI takes no space")
	}
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		e, err := p.OpenExport(ctx, tk, ref)
		if err != nil {
			return err
		}
		defer e.Close(ctx)
		var whole, part strings.Builder
		err = errors.Join(e.Write(ctx, &whole, 0, e.Size), e.Write(ctx, &part, 2, 4))
		if e.Size != 2*mib || e.UUID != get(p.host, ref).UUID || int64(whole.Len()) != e.Size ||
			!strings.HasPrefix(whole.String(), "imported\x00") || part.String() != "port" {
			t.Errorf("exported %d bytes of %d, a part %q", whole.Len(), e.Size, part.String())
		}
		return err
	})
	wantCode(t, "export", err, "")
	if err := send(strings.Repeat("x", int(2*mib)+1)); err == nil {
		t.Error("a stream that is longer than the VDI was taken")
	}
	p.consistent(t, p.host, "afterwards")
}

// TestWhatAnSRHolds is known when a call returns, not only after the next refresh.
func TestWhatAnSRHolds(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	var first, second xenapi.Ref[xenapi.VDI]
	var rec xenapi.VDI
	type call = func(ctx context.Context, tk *task.Task) error
	for _, c := range []struct {
		what           string
		call           call
		promised, used int64 // MiB
	}{
		{"create", func(ctx context.Context, tk *task.Task) (err error) {
			first, err = p.CreateVDI(ctx, tk, vdiOf(p.sr))
			return err
		}, 2, 2},
		{"resize", func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, first, 3*mib) }, 3, 3},
		{"clone", func(ctx context.Context, tk *task.Task) (err error) {
			second, err = p.CloneVDI(ctx, tk, first)
			return err
		}, 6, 6},
		{"snapshot", func(ctx context.Context, tk *task.Task) error { _, err := p.SnapshotVDI(ctx, tk, first); return err }, 9, 9},
		{"copy", func(ctx context.Context, tk *task.Task) error {
			_, err := p.CopyVDI(ctx, tk, first, p.sr, "", "")
			return err
		}, 12, 12},
		{"destroy", func(ctx context.Context, tk *task.Task) error { return p.DestroyVDI(ctx, tk, first) }, 9, 9},
		{"forget", func(ctx context.Context, tk *task.Task) error {
			rec = get(p.host, second)
			return p.ForgetVDI(ctx, tk, second)
		}, 6, 9},
		{"introduce", func(ctx context.Context, tk *task.Task) error { _, err := p.IntroduceVDI(ctx, tk, rec); return err }, 9, 9},
	} {
		wantCode(t, c.what, p.do(t.Context(), c.call), "")
		if sr := get(p.host, p.sr); sr.VirtualAllocation != c.promised*mib || sr.PhysicalUtilisation != c.used*mib {
			t.Errorf("after %s: %d MiB promised, %d MiB used", c.what, sr.VirtualAllocation/mib, sr.PhysicalUtilisation/mib)
		}
	}
	p.consistent(t, p.host, "afterwards")
}
