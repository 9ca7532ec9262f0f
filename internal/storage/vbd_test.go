package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	dom0  = xenapi.Ref[xenapi.VM]("OpaqueRef:dom0-here")
	dom0b = xenapi.Ref[xenapi.VM]("OpaqueRef:dom0-there")
)

// withDomains makes the control domains of both hosts.
func withDomains(t testing.TB, o memsr.Options, faults ...memkv.Option) pool {
	t.Helper()
	p := newPool(t, o, faults...)
	p.update(t, func(tx *db.Tx) error {
		return errors.Join(
			db.Put(tx, dom0, xenapi.VM{UUID: "uuid-dom0", IsControlDomain: true, ResidentOn: here}),
			db.Put(tx, dom0b, xenapi.VM{UUID: "uuid-dom0b", IsControlDomain: true, ResidentOn: there}))
	})
	return p
}

func vbdOf(vm xenapi.Ref[xenapi.VM], vdi xenapi.Ref[xenapi.VDI], mode xenapi.VBDMode) xenapi.VBD {
	rec := xenapi.New[xenapi.VBD]()
	rec.VM, rec.VDI, rec.Mode, rec.Type, rec.Userdevice = vm, vdi, mode, xenapi.VBDTypeDisk, "autodetect"
	return rec
}

func (h host) newVBD(t testing.TB, rec xenapi.VBD) xenapi.Ref[xenapi.VBD] {
	t.Helper()
	ref, err := h.CreateVBD(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (h host) plug(t testing.TB, ref xenapi.Ref[xenapi.VBD]) error {
	t.Helper()
	return h.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return h.PlugVBD(ctx, tk, ref) })
}

func (h host) unplug(t testing.TB, ref xenapi.Ref[xenapi.VBD], force bool) error {
	t.Helper()
	return h.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return h.UnplugVBD(ctx, tk, ref, force) })
}

// onDevice reads the start of a plugged VBD's device, after it has written what, if that is anything.
func (h host) onDevice(t testing.TB, ref xenapi.Ref[xenapi.VBD], what string) (string, error) {
	t.Helper()
	flag := os.O_RDONLY
	if what != "" {
		flag = os.O_RDWR
	}
	dev, err := os.OpenFile("/dev/"+get(h, ref).Device, flag, 0)
	if err != nil {
		return "", err
	}
	defer dev.Close()
	if _, err := dev.WriteAt([]byte(what), 0); what != "" && err != nil {
		return "", err
	}
	text := make([]byte, 8)
	_, err = dev.ReadAt(text, 0)
	return string(text), err
}

