package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"poolpatch/internal/api"
	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// fixed is a database in which every class has an object.
func fixed(tx *db.Tx) error {
	at := func(minute int) time.Time { return time.Date(2015, 2, 13, 10, minute, 0, 0, time.UTC) }
	pool := xenapi.New[xenapi.Pool]()
	pool.UUID, pool.NameLabel, pool.Master, pool.DefaultSR, pool.Secret = "u-pool", "lab", here, "OpaqueRef:sr", "not shown"
	host := xenapi.New[xenapi.Host]()
	host.UUID, host.NameLabel, host.Hostname, host.Address, host.Enabled = "u-host", "one", "one.lab", "192.0.2.1", true
	host.SoftwareVersion, host.Metrics, host.ControlDomain = map[string]string{"product_version": "1.0"}, "OpaqueRef:metrics", "OpaqueRef:vm"
	host.PendingGuidances, host.BootID = []xenapi.UpdateGuidance{xenapi.UpdateGuidanceRestartToolstack}, "not shown"
	host.ProcessID = "not shown"
	sr := xenapi.New[xenapi.SR]()
	sr.UUID, sr.NameLabel, sr.Type, sr.ContentType, sr.PhysicalSize, sr.Shared = "u-sr", "local", "file", "user", 1<<40, true
	vdi := xenapi.New[xenapi.VDI]()
	vdi.UUID, vdi.NameLabel, vdi.SR, vdi.VirtualSize, vdi.Type, vdi.Digest = "u-vdi", "patch", "OpaqueRef:sr", 4<<30, xenapi.VDITypeUser, "not shown"
	vdi.Managed, vdi.OtherConfig = true, map[string]string{"pool_patch": "u-patch"}
	snapshot := xenapi.New[xenapi.VDI]()
	snapshot.UUID, snapshot.SR, snapshot.IsASnapshot, snapshot.SnapshotOf, snapshot.SnapshotTime = "u-snapshot", "OpaqueRef:sr", true, "OpaqueRef:vdi", at(1)
	patch := xenapi.New[xenapi.PoolPatch]()
	patch.UUID, patch.NameLabel, patch.Version, patch.Size, patch.VDI = "u-patch", "hotfix", "1.0", 1<<30, "OpaqueRef:vdi"
	patch.AfterApplyGuidance, patch.Digest = []xenapi.AfterApplyGuidance{xenapi.AfterApplyGuidanceRestartHost}, "not shown"
	row := xenapi.New[xenapi.HostPatch]()
	row.UUID, row.Host, row.PoolPatch, row.Applied, row.TimestampApplied, row.State = "u-row", here, "OpaqueRef:patch", true, at(2), "not shown"
	task := xenapi.New[xenapi.Task]()
	task.UUID, task.NameLabel, task.Status, task.Type, task.Session = "u-task", "Async.VDI.copy", xenapi.TaskStatusFailure, "<none/>", "OpaqueRef:session"
	task.Created, task.Finished, task.Progress, task.ErrorInfo = at(3), at(4), 1, []string{"VDI_IN_USE", "OpaqueRef:vdi", "copy"}
	subtask := xenapi.New[xenapi.Task]()
	subtask.UUID, subtask.SubtaskOf, subtask.Status, subtask.Progress = "u-subtask", "OpaqueRef:task", xenapi.TaskStatusPending, 0.25
	vm := xenapi.New[xenapi.VM]()
	vm.UUID, vm.NameLabel, vm.IsControlDomain, vm.ResidentOn, vm.PowerState = "u-vm", "Control domain on host: one", true, here, xenapi.VMPowerStateRunning
	sm := xenapi.New[xenapi.SM]()
	sm.UUID, sm.NameLabel, sm.Type, sm.Capabilities, sm.Features = "u-sm", "file", "file", []string{"VDI_CLONE"}, map[string]int64{"VDI_CLONE": 1}
	vbd := xenapi.New[xenapi.VBD]()
	vbd.UUID, vbd.VM, vbd.VDI, vbd.Userdevice, vbd.Mode, vbd.Type = "u-vbd", "OpaqueRef:vm", "OpaqueRef:vdi", "0", xenapi.VBDModeRO, xenapi.VBDTypeDisk
	vbd.CurrentlyAttached, vbd.Device, vbd.DeviceUse = true, "loop0", "not shown"
	certificate := xenapi.New[xenapi.Certificate]()
	certificate.UUID, certificate.Host, certificate.NotBefore, certificate.NotAfter, certificate.PEM = "u-certificate", here, at(8), at(9), "not shown"
	certificate.Fingerprint, certificate.FingerprintSHA256, certificate.FingerprintSHA1 = "0A:FF", "0A:FF", "0B:00"
	return errors.Join(
		db.Insert(tx, "OpaqueRef:certificate", certificate), db.Insert(tx, thePool, pool), db.Insert(tx, here, host), db.Insert(tx, "OpaqueRef:sr", sr), db.Insert(tx, "OpaqueRef:vdi", vdi),
		db.Insert(tx, "OpaqueRef:snapshot", snapshot), db.Insert(tx, "OpaqueRef:patch", patch), db.Insert(tx, "OpaqueRef:row", row),
		db.Insert(tx, "OpaqueRef:task", task), db.Insert(tx, "OpaqueRef:subtask", subtask), db.Insert(tx, "OpaqueRef:vm", vm), db.Insert(tx, "OpaqueRef:sm", sm),
		db.Insert(tx, "OpaqueRef:metrics", xenapi.HostMetrics{UUID: "u-metrics", Live: true, MemoryTotal: 1 << 34, LastUpdated: at(5)}),
		db.Insert(tx, "OpaqueRef:pbd", xenapi.PBD{UUID: "u-pbd", Host: here, SR: "OpaqueRef:sr", DeviceConfig: map[string]string{"location": "/sr"}, CurrentlyAttached: true}),
		db.Insert(tx, "OpaqueRef:vbd", vbd),
		db.Insert(tx, "OpaqueRef:session", xenapi.Session{UUID: "u-session", ThisHost: here, LastActive: at(6), AuthUserName: "ann", AuthUserSID: "ann", Originator: "tests", Role: "not shown", Kind: "not shown", Shown: "not shown"}),
		db.Insert(tx, "OpaqueRef:user", xenapi.User{UUID: "u-user", ShortName: "ann", Fullname: "Ann", PasswordHash: "not shown", Role: "not shown"}),
		db.Insert(tx, "OpaqueRef:subject", xenapi.Subject{UUID: "u-subject", SubjectIdentifier: "ann", OtherConfig: map[string]string{"subject-name": "ann"}, Roles: []xenapi.Ref[xenapi.Role]{"OpaqueRef:role"}}),
		db.Insert(tx, "OpaqueRef:update", xenapi.PoolUpdate{UUID: "u-update", NameLabel: "update", Version: "1", InstallationSize: 1 << 20}),
		db.Insert(tx, "OpaqueRef:role", xenapi.Role{UUID: "u-role", NameLabel: xenapi.RoleReadOnly, NameDescription: "Reading alone"}),
		db.Insert(tx, "OpaqueRef:message", xenapi.Message{UUID: "u-message", Name: "PATCH", Priority: 3, Cls: "Host", ObjUUID: "u-host", Timestamp: at(7), Body: "<b>"}),
		db.Insert(tx, "OpaqueRef:repository", xenapi.Repository{UUID: "u-repository", NameLabel: "repository", BinaryURL: "https://a/b", Update: true,
			Origin: xenapi.RepositoryOriginRemote, Serial: 1, Fingerprint: "not shown", Patches: []string{"not shown"}}),
		db.Insert(tx, "OpaqueRef:secret", xenapi.Secret{UUID: "u-secret", Value: "not shown"}),
	)
}

