package crash

import (
	"slices"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestAtEveryPointOfAVBD kills the daemon at each named point of a VBD's plug and unplug. Nobody uses the device, so it has gone
// with the daemon, and the VBD says so; nothing else is left of it (I4).
func TestAtEveryPointOfAVBD(t *testing.T) {
	t.Parallel()
	all := slices.DeleteFunc(harness.Points(t, "internal/storage", 8), func(name string) bool { return !strings.HasPrefix(name, "vbd-") })
	if len(all) < 6 {
		t.Fatalf("only the points %v were found", all)
	}
	for _, point := range all {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			d := harness.Start(t, harness.Options{Build: crashing, CrashAt: point})
			disk := xenapi.New[xenapi.VDI]()
			disk.SR, _ = harness.Only[xenapi.SR](d)
			disk.VirtualSize, disk.Type = 1<<20, xenapi.VDITypeUser
			vdi := harness.Call[xenapi.Ref[xenapi.VDI]](d, "VDI.create", disk)
			rec := xenapi.New[xenapi.VBD]()
			rec.VM, rec.VDI, rec.Mode, rec.Type = harness.Record(d, d.Host()).ControlDomain, vdi, xenapi.VBDModeRW, xenapi.VBDTypeDisk
			rec.Userdevice = "autodetect"
			vbd := harness.Call[xenapi.Ref[xenapi.VBD]](d, "VBD.create", rec)
			if !d.Died(d.Async("VBD.plug", vbd)) && !d.Died(d.Async("VBD.unplug", vbd)) {
				t.Fatal("neither a plug nor an unplug comes to this point")
			}
			d.Again(plain)
			d.Clean(vdi)
			if rec := harness.Record(d, vbd); rec.CurrentlyAttached || rec.Device != "" || len(rec.CurrentOperations) > 0 {
				t.Errorf("after a start: %+v", rec)
			}
			for _, message := range []string{"VBD.plug", "VBD.unplug", "VBD.destroy"} {
				d.Do(message, vbd)
			}
			d.Do("VDI.destroy", vdi)
			d.Clean()
		})
	}
}
