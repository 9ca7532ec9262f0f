package httpd_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/rpc"
	"poolpatch/internal/thincli"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

// visitor is a client over HTTPS, with a connection that it keeps.
type visitor struct {
	t    testing.TB
	url  string
	http http.Client
	tls  *tls.ConnectionState // of the last answer
}

// visitor makes a client that shows a certificate whatever it is asked for, if it is asked at all.
func (s *site) visitor(t testing.TB, certs []tls.Certificate, edits ...func(*tls.Config)) *visitor {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certs) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certs[0], nil
	}}
	for _, edit := range edits {
		edit(config)
	}
	v := &visitor{t: t, url: "https://" + s.tls, http: http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: patience}}
	t.Cleanup(v.http.CloseIdleConnections)
	return v
}

// again makes the next request on a new connection.
func (v *visitor) again() *visitor { v.http.CloseIdleConnections(); return v }

func (v *visitor) do(method, path, body string, headers ...string) (*http.Response, string, error) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, strings.NewReader(body))
	must(v.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := v.http.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	v.tls = answer.TLS
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}

// call sends a message. An error that is none of the API's is one of the connection.
func (v *visitor) call(message string, params ...any) (rpc.Value, error) {
	v.t.Helper()
	_, text, err := v.do("POST", "/jsonrpc", string(rpc.EncodeRequest(message, params)))
	if err != nil {
		return rpc.Value{}, err
	}
	value, refused, err := rpc.DecodeReply([]byte(text))
	must(v.t, err)
	if refused != nil {
		return value, refused
	}
	return value, nil
}

func (v *visitor) login(user, password string) (string, error) {
	v.t.Helper()
	session, err := v.call("session.login_with_password", user, password, "1.0", "visitor")
	return session.Text, err
}

// shows calls a message that must succeed.
func (v *visitor) shows(message string, params ...any) string {
	v.t.Helper()
	value, err := v.call(message, params...)
	if err != nil {
		v.t.Errorf("%s: %v", message, err)
	}
	return value.Text
}

func (v *visitor) refused(code, message string, params ...any) {
	v.t.Helper()
	if _, err := v.call(message, params...); xenapi.CodeOf(err) != code {
		v.t.Errorf("%s: %v, want %s", message, err, code)
	}
}

// guarded is a site that lets robots of an authority in, and root by its password.
func guarded(t *testing.T) (*site, *trusttest.Authority, *visitor) {
	t.Helper()
	s := newSite(t)
	must(t, s.auth.EnsureRoot(t.Context(), rootPW))
	root := trusttest.New(t, "root")
	admin := s.visitor(t, nil)
	admin.shows("pool.install_ca_certificate", theRoot, "ca.pem", root.PEM())
	admin.shows("pool.enable_client_certificate_auth", theRoot, "OpaqueRef:pool", "robot")
	return s, root, admin.again()
}

func shows(certs ...tls.Certificate) []tls.Certificate { return certs }

// A certificate of the pool's name opens a session that may what a client-cert may, with whatever name and password.
func TestLoginByCertificate(t *testing.T) {
	t.Parallel()
	s, root, admin := guarded(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		robot := s.visitor(t, shows(root.Issue(t, "robot")), func(c *tls.Config) { c.MaxVersion = version })
		session, err := robot.login("root", "wrong")
		must(t, err)
		rec := get(s, xenapi.Ref[xenapi.Session](session))
		if rec.AuthUserName != "robot" || !rec.ClientCertificate || rec.Role != xenapi.RoleClientCert || rec.IsLocalSuperuser || rec.Pool ||
			rec.AuthUserSID == "robot" || rec.AuthUserSID == "" || rec.Originator != "visitor" || rec.ThisHost != here {
			t.Errorf("session %+v", rec)
		}
		robot.shows("pool.get_all", session)
		robot.shows("host.disable", session, here)
		robot.shows("host.enable", session, here)
		robot.refused(xenapi.CodeRBACPermissionDenied, "pool.set_name_label", session, "OpaqueRef:pool", "x")
		robot.refused(xenapi.CodeRBACPermissionDenied, "pool.certificate_install", session, "x", root.PEM())
		admin.shows("pool.get_all", session) // the session is the secret, as every other
		if again, err := robot.login("root", rootPW); err != nil || get(s, xenapi.Ref[xenapi.Session](again)).IsLocalSuperuser {
			t.Errorf("with root's password too: %v", err)
		}
		robot.shows("session.logout", session)
		robot.refused(xenapi.CodeSessionInvalid, "pool.get_all", session)
	}
	session, err := admin.login("root", rootPW)
	must(t, err)
	if !get(s, xenapi.Ref[xenapi.Session](session)).IsLocalSuperuser {
		t.Error("without a certificate root is not root")
	}
	if _, err := admin.login("root", "wrong"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
		t.Errorf("a wrong password without a certificate: %v", err)
	}
}