func TestCreateVBD(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi, fixed := p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	p.change(t, fixed, func(rec *xenapi.VDI) { rec.ReadOnly = true })
	change := func(fn func(*xenapi.VBD)) xenapi.VBD {
		rec := vbdOf(dom0, vdi, xenapi.VBDModeRW)
		fn(&rec)
		return rec
	}
	lying := p.newVBD(t, change(func(rec *xenapi.VBD) { rec.CurrentlyAttached, rec.Device, rec.Userdevice = true, "loop0", "1" }))
	if rec := get(p.host, lying); rec.CurrentlyAttached || rec.Device != "" || rec.Userdevice != "1" || rec.UUID == "" || !rec.Unpluggable {
		t.Errorf("a new VBD: %+v", rec)
	}
	var numbers []string
	for range 3 {
		numbers = append(numbers, get(p.host, p.newVBD(t, change(func(*xenapi.VBD) {}))).Userdevice)
	}
	if !slices.Equal(numbers, []string{"0", "2", "3"}) {
		t.Errorf("the numbers found: %v", numbers)
	}
	if n := get(p.host, p.newVBD(t, vbdOf(dom0b, vdi, xenapi.VBDModeRO))).Userdevice; n != "0" {
		t.Errorf("the other host's first number: %s", n)
	}
	for _, c := range []struct {
		what string
		fn   func(*xenapi.VBD)
		want *xenapi.Error
	}{
		{"a number that is taken", func(rec *xenapi.VBD) { rec.Userdevice = "2" }, xenapi.ErrDeviceAlreadyExists("2")},
		{"a number that is none", func(rec *xenapi.VBD) { rec.Userdevice = "+5" }, xenapi.ErrInvalidDevice("+5")},
		{"a number that is too large", func(rec *xenapi.VBD) { rec.Userdevice = "256" }, xenapi.ErrInvalidDevice("256")},
		{"no number", func(rec *xenapi.VBD) { rec.Userdevice = "" }, xenapi.ErrInvalidDevice("")},
		{"no VM", func(rec *xenapi.VBD) { rec.VM = "OpaqueRef:x" }, xenapi.ErrHandleInvalid("VM", "OpaqueRef:x")},
		{"no VDI", func(rec *xenapi.VBD) { rec.VDI = "OpaqueRef:x" }, xenapi.ErrHandleInvalid("VDI", "OpaqueRef:x")},
		{"a null VDI", func(rec *xenapi.VBD) { rec.VDI = "" }, xenapi.ErrHandleInvalid("VDI", xenapi.NullRef)},
		{"to write what is read-only", func(rec *xenapi.VBD) { rec.VDI = fixed }, xenapi.ErrVDIReadonly(fixed)},
		{"an empty disk", func(rec *xenapi.VBD) { rec.Empty = true }, xenapi.ErrVBDNotRemovableMedia("in constructor")},
		{"a CD to write", func(rec *xenapi.VBD) { rec.Type = xenapi.VBDTypeCD }, xenapi.ErrVBDCDsMustBeReadonly()},
		{"an empty CD to write", func(rec *xenapi.VBD) { rec.Type, rec.Empty = xenapi.VBDTypeCD, true }, xenapi.ErrVBDCDsMustBeReadonly()},
	} {
		_, err := p.CreateVBD(t.Context(), change(c.fn))
		wantError(t, c.what, err, c.want)
	}
	wantCode(t, "destroy", p.DestroyVBD(t.Context(), lying), "")
	wantCode(t, "destroy again", p.DestroyVBD(t.Context(), lying), xenapi.CodeHandleInvalid)
	wantCode(t, "destroy the VDI", p.destroy(t, vdi), "")
	if left := all[xenapi.VBD](p.host); len(left) != 0 {
		t.Errorf("VBDs of a VDI that was destroyed: %v", left)
	}
	p.consistent(t, p.host, "afterwards")
}

