package patch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

type (
	updateRef = xenapi.Ref[xenapi.PoolUpdate]
	vdiRef    = xenapi.Ref[xenapi.VDI]
)

const (
	updateUUID  = "3fa85f64-0000-0000-b3fc-2c963f66afa6" // of the update of theUUID
	anotherUUID = "22222222-3333-4444-8555-666666666666"
)

// disk makes a user's VDI that begins with a content.
func (x daemon) disk(t testing.TB, content []byte, edit ...func(*xenapi.VDI)) (vdi vdiRef) {
	t.Helper()
	err := x.do(func(ctx context.Context, tk *task.Task) (err error) {
		rec := xenapi.New[xenapi.VDI]()
		rec.SR, rec.VirtualSize, rec.Type, rec.NameLabel = get(x, xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")).DefaultSR, 4<<20, xenapi.VDITypeUser, "disk"
		for _, e := range edit {
			e(&rec)
		}
		if vdi, err = x.storage.CreateVDI(ctx, tk, rec); err != nil {
			return err
		}
		return x.storage.ImportRaw(ctx, tk, vdi, bytes.NewReader(content), -1)
	})
	if err != nil {
		t.Fatal(err)
	}
	return vdi
}

func (x daemon) destroyVDI(t testing.TB, vdi vdiRef) {
	t.Helper()
	if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, vdi) }); err != nil {
		t.Fatal(err)
	}
}

func (x daemon) introduce(vdi vdiRef) (ref updateRef, err error) {
	err = x.do(func(ctx context.Context, tk *task.Task) (err error) {
		ref, err = x.Introduce(ctx, tk, vdi)
		return err
	})
	return ref, err
}

func (x daemon) introduced(t testing.TB, vdi vdiRef) updateRef {
	t.Helper()
	ref, err := x.introduce(vdi)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// onUpdate runs one of the calls that take nothing but the update.
func (x daemon) onUpdate(ref updateRef, fn func(context.Context, *task.Task, updateRef) error) error {
	return x.do(func(ctx context.Context, t *task.Task) error { return fn(ctx, t, ref) })
}

// onHost runs one of the calls that take an update and a host, and gives its task's result.
func (x daemon) onHost(ref updateRef, fn func(context.Context, *task.Task, updateRef, xenapi.Ref[xenapi.Host]) error) (result string, err error) {
	var tk xenapi.Ref[xenapi.Task]
	_, err = x.tasks.Keep(context.Background(), task.Spec{Label: "test"}, func(ctx context.Context, t *task.Task) (any, error) {
		tk = t.Ref()
		return "", fn(ctx, t, ref, here)
	})
	return get(x, tk).Result, err
}

// twin is the one patch of the pool.
func (x daemon) twin(t testing.TB) (ref xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch) {
	t.Helper()
	patches := all[xenapi.PoolPatch](x)
	if len(patches) != 1 {
		t.Fatalf("the patches are %v", patches)
	}
	for ref, rec = range patches {
	}
	return ref, rec
}

func (x daemon) hostsOf(ref updateRef) (hosts []xenapi.Ref[xenapi.Host]) {
	_ = x.db.View(func(tx *db.Tx) error { hosts = patch.HostsOf(tx, ref); return nil })
	return hosts
}

func (x daemon) updatesOf() (applied, rebooting []updateRef) {
	_ = x.db.View(func(tx *db.Tx) error {
		host, _ := db.Lookup(tx, here)
		applied, rebooting = patch.UpdatesOf(tx, here, host)
		return nil
	})
	return applied, rebooting
}

// The whole life of an update, which is a second name of a patch.
func TestLifeOfAnUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	x.update(t, func(tx *db.Tx) error {
		return db.Change(tx, here, func(rec *xenapi.Host) error { rec.BootID = "this"; return nil })
	})
	signed := s.sign(t, program{label: "one", guidance: "restartHost restartHVM"})
	vdi := x.disk(t, signed)
	ref := x.introduced(t, vdi)
	twinRef, twin := x.twin(t)
	rec := get(x, ref)
	if twin.UUID != theUUID || twin.PoolUpdate != ref || twin.Size != int64(len(signed)) || twin.VDI == vdi || get(x, twin.VDI).NameLabel != "Patch "+theUUID+" (one)" {
		t.Errorf("the patch is %+v", twin)
	}
	if rec.UUID != updateUUID || rec.VDI != vdi || rec.NameLabel != "one" || rec.NameDescription != "described" || rec.Version != "1.0" ||
		rec.InstallationSize != int64(len(signed)) || rec.Key != s.key.Fingerprint() || rec.EnforceHomogeneity || len(x.hostsOf(ref)) != 0 ||
		!slices.Equal(rec.AfterApplyGuidance, []xenapi.UpdateAfterApplyGuidance{"restartHost", "restartHVM"}) {
		t.Errorf("the update is %+v, applied on %v", rec, x.hostsOf(ref))
	}
	x.clean(t, "introduced")

	_, err := x.onHost(ref, x.PrecheckUpdate)
	wantCode(t, "precheck", err, "")
	result, err := x.onHost(ref, x.ApplyUpdate)
	if err != nil || result != "" || s.runs() != 1 || !slices.Equal(x.hostsOf(ref), []xenapi.Ref[xenapi.Host]{here}) {
		t.Errorf("apply gave %q, %v, ran %d times, and it is applied on %v", result, err, s.runs(), x.hostsOf(ref))
	}
	if applied, rebooting := x.updatesOf(); !slices.Equal(applied, []updateRef{ref}) || !slices.Equal(rebooting, applied) {
		t.Errorf("the host has %v, and reboots for %v", applied, rebooting)
	}
	x.update(t, func(tx *db.Tx) error { // the next kernel
		return db.Change(tx, here, func(rec *xenapi.Host) error { rec.BootID = "next"; return nil })
	})
	if applied, rebooting := x.updatesOf(); len(applied) != 1 || len(rebooting) != 0 {
		t.Errorf("after a reboot the host has %v, and reboots for %v", applied, rebooting)
	}
	_, err = x.onHost(ref, x.ApplyUpdate)
	wantError(t, "apply again", err, xenapi.ErrUpdateAlreadyApplied(ref))
	wantError(t, "destroy", x.onUpdate(ref, x.DestroyUpdate), xenapi.ErrUpdateIsApplied())
	wantError(t, "pool_apply", x.onUpdate(ref, x.PoolApplyUpdate), xenapi.ErrUpdateAlreadyAppliedInPool(ref))
	wantCode(t, "pool_apply of the patch", x.call(twinRef, x.PoolApply), "")

	wantCode(t, "pool_clean", x.onUpdate(ref, x.PoolCleanUpdate), "")
	if n := len(all[xenapi.VDI](x)); n != 0 || !get(x, ref).VDI.IsNull() || !get(x, twinRef).VDI.IsNull() {
		t.Errorf("pool_clean left %d VDIs, %+v, %+v", n, get(x, ref), get(x, twinRef))
	}
	wantCode(t, "pool_clean again", x.onUpdate(ref, x.PoolCleanUpdate), "")
	x.clean(t, "at the end")
	s.driver.CheckEmpty()
}