// A certificate that does not count opens nothing. A bad one ends the connection; one with another name is no help and no hindrance.
func TestCertificatesThatOpenNothing(t *testing.T) {
	t.Parallel()
	s, root, admin := guarded(t)
	revoked := root.Issue(t, "robot")
	admin.shows("pool.crl_install", theRoot, "list.pem", root.Revoke(t, revoked.Leaf))
	below := root.Below(t, "below")
	for name, cert := range map[string]tls.Certificate{
		"expired":          root.Issue(t, "robot", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"a stranger's":     trusttest.New(t, "stranger").Issue(t, "robot"),
		"a namesake's":     trusttest.New(t, "root").Issue(t, "robot"),
		"revoked":          revoked,
		"for servers":      root.Issue(t, "robot", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"self-signed":      trusttest.SelfSigned(t, "root", func(c *x509.Certificate) { c.DNSNames = []string{"robot"} }),
		"below, cut off":   below.Issue(t, "robot"),
		"the server's own": {Certificate: root.Issue(t, "robot").Certificate, PrivateKey: root.Issue(t, "robot").PrivateKey}, // another's key
	} {
		v := s.visitor(t, shows(cert))
		if session, err := v.login("root", rootPW); err == nil || xenapi.CodeOf(err) != "" {
			t.Errorf("%s: %q %v", name, session, err)
		}
	}
	if _, err := s.visitor(t, shows(trusttest.With(below.Issue(t, "robot"), below))).login("x", "y"); err != nil {
		t.Errorf("below, with what leads to it: %v", err)
	}
	droid := s.visitor(t, shows(root.Issue(t, "droid")))
	if _, err := droid.login("root", "wrong"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
		t.Errorf("another name: %v", err)
	}
	if session, err := droid.login("root", rootPW); err != nil || !get(s, xenapi.Ref[xenapi.Session](session)).IsLocalSuperuser {
		t.Errorf("another name, and root's password: %v", err)
	}
	// What is shown on a connection between hosts is no client's, and one without TLS shows nothing.
	for _, name := range []string{authority.ServerName, authority.MemberName, authority.JoinName} {
		v := s.visitor(t, shows(root.Issue(t, "robot")), func(c *tls.Config) { c.ServerName = name })
		if _, err := v.login("x", "y"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("as %s: %v", name, err)
		}
	}
	plain := &visitor{t: t, url: "http://" + s.plain, http: http.Client{Timeout: patience}}
	if _, err := plain.login("robot", ""); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
		t.Errorf("without TLS: %v", err)
	}
}

// Whatever a session by certificate rests on ends it, at once, and lets nobody in on the connection that is there already.
func TestCertificatesThatCountNoMore(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *site, root *trusttest.Authority, cert tls.Certificate, admin *visitor){
		"disabled": func(_ *site, _ *trusttest.Authority, _ tls.Certificate, admin *visitor) {
			admin.shows("pool.disable_client_certificate_auth", theRoot, "OpaqueRef:pool")
		},
		"renamed": func(_ *site, _ *trusttest.Authority, _ tls.Certificate, admin *visitor) {
			admin.shows("pool.enable_client_certificate_auth", theRoot, "OpaqueRef:pool", "droid")
		},
		"uninstalled": func(_ *site, _ *trusttest.Authority, _ tls.Certificate, admin *visitor) {
			admin.shows("pool.uninstall_ca_certificate", theRoot, "ca.pem")
		},
		"uninstalled by the old name": func(_ *site, _ *trusttest.Authority, _ tls.Certificate, admin *visitor) {
			admin.shows("pool.certificate_uninstall", theRoot, "ca.pem")
		},
		"revoked": func(_ *site, root *trusttest.Authority, cert tls.Certificate, admin *visitor) {
			admin.shows("pool.crl_install", theRoot, "list", root.Revoke(admin.t, cert.Leaf))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, root, admin := guarded(t)
			cert := root.Issue(t, "robot")
			robot := s.visitor(t, shows(cert), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(8) })
			session, err := robot.login("x", "y")
			must(t, err)
			rooted, err := admin.login("root", rootPW)
			must(t, err)
			change(s, root, cert, admin)
			robot.refused(xenapi.CodeSessionInvalid, "pool.get_all", session)
			if _, err := robot.login("x", "y"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
				t.Errorf("on the same connection: %v", err)
			}
			if answer, _, err := robot.do("GET", "/export_raw_vdi", ""); err != nil || answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("a transfer on the same connection: %v %v", answer, err)
			}
			if session, err := robot.again().login("x", "y"); err == nil {
				t.Errorf("on a new connection, which may be resumed: %s", session)
			}
			if robot.tls != nil && robot.tls.DidResume {
				t.Error("the connection was resumed")
			}
			admin.shows("pool.get_all", rooted)
			if rec := get[xenapi.Pool](s, "OpaqueRef:pool"); name == "disabled" && (rec.ClientCertificateAuthEnabled || rec.ClientCertificateAuthName != "") {
				t.Errorf("the pool says %t %q", rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName)
			}
		})
	}
}

