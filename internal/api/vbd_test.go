package api_test

import (
	"maps"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// newVBD makes a VBD of a VDI on the host's control domain, which it makes too where there is none.
func (p *pool) newVBD(t testing.TB, vdi string) string {
	t.Helper()
	return p.call(t, theRoot, "VBD.create", p.vbdRecord(t, vdi)).Text
}

func (p *pool) vbdRecord(t testing.TB, vdi string) map[string]any {
	t.Helper()
	p.update(t, func(tx *db.Tx) error {
		return db.Put(tx, "OpaqueRef:dom0", xenapi.VM{UUID: "uuid-dom0", IsControlDomain: true, ResidentOn: here})
	})
	return map[string]any{
		"VM": "OpaqueRef:dom0", "VDI": vdi, "userdevice": "autodetect", "bootable": false, "mode": "ro", "type": "Disk", "empty": false,
		"other_config": map[string]string{"k": "v"}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	}
}

func TestVBDMessages(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	vdi := p.newVDI(t, p.newSR(t))
	full := p.vbdRecord(t, vdi)
	for _, field := range []string{"VM", "VDI", "userdevice", "bootable", "mode", "type", "empty", "other_config", "qos_algorithm_type", "qos_algorithm_params"} {
		partial := maps.Clone(full)
		delete(partial, field)
		p.refused(t, []string{xenapi.CodeInternalError, "field not found: " + field}, "VBD.create", theRoot, partial)
	}
	full["currently_attached"], full["device"], full["status_code"] = true, "sda", 5 // not the caller's to say
	vbd := xenapi.Ref[xenapi.VBD](p.call(t, theRoot, "VBD.create", full).Text)
	if rec := get(p, vbd); rec.VDI.String() != vdi || rec.Mode != xenapi.VBDModeRO || rec.Userdevice != "0" || rec.OtherConfig["k"] != "v" || !rec.Unpluggable ||
		rec.CurrentlyAttached || rec.Device != "" || rec.StatusCode != 0 {
		t.Errorf("VBD.create: %+v", rec)
	}
	p.call(t, theRoot, "VBD.assert_attachable", vbd)
	p.call(t, theRoot, "VBD.set_mode", vbd, "RW")
	p.call(t, theRoot, "VBD.plug", vbd)
	if rec := get(p, vbd); !rec.CurrentlyAttached || rec.Mode != xenapi.VBDModeRW {
		t.Errorf("VBD.plug: %+v", rec)
	}
	p.refused(t, []string{xenapi.CodeDeviceAlreadyAttached, vbd.String()}, "VBD.plug", theRoot, vbd)
	p.refused(t, []string{xenapi.CodeVDIInUse, vdi, "destroy"}, "VDI.destroy", theRoot, vdi)
	p.call(t, theRoot, "VBD.unplug", vbd)
	p.call(t, theRoot, "VBD.plug", vbd)
	p.call(t, theRoot, "VBD.unplug_force", vbd)
	p.refused(t, []string{xenapi.CodeDeviceAlreadyDetached, vbd.String()}, "VBD.unplug", theRoot, vbd)
	p.refused(t, []string{xenapi.CodeVBDNotRemovableMedia, vbd.String()}, "VBD.insert", theRoot, vbd, vdi)
	p.refused(t, []string{xenapi.CodeVBDNotRemovableMedia, vbd.String()}, "VBD.eject", theRoot, vbd)
	p.call(t, theRoot, "VBD.destroy", vbd)
	if code := p.code(t, "VBD.plug", sessionOf(xenapi.RoleVMOperator), vbd); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("a vm-operator plugs: %s", code)
	}
}
