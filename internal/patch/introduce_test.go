package patch_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// The same VDI again, another one, one in the place of one that has gone, and one that holds something else meanwhile.
func TestIntroduceAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	one, two := s.sign(t, program{label: "one"}), s.sign(t, program{label: "two", guidance: "restartXAPI"})
	vdi := x.disk(t, one)
	ref := x.introduced(t, vdi)
	x.update(t, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.PoolUpdate) error { rec.OtherConfig = map[string]string{"mine": "kept"}; return nil })
	})
	_, twin := x.twin(t)
	if again, err := x.introduce(vdi); err != nil || again != ref {
		t.Errorf("the same VDI again is %v, %v", again, err)
	}
	other := x.disk(t, one)
	_, err := x.introduce(other)
	wantError(t, "another VDI", err, xenapi.ErrUpdateAlreadyExists(updateUUID))
	x.destroyVDI(t, vdi)
	if again, err := x.introduce(other); err != nil || again != ref || get(x, ref).VDI != other || get(x, ref).OtherConfig["mine"] != "kept" {
		t.Errorf("another VDI in the place of one that has gone: %v, %v, %+v", again, err, get(x, ref))
	}
	if _, now := x.twin(t); now.VDI != twin.VDI || len(all[xenapi.VDI](x)) != 2 {
		t.Errorf("the patch was stored again: %+v, %d VDIs", now, len(all[xenapi.VDI](x)))
	}
	x.clean(t, "introduced again")

	// The patch's content changes only where its own VDI has gone.
	_, err = x.introduce(x.disk(t, two))
	wantError(t, "another content", err, xenapi.ErrUpdateAlreadyExists(theUUID))
	x.destroyVDI(t, twin.VDI)
	if _, err := x.upload(two); err != nil {
		t.Fatal(err)
	}
	if rec := get(x, ref); rec.NameLabel != "two" || !rec.VDI.IsNull() || rec.InstallationSize != int64(len(two)) || rec.AfterApplyGuidance[0] != "restartXAPI" {
		t.Errorf("after an upload of another content the update is %+v", rec)
	}
	// A VDI that holds another patch now is the other one's.
	if again := x.introduced(t, x.disk(t, two)); again != ref {
		t.Errorf("the other content is %v", again)
	}
	held := get(x, ref).VDI
	third := s.sign(t, program{uuid: anotherUUID})
	if err := x.do(func(ctx context.Context, tk *task.Task) error {
		return x.storage.ImportRaw(ctx, tk, held, bytes.NewReader(third), -1)
	}); err != nil {
		t.Fatal(err)
	}
	if next := x.introduced(t, held); next == ref || get(x, next).VDI != held || !get(x, ref).VDI.IsNull() {
		t.Errorf("a VDI that was written anew is %+v, and was %+v", get(x, next), get(x, ref))
	}
	x.clean(t, "at the end")
}

// A patch that was uploaded before becomes an update as well. Uploads make none by themselves.
func TestIntroduceAPatchOfThePool(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	signed := s.sign(t, program{})
	patch, err := x.upload(signed)
	if err != nil || len(all[xenapi.PoolUpdate](x)) != 0 {
		t.Fatalf("an upload made %v, %v", all[xenapi.PoolUpdate](x), err)
	}
	if _, err := x.apply(patch); err != nil {
		t.Fatal(err)
	}
	before := get(x, patch)
	ref := x.introduced(t, x.disk(t, signed))
	if twin, now := x.twin(t); twin != patch || now.PoolUpdate != ref || now.VDI != before.VDI || len(all[xenapi.VDI](x)) != 2 || len(x.hostsOf(ref)) != 1 {
		t.Errorf("the patch is %+v, was %+v; the update is on %v", now, before, x.hostsOf(ref))
	}
	if again, err := x.upload(signed); err != nil || again != patch || get(x, ref).VDI.IsNull() {
		t.Errorf("uploaded again: %v, %v, %+v", again, err, get(x, ref))
	}
	x.clean(t, "at the end")
}

// A patch that is on its way out gets no update any more. Another disk of one that is being applied is told that there is one.
func TestIntroduceWhileThePatchIsAtWork(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	signed := s.sign(t, program{})
	codes := map[string]string{"apply-running": "UPDATE_ALREADY_EXISTS", "clean-update-vdi": "OTHER_OPERATION_IN_PROGRESS"}
	var x daemon
	x = s.start(t, func(point string) {
		if code, ok := codes[point]; ok {
			delete(codes, point)
			_, err := x.introduce(x.disk(t, signed))
			wantCode(t, point, err, code)
		}
	}).withSR(t)
	ref := x.introduced(t, x.disk(t, signed))
	if _, err := x.onHost(ref, x.ApplyUpdate); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "pool_clean", x.onUpdate(ref, x.PoolCleanUpdate), "")
	if len(codes) != 0 {
		t.Errorf("nobody came to %v", codes)
	}
	x.clean(t, "at the end")
}