// A connection that a client resumes from before it was asked for a certificate asks for it.
func TestEnablingAsksClientsThatWereThere(t *testing.T) {
	t.Parallel()
	s, root, admin := guarded(t)
	admin.shows("pool.disable_client_certificate_auth", theRoot, "OpaqueRef:pool")
	robot := s.visitor(t, shows(root.Issue(t, "robot")), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(8) })
	for range 2 {
		if _, err := robot.again().login("x", "y"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("before it is enabled: %v", err)
		}
	}
	if !robot.tls.DidResume {
		t.Error("the client resumes no connection, so this test shows nothing")
	}
	admin.shows("pool.enable_client_certificate_auth", theRoot, "OpaqueRef:pool", "robot")
	if _, err := robot.again().login("x", "y"); err != nil {
		t.Errorf("after it is enabled: %v", err)
	}
}

// Handlers take a certificate where nothing else is shown: who is let in may too little for them, which is another answer.
func TestTransfersByCertificate(t *testing.T) {
	t.Parallel()
	s, root, admin := guarded(t)
	robot := s.visitor(t, shows(root.Issue(t, "robot")))
	for _, c := range []struct {
		name    string
		v       *visitor
		query   string
		headers []string
		status  int
	}{
		{"certificate", robot, "", nil, http.StatusForbidden},
		{"nothing", admin, "", nil, http.StatusUnauthorized},
		{"another name", s.visitor(t, shows(root.Issue(t, "droid"))), "", nil, http.StatusUnauthorized},
		{"certificate and a session that is none", robot, "?session_id=OpaqueRef:x", nil, http.StatusUnauthorized},
		{"certificate and a wrong secret", robot, "?pool_secret=x", nil, http.StatusUnauthorized},
		{"certificate and a wrong password", robot, "", []string{"Authorization", strings.TrimPrefix(basic("root", "x"), "Authorization: ")}, http.StatusUnauthorized},
		{"certificate and root's session", robot, "?session_id=" + theRoot, nil, http.StatusBadRequest}, // let in, and told that the patch is missing
	} {
		if answer, text, err := c.v.do("GET", "/pool_patch_download"+c.query, "", c.headers...); err != nil || answer.StatusCode != c.status {
			t.Errorf("%s: %v %v %s", c.name, answer, err, text)
		}
	}
	for ref, rec := range all[xenapi.Session](s) {
		if rec.ClientCertificate {
			t.Errorf("the session %s of a transfer stays", ref)
		}
	}
}

// xe on a connection with a certificate needs no password.
func TestXEByCertificate(t *testing.T) {
	t.Parallel()
	s, root, _ := guarded(t)
	w := dialTLS(t, s.tls, &tls.Config{InsecureSkipVerify: true, Certificates: shows(root.Issue(t, "robot"))})
	w.greet("pool-list", "params=uuid", "--minimal", "username=", "password=")
	if m := w.hear(); m.Tag != thincli.Print || m.Text != "uuid-pool" {
		t.Errorf("%v", fmt.Sprintf("%+v", m))
	}
}
