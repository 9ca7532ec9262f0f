package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/directory/ldaptest"
	"poolpatch/xenapi"
)

const (
	base   = "dc=example,dc=com"
	reader = "cn=reader," + base
	annID  = "10000000-0000-4000-8000-00000000000a"
	opsID  = "10000000-0000-4000-8000-00000000000b"
)

// newDirectory has ann, of the group ops.
func newDirectory(t *testing.T) *ldaptest.Server {
	t.Helper()
	return ldaptest.New(t, "ldapi", nil,
		ldaptest.Entry{DN: base, Attributes: map[string][]string{"objectClass": {"domain"}}},
		ldaptest.Entry{DN: reader, Password: "hunter2"},
		ldaptest.Entry{DN: "uid=ann," + base, Password: "a", Attributes: map[string][]string{"objectClass": {"account"}, "uid": {"ann"}, "entryUUID": {annID}}},
		ldaptest.Entry{DN: "cn=ops," + base, Attributes: map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"ops"}, "entryUUID": {opsID}, "member": {"uid=ann," + base}}},
	)
}

func configOf(s *ldaptest.Server) map[string]string {
	return map[string]string{"servers": s.URL(), "user": reader, "pass": "hunter2"}
}

// addRoles makes the roles that a pool has.
func addRoles(t *testing.T, p *pool) {
	t.Helper()
	for _, role := range xenapi.Roles() {
		insert(t, p, xenapi.RoleRef(role), xenapi.Role{UUID: xenapi.RoleUUID(role), NameLabel: role})
	}
}

// A user of a directory comes in by a group, from the first message to the last.
func TestExternalAuth(t *testing.T) {
	t.Parallel()
	p, s := newPool(t), newDirectory(t)
	addRoles(t, p)
	refusedLogin := []string{xenapi.CodeSessionAuthenticationFailed, "ann", "Authentication failure"}
	p.refused(t, []string{xenapi.CodeAuthIsDisabled}, "auth.get_subject_identifier", theRoot, "ops")
	p.refused(t, refusedLogin, "session.login_with_password", "ann", "a")

	p.call(t, theRoot, "pool.enable_external_auth", thePool, configOf(s), "example.com", "LDAP")
	p.refused(t, refusedLogin, "session.login_with_password", "ann", "")
	p.refused(t, refusedLogin, "session.login_with_password", "ann", "wrong")
	p.refused(t, []string{xenapi.CodeSessionAuthorizationFailed, "ann@example.com", "Neither the user nor a group of the user is a subject of the pool"},
		"session.login_with_password", "ann", "a")

	group := p.call(t, sessionOf(xenapi.RoleReadOnly), "auth.get_subject_identifier", "ops").Text
	info := members(p.call(t, theRoot, "auth.get_subject_information_from_identifier", group))
	if group != opsID || info["subject-name"] != "ops@example.com" || info["subject-is-group"] != "true" {
		t.Errorf("%s is %v", group, info)
	}
	if got := texts(p.call(t, theRoot, "auth.get_group_membership", annID)); !slices.Equal(got, []string{opsID}) {
		t.Errorf("groups %q", got)
	}
	p.refused(t, []string{xenapi.CodeSubjectCannotBeResolved}, "auth.get_subject_identifier", theRoot, "nobody")
	subject := p.call(t, theRoot, "subject.create", map[string]any{"subject_identifier": "CN=ops, DC=example, DC=com", "other_config": map[string]string{}}).Text
	if got := p.call(t, theRoot, "subject.get_subject_identifier", subject).Text; got != opsID {
		t.Errorf("the subject is %q", got)
	}
	p.refused(t, []string{xenapi.CodeRBACPermissionDenied, "session.login_with_password", "No subject of ann@example.com has a role"}, "session.login_with_password", "ann", "a")
	p.call(t, theRoot, "subject.add_to_roles", subject, xenapi.RoleRef(xenapi.RoleVMAdmin))
	session := p.call(t, `example\ann`, "session.login_with_password", "a").Text
	for field, want := range map[string]string{"subject": subject, "auth_user_sid": annID, "auth_user_name": "ann@example.com"} {
		if got := p.call(t, theRoot, "session.get_"+field, session).Text; got != want {
			t.Errorf("session.%s is %q, want %q", field, got, want)
		}
	}
	if code := p.code(t, "VDI.get_all", session); code != "" {
		t.Errorf("a vm-admin reads: %q", code)
	}
	if code := p.code(t, "subject.destroy", session, subject); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("a vm-admin administers: %q", code)
	}
	s.Stop()
	p.refused(t, []string{xenapi.CodeAuthServiceError, "no server of the directory answers"}, "session.login_with_password", "ann", "a")
	p.call(t, theRoot, "pool.disable_external_auth", thePool, map[string]string{"user": "x", "pass": "y"})
	p.refused(t, []string{xenapi.CodeSessionInvalid, session}, "VDI.get_all", session)
	p.refused(t, []string{xenapi.CodeAuthIsDisabled}, "auth.get_group_membership", theRoot, annID)
}