// refs name the objects of fixed, class by class.
var refs = map[string]string{
	"session": "OpaqueRef:session", "task": "OpaqueRef:task", "pool": thePool, "host": string(here), "host_metrics": "OpaqueRef:metrics",
	"host_patch": "OpaqueRef:row", "pool_patch": "OpaqueRef:patch", "SM": "OpaqueRef:sm", "SR": "OpaqueRef:sr", "PBD": "OpaqueRef:pbd",
	"VDI": "OpaqueRef:vdi", "VM": "OpaqueRef:vm", "VBD": "OpaqueRef:vbd", "user": "OpaqueRef:user", "role": "OpaqueRef:role", "subject": "OpaqueRef:subject", "pool_update": "OpaqueRef:update", "message": "OpaqueRef:message",
	"Certificate": "OpaqueRef:certificate",
	"Repository":  "OpaqueRef:repository", "secret": "OpaqueRef:secret",
}

// newFixed is a pool over the fixed database; its storage has not been started, so no SR is attached.
func newFixed(t testing.TB) *pool {
	t.Helper()
	p := newEmpty(t)
	p.update(t, func(tx *db.Tx) error { return errors.Join(append(seedSessions(tx), fixed(tx))...) })
	return p
}

// What get_record shows of every class, and that it shows no internal column.
func TestRecordsGolden(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	for _, class := range api.Classes() {
		reply, err := rpc.JSON(t.Context(), p.api.For(p.caller), rpc.EncodeRequest(class.Name+".get_record", []any{sessionOf(xenapi.RoleReadOnly), refs[class.Name]}))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(reply, []byte("not shown")) {
			t.Errorf("%s.get_record shows an internal column: %s", class.Name, reply)
		}
		var b bytes.Buffer
		if err := json.Indent(&b, reply, "", "  "); err != nil {
			t.Fatal(err)
		}
		api.CompareGolden(t, "testdata/records/"+class.Name+".golden", append(b.Bytes(), '\n'))
	}
}