// TestPlug takes a disk through its life as a block device.
func TestPlug(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	p.change(t, vdi, func(rec *xenapi.VDI) { rec.Digest = "known" })
	reader, second := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRO)), p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRO))
	writer := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW))
	inUse := xenapi.ErrVDIInUse(vdi, "attach")

	wantError(t, "unplug what is not plugged", p.unplug(t, reader, false), xenapi.ErrDeviceAlreadyDetached(reader))
	wantCode(t, "could be plugged", p.AssertAttachable(writer), "")
	wantCode(t, "plug", p.plug(t, reader), "")
	wantCode(t, "plug a second reader", p.plug(t, second), "")
	if rec := get(p.host, reader); !rec.CurrentlyAttached || !strings.HasPrefix(rec.Device, "loop") || len(rec.CurrentOperations) > 0 {
		t.Errorf("a plugged VBD: %+v", rec)
	}
	if text, err := p.onDevice(t, reader, ""); text != "original" || err != nil {
		t.Errorf("the device holds %q, %v", text, err)
	}
	if _, err := p.onDevice(t, reader, "changed!"); err == nil {
		t.Error("a device of mode RO was written")
	}
	if get(p.host, vdi).Digest != "known" {
		t.Error("who only reads a VDI changes its digest")
	}
	wantError(t, "plug again", p.plug(t, reader), xenapi.ErrDeviceAlreadyAttached(reader))
	wantError(t, "write beside readers", p.plug(t, writer), inUse)
	wantError(t, "could be plugged beside readers", p.AssertAttachable(writer), inUse)
	wantError(t, "could be plugged twice", p.AssertAttachable(reader), xenapi.ErrDeviceAlreadyAttached(reader))
	wantError(t, "destroy the VDI", p.destroy(t, vdi), xenapi.ErrVDIInUse(vdi, "destroy"))
	wantError(t, "destroy the VBD", p.DestroyVBD(t.Context(), reader),
		xenapi.ErrOperationNotAllowed("VBD '"+get(p.host, reader).UUID+"' still attached to 'uuid-dom0'"))
	wantError(t, "change the mode", p.SetVBDMode(t.Context(), reader, xenapi.VBDModeRW), xenapi.ErrDeviceAlreadyAttached(reader))
	for what, call := range map[string]func(ctx context.Context, tk *task.Task) error{
		"forget": func(ctx context.Context, tk *task.Task) error { return p.ForgetVDI(ctx, tk, vdi) },
		"resize": func(ctx context.Context, tk *task.Task) error { return p.ResizeVDI(ctx, tk, vdi, 4*mib) },
		"write":  func(ctx context.Context, tk *task.Task) error { return p.write(ctx, tk, vdi, "x") },
		"unplug the SR": func(ctx context.Context, tk *task.Task) error {
			return p.UnplugPBD(ctx, tk, p.pbd)
		},
	} {
		wantCode(t, what, p.do(t.Context(), call), xenapi.CodeVDIInUse)
	}
	if text := p.read(t, vdi); text != "original" {
		t.Errorf("a reader beside the devices reads %q", text)
	}
	p.consistent(t, p.host, "plugged")
	wantCode(t, "unplug", errors.Join(p.unplug(t, reader, false), p.unplug(t, second, false)), "")
	if rec := get(p.host, reader); rec.CurrentlyAttached || rec.Device != "" {
		t.Errorf("an unplugged VBD: %+v", rec)
	}

	wantCode(t, "plug to write", p.plug(t, writer), "")
	if get(p.host, vdi).Digest != "" {
		t.Error("what somebody else may write passes for what was written by us")
	}
	if _, err := p.onDevice(t, writer, "changed!"); err != nil {
		t.Errorf("write: %v", err)
	}
	wantError(t, "read beside a writer", p.plug(t, reader), inUse)
	wantCode(t, "copy beside a writer", errOf(p.copy(t, vdi, p.sr, "")), xenapi.CodeVDIInUse)
	p.change(t, vdi, func(rec *xenapi.VDI) { rec.PhysicalUtilisation = 0 })
	wantCode(t, "unplug", p.unplug(t, writer, false), "")
	if get(p.host, vdi).PhysicalUtilisation == 0 {
		t.Error("after somebody wrote to it the VDI takes no space")
	}
	if text := p.read(t, vdi); text != "changed!" {
		t.Errorf("what was written to the device: %q", text)
	}
	wantCode(t, "destroy the VDI", p.destroy(t, vdi), "")
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

func errOf[T any](_ T, err error) error { return err }

// TestUnplugRefused keeps the device of who still uses it, or of whom said so.
func TestUnplugRefused(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	ref := p.newVBD(t, vbdOf(dom0, p.newVDI(t, p.sr), xenapi.VBDModeRW))
	wantCode(t, "plug", p.plug(t, ref), "")
	device := "/dev/" + get(p.host, ref).Device
	user, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		err := p.unplug(t, ref, force)
		e, _ := errors.AsType[*xenapi.Error](err)
		if e == nil || e.Code != xenapi.CodeDeviceDetachRejected || e.Params[0] != "VBD" || e.Params[1] != ref.String() || !strings.Contains(e.Params[2], device) {
			t.Errorf("unplug what is in use, by force %t: %v", force, err)
		}
	}
	if rec := get(p.host, ref); !rec.CurrentlyAttached {
		t.Error("a VBD in use was unplugged")
	}
	p.consistent(t, p.host, "in use")
	user.Close()
	setUnpluggable := func(yes bool) {
		p.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(rec *xenapi.VBD) error { rec.Unpluggable = yes; return nil })
		})
	}
	setUnpluggable(false)
	wantError(t, "unplug what is to stay", p.unplug(t, ref, false), xenapi.ErrVBDNotUnpluggable(ref))
	wantCode(t, "unplug it by force", p.unplug(t, ref, true), "")
	p.consistent(t, p.host, "afterwards")
}