func wantError(t testing.TB, what string, err error, want *xenapi.Error) {
	t.Helper()
	if got, ok := errors.AsType[*xenapi.Error](err); !ok || !slices.Equal(got.Description(), want.Description()) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// Neither record outlives the other, whichever is asked to go, and both VDIs go with them.
func TestTheEndOfAnUpdate(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(x daemon, ref updateRef, twin xenapi.Ref[xenapi.PoolPatch]) error{
		"pool_update.destroy": func(x daemon, ref updateRef, _ xenapi.Ref[xenapi.PoolPatch]) error {
			return x.onUpdate(ref, x.DestroyUpdate)
		},
		"pool_patch.destroy": func(x daemon, _ updateRef, twin xenapi.Ref[xenapi.PoolPatch]) error {
			return x.call(twin, x.Destroy)
		},
		"collection": func(x daemon, ref updateRef, twin xenapi.Ref[xenapi.PoolPatch]) error {
			return errors.Join(x.call(twin, x.PoolClean), x.Collect(context.Background()))
		},
	} {
		s := newSite(t, memsr.Options{})
		x := s.start(t, nil).withSR(t)
		ref := x.introduced(t, x.disk(t, s.sign(t, program{})))
		twin, _ := x.twin(t)
		wantCode(t, what, end(x, ref, twin), "")
		if len(all[xenapi.PoolUpdate](x)) != 0 || len(all[xenapi.PoolPatch](x)) != 0 || len(all[xenapi.VDI](x)) != 0 {
			t.Errorf("%s left %v, %v, %v", what, all[xenapi.PoolUpdate](x), all[xenapi.PoolPatch](x), all[xenapi.VDI](x))
		}
		for name, call := range map[string]func(context.Context, *task.Task, updateRef) error{
			"pool_apply": x.PoolApplyUpdate, "pool_clean": x.PoolCleanUpdate, "destroy": x.DestroyUpdate,
		} {
			wantError(t, what+", then "+name, x.onUpdate(ref, call), xenapi.ErrHandleInvalid("pool_update", ref.String()))
		}
		x.clean(t, what)
		s.driver.CheckEmpty()
	}
}

// attached runs fn while a task uses a VDI.
func (x daemon) attached(t testing.TB, vdi vdiRef, mode storage.Mode, fn func()) {
	t.Helper()
	if err := x.do(func(ctx context.Context, tk *task.Task) error {
		a, err := x.storage.Attach(ctx, tk, vdi, mode)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		fn()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A VDI that somebody uses is not cleaned away, and keeps its place in its record.
func TestCleaningAnUpdateInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	vdi := x.disk(t, s.sign(t, program{}))
	ref := x.introduced(t, vdi)
	patchRef, twin := x.twin(t)
	for _, used := range []vdiRef{vdi, twin.VDI} {
		x.attached(t, used, storage.ReadOnly, func() {
			wantError(t, "pool_clean", x.onUpdate(ref, x.PoolCleanUpdate), xenapi.ErrVDIInUse(used, "destroy"))
			wantError(t, "destroy", x.onUpdate(ref, x.DestroyUpdate), xenapi.ErrVDIInUse(used, "destroy"))
			wantError(t, "pool_clean of the patch", x.call(patchRef, x.PoolClean), xenapi.ErrVDIInUse(used, "destroy"))
		})
		if err := x.Collect(t.Context()); err != nil || get(x, patchRef).VDI != twin.VDI || get(x, twin.VDI).UUID == "" || used == vdi && get(x, ref).VDI != vdi {
			t.Errorf("a VDI in use was forgotten: %+v, %+v, %v", get(x, ref), get(x, patchRef), err)
		}
	}
	wantCode(t, "destroy", x.onUpdate(ref, x.DestroyUpdate), "")
	x.clean(t, "at the end")
	s.driver.CheckEmpty()
}

// What is told of a patch is told of its update in its own words.
func TestErrorsOfUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	says := func(code, children string) string {
		return fmt.Sprintf(`echo '<error errorcode="%s">%s</error>'; exit 1`, code, children)
	}
	found := "<found>1</found><required>2</required>"
	for i, tc := range []struct {
		precheck, apply string
		want            func(ref updateRef, patch xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error
	}{
		{"", "echo broken; exit 1", func(updateRef, xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrUpdateApplyFailed("applied\nbroken\n")
		}},
		{says("PATCH_PRECHECK_FAILED_UNKNOWN_ERROR", "<info>why</info>"), "", func(ref updateRef, _ xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrUpdatePrecheckFailedUnknownError(ref, "why")
		}},
		{says("PATCH_PRECHECK_FAILED_PREREQUISITE_MISSING", `<prerequisite uuid="`+theUUID+`"/>`), "", func(ref updateRef, _ xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrUpdatePrecheckFailedPrerequisiteMissing(ref, theUUID)
		}},
		{says("PATCH_PRECHECK_FAILED_WRONG_SERVER_VERSION", found), "", func(ref updateRef, _ xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrUpdatePrecheckFailedWrongServerVersion(ref, "1", "2")
		}},
		{says("PATCH_PRECHECK_FAILED_OUT_OF_SPACE", found), "", func(ref updateRef, _ xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrUpdatePrecheckFailedOutOfSpace(ref, "1", "2")
		}},
		// Updates have no word for these.
		{says("PATCH_PRECHECK_FAILED_VM_RUNNING", ""), "", func(_ updateRef, patch xenapi.Ref[xenapi.PoolPatch]) *xenapi.Error {
			return xenapi.ErrPatchPrecheckFailedVMRunning(patch)
		}},
	} {
		uuid := fmt.Sprintf("%08d-1111-4222-8333-444444444444", i)
		text := program{uuid: uuid, precheck: tc.precheck, apply: tc.apply}.text()
		if tc.precheck != "" {
			text = strings.Replace(text, "echo prechecked\n", "", 1) // the error stands alone
		}
		ref := x.introduced(t, x.disk(t, s.signText(t, text)))
		var patch xenapi.Ref[xenapi.PoolPatch]
		for r, rec := range all[xenapi.PoolPatch](x) {
			if rec.UUID == uuid {
				patch = r
			}
		}
		_, err := x.onHost(ref, x.ApplyUpdate)
		wantError(t, uuid+" apply", err, tc.want(ref, patch))
		if tc.precheck != "" {
			_, err = x.onHost(ref, x.PrecheckUpdate)
			wantError(t, uuid+" precheck", err, tc.want(ref, patch))
		}
		wantError(t, uuid+" pool_apply", x.onUpdate(ref, x.PoolApplyUpdate), xenapi.ErrUpdatePoolApplyFailed(here))
		x.destroyVDI(t, get(x, patch).VDI)
		_, err = x.onHost(ref, x.ApplyUpdate)
		wantError(t, uuid+" without its content", err, xenapi.ErrCannotFindUpdate())
	}
	x.clean(t, "at the end")
}

// Only one of two calls at once is let in, and who is not hears of the object that it named.
func TestUpdatesCollide(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{Clone: true})
	reached, release := make(chan struct{}), make(chan struct{})
	x := s.start(t, func(point string) {
		if point == "apply-prechecked" {
			close(reached)
			<-release
		}
	}).withSR(t)
	ref := x.introduced(t, x.disk(t, s.sign(t, program{})))
	other := x.introduced(t, x.disk(t, s.sign(t, program{uuid: anotherUUID})))
	applied := make(chan error)
	go func() { _, err := x.onHost(ref, x.ApplyUpdate); applied <- err }()
	<-reached
	busy := xenapi.ErrOtherOperationInProgress("Pool_update", ref.String(), "apply")
	_, err := x.onHost(ref, x.ApplyUpdate)
	wantError(t, "second apply", err, busy)
	wantError(t, "pool_clean", x.onUpdate(ref, x.PoolCleanUpdate), busy)
	wantError(t, "destroy", x.onUpdate(ref, x.DestroyUpdate), busy)
	_, err = x.onHost(other, x.ApplyUpdate)
	if e, _ := errors.AsType[*xenapi.Error](err); e == nil || e.Code != "OTHER_OPERATION_IN_PROGRESS" || e.Params[0] != "Pool_patch" {
		t.Errorf("apply of another update on the same host: %v", err)
	}
	close(release)
	if err := <-applied; err != nil || s.runs() != 1 {
		t.Errorf("the apply ended with %v after %d runs", err, s.runs())
	}
	x.clean(t, "at the end")
}

// A daemon that dies while an update is applied leaves it interrupted, as it leaves a patch, and says so in the words of updates.
func TestAnUpdateThatIsInterrupted(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]string{"apply-running": "UPDATE_APPLY_FAILED", "apply-stamped": ""} {
		s := newSite(t, memsr.Options{Clone: true})
		var x daemon
		x = s.start(t, func(now string) {
			if now == point {
				x.db.Close() // nothing is written any more
			}
		}).withSR(t)
		ref := x.introduced(t, x.disk(t, s.sign(t, program{})))
		if _, err := x.onHost(ref, x.ApplyUpdate); err == nil {
			t.Fatalf("%s: the apply went on without its database", point)
		}
		x = s.start(t, nil)
		for _, rec := range all[xenapi.Task](x) {
			if rec.NameLabel != "test" {
				continue
			}
			if want != "" && (len(rec.ErrorInfo) == 0 || rec.ErrorInfo[0] != want) || want == "" && (rec.Status != xenapi.TaskStatusSuccess || rec.Result != "") {
				t.Errorf("%s: the task says %s %q %v", point, rec.Status, rec.Result, rec.ErrorInfo)
			}
		}
		if got := len(x.hostsOf(ref)); got != map[string]int{"": 1}[want] {
			t.Errorf("%s: it is applied on %d hosts", point, got)
		}
		x.clean(t, point)
	}
}

// A check finds updates and patches that do not belong together, and puts them right.
func TestAuditOfUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	ref := x.introduced(t, x.disk(t, s.sign(t, program{})))
	patchRef, _ := x.twin(t)
	for what, spoil := range map[string]func(*db.Tx) error{
		"update " + updateUUID + ": it is an update of no patch": func(tx *db.Tx) error {
			return db.Change(tx, patchRef, func(rec *xenapi.PoolPatch) error { rec.PoolUpdate = ""; return nil })
		},
		"patch " + theUUID + ": its update is gone": func(tx *db.Tx) error {
			return db.Change(tx, patchRef, func(rec *xenapi.PoolPatch) error { rec.PoolUpdate = "OpaqueRef:gone"; return nil })
		},
	} {
		x.update(t, func(tx *db.Tx) error { return db.Put(tx, ref, xenapi.PoolUpdate{UUID: updateUUID}) })
		x.update(t, func(tx *db.Tx) error {
			return db.Change(tx, patchRef, func(rec *xenapi.PoolPatch) error { rec.PoolUpdate = ref; return nil })
		})
		x.update(t, spoil)
		findings, err := check.Run(t.Context(), false, true, x.Service)
		found := slices.ContainsFunc(findings, func(f check.Finding) bool { return f.Object+": "+f.Problem == what && f.Repaired })
		if err != nil || !found {
			t.Errorf("a check finds %+v, %v; want %q", findings, err, what)
		}
		x.clean(t, what)
	}
}