// Every getter answers what the record shows.
func TestGettersAgreeWithTheRecord(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	for _, class := range api.Classes() {
		rec := p.call(t, theRoot, class.Name+".get_record", refs[class.Name])
		shown := 0
		for _, f := range class.Fields {
			if !f.Wire() {
				if code := p.code(t, class.Name+".get_"+f.Name, theRoot, refs[class.Name]); code != xenapi.CodeMessageMethodUnknown {
					t.Errorf("%s.get_%s of an internal column: %s", class.Name, f.Name, code)
				}
				continue
			}
			if got := p.call(t, theRoot, class.Name+".get_"+f.Name, refs[class.Name]); !same(got, member(rec, f.Name)) {
				t.Errorf("%s.get_%s is %v, the record says %v", class.Name, f.Name, got, member(rec, f.Name))
			}
			shown++
		}
		if shown != len(rec.Members) {
			t.Errorf("%s has %d wire fields, its record %d", class.Name, shown, len(rec.Members))
		}
	}
}

func member(v rpc.Value, name string) rpc.Value {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return rpc.Value{}
}

func same(a, b rpc.Value) bool { return rpc.MarshalXMLValue(a) == rpc.MarshalXMLValue(b) }

func TestComputedFieldsListTheObjectsThatRefer(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	for _, c := range []struct {
		method, ref string
		want        []string
	}{
		{"SR.get_VDIs", "OpaqueRef:sr", []string{"OpaqueRef:vdi", "OpaqueRef:snapshot"}},
		{"SR.get_PBDs", "OpaqueRef:sr", []string{"OpaqueRef:pbd"}},
		{"host.get_certificates", string(here), []string{"OpaqueRef:certificate"}},
		{"VDI.get_snapshots", "OpaqueRef:vdi", []string{"OpaqueRef:snapshot"}},
		{"VDI.get_snapshots", "OpaqueRef:snapshot", []string{}},
		{"task.get_subtasks", "OpaqueRef:task", []string{"OpaqueRef:subtask"}},
		{"session.get_tasks", "OpaqueRef:session", []string{"OpaqueRef:task"}},
		{"pool_patch.get_host_patches", "OpaqueRef:patch", []string{"OpaqueRef:row"}},
		{"host.get_patches", string(here), []string{"OpaqueRef:row"}},
		{"host.get_PBDs", string(here), []string{"OpaqueRef:pbd"}},
	} {
		got, want := texts(p.call(t, theRoot, c.method, c.ref)), slices.Clone(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s(%s) = %v, want %v", c.method, c.ref, got, want)
		}
	}
}