// Nobody is told the password: not in a record, an event, an error or the log.
func TestExternalAuthIsSilent(t *testing.T) {
	t.Parallel()
	p, s := newPool(t), newDirectory(t)
	token, _ := p.call(t, theRoot, "event.from", []string{"*"}, "", 1.0).Member("token")
	p.call(t, theRoot, "pool.enable_external_auth", thePool, configOf(s), "example.com", "LDAP")
	events := p.call(t, theRoot, "event.from", []string{"*"}, token.Text, 30.0)
	record := p.call(t, theRoot, "host.get_record", here)
	_, failure := p.try(t, "pool.enable_external_auth", theRoot, thePool, map[string]string{"pass": "hunter2", "password": "hunter2"}, "example.com", "LDAP")
	for what, v := range map[string]any{"events": events, "record": record, "error": failure, "log": p.log.with("")} {
		if text := fmt.Sprint(v); strings.Contains(text, "hunter2") || !strings.Contains(text, "host") && what != "error" && what != "log" {
			t.Errorf("%s: %s", what, text)
		}
	}
	if got := members(p.call(t, theRoot, "host.get_external_auth_configuration", here)); got["user"] != reader || len(got) != 2 {
		t.Errorf("configuration %v", got)
	}
	if get(p, here).ExternalAuthPassword != "hunter2" {
		t.Error("the password is not kept")
	}
}

// Every host that lives looks first. One that could not come in is named, and then no host is changed.
func TestExternalAuthOfAPool(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	s := newDirectory(t)
	var asked []string
	answers := map[xenapi.Ref[xenapi.Host]]error{}
	p.others.answer = func(e *elsewhere, _ any) error {
		asked = append(asked, e.host.String()+" "+e.message)
		return answers[e.host]
	}
	enable := []any{theRoot, thePool, configOf(s), "example.com", "LDAP"}
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{xenapi.ErrAuthEnableFailedUnavailable("closed"), []string{xenapi.CodePoolAuthEnableFailedUnavailable, third.String(), "closed"}},
		{xenapi.ErrAuthEnableFailedWrongCredentials("49"), []string{xenapi.CodePoolAuthEnableFailedWrongCredentials, third.String(), "49"}},
		{xenapi.ErrAuthEnableFailed("no base"), []string{xenapi.CodePoolAuthEnableFailed, third.String(), "no base"}},
		{xenapi.ErrHostOffline(third), []string{xenapi.CodePoolAuthEnableFailed, third.String(), "HOST_OFFLINE [OpaqueRef:third]"}},
	} {
		answers[third] = tt.err
		p.refused(t, tt.want, "pool.enable_external_auth", enable...)
		for _, host := range []xenapi.Ref[xenapi.Host]{here, second, third, fourth} {
			if rec := get(p, host); rec.ExternalAuthType+rec.ExternalAuthPassword != "" {
				t.Errorf("%s was changed: %+v", host, rec)
			}
		}
	}
	clear(answers)
	asked = nil
	p.call(t, theRoot, "pool.enable_external_auth", enable[1:]...)
	slices.Sort(asked)
	if want := []string{second.String() + " host.check_external_auth", third.String() + " host.check_external_auth"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
	for _, host := range []xenapi.Ref[xenapi.Host]{here, second, third, fourth} {
		if rec := get(p, host); rec.ExternalAuthType != "LDAP" || rec.ExternalAuthServiceName != "example.com" || rec.ExternalAuthPassword != "hunter2" {
			t.Errorf("%s: %+v", host, rec)
		}
	}
	if code := p.code(t, "pool.enable_external_auth", enable...); code != xenapi.CodePoolAuthAlreadyEnabled {
		t.Errorf("again: %q", code)
	}
}