// Two patches whose updates would have one UUID are told apart by an error, and a UUID without the two groups gets others.
func TestUUIDsOfUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	x.introduced(t, x.disk(t, s.sign(t, program{})))
	_, err := x.introduce(x.disk(t, s.sign(t, program{uuid: "3fa85f64-1111-2222-b3fc-2c963f66afa6"})))
	wantError(t, "the same UUID for another patch", err, xenapi.ErrUpdateAlreadyExists(updateUUID))
	x.twin(t) // and nothing is left of it
	blank := x.introduced(t, x.disk(t, s.sign(t, program{uuid: "11111111-0000-0000-b3fc-2c963f66afa6"})))
	if uuid := get(x, blank).UUID; uuid != "11111111-ffff-ffff-b3fc-2c963f66afa6" {
		t.Errorf("its update is %s", uuid)
	}
	x.clean(t, "at the end")
}

// Nothing is left of a VDI that is no update, and the VDI itself stays.
func TestIntroduceRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	good := s.sign(t, program{})
	suspend := func(rec *xenapi.VDI) { rec.Type = xenapi.VDITypeSuspend }
	for what, tc := range map[string]struct {
		content []byte
		edit    []func(*xenapi.VDI)
		code    string
		text    string
	}{
		"empty":                {nil, nil, "INVALID_UPDATE", "the VDI is empty"},
		"zeroes, then garbage": {append(make([]byte, 2<<20), 'x'), nil, "INVALID_UPDATE", "not signed"},
		"not signed":           {[]byte(program{}.text()), nil, "INVALID_UPDATE", "not signed"},
		"cut off":              {good[:len(good)-20], nil, "INVALID_UPDATE", ""},
		"garbage behind":       {append(bytes.Clone(good), "garbage"...), nil, "INVALID_UPDATE", "data follows"},
		"garbage far behind":   {append(append(bytes.Clone(good), make([]byte, 3<<20)...), 'x'), nil, "INVALID_UPDATE", "data follows"},
		"two":                  {append(bytes.Clone(good), good...), nil, "INVALID_UPDATE", "data follows"},
		"wrong XML":            {s.sign(t, program{info: "echo '<info>'"}), nil, "INVALID_UPDATE", "XML"},
		"bad line endings":     {s.sign(t, program{info: "exit 2"}), nil, "INVALID_UPDATE", "line endings"},
		"a suspended VM":       {good, []func(*xenapi.VDI){suspend}, "VDI_INCOMPATIBLE_TYPE", ""},
	} {
		vdi := x.disk(t, tc.content, tc.edit...)
		_, err := x.introduce(vdi)
		wantCode(t, what, err, tc.code)
		if err != nil && !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: the error %v does not say %q", what, err, tc.text)
		}
		x.clean(t, what)
		if len(all[xenapi.VDI](x)) != 1 || len(all[xenapi.PoolPatch](x)) != 0 || len(all[xenapi.PoolUpdate](x)) != 0 {
			t.Fatalf("%s left %v", what, all[xenapi.VDI](x))
		}
		x.destroyVDI(t, vdi)
	}
	_, err := x.introduce("OpaqueRef:nobody")
	wantError(t, "no VDI", err, xenapi.ErrHandleInvalid("VDI", "OpaqueRef:nobody"))
	vdi := x.disk(t, good)
	s.driver.Break(get(x, get(x, vdi).SR).UUID, get(x, vdi).UUID)
	_, err = x.introduce(vdi)
	wantCode(t, "a VDI whose image is gone", err, "VDI_MISSING")
	if len(all[task.Belonging](x)) != 0 {
		t.Errorf("left: %v", all[task.Belonging](x))
	}
}

// A patch is as long as it is signed, whatever the disk is, also where it ends in zeroes, and the disk is sized by what is in it.
func TestIntroduceFromALargeDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true, Size: 5 << 30})
	x := s.start(t, nil).withSR(t)
	signed := s.sign(t, program{})
	ref := x.introduced(t, x.disk(t, signed, func(rec *xenapi.VDI) { rec.VirtualSize = 4 << 30 }))
	_, twin := x.twin(t)
	if get(x, ref).InstallationSize != int64(len(signed)) || get(x, twin.VDI).VirtualSize != 16<<20 {
		t.Errorf("%+v in %+v", get(x, ref), get(x, twin.VDI))
	}
	if again, err := x.upload(signed); err != nil || get(x, again).PoolUpdate != ref {
		t.Errorf("the same file is another patch: %v, %v", again, err)
	}
	x.clean(t, "at the end")
}

