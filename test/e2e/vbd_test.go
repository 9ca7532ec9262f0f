package e2e

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolpatch/internal/volume"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// newVBD makes a VBD of the host's control domain.
func newVBD(d *harness.Daemon, vdi xenapi.Ref[xenapi.VDI], mode xenapi.VBDMode) xenapi.Ref[xenapi.VBD] {
	rec := xenapi.New[xenapi.VBD]()
	rec.VM, rec.VDI, rec.Mode, rec.Type, rec.Userdevice = harness.Record(d, d.Host()).ControlDomain, vdi, mode, xenapi.VBDTypeDisk, "autodetect"
	return harness.Call[xenapi.Ref[xenapi.VBD]](d, "VBD.create", rec)
}

func newDisk(d *harness.Daemon, size int64) xenapi.Ref[xenapi.VDI] {
	rec := xenapi.New[xenapi.VDI]()
	rec.SR, _ = harness.Only[xenapi.SR](d)
	rec.VirtualSize, rec.Type = size, xenapi.VDITypeUser
	return harness.Call[xenapi.Ref[xenapi.VDI]](d, "VDI.create", rec)
}

func device(d *harness.Daemon, vbd xenapi.Ref[xenapi.VBD]) string {
	return "/dev/" + harness.Record(d, vbd).Device
}