// TestPlugRefused takes nothing when it cannot plug.
func TestPlugRefused(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	ref := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW))
	wantCode(t, "plug nothing", p.plug(t, "OpaqueRef:x"), xenapi.CodeHandleInvalid)
	wantCode(t, "plug on another host's control domain", p.plug(t, p.newVBD(t, vbdOf(dom0b, vdi, xenapi.VBDModeRO))), xenapi.CodeHostCannotSeeSR)
	p.change(t, vdi, func(rec *xenapi.VDI) { rec.ReadOnly = true })
	wantError(t, "write what has become read-only", p.plug(t, ref), xenapi.ErrVDIReadonly(vdi))
	p.change(t, vdi, func(rec *xenapi.VDI) { rec.ReadOnly = false })
	p.driver.Inject(failing("Open"), nil)
	wantCode(t, "plug what the SR does not give", p.plug(t, ref), xenapi.CodeSRBackendFailure)
	p.driver.Inject(nil, nil)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		temporary, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err != nil {
			return err
		}
		defer p.Discard(ctx, tk, temporary)
		wantError(t, "plug what is a task's", p.plug(t, p.newVBD(t, vbdOf(dom0, temporary, xenapi.VBDModeRO))), xenapi.ErrVDIInUse(temporary, "attach"))
		return nil
	})
	wantCode(t, "a temporary VDI", err, "")
	wantCode(t, "unplug the SR", p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbd) }), "")
	wantError(t, "plug without the SR", p.plug(t, ref), xenapi.ErrSRHasNoPBDs(p.sr))
	wantError(t, "could be plugged without the SR", p.AssertAttachable(ref), xenapi.ErrSRHasNoPBDs(p.sr))
	if rec := get(p.host, ref); rec.CurrentlyAttached || len(rec.CurrentOperations) > 0 || len(p.belongings()) > 0 {
		t.Errorf("what was refused left %+v and %v", rec, p.belongings())
	}
}

// TestCDDrive changes its medium while it is not plugged.
func TestCDDrive(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	rec := vbdOf(dom0, vdi, xenapi.VBDModeRO)
	disk := p.newVBD(t, rec)
	rec.Type, rec.Empty = xenapi.VBDTypeCD, true
	drive := p.newVBD(t, rec)
	ctx := t.Context()
	for what, err := range map[string]error{"insert": p.InsertVDI(ctx, disk, vdi), "eject": p.EjectVDI(ctx, disk)} {
		wantError(t, what+" a disk", err, xenapi.ErrVBDNotRemovableMedia(disk))
	}
	wantError(t, "plug an empty drive", p.plug(t, drive), xenapi.ErrVBDIsEmpty(drive))
	wantError(t, "eject nothing", p.EjectVDI(ctx, drive), xenapi.ErrVBDIsEmpty(drive))
	wantError(t, "insert nothing", p.InsertVDI(ctx, drive, "OpaqueRef:x"), xenapi.ErrHandleInvalid("VDI", "OpaqueRef:x"))
	wantCode(t, "insert", p.InsertVDI(ctx, drive, vdi), "")
	wantError(t, "insert twice", p.InsertVDI(ctx, drive, vdi), xenapi.ErrVBDNotEmpty(drive))
	wantError(t, "write a CD", p.SetVBDMode(ctx, drive, xenapi.VBDModeRW), xenapi.ErrVBDCDsMustBeReadonly())
	wantCode(t, "plug", p.plug(t, drive), "")
	if text, err := p.onDevice(t, drive, ""); text != "original" || err != nil {
		t.Errorf("the drive reads %q, %v", text, err)
	}
	wantError(t, "eject while it is plugged", p.EjectVDI(ctx, drive), xenapi.ErrDeviceAlreadyAttached(drive))
	wantCode(t, "unplug and eject", errors.Join(p.unplug(t, drive, false), p.EjectVDI(ctx, drive)), "")
	if rec := get(p.host, drive); !rec.Empty || !rec.VDI.IsNull() {
		t.Errorf("an empty drive: %+v", rec)
	}
	wantCode(t, "write the disk", p.SetVBDMode(ctx, disk, xenapi.VBDModeRW), "")
	p.consistent(t, p.host, "afterwards")
}

