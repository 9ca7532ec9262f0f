package api_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Long parameter lists are where two of one type change places: every parameter must land in its field.
func TestParametersLandInTheirFields(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	type texts = map[string]string
	sr := xenapi.Ref[xenapi.SR](p.call(t, theRoot, "SR.create", here, texts{"device": "config"}, 5, "label", "description", "MEM", "user", true, texts{"sm": "config"}).Text)
	rec := get(p, sr)
	if rec.NameLabel != "label" || rec.NameDescription != "description" || rec.Type != "mem" || rec.ContentType != "user" || !rec.Shared || !maps.Equal(rec.SMConfig, texts{"sm": "config"}) {
		t.Errorf("SR.create: %+v", rec)
	}
	var pbds []xenapi.Ref[xenapi.PBD]
	_ = p.db.View(func(tx *db.Tx) error { pbds = db.Referrers[xenapi.PBD](tx, "SR", sr); return nil })
	if len(pbds) != 1 || get(p, pbds[0]).Host != here || get(p, pbds[0]).DeviceConfig["device"] != "config" {
		t.Errorf("SR.create: PBDs %v", pbds)
	}

	const uuid = "5b3c1d2e-0000-4000-8000-000000000001"
	foreign := xenapi.Ref[xenapi.SR](p.call(t, theRoot, "SR.introduce", uuid, "label", "description", "mem", "iso", true, texts{"sm": "config"}).Text)
	rec = get(p, foreign)
	if rec.UUID != uuid || rec.NameLabel != "label" || rec.NameDescription != "description" || rec.Type != "mem" || rec.ContentType != "iso" || !rec.Shared || rec.SMConfig["sm"] != "config" {
		t.Errorf("SR.introduce: %+v", rec)
	}
	pbd := xenapi.Ref[xenapi.PBD](p.call(t, theRoot, "PBD.create", map[string]any{"host": here, "SR": foreign, "device_config": texts{"a": "1"}}).Text)
	p.call(t, theRoot, "PBD.set_device_config", pbd, texts{"a": "2"})
	if rec := get(p, pbd); rec.Host != here || rec.SR != foreign || rec.DeviceConfig["a"] != "2" || rec.CurrentlyAttached {
		t.Errorf("PBD: %+v", rec)
	}

	for method, value := range map[string]any{"SR.set_name_label": "new label", "SR.set_name_description": "new description", "SR.set_physical_size": 7} {
		p.call(t, theRoot, method, foreign, value)
	}
	if rec := get(p, foreign); rec.NameLabel != "new label" || rec.NameDescription != "new description" || rec.PhysicalSize != 7 {
		t.Errorf("SR setters: %+v", rec)
	}
	p.refused(t, []string{xenapi.CodeOperationNotAllowed, "PBD is currently attached"}, "PBD.set_device_config", theRoot, pbds[0], texts{})
	p.call(t, theRoot, "PBD.destroy", pbd)
	p.call(t, theRoot, "SR.forget", foreign)
	if get(p, foreign).UUID != "" || get(p, pbd).UUID != "" {
		t.Error("PBD and SR are still there")
	}
}

func TestVDIMessages(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	vdi := xenapi.Ref[xenapi.VDI](p.newVDI(t, sr))
	for _, c := range []struct {
		method string
		value  any
	}{
		{"VDI.resize", 3 << 20}, {"VDI.set_name_label", "label"}, {"VDI.set_name_description", "description"}, {"VDI.set_sharable", true}, {"VDI.set_read_only", true},
	} {
		p.call(t, theRoot, c.method, vdi, c.value)
	}
	p.call(t, theRoot, "VDI.update", vdi)
	if rec := get(p, vdi); rec.VirtualSize != 3<<20 || rec.NameLabel != "label" || rec.NameDescription != "description" || !rec.Sharable || !rec.ReadOnly {
		t.Errorf("VDI: %+v", rec)
	}
	snapshot := xenapi.Ref[xenapi.VDI](p.call(t, theRoot, "VDI.snapshot", vdi).Text)
	if rec := get(p, snapshot); !rec.IsASnapshot || rec.SnapshotOf != vdi {
		t.Errorf("snapshot: %+v", rec)
	}
	clone := xenapi.Ref[xenapi.VDI](p.call(t, theRoot, "VDI.clone", vdi, map[string]string{}).Text)
	if rec := get(p, clone); rec.IsASnapshot || rec.SR != sr {
		t.Errorf("clone: %+v", rec)
	}

	p.refused(t, []string{xenapi.CodeHandleInvalid, "VDI", "OpaqueRef:x"}, "VDI.copy", theRoot, vdi, sr, "OpaqueRef:x", xenapi.NullRef)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "VDI", "OpaqueRef:y"}, "VDI.copy", theRoot, vdi, sr, xenapi.NullRef, "OpaqueRef:y")

	// An image whose record was forgotten is introduced again, as the caller describes it.
	before := get(p, clone)
	p.call(t, theRoot, "VDI.forget", clone)
	clone = xenapi.Ref[xenapi.VDI](p.call(t, theRoot, "VDI.introduce", before.UUID, "again", "described", sr, "system", true, false,
		map[string]string{"o": "c"}, before.Location, map[string]string{"x": "d"}, map[string]string{"s": "c"}, true, 1, 2, thePool, true, "20150213T10:00:00Z", vdi).Text)
	got := get(p, clone)
	want := before
	want.NameLabel, want.NameDescription, want.Type, want.Sharable, want.ReadOnly = "again", "described", xenapi.VDITypeSystem, true, false
	want.OtherConfig, want.XenstoreData, want.SMConfig = map[string]string{"o": "c"}, map[string]string{"x": "d"}, map[string]string{"s": "c"}
	want.MetadataOfPool, want.IsASnapshot, want.SnapshotOf, want.SnapshotTime = thePool, true, vdi, time.Date(2015, 2, 13, 10, 0, 0, 0, time.UTC)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("introduced (-want +got):\n%s", diff)
	}
	p.call(t, theRoot, "SR.scan", sr)
	p.call(t, theRoot, "SR.update", sr)
	p.refused(t, []string{xenapi.CodeSRHasPBD, sr.String()}, "SR.destroy", theRoot, sr)
	pbd := p.call(t, theRoot, "SR.get_PBDs", sr).Items[0].Text
	for _, method := range []string{"PBD.unplug", "PBD.plug"} {
		p.call(t, theRoot, method, pbd)
		if got := p.call(t, theRoot, "PBD.get_currently_attached", pbd).Bool; got != (method == "PBD.plug") {
			t.Errorf("after %s: attached %v", method, got)
		}
	}
	tagged := vdiRecord(sr)
	tagged["tags"] = []string{"z", "a", "z"}
	made := xenapi.Ref[xenapi.VDI](p.call(t, theRoot, "VDI.create", tagged).Text)
	if diff := cmp.Diff([]string{"z", "a"}, get(p, made).Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	for _, ref := range []xenapi.Ref[xenapi.VDI]{snapshot, clone, made, vdi} {
		p.call(t, theRoot, "VDI.destroy", ref)
	}
}