// While an update is introduced nobody writes to its VDI or destroys it, and none is introduced that is written to. A cancelled one
// leaves nothing.
func TestWhileAnUpdateIsIntroduced(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	var x daemon
	var vdi vdiRef
	write := func() error {
		return x.do(func(ctx context.Context, tk *task.Task) error {
			return x.storage.ImportRaw(ctx, tk, vdi, strings.NewReader("x"), -1)
		})
	}
	x = s.start(t, func(point string) {
		if point == "upload-mounted" {
			wantCode(t, "write", write(), "VDI_IN_USE")
			wantCode(t, "destroy", x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, vdi) }), "VDI_IN_USE")
		}
	}).withSR(t)
	vdi = x.disk(t, s.sign(t, program{}))
	x.attached(t, vdi, storage.ReadWrite, func() {
		_, err := x.introduce(vdi)
		wantError(t, "of a VDI that is written to", err, xenapi.ErrVDIInUse(vdi, "attach"))
	})
	_, err := x.tasks.Keep(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (any, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(xenapi.ErrTaskCancelled(tk.Ref()))
		return x.Introduce(ctx, tk, vdi)
	})
	wantCode(t, "cancelled", err, "TASK_CANCELLED")
	if len(all[xenapi.VDI](x)) != 1 || len(all[xenapi.PoolUpdate](x)) != 0 {
		t.Errorf("%v and %v are left", all[xenapi.VDI](x), all[xenapi.PoolUpdate](x))
	}
	x.introduced(t, vdi)
	wantCode(t, "write afterwards", write(), "")
	x.clean(t, "at the end")
}

// Every commit of an update's life fails, unpersisted or persisted but reported as failed. Then the same daemon tries again, or a
// new one starts: nothing is left, and neither record is without the other.
func TestEveryCommitOfAnUpdateFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []memkv.Fault{memkv.FailNotPersisted, memkv.FailButPersisted} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("fault=%d,restart=%v", fault, restart), func(t *testing.T) {
				t.Parallel()
				for n := 1; !failUpdate(t, fault, restart, n); n++ {
				}
			})
		}
	}
}

// failUpdate makes the n-th commit of an introduction and a destruction fail; it reports that there was none.
func failUpdate(t *testing.T, fault memkv.Fault, restart bool, n int) (done bool) {
	armed, count, hit := false, 0, false
	s := newSite(t, memsr.Options{Clone: true}, memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
		if count++; armed && count == n {
			hit = true
			return fault
		}
		return memkv.None
	}))
	what := fmt.Sprintf("fault %d at commit %d, restart %v", fault, n, restart)
	x := s.start(t, nil).withSR(t)
	vdi := x.disk(t, s.sign(t, program{}))
	armed, count = true, 0
	ref, err := x.introduce(vdi)
	if err == nil {
		err = x.onUpdate(ref, x.DestroyUpdate)
	}
	armed = false
	if restart {
		x = s.start(t, nil)
	}
	if !hit {
		return true
	}
	x.clean(t, what)
	if _, alive := all[xenapi.VDI](x)[vdi]; alive {
		again, ierr := x.introduce(vdi)
		if ierr != nil {
			t.Errorf("%s: introduce again: %v", what, ierr)
		}
		wantCode(t, what+": destroy again", x.onUpdate(again, x.DestroyUpdate), "")
	} else {
		for again := range all[xenapi.PoolUpdate](x) {
			wantCode(t, what+": destroy the rest", x.onUpdate(again, x.DestroyUpdate), "")
		}
	}
	if len(all[xenapi.PoolUpdate](x)) != 0 || len(all[xenapi.PoolPatch](x)) != 0 || len(all[xenapi.VDI](x)) != 0 {
		t.Errorf("%s (%v): left %v, %v, %d VDIs", what, err, all[xenapi.PoolUpdate](x), all[xenapi.PoolPatch](x), len(all[xenapi.VDI](x)))
	}
	x.clean(t, what+", at the end")
	return false
}

// A legacy file that is found again tells an update what it is now.
func TestALegacyFileOfAnUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	ref := x.introduced(t, x.disk(t, s.sign(t, program{label: "one"})))
	_, twin := x.twin(t)
	x.destroyVDI(t, twin.VDI)
	if err := os.WriteFile(filepath.Join(s.root, "var/patch/4a1b"), s.sign(t, program{label: "two"}), 0o440); err != nil {
		t.Fatal(err)
	}
	if err := x.do(x.FindLegacy); err != nil {
		t.Fatal(err)
	}
	if rec := get(x, ref); rec.NameLabel != "two" || !rec.VDI.IsNull() {
		t.Errorf("the update is %+v", rec)
	}
	x.clean(t, "at the end")
}