func TestAllowedOnVBD(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	for _, c := range []struct {
		rec  xenapi.VBD
		want string
	}{
		{xenapi.VBD{Type: xenapi.VBDTypeDisk}, "attach plug"},
		{xenapi.VBD{Type: xenapi.VBDTypeCD}, "attach eject plug"},
		{xenapi.VBD{Type: xenapi.VBDTypeCD, Empty: true}, "insert"},
		{xenapi.VBD{CurrentlyAttached: true, Unpluggable: true}, "unplug unplug_force"},
		{xenapi.VBD{CurrentlyAttached: true}, "unplug_force"},
		{xenapi.VBD{CurrentOperations: map[string]xenapi.VBDOperation{"t": xenapi.VBDOperationPlug}}, ""},
	} {
		if got := strings.Trim(fmt.Sprint(p.AllowedOnVBD(c.rec)), "[]"); got != c.want {
			t.Errorf("%+v: %s, want %s", c.rec, got, c.want)
		}
	}
}

// TestTwoHostsNeverWriteOneVDI, nor reads one what the other writes.
func TestTwoHostsNeverWriteOneVDI(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	shared := p.newSR(t, true)
	other := p.another(t)
	pbd, err := other.CreatePBD(t.Context(), xenapi.PBD{Host: there, SR: shared})
	if err == nil {
		err = other.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return other.PlugPBD(ctx, tk, pbd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	vdi := p.newVDI(t, shared)
	mine, theirs := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW)), p.newVBD(t, vbdOf(dom0b, vdi, xenapi.VBDModeRW))
	reads := p.newVBD(t, vbdOf(dom0b, vdi, xenapi.VBDModeRO))
	wantCode(t, "plug here", p.plug(t, mine), "")
	if err := other.db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []xenapi.Ref[xenapi.VBD]{theirs, reads} {
		wantError(t, "plug there", other.plug(t, ref), xenapi.ErrVDIInUse(vdi, "attach"))
	}
	wantError(t, "destroy there", other.destroy(t, vdi), xenapi.ErrVDIInUse(vdi, "destroy"))
	wantCode(t, "unplug there what is plugged here", other.unplug(t, mine, true), xenapi.CodeHostCannotSeeSR)
	if again := start(t, p.store, there, p.drivers()); !get(again, mine).CurrentlyAttached {
		t.Error("one host that starts unplugs the other's VBDs")
	}
	wantCode(t, "unplug here", p.unplug(t, mine, false), "")
}

// TestPlugsAtOnce: of many that plug at once one plugs, and the others hear why they do not.
func TestPlugsAtOnce(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	var writers []xenapi.Ref[xenapi.VBD]
	for range 4 {
		writers = append(writers, p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW)))
	}
	same := slices.Repeat([]xenapi.Ref[xenapi.VBD]{writers[0]}, 4)
	for code, refs := range map[string][]xenapi.Ref[xenapi.VBD]{xenapi.CodeVDIInUse: writers, xenapi.CodeDeviceAlreadyAttached: same} {
		failures := make(chan error)
		for _, ref := range refs {
			go func() { failures <- p.plug(t, ref) }()
		}
		plugged := 0
		for range refs {
			if err := <-failures; err == nil {
				plugged++
			} else {
				wantCode(t, "plug", err, code)
			}
		}
		if plugged != 1 {
			t.Errorf("%d of %d plugged, and the others %s", plugged, len(refs), code)
		}
		for _, ref := range writers {
			if get(p.host, ref).CurrentlyAttached {
				wantCode(t, "unplug", p.unplug(t, ref, false), "")
			}
		}
	}
	p.consistent(t, p.host, "afterwards")
}

// TestStopAndStart unplugs what nobody uses; what somebody uses stays as it is, and the next start goes on with it.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	idle, used := p.newVBD(t, vbdOf(dom0, p.newVDI(t, p.sr), xenapi.VBDModeRW)), p.newVBD(t, vbdOf(dom0, p.newVDI(t, p.sr), xenapi.VBDModeRW))
	wantCode(t, "plug", errors.Join(p.plug(t, idle), p.plug(t, used)), "")
	before := get(p.host, used)
	user, err := os.OpenFile("/dev/"+before.Device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	p.DetachAll(t.Context())
	if get(p.host, idle).CurrentlyAttached || !get(p.host, used).CurrentlyAttached {
		t.Error("after the stop: not what nobody uses is unplugged, and that alone")
	}
	again := start(t, p.store, here, p.drivers())
	if diff := cmp.Diff(before, get(again, used)); diff != "" {
		t.Errorf("a VBD in use after a start (-before +after):\n%s", diff)
	}
	wantCode(t, "write beside it", again.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		return again.write(ctx, tk, before.VDI, "x")
	}), xenapi.CodeVDIInUse)
	p.consistent(t, again, "in use")
	wantCode(t, "unplug in use", again.unplug(t, used, false), xenapi.CodeDeviceDetachRejected)
	user.Close()
	wantCode(t, "unplug", again.unplug(t, used, false), "")
	p.consistent(t, again, "afterwards")
}