func TestFindingObjects(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	for _, class := range api.Classes() {
		ref, name := refs[class.Name], class.Name
		uuid := p.call(t, theRoot, name+".get_uuid", ref).Text
		if got := p.call(t, theRoot, name+".get_by_uuid", uuid).Text; got != ref {
			t.Errorf("%s.get_by_uuid: %s, want %s", name, got, ref)
		}
		p.refused(t, []string{xenapi.CodeUUIDInvalid, name, "no-such-uuid"}, name+".get_by_uuid", theRoot, "no-such-uuid")
		for _, getter := range []string{".get_record", ".get_uuid"} {
			p.refused(t, []string{xenapi.CodeHandleInvalid, name, dangling}, name+getter, theRoot, dangling)
		}
		if name == "session" || name == "user" || name == "secret" {
			for _, listing := range []string{".get_all", ".get_all_records", ".get_all_where", ".get_all_records_where"} {
				if name+listing == "user.get_all_records" {
					continue // of this pool's own
				}
				p.refused(t, []string{xenapi.CodeMessageMethodUnknown, name + listing}, name+listing, theRoot)
			}
			continue
		}
		all := p.call(t, theRoot, name+".get_all_records")
		if rec := member(all, ref); !same(rec, p.call(t, theRoot, name+".get_record", ref)) {
			t.Errorf("%s.get_all_records has another record of %s", name, ref)
		}
		if got := texts(p.call(t, theRoot, name+".get_all")); !slices.Contains(got, ref) || len(got) != len(all.Members) {
			t.Errorf("%s.get_all: %v", name, got)
		}
		expr := `field "uuid"="` + uuid + `"`
		if got := texts(p.call(t, theRoot, name+".get_all_where", expr)); !slices.Equal(got, []string{ref}) {
			t.Errorf("%s.get_all_where: %v", name, got)
		}
		if got := p.call(t, theRoot, name+".get_all_records_where", expr); len(got.Members) != 1 || !same(member(got, ref), member(all, ref)) {
			t.Errorf("%s.get_all_records_where: %v", name, got)
		}
		if got := p.call(t, theRoot, name+".get_all_records_where", "true"); !same(got, all) {
			t.Errorf("%s.get_all_records_where true: %d of %d", name, len(got.Members), len(all.Members))
		}
		if code := p.code(t, name+".get_all_where", theRoot, "field"); code != xenapi.CodeInvalidValue {
			t.Errorf("%s.get_all_where of no expression: %q", name, code)
		}
	}
}

func TestNamesNeedNotBeUnique(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	insert(t, p, "OpaqueRef:twin", xenapi.SR{UUID: "u-twin", NameLabel: "local"})
	for label, want := range map[string][]string{"local": {"OpaqueRef:sr", "OpaqueRef:twin"}, "Local": {}, "": {}} {
		got := p.call(t, theRoot, "SR.get_by_name_label", label)
		if got.Kind != rpc.Array || !slices.Equal(slices.Sorted(slices.Values(texts(got))), want) {
			t.Errorf("get_by_name_label(%q) = %v, want %v", label, got, want)
		}
	}
	if code := p.code(t, "PBD.get_by_name_label", theRoot, "x"); code != xenapi.CodeMessageMethodUnknown {
		t.Errorf("a class without names: %q", code)
	}
}

// A setter exists for RW fields and for those that a declared message sets; for no others.
func TestSettersExistForWritableFieldsAlone(t *testing.T) {
	t.Parallel()
	methods := newFixed(t).api.Methods()
	declared := map[string]bool{}
	for _, sig := range xenapi.Signatures() {
		declared[sig.FullName()] = true
	}
	for _, class := range api.Classes() {
		for _, f := range class.Fields {
			for _, verb := range []string{".set_", ".add_to_", ".remove_from_", ".add_", ".remove_"} {
				name := class.Name + verb + f.Name
				want := f.Qualifier == xenapi.ReadWrite && (verb == ".set_" ||
					f.Type.Kind().String() == "map" && (verb == ".add_to_" || verb == ".remove_from_") ||
					f.Type.Kind().String() == "slice" && (verb == ".add_" || verb == ".remove_"))
				if got := slices.Contains(methods, name); got != want && !declared[name] {
					t.Errorf("%s: listed %v, the field is %s", name, got, f.Qualifier)
				}
			}
		}
	}
}

