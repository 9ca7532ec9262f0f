package api_test

import (
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/api"
	"poolpatch/internal/db"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

// The messages with certificate in their names are the old names of those with ca_certificate.
func TestCACertificates(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.call(t, theRoot, "pool.install_ca_certificate", "b.pem", root.PEM())
	p.call(t, sessionOf(xenapi.RolePoolOperator), "pool.certificate_install", "a.pem", root.PEM())
	p.refused(t, []string{xenapi.CodeCertificateAlreadyExists, "a.pem"}, "pool.install_ca_certificate", theRoot, "a.pem", root.PEM())
	p.refused(t, []string{xenapi.CodeCertificateNameInvalid, "../a"}, "pool.certificate_install", theRoot, "../a", root.PEM())
	p.refused(t, []string{xenapi.CodeCertificateCorrupt, "c"}, "pool.install_ca_certificate", theRoot, "c", "hello")
	if got := texts(p.call(t, theRoot, "pool.certificate_list")); !slices.Equal(got, []string{"a.pem", "b.pem"}) {
		t.Errorf("installed are %v", got)
	}
	for _, ref := range texts(p.call(t, sessionOf(xenapi.RoleReadOnly), "Certificate.get_all")) {
		if kind := p.call(t, theRoot, "Certificate.get_type", ref).Text; kind != "ca" {
			t.Errorf("type %q", kind)
		}
	}
	p.call(t, theRoot, "pool.certificate_uninstall", "b.pem")
	p.call(t, theRoot, "pool.uninstall_ca_certificate", "a.pem")
	p.refused(t, []string{xenapi.CodeCertificateDoesNotExist, "a.pem"}, "pool.certificate_uninstall", theRoot, "a.pem")
	if got := p.call(t, theRoot, "pool.certificate_list"); len(got.Items) > 0 {
		t.Errorf("installed are %v", got)
	}
	p.refused(t, []string{xenapi.CodeRBACPermissionDenied, "pool.certificate_list", "No permission in user session. (Roles with this permission: pool-admin, pool-operator)"},
		"pool.certificate_list", sessionOf(xenapi.RoleVMPowerAdmin))
}

func TestRevocationLists(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.call(t, theRoot, "pool.install_ca_certificate", "ca", root.PEM())
	p.call(t, theRoot, "pool.crl_install", "2026-2", root.Revoke(t))
	p.call(t, theRoot, "pool.crl_install", "2026-1", root.Revoke(t))
	p.refused(t, []string{xenapi.CodeCRLAlreadyExists, "2026-1"}, "pool.crl_install", theRoot, "2026-1", root.Revoke(t))
	p.refused(t, []string{xenapi.CodeCRLNameInvalid, "a/b"}, "pool.crl_install", theRoot, "a/b", root.Revoke(t))
	p.refused(t, []string{xenapi.CodeCRLCorrupt, "x"}, "pool.crl_install", theRoot, "x", trusttest.New(t, "root").Revoke(t))
	if got := p.log.with("INFO not installed", "name=x", "has not signed it"); len(got) != 1 {
		t.Errorf("the log says %q", got)
	}
	if got := texts(p.call(t, theRoot, "pool.crl_list")); !slices.Equal(got, []string{"2026-1", "2026-2"}) {
		t.Errorf("installed are %v", got)
	}
	p.call(t, theRoot, "pool.crl_uninstall", "2026-1")
	p.refused(t, []string{xenapi.CodeCRLDoesNotExist, "2026-1"}, "pool.crl_uninstall", theRoot, "2026-1")
}

// Each host that lives is asked to see what is committed; one that cannot be reached is named.
func TestSyncingCertificates(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	p.call(t, theRoot, "pool.certificate_sync")
	slices.Sort(p.others.sent)
	if want := []string{"host.sync_data " + string(second), "host.sync_data " + string(third)}; !slices.Equal(p.others.sent, want) {
		t.Errorf("sent %v, want %v", p.others.sent, want)
	}
	p.others.answer = func(*elsewhere, any) error { return xenapi.ErrHostOffline(third) }
	p.refused(t, []string{xenapi.CodeHostOffline, string(third)}, "pool.certificate_sync", theRoot)
	p.others.answer = nil
	p.update(t, func(tx *db.Tx) error {
		return db.Insert(tx, "OpaqueRef:damaged", xenapi.Certificate{UUID: "u", Name: "x", Type: xenapi.CertificateTypeCA, PEM: "no certificate"})
	})
	p.refused(t, []string{xenapi.CodeCertificateLibraryCorrupt}, "pool.certificate_sync", theRoot)
}

func TestClientCertificateAuth(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	for _, name := range []string{"", strings.Repeat("a", 254)} {
		p.refused(t, []string{xenapi.CodeInvalidValue, "name", name}, "pool.enable_client_certificate_auth", theRoot, thePool, name)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, "pool.enable_client_certificate_auth", theRoot, dangling, "robot")
	p.call(t, theRoot, "pool.install_ca_certificate", "ca", root.PEM())
	shown := api.Caller{Certificates: trusttest.Shown(t, root.Issue(t, "robot")), Origin: "robot's"}
	login := func(caller api.Caller, method string) (string, string) {
		p.caller = caller
		defer func() { p.caller = api.Caller{} }()
		session, failure := p.try(t, method, "x", "y")
		if failure != nil {
			return "", failure.Code
		}
		return session.Text, ""
	}
	const refused = xenapi.CodeSessionAuthenticationFailed
	if _, code := login(shown, "session.login_with_password"); code != refused {
		t.Errorf("before it is enabled: %q", code)
	}
	p.call(t, theRoot, "pool.enable_client_certificate_auth", thePool, "robot")
	if rec := get[xenapi.Pool](p, thePool); !rec.ClientCertificateAuthEnabled || rec.ClientCertificateAuthName != "robot" {
		t.Errorf("enabled %t for %q", rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName)
	}
	robot, code := login(shown, "session.login_with_password")
	if code != "" {
		t.Fatal(code)
	}
	if got := p.call(t, robot, "session.get_auth_user_name", robot).Text; got != "robot" {
		t.Errorf("the session is of %q", got)
	}
	if got := get(p, xenapi.Ref[xenapi.Session](robot)).Originator; got != "robot's" {
		t.Errorf("originator %q", got)
	}
	if _, code := login(api.Caller{}, "session.login_with_password"); code != refused {
		t.Errorf("without a certificate: %q", code)
	}
	if _, code := login(shown, "session.slave_local_login_with_password"); code != refused {
		t.Errorf("a login in an emergency, which is root's: %q", code)
	}
	local := shown
	local.Local = true
	if session, _ := login(local, "session.login_with_password"); !get(p, xenapi.Ref[xenapi.Session](session)).IsLocalSuperuser {
		t.Error("the unix socket is not root's")
	}

	// What XenAPI lets clients with certificates do, and no more: no user's tasks, no subject.
	p.call(t, robot, "pool.disable_client_certificate_auth", thePool)
	p.refused(t, []string{xenapi.CodeSessionInvalid, robot}, "pool.get_all", robot)
	p.call(t, theRoot, "pool.disable_client_certificate_auth", thePool) // and is so already
	if rec := get[xenapi.Pool](p, thePool); rec.ClientCertificateAuthEnabled || rec.ClientCertificateAuthName != "" {
		t.Errorf("enabled %t for %q", rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName)
	}
	if _, code := login(shown, "session.login_with_password"); code != refused {
		t.Errorf("after it is disabled: %q", code)
	}
}

// A client whose certificate has a user's name is not that user.
func TestAClientIsNoUser(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.call(t, theRoot, "pool.install_ca_certificate", "ca", root.PEM())
	p.call(t, theRoot, "pool.enable_client_certificate_auth", thePool, xenapi.RolePoolAdmin) // the name of a session's user here
	task := p.call(t, sessionOf(xenapi.RolePoolAdmin), "task.create", "its", "").Text
	p.caller = api.Caller{Certificates: trusttest.Shown(t, root.Issue(t, xenapi.RolePoolAdmin))}
	robot := p.call(t, "x", "session.login_with_password", "y").Text
	if code := p.code(t, "task.destroy", robot, task); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("another's task: %q", code)
	}
	own := p.call(t, robot, "task.create", "its own", "").Text
	p.call(t, robot, "task.destroy", own)
	for _, identifier := range texts(p.call(t, theRoot, "session.get_all_subject_identifiers")) {
		if strings.HasPrefix(identifier, "client-cert") {
			t.Errorf("%s is a subject", identifier)
		}
	}
	p.refused(t, []string{xenapi.CodeInvalidValue, "short_name", "client-cert:x"}, "user.create", theRoot, map[string]any{"short_name": "client-cert:x", "fullname": "", "other_config": map[string]string{}})
}