// One host may have what the others have not: that has a message, until it is over.
func TestUnlikeExternalAuth(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	s := newDirectory(t)
	messages := func() (about []string) {
		p.call(t, theRoot, "pool.detect_nonhomogeneous_external_auth", thePool)
		for _, ref := range p.call(t, theRoot, "message.get_all").Items {
			rec := get(p, xenapi.Ref[xenapi.Message](ref.Text))
			about = append(about, rec.Name+" "+rec.ObjUUID)
		}
		return about
	}
	if got := messages(); len(got) > 0 {
		t.Errorf("of hosts that are alike: %q", got)
	}
	config := configOf(s)
	p.call(t, theRoot, "host.enable_external_auth", here, config, "example.com", "LDAP")
	p.refused(t, []string{xenapi.CodeAuthAlreadyEnabled, "LDAP", "example.com"}, "host.enable_external_auth", theRoot, here, config, "example.com", "LDAP")
	p.refused(t, []string{xenapi.CodePoolAuthAlreadyEnabled, here.String()}, "pool.enable_external_auth", theRoot, thePool, config, "example.com", "LDAP")
	want := []string{"AUTH_EXTERNAL_POOL_NON_HOMOGENEOUS uuid-here"}
	messages()
	if got := messages(); !slices.Equal(got, want) {
		t.Errorf("messages %q", got)
	}
	p.call(t, theRoot, "host.disable_external_auth", here, map[string]string{})
	if got := messages(); !slices.Equal(got, want) {
		t.Errorf("when it is over: %q", got)
	}
	p.call(t, theRoot, "host.enable_external_auth", here, config, "example.com", "LDAP")
	if got := messages(); len(got) != 2 {
		t.Errorf("when it is so again: %q", got)
	}
	p.call(t, theRoot, "host.disable_external_auth", here, map[string]string{})
	config["pass"] = "wrong"
	if code := p.code(t, "host.enable_external_auth", theRoot, here, config, "example.com", "LDAP"); code != xenapi.CodeAuthEnableFailedWrongCredentials {
		t.Errorf("with the wrong password: %q", code)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, "host.enable_external_auth", theRoot, dangling, config, "example.com", "LDAP")
	p.refused(t, []string{xenapi.CodeAuthUnknownType, "PAM"}, "host.enable_external_auth", theRoot, here, config, "example.com", "PAM")
	p.refused(t, []string{xenapi.CodeAuthUnknownType, "PAM"}, "pool.enable_external_auth", theRoot, thePool, config, "example.com", "PAM")
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, "pool.enable_external_auth", theRoot, dangling, config, "example.com", "LDAP")
}

func TestExternalAuthRoles(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	config := map[string]string{}
	for _, m := range [][]any{
		{"pool.enable_external_auth", thePool, config, "a", "AD"}, {"host.enable_external_auth", here, config, "a", "AD"}, {"host.check_external_auth", here, config, "a", "AD"},
		{"pool.disable_external_auth", thePool, config}, {"host.disable_external_auth", here, config},
	} {
		if code := p.code(t, m[0].(string), append([]any{sessionOf(xenapi.RolePoolOperator)}, m[1:]...)...); code != xenapi.CodeRBACPermissionDenied {
			t.Errorf("%s by a pool-operator: %q", m[0], code)
		}
	}
	p.call(t, theRoot, "pool.set_ext_auth_max_threads", thePool, 4)
	for _, value := range []int{0, -1} {
		if code := p.code(t, "pool.set_ext_auth_max_threads", theRoot, thePool, value); code != xenapi.CodeInvalidValue {
			t.Errorf("%d: %q", value, code)
		}
	}
	if got := p.call(t, theRoot, "pool.get_ext_auth_max_threads", thePool).Int; got != 4 {
		t.Errorf("%d threads", got)
	}
}