func TestSettingAField(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	p.call(t, theRoot, "pool.set_name_label", thePool, "renamed")
	p.call(t, theRoot, "VM.set_affinity", "OpaqueRef:vm", "OpaqueRef:NULL")
	p.call(t, theRoot, "VM.set_user_version", "OpaqueRef:vm", 7)
	p.call(t, theRoot, "VM.set_actions_after_reboot", "OpaqueRef:vm", "DESTROY")
	if rec := get(p, xenapi.Ref[xenapi.Pool](thePool)); rec.NameLabel != "renamed" || rec.DefaultSR != "OpaqueRef:sr" || rec.Secret != "not shown" {
		t.Errorf("pool %+v", rec)
	}
	if rec := get(p, xenapi.Ref[xenapi.VM]("OpaqueRef:vm")); rec.UserVersion != 7 || rec.ActionsAfterReboot != xenapi.OnNormalExitDestroy || !rec.Affinity.IsNull() {
		t.Errorf("VM %+v", rec)
	}
	if got := p.code(t, "VM.set_actions_after_reboot", theRoot, "OpaqueRef:vm", "explode"); got != xenapi.CodeInternalError {
		t.Errorf("a word that the enumeration does not have: %q", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, "pool.set_name_label", theRoot, dangling, "x")
	p.refused(t, []string{xenapi.CodeMessageMethodUnknown, "VDI.set_uuid"}, "VDI.set_uuid", theRoot, "OpaqueRef:vdi", "x")
}

func TestMapFields(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	const sr, vdi = "OpaqueRef:sr", "OpaqueRef:vdi"
	p.call(t, theRoot, "SR.add_to_other_config", sr, "a", "1") // the map is not there yet
	p.call(t, theRoot, "SR.add_to_other_config", sr, "b", "2")
	p.refused(t, []string{xenapi.CodeMapDuplicateKey, "SR", "other_config", sr, "a"}, "SR.add_to_other_config", theRoot, sr, "a", "3")
	p.call(t, theRoot, "SR.remove_from_other_config", sr, "b")
	p.call(t, theRoot, "SR.remove_from_other_config", sr, "b") // no longer there: nothing
	p.call(t, theRoot, "SR.remove_from_sm_config", sr, "b")    // not even the map
	if got := members(p.call(t, theRoot, "SR.get_other_config", sr)); !maps.Equal(got, map[string]string{"a": "1"}) {
		t.Errorf("other_config %v", got)
	}
	p.call(t, theRoot, "VDI.set_other_config", vdi, map[string]string{"x": "y"})
	if got := members(p.call(t, theRoot, "VDI.get_other_config", vdi)); !maps.Equal(got, map[string]string{"x": "y"}) {
		t.Errorf("other_config %v", got)
	}
	if got := p.code(t, "VM.add_to_blocked_operations", theRoot, "OpaqueRef:vm", "START", "reason"); got != "" {
		t.Errorf("a map whose keys are an enumeration: %s", got)
	}
}

func TestSetFields(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	const vdi = "OpaqueRef:vdi"
	want := func(what string, tags ...string) {
		t.Helper()
		if got := texts(p.call(t, theRoot, "VDI.get_tags", vdi)); !slices.Equal(got, tags) {
			t.Errorf("%s: tags %v, want %v", what, got, tags)
		}
	}
	for _, tag := range []string{"a", "b", "c", "b"} {
		p.call(t, theRoot, "VDI.add_tags", vdi, tag)
	}
	want("added, one of them twice", "a", "b", "c")
	p.call(t, theRoot, "VDI.remove_tags", vdi, "b")
	want("one removed", "a", "c")
	p.call(t, theRoot, "VDI.remove_tags", vdi, "b")
	want("one removed that is not there", "a", "c")
	p.call(t, theRoot, "VDI.set_tags", vdi, []string{"z", "a", "z", "a"})
	want("set, each of them twice", "z", "a")
	p.call(t, theRoot, "VDI.set_tags", vdi, []string{})
	want("none set")
}

// A default SR that is not there would refuse every later upload: it is refused when it is set.
func TestTheDefaultSRMustExist(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "SR", dangling}, "pool.set_default_SR", theRoot, thePool, dangling)
	p.call(t, theRoot, "pool.set_default_SR", thePool, "OpaqueRef:sr")
	p.call(t, theRoot, "pool.set_default_SR", thePool, "OpaqueRef:NULL")
	if got := p.call(t, theRoot, "pool.get_default_SR", thePool).Text; got != xenapi.NullRef {
		t.Errorf("default_SR is %s", got)
	}
}