// TestVBD mounts a disk outside of the daemon. While it is mounted no end of the daemon takes it away, nor lets somebody else
// write it; what nobody uses is unplugged when the daemon ends.
func TestVBD(t *testing.T) {
	// Not beside others: a daemon that starts has a copy of all mounts that there are, and keeps the device in use.
	d := start(t)
	const size = 64 << 20
	vdi, other := newDisk(d, size), newDisk(d, size)
	vbd, idle := newVBD(d, vdi, xenapi.VBDModeRW), newVBD(d, other, xenapi.VBDModeRO)
	d.Do("VBD.plug", vbd)
	d.Do("VBD.plug", idle)
	dir := harness.Dir(t)
	if err := volume.Format(t.Context(), device(d, vbd), "disk"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(device(d, vbd), dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	defer func() {
		if mounted {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}()
	if e := d.Refused(xenapi.CodeDeviceDetachRejected, "VBD.unplug", vbd); !strings.Contains(e.Params[2], "mounted at "+dir) {
		t.Errorf("who uses the device: %v", e.Params)
	}
	was := harness.Record(d, vbd).Device
	for what, end := range map[string]func(){"stopped": d.Stop, "killed": d.Kill} {
		end()
		if err := os.WriteFile(dir+"/"+what, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Again(harness.Build{})
		if rec := harness.Record(d, vbd); !rec.CurrentlyAttached || rec.Device != was {
			t.Errorf("%s, the disk that is mounted: %+v", what, rec)
		}
		if rec := harness.Record(d, idle); rec.CurrentlyAttached || rec.Device != "" {
			t.Errorf("%s, the disk that nobody uses: %+v", what, rec)
		}
		d.Refused(xenapi.CodeVDIInUse, "VDI.destroy", vdi)
		d.Refused(xenapi.CodeVDIInUse, "VBD.plug", newVBD(d, vdi, xenapi.VBDModeRO))
		d.Do("VBD.plug", idle)
		if found := d.Check("--deep"); len(found) > 0 {
			t.Errorf("%s, the check finds %+v", what, found)
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	mounted = false
	d.Do("VBD.unplug", vbd)
	d.Do("VBD.unplug", idle)
	d.Clean(vdi, other)

	reader := newVBD(d, vdi, xenapi.VBDModeRO)
	d.Do("VBD.plug", reader)
	if err := unix.Mount(device(d, reader), dir, "ext4", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stopped", "killed"} {
		if text, err := os.ReadFile(dir + "/" + name); err != nil || string(text) != "x" {
			t.Errorf("what was written before the daemon was %s: %q, %v", name, text, err)
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	d.Do("VBD.unplug", reader)
	d.Do("VDI.destroy", vdi)
	d.Do("VDI.destroy", other)
	if left := harness.Records[xenapi.VBD](d); len(left) > 0 {
		t.Errorf("VBDs of destroyed VDIs: %v", left)
	}
	d.Clean()
}

// TestVBDOfAPatch: whoever attaches the VDI of a patch and writes it has spoiled the patch, and is found out before anything of
// it is mounted (I1). While it is attached to be written, it is neither copied nor cleaned.
func TestVBDOfAPatch(t *testing.T) {
	t.Parallel()
	key := harness.TheKey(t)
	d := harness.Start(t, harness.Options{Trusted: []*harness.Key{key}})
	program := harness.Program{}
	signed := program.Signed(t)
	ref := d.Upload(signed)
	vdi := harness.Record(d, ref).VDI

	reader := newVBD(d, vdi, xenapi.VBDModeRO)
	d.Do("VBD.plug", reader)
	if err := os.WriteFile(device(d, reader), []byte("x"), 0o600); err == nil {
		t.Error("a device of mode RO was written")
	}
	d.Do("pool_patch.precheck", ref, d.Host())
	d.Refused(xenapi.CodeVDIInUse, "pool_patch.pool_clean", ref)
	d.Do("VBD.unplug", reader)

	writer := newVBD(d, vdi, xenapi.VBDModeRW)
	d.Do("VBD.plug", writer)
	dev, err := os.OpenFile(device(d, writer), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	last := harness.Record(d, vdi).VirtualSize - 1
	if _, err := dev.WriteAt([]byte{1}, last); err != nil {
		t.Fatal(err)
	}
	dev.Close()
	if _, err := harness.Try[string](d, "pool_patch.apply", ref, d.Host()); err == nil {
		t.Error("a patch that is being written was applied")
	}
	d.Do("VBD.unplug", writer)
	d.Refused(xenapi.CodeInvalidPatch, "pool_patch.precheck", ref, d.Host())
	d.Refused(xenapi.CodeInvalidPatch, "pool_patch.apply", ref, d.Host())
	if d.Exists(harness.Ran) {
		t.Error("a spoiled patch ran")
	}
	again := d.Upload(signed)
	if again != ref || harness.Record(d, ref).VDI == vdi {
		t.Error("the same patch, uploaded again, does not take the place of the spoiled one")
	}
	d.Apply(ref)
	d.Do("VDI.destroy", vdi)
	d.Clean()
}

// disk is a shared disk with a VBD that writes on each host.
func (p pair) disk(t *testing.T) (vdi xenapi.Ref[xenapi.VDI], mine, theirs xenapi.Ref[xenapi.VBD]) {
	t.Helper()
	disk := xenapi.New[xenapi.VDI]()
	disk.SR, disk.VirtualSize, disk.Type = p.sharedSR(t), 1<<20, xenapi.VDITypeUser
	vdi = harness.Call[xenapi.Ref[xenapi.VDI]](p.one, "VDI.create", disk)
	on := func(host xenapi.Ref[xenapi.Host]) xenapi.Ref[xenapi.VBD] {
		rec := xenapi.New[xenapi.VBD]()
		rec.VM, rec.VDI, rec.Mode, rec.Type, rec.Userdevice = harness.Record(p.one, host).ControlDomain, vdi, xenapi.VBDModeRW, xenapi.VBDTypeDisk, "0"
		return harness.Call[xenapi.Ref[xenapi.VBD]](p.one, "VBD.create", rec)
	}
	return vdi, on(p.first), on(p.second)
}

// TestEjectReleasesDisks that nobody uses; one that is in use keeps its host in the pool.
func TestEjectReleasesDisks(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	vdi, mine, theirs := p.disk(t)
	p.one.Do("VBD.plug", theirs)
	user, err := os.Open(device(p.one, theirs))
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	p.one.Refused(xenapi.CodeDeviceDetachRejected, "pool.eject", p.second)
	if !harness.Record(p.one, theirs).CurrentlyAttached {
		t.Error("a disk in use was unplugged")
	}
	user.Close()
	p.one.Do("pool.eject", p.second)
	p.two.WaitEnded()
	if left := harness.Records[xenapi.VBD](p.one); len(left) != 1 {
		t.Errorf("VBDs when the host has left: %v", left)
	}
	p.one.Do("VBD.plug", mine)
	p.one.Do("VBD.unplug", mine)
	p.one.Do("VDI.destroy", vdi)
}

// TestVBDOfTwoHosts: any host plugs a disk where it belongs, one host writes it at a time, and a host that is lost keeps it until
// it is back or destroyed.
func TestVBDOfTwoHosts(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	vdi, mine, theirs := p.disk(t)
	plug := harness.Wait(p.one, p.one.Async("VBD.plug", theirs))
	if err := harness.Failure(plug); err != nil || plug.ResidentOn != p.second {
		t.Fatalf("plug on the other host: on %s, %v", plug.ResidentOn, err)
	}
	p.one.Refused(xenapi.CodeVDIInUse, "VBD.plug", mine)
	p.two.Refused(xenapi.CodeVDIInUse, "VBD.plug", mine)
	for _, d := range []*harness.Daemon{p.one, p.two} {
		if found := d.Check(); len(found) > 0 {
			t.Errorf("the check finds %+v", found)
		}
	}
	p.one.Do("VBD.unplug", theirs)
	p.one.Do("VBD.plug", mine)
	p.one.Do("VBD.unplug", mine)
	p.one.Do("VBD.plug", theirs)

	p.two.Kill()
	harness.Eventually(t, "the killed host is taken for dead", func() bool {
		return !harness.Record(p.one, harness.Record(p.one, p.second).Metrics).Live
	})
	p.one.Refused(xenapi.CodeHostOffline, "VBD.unplug", theirs)
	p.one.Refused(xenapi.CodeVDIInUse, "VBD.plug", mine)
	p.one.Do("host.destroy", p.second)
	if left := harness.Records[xenapi.VBD](p.one); len(left) != 1 {
		t.Errorf("VBDs when the host is destroyed: %v", left)
	}
	p.one.Do("VBD.plug", mine)
	p.one.Do("VBD.unplug", mine)
	p.one.Do("VDI.destroy", vdi)
}
