package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/directory/ldaptest"
	"poolpatch/xenapi"
)

// slapdConfig is of OpenLDAP's own server as Debian has it, with a directory in the folder DIR.
const slapdConfig = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/pid
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
security tls=1
database mdb
suffix "dc=example,dc=com"
directory DIR/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
`

const slapdEntries = `
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: hunter2

dn: uid=ann,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: posixAccount
uid: ann
cn: Ann Other
sn: Other
uidNumber: 1000
gidNumber: 100
homeDirectory: /home/ann
userPassword: a

dn: cn=staff,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: uid=ann,dc=example,dc=com

dn: cn=ops,dc=example,dc=com
objectClass: groupOfUniqueNames
cn: ops
uniqueMember: cn=staff,dc=example,dc=com

dn: cn=users,dc=example,dc=com
objectClass: posixGroup
cn: users
gidNumber: 100

dn: cn=wheel,dc=example,dc=com
objectClass: posixGroup
cn: wheel
gidNumber: 10
memberUid: ann
`

// startSlapd runs Debian's slapd until the test ends, and gives its addresses: with TLS at once, and with StartTLS.
func startSlapd(t *testing.T, cert ldaptest.Certificate) (ldaps, ldap string) {
	t.Helper()
	const slapd = "/usr/sbin/slapd"
	if _, err := os.Stat(slapd); err != nil {
		t.Skip("there is no slapd: build/deps installs it")
	}
	dir := t.TempDir()
	config := strings.ReplaceAll(slapdConfig, "DIR", dir)
	err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o700))
	for name, content := range map[string]string{"slapd.conf": config, "cert.pem": string(cert.CertPEM), "key.pem": string(cert.KeyPEM), "entries": slapdEntries} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), slapd, "-Tadd", "-f", filepath.Join(dir, "slapd.conf"), "-l", filepath.Join(dir, "entries")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	secure, plain := freeAddress(t), freeAddress(t)
	const logConfig = "64" // which says that it is starting to serve
	cmd := exec.Command(slapd, "-d", logConfig, "-f", filepath.Join(dir, "slapd.conf"), "-h", "ldaps://"+secure+"/ ldap://"+plain+"/")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	read := make(chan struct{})
	serving := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if fmt.Fprintln(&log, lines.Text()); strings.HasSuffix(lines.Text(), "slapd starting") {
				close(serving)
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("slapd: %v\n%s", err, &log)
		}
	})
	select {
	case <-serving:
	case <-read:
		t.Fatal("slapd does not start")
	}
	for _, address := range []string{secure, plain} {
		awaitListener(t, address)
	}
	return "ldaps://" + secure, "ldap://" + plain
}

// awaitListener: slapd says that it starts just before it listens.
func awaitListener(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A real directory, over both ways to TLS.
func TestSlapd(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	addRoles(t, p)
	cert := ldaptest.NewCertificate(t, "127.0.0.1")
	ldaps, ldap := startSlapd(t, cert)
	p.ldap = ldaptest.NewCertificate(t, "127.0.0.1").Trust()
	config := map[string]string{"servers": ldaps, "user": reader, "pass": "hunter2"}
	if code := p.code(t, "pool.enable_external_auth", theRoot, thePool, config, "example.com", "LDAP"); code != xenapi.CodePoolAuthEnableFailedUnavailable {
		t.Errorf("with a certificate that nobody trusts: %q", code)
	}
	p.ldap = cert.Trust()
	config["pass"] = "wrong"
	if code := p.code(t, "pool.enable_external_auth", theRoot, thePool, config, "example.com", "LDAP"); code != xenapi.CodePoolAuthEnableFailedWrongCredentials {
		t.Errorf("with the wrong password: %q", code)
	}
	config["pass"], config["base"] = "hunter2", "dc=example,dc=org"
	if code := p.code(t, "pool.enable_external_auth", theRoot, thePool, config, "example.com", "LDAP"); code != xenapi.CodePoolAuthEnableFailed {
		t.Errorf("with a base that is none: %q", code)
	}
	delete(config, "base")
	var subject string
	for _, server := range []string{ldaps, ldap} {
		config["servers"] = server
		p.call(t, theRoot, "pool.enable_external_auth", thePool, config, "example.com", "LDAP")
		for _, who := range [][2]string{{"ann", "wrong"}, {"ann", ""}, {"*", "a"}, {"ann)(uid=*", "a"}, {"nobody", "a"}, {"staff", "a"}} {
			if code := p.code(t, "session.login_with_password", who[0], who[1]); code != xenapi.CodeSessionAuthenticationFailed {
				t.Errorf("%s: %q with %q: %q", server, who[0], who[1], code)
			}
		}
		ann := p.call(t, theRoot, "auth.get_subject_identifier", "ann").Text
		names := []string{}
		for _, group := range texts(p.call(t, theRoot, "auth.get_group_membership", ann)) {
			names = append(names, members(p.call(t, theRoot, "auth.get_subject_information_from_identifier", group))["subject-name"])
		}
		slices.Sort(names)
		if want := []string{"ops@example.com", "staff@example.com", "users@example.com", "wheel@example.com"}; !slices.Equal(names, want) {
			t.Errorf("%s: groups %q, want %q", server, names, want)
		}
		if subject == "" {
			ops := p.call(t, theRoot, "auth.get_subject_identifier", "ops").Text
			subject = p.call(t, theRoot, "subject.create", map[string]any{"subject_identifier": ops, "other_config": map[string]string{}}).Text
			p.call(t, theRoot, "subject.add_to_roles", subject, xenapi.RoleRef(xenapi.RolePoolOperator))
		}
		session := p.call(t, "ann@example.com", "session.login_with_password", "a").Text
		if got := p.call(t, theRoot, "session.get_subject", session).Text; got != subject {
			t.Errorf("%s: she came in as %s", server, got)
		}
		p.call(t, theRoot, "pool.disable_external_auth", thePool, map[string]string{})
	}
}