func TestConstructors(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	for _, missing := range []string{"SR", "virtual_size", "type", "sharable", "read_only", "other_config"} {
		rec := vdiRecord(sr)
		delete(rec, missing)
		p.refused(t, []string{xenapi.CodeInternalError, "field not found: " + missing}, "VDI.create", theRoot, rec)
	}
	rec := vdiRecord(sr)
	maps.Copy(rec, map[string]any{
		"uuid": "chosen", "location": "chosen", "managed": false, "is_a_snapshot": true, "on_boot": "reset", "digest": "chosen",
		"parent": dangling, "unknown": "field", "tags": []string{"t"}, "sm_config": map[string]string{"s": "m"},
	})
	got := get(p, xenapi.Ref[xenapi.VDI](p.call(t, theRoot, "VDI.create", rec).Text))
	if got.UUID == "chosen" || got.Location == "chosen" || !got.Managed || got.IsASnapshot || got.Digest != "" || !got.Parent.IsNull() {
		t.Errorf("the caller set fields that are not its own: %+v", got)
	}
	if got.OnBoot != xenapi.OnBootPersist {
		t.Errorf("on_boot is %q, want its default", got.OnBoot)
	}
	if got.Type != xenapi.VDITypeUser || got.NameLabel != "disk" || got.VirtualSize != 1<<20 || got.OtherConfig["k"] != "v" || got.SMConfig["s"] != "m" || !slices.Equal(got.Tags, []string{"t"}) {
		t.Errorf("the caller's fields: %+v", got)
	}
	for what, change := range map[string]func(map[string]any){
		"no enumeration's word": func(rec map[string]any) { rec["type"] = "floppy" },
		"no int":                func(rec map[string]any) { rec["virtual_size"] = "large" },
		"no struct":             func(rec map[string]any) { rec["other_config"] = "k=v" },
	} {
		rec := vdiRecord(sr)
		change(rec)
		if code := p.code(t, "VDI.create", theRoot, rec); code != xenapi.CodeInternalError {
			t.Errorf("%s: %q", what, code)
		}
	}
	if code := p.code(t, "VDI.create", theRoot, "no record"); code != xenapi.CodeInternalError {
		t.Errorf("no record: %q", code)
	}
}

// XenAPI's user record has no password, so other_config carries it in, and does not keep it.
func TestUserCreateDoesNotKeepThePassword(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ref := p.call(t, theRoot, "user.create", map[string]any{
		"short_name": "ann", "fullname": "Ann", "other_config": map[string]string{"password": "s3cret", "role": xenapi.RoleVMAdmin, "k": "v"},
	}).Text
	if got := members(p.call(t, theRoot, "user.get_other_config", ref)); got["password"] != "" || got["k"] != "v" {
		t.Errorf("other_config %v", got)
	}
	session, failure := p.try(t, "session.login_with_password", "ann", "s3cret")
	if failure != nil {
		t.Fatal(failure)
	}
	if rec := get(p, xenapi.Ref[xenapi.Session](session.Text)); rec.Role != xenapi.RoleVMAdmin {
		t.Errorf("role %q", rec.Role)
	}
	listed := p.call(t, theRoot, "user.get_all_records")
	if rec := member(listed, ref); !same(rec, p.call(t, theRoot, "user.get_record", ref)) {
		t.Errorf("listed as %+v", rec)
	}
	if code := p.code(t, "user.get_all_records", sessionOf(xenapi.RolePoolOperator)); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("listed for a pool-operator: %q", code)
	}
	p.call(t, theRoot, "user.set_password", ref, "another")
	if _, failure := p.try(t, "session.login_with_password", "ann", "s3cret"); failure == nil || failure.Code != xenapi.CodeSessionAuthenticationFailed {
		t.Errorf("the old password: %v", failure)
	}
	if _, failure := p.try(t, "session.login_with_password", "ann", "another"); failure != nil {
		t.Errorf("the new password: %v", failure)
	}
	p.refused(t, []string{xenapi.CodeChangePasswordRejected, "the password is empty"}, "user.set_password", theRoot, ref, "")
	p.refused(t, []string{xenapi.CodeHandleInvalid, "user", string(dangling)}, "user.set_password", theRoot, dangling, "another")
	if code := p.code(t, "user.set_password", sessionOf(xenapi.RolePoolOperator), ref, "another"); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("set by a pool-operator: %q", code)
	}
	ref = p.call(t, theRoot, "user.create", map[string]any{"short_name": "bob", "fullname": "Bob"}).Text
	if rec := get(p, xenapi.Ref[xenapi.User](ref)); rec.OtherConfig["role"] != xenapi.RoleReadOnly || rec.PasswordHash != "" {
		t.Errorf("a user of whom nothing is said: %+v", rec)
	}
	p.call(t, theRoot, "user.destroy", ref)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "user", ref}, "user.get_record", theRoot, ref)
}
