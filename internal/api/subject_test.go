package api_test

import (
	"slices"
	"testing"

	"poolpatch/xenapi"
)

// A user is let in as a subject, whose roles say what for.
func TestSubjects(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, role := range xenapi.Roles() {
		insert(t, p, xenapi.RoleRef(role), xenapi.Role{UUID: xenapi.RoleUUID(role), NameLabel: role})
	}
	p.call(t, theRoot, "user.create", map[string]any{"short_name": "ann", "fullname": "Ann", "other_config": map[string]string{"role": xenapi.RoleVMAdmin, "password": "pw"}})
	subject := p.call(t, theRoot, "subject.get_all").Items[0].Text
	if got := p.call(t, theRoot, "subject.get_subject_identifier", subject).Text; got != "ann" {
		t.Errorf("the subject is %q", got)
	}
	session := p.call(t, "ann", "session.login_with_password", "pw").Text
	for field, want := range map[string]string{"subject": subject, "auth_user_sid": "ann", "auth_user_name": "ann", "this_user": xenapi.NullRef} {
		if got := p.call(t, theRoot, "session.get_"+field, session).Text; got != want {
			t.Errorf("session.%s is %q, want %q", field, got, want)
		}
	}
	if got := texts(p.call(t, theRoot, "session.get_all_subject_identifiers")); !slices.Contains(got, "ann") {
		t.Errorf("logged in: %q", got)
	}
	// What a subject may do is what its strongest role allows, whatever it has besides.
	p.call(t, theRoot, "subject.add_to_roles", subject, xenapi.RoleRef(xenapi.RolePoolOperator))
	allowed := texts(p.call(t, theRoot, "subject.get_permissions_name_label", subject))
	if want := texts(p.call(t, theRoot, "role.get_permissions_name_label", xenapi.RoleRef(xenapi.RolePoolOperator))); !slices.Equal(allowed, want) {
		t.Errorf("%d permissions, a pool-operator has %d", len(allowed), len(want))
	}
	if got := texts(p.call(t, theRoot, "session.get_rbac_permissions", session)); !slices.Equal(got, allowed) {
		t.Errorf("the open session has %d permissions, want %d", len(got), len(allowed))
	}
	p.call(t, theRoot, "subject.remove_from_roles", subject, xenapi.RoleRef(xenapi.RolePoolOperator))
	if code := p.code(t, "pool_patch.apply", session, dangling, dangling); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("with the role taken: %q", code)
	}
	for _, method := range []string{"subject.add_to_roles", "subject.remove_from_roles"} {
		if code := p.code(t, method, sessionOf(xenapi.RolePoolOperator), subject, dangling); code != xenapi.CodeRBACPermissionDenied {
			t.Errorf("%s by a pool-operator: %q", method, code)
		}
	}
	p.call(t, theRoot, "subject.destroy", subject)
	p.refused(t, []string{xenapi.CodeSessionInvalid, session}, "VDI.get_all", session)
	p.refused(t, []string{xenapi.CodeSessionAuthorizationFailed, "ann", "The user is no subject of the pool"}, "session.login_with_password", "ann", "pw")
	again := p.call(t, theRoot, "subject.create", map[string]any{"subject_identifier": "ann", "other_config": map[string]string{}}).Text
	p.refused(t, []string{xenapi.CodeRBACPermissionDenied, "session.login_with_password", "The subject ann has no role"}, "session.login_with_password", "ann", "pw")
	if got := texts(p.call(t, theRoot, "subject.get_permissions_name_label", again)); len(got) > 0 {
		t.Errorf("without a role: %q", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "subject", dangling}, "subject.get_permissions_name_label", theRoot, dangling)
}
