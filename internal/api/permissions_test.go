package api_test

import (
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// What a role may do according to role.get_permissions is what it may do.
func TestPermissionsAreWhatIsAllowed(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, role := range xenapi.Roles() {
		insert(t, p, xenapi.RoleRef(role), xenapi.Role{UUID: xenapi.RoleUUID(role), NameLabel: role})
	}
	for _, role := range xenapi.Roles() {
		names := texts(p.call(t, theRoot, "role.get_permissions_name_label", xenapi.RoleRef(role)))
		refs := texts(p.call(t, theRoot, "role.get_permissions", xenapi.RoleRef(role)))
		if !slices.IsSorted(names) || len(refs) != len(names) || refs[0] != xenapi.RoleRef(names[0]).String() {
			t.Errorf("%s: %d names, %d refs", role, len(names), len(refs))
		}
		for method, params := range map[string][]any{
			"pool_patch.apply": {dangling, dangling}, "VDI.destroy": {dangling}, "SR.scan": {dangling}, "VDI.get_record": {dangling}, "user.destroy": {dangling},
		} {
			allowed := p.code(t, method, append([]any{sessionOf(role)}, params...)...) != xenapi.CodeRBACPermissionDenied
			if listed := slices.Contains(names, strings.ToLower(method)); listed != allowed {
				t.Errorf("%s of %s: listed %v, allowed %v", method, role, listed, allowed)
			}
		}
		if got := texts(p.call(t, theRoot, "session.get_rbac_permissions", sessionOf(role))); !slices.Equal(got, names) {
			t.Errorf("a session of %s has %d permissions, the role %d", role, len(got), len(names))
		}
		for permission, lowest := range map[string]string{
			"http/put_pool_patch_upload": xenapi.RolePoolOperator, "task.destroy/any": xenapi.RolePoolOperator,
			"task.add_to_other_config/key:xencenteruuid": xenapi.RoleVMOperator, "host.emergency_reset_server_certificate": "",
		} {
			if want := slices.Contains(xenapi.RolesWith(lowest), role); slices.Contains(names, permission) != want {
				t.Errorf("%s of %s: want %v", permission, role, want)
			}
		}
	}
}

// A permission is a role without subroles, found by all its names.
func TestAPermissionIsARole(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ref := p.call(t, theRoot, "role.get_by_name_label", "pool_patch.apply").Items[0].Text
	rec := p.call(t, theRoot, "role.get_record", ref)
	if member(rec, "name_label").Text != "pool_patch.apply" || len(member(rec, "subroles").Items) > 0 || !member(rec, "is_internal").Bool {
		t.Errorf("record %v", rec)
	}
	if got := p.call(t, theRoot, "role.get_by_uuid", member(rec, "uuid").Text).Text; got != ref {
		t.Errorf("by UUID: %s, want %s", got, ref)
	}
	want := []string{xenapi.RoleRef(xenapi.RolePoolAdmin).String(), xenapi.RoleRef(xenapi.RolePoolOperator).String()}
	for method, param := range map[string]string{"role.get_by_permission": ref, "role.get_by_permission_name_label": "pool_patch.apply"} {
		if got := texts(p.call(t, theRoot, method, param)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", method, got, want)
		}
	}
	if got := p.call(t, theRoot, "role.get_by_permission_name_label", "pool_patch.frobnicate"); got.Kind != rpc.Array || len(got.Items) > 0 {
		t.Errorf("who has a permission that is none: %v", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "role", dangling}, "role.get_permissions", theRoot, dangling)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "role", dangling}, "role.get_by_permission", theRoot, dangling)
}

func TestLoginsOfHosts(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	if err := p.auth.EnsureRoot(t.Context(), rootPW); err != nil {
		t.Fatal(err)
	}
	rec := get(p, xenapi.Ref[xenapi.Pool](thePool))
	rec.Secret = "the pool's secret"
	p.update(t, func(tx *db.Tx) error { return db.Put(tx, thePool, rec) })
	for method, params := range map[string][]any{
		"session.slave_login": {here, rec.Secret}, "session.slave_local_login": {rec.Secret}, "session.slave_local_login_with_password": {"root", rootPW},
	} {
		session, failure := p.try(t, method, params...)
		if failure != nil {
			t.Errorf("%s: %v", method, failure)
			continue
		}
		if code := p.code(t, "VDI.destroy", session.Text, dangling); code != xenapi.CodeHandleInvalid {
			t.Errorf("%s: the session may not destroy: %s", method, code)
		}
		p.call(t, session.Text, "session.local_logout")
		p.refused(t, []string{xenapi.CodeSessionInvalid, session.Text}, "VDI.destroy", session.Text, dangling)
		params[len(params)-1] = "wrong"
		if code := p.code(t, method, params...); code != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("%s with a wrong secret: %q", method, code)
		}
	}
}