// TestDeadDaemon is one whose end its rows do not show: the next start puts them right, and so does a repair, or an unplug.
func TestDeadDaemon(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	ref := p.newVBD(t, vbdOf(dom0, p.newVDI(t, p.sr), xenapi.VBDModeRW))
	wantCode(t, "plug", p.plug(t, ref), "")
	p.db.Close()
	p.DetachAll(t.Context()) // and nobody can say so
	again := start(t, p.store, here, p.drivers())
	if rec := get(again, ref); rec.CurrentlyAttached || rec.Device != "" {
		t.Errorf("a VBD of a dead daemon: %+v", rec)
	}
	lie := func() {
		again.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(rec *xenapi.VBD) error {
				rec.CurrentlyAttached, rec.Device, rec.DeviceUse = true, "loop0", "none"
				return nil
			})
		})
	}
	lie()
	faults, err := again.Audit(t.Context(), false)
	if err != nil || len(faults) != 1 || faults[0].Invariant != "I4" || !strings.Contains(faults[0].Object, "VBD") {
		t.Fatalf("the audit finds %v, %v", faults, err)
	}
	wantCode(t, "repair", faults[0].Fix(t.Context()), "")
	p.consistent(t, again, "repaired")
	lie()
	wantCode(t, "unplug what is not there", again.unplug(t, ref, false), "")
	wantCode(t, "plug again", errors.Join(again.plug(t, ref), again.unplug(t, ref, false)), "")
	p.consistent(t, again, "afterwards")
}

// TestPlugThatCannotBeRecorded leaves no device that nobody knows of.
func TestPlugThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	p := withDomains(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	ref := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW))
	p.DetachAll(t.Context())
	var h host
	h = startStepping(t, p.store, here, p.drivers(), func(point string) {
		if point == "vbd-made" {
			h.db.Close()
		}
	})
	if err := h.plug(t, ref); !errors.Is(err, db.ErrClosed) {
		t.Errorf("plug without a database: %v", err)
	}
	again := start(t, p.store, here, p.drivers())
	wantCode(t, "destroy", again.destroy(t, vdi), "") // which the SR in memory refuses under a device
	p.driver.CheckEmpty()
	p.consistent(t, again, "afterwards")
}

// TestEveryStepOfAPlugFails: a VDI is in use exactly while its VBD says so, and nothing is left over it.
func TestEveryStepOfAPlugFails(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		at := 1
		for failVBD(t, &chaos{done: done}, at) {
			at++
		}
		if at < 7 {
			t.Errorf("only %d steps were failed", at-1)
		}
	}
}

// failVBD reports whether there was such a step.
func failVBD(t *testing.T, c *chaos, at int) bool {
	t.Helper()
	what := fmt.Sprintf("step %d, done %t", at, c.done)
	p := withDomains(t, memsr.Options{Before: c.before, After: c.afterwards}, memkv.WithFaults(c.commit))
	vdi := p.newVDI(t, p.sr)
	ref := p.newVBD(t, vbdOf(dom0, vdi, xenapi.VBDModeRW))
	_ = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		c.mu.Lock()
		c.at = at
		c.mu.Unlock()
		return errors.Join(p.PlugVBD(ctx, tk, ref), p.UnplugVBD(ctx, tk, ref, false))
	})
	c.peace()
	if rec := get(p.host, ref); rec.CurrentlyAttached {
		_, err := p.onDevice(t, ref, "")
		wantCode(t, what+": unplug what is plugged", errors.Join(err, p.unplug(t, ref, false)), "")
	}
	wantCode(t, what+": destroy", p.destroy(t, vdi), "") // which the SR in memory refuses under a device
	if owned := p.belongings(); len(owned) > 0 {
		t.Errorf("%s: still owned: %v", what, owned)
	}
	p.driver.CheckEmpty()
	return c.reached
}