func TestSubjectsWhoAreLoggedIn(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	all := slices.Sorted(slices.Values(xenapi.Roles()))
	if got := texts(p.call(t, theRoot, "session.get_all_subject_identifiers")); !slices.Equal(got, all) {
		t.Errorf("subjects %v, want %v", got, all)
	}
	own, other := sessionOf(xenapi.RolePoolOperator), sessionOf(xenapi.RoleVMAdmin)
	for _, who := range []string{xenapi.RolePoolOperator, xenapi.RoleVMAdmin, "root"} {
		p.call(t, own, "session.logout_subject_identifier", who)
	}
	for session, code := range map[string]string{own: "", other: xenapi.CodeSessionInvalid, theRoot: ""} {
		if got := p.code(t, "VDI.get_all", session); got != code {
			t.Errorf("%s: %q, want %q", session, got, code)
		}
	}
}

func TestWhatAPoolWithoutVirtualMachinesAnswers(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, c := range []struct {
		method string
		more   []any
		want   any // nil is void
	}{
		{"host.assert_can_evacuate", nil, nil}, {"host.evacuate", nil, nil}, {"host.has_extension", []any{"x"}, false},
		{"host.get_vms_which_prevent_evacuation", nil, map[string]string{}}, {"host.get_uncooperative_resident_VMs", nil, []string{}},
	} {
		if got, want := p.call(t, theRoot, c.method, append([]any{here}, c.more...)...), c.want; rpc.MarshalXMLValue(got) != rpc.MarshalXMLValue(want) {
			t.Errorf("%s: %v, want %v", c.method, got, want)
		}
		p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, c.method, append([]any{theRoot, dangling}, c.more...)...)
	}
	if p.call(t, theRoot, "pool.has_extension", thePool, "x").Bool {
		t.Error("the pool has an extension")
	}
	p.call(t, theRoot, "pool.sync_database")
}

func TestProbe(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for uuid, want := range map[string]string{"": "<SRlist></SRlist>", "u-1": "<SRlist><SR><UUID>u-1</UUID></SR></SRlist>"} {
		if got := p.call(t, theRoot, "SR.probe", here, map[string]string{"uuid": uuid}, "KNOWN").Text; got != want {
			t.Errorf("%q: %s", uuid, got)
		}
	}
	for uuid, want := range map[string]string{"": "", "u-1": "u-1"} {
		config := map[string]string{"uuid": uuid}
		places := p.call(t, theRoot, "SR.probe_ext", here, config, "known").Items
		if len(places) != 1 || !same(member(places[0], "configuration"), rpc.ValueOf(config)) || member(member(places[0], "sr"), "uuid").Text != want {
			t.Errorf("%q: %v", uuid, places)
		}
	}
	if code := p.code(t, "SR.probe_ext", theRoot, here, map[string]string{}, "mem"); code != xenapi.CodeUnimplementedInSMBackend {
		t.Errorf("a driver that cannot probe: %q", code)
	}
	if code := p.code(t, "SR.probe", theRoot, here, map[string]string{}, "mem"); code != xenapi.CodeUnimplementedInSMBackend {
		t.Errorf("a driver that cannot: %q", code)
	}
	p.refused(t, []string{xenapi.CodeSRUnknownDriver, "nfs"}, "SR.probe", theRoot, here, map[string]string{}, "nfs")
}

func TestOnBootAndCaching(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	vdi := p.newVDI(t, sr)
	p.call(t, theRoot, "VDI.set_on_boot", vdi, "persist")
	p.refused(t, []string{xenapi.CodeSROperationNotSupported, sr.String()}, "VDI.set_on_boot", theRoot, vdi, "reset")
	p.call(t, theRoot, "VDI.set_allow_caching", vdi, true)
	if !p.call(t, theRoot, "VDI.get_allow_caching", vdi).Bool {
		t.Error("allow_caching is not kept")
	}
	for method, value := range map[string]any{"VDI.set_on_boot": "persist", "VDI.set_allow_caching": true} {
		p.refused(t, []string{xenapi.CodeHandleInvalid, "VDI", dangling}, method, theRoot, dangling, value)
	}
}
