package directory_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/directory"
	"poolpatch/internal/directory/ldaptest"
)

// The server fails the test that sends it a password which anybody could read, or a name without one.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, unix()...)
	d := at(t, directory.LDAP, s.URL(), nil)
	for _, who := range [][2]string{
		{"ann", "wrong"}, {"ann", ""}, {"ann", "b"}, {"nobody", "a"}, {"", "a"}, {"", ""},
		{"*", "a"}, {"an*", "a"}, {"ann)(uid=*", "a"}, {"*)(objectClass=*", "a"}, {`\61nn`, "a"}, {"ann\x00", "a"}, {`ann\`, "a"},
		{"ann)(|(uid=*))(", "a"}, {`other\ann`, "a"}, {"ann@other.com", "a"}, {"eve", "e"}, {"eve@example.com", "e"},
		{"staff", "a"}, {strings.Repeat("a", 600), "a"}, {"ann", strings.Repeat("a", 2000)}, {"uid=ann,ou=people," + base, "a"},
	} {
		a, err := d.Authenticate(t.Context(), who[0], who[1])
		if !errors.Is(err, directory.ErrRefused) || a.Identifier != "" {
			t.Errorf("%.40q with %.10q: %v, %v", who[0], who[1], a, err)
		}
	}
	for _, dn := range s.Binds() {
		if dn != reader && dn != "uid=ann,ou=people,"+base {
			t.Errorf("a bind as %q", dn)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, unix()...)
	d := at(t, directory.LDAP, s.URL(), nil)
	want := directory.Account{Identifier: annID, Name: "ann@example.com", DisplayName: "Ann Other", Groups: []string{groupID("staff"), groupID("ops"), groupID("ring"), groupID("wheel"), groupID("users")}}
	for _, name := range []string{"ann", "ANN", "ann@example.com", "ann@EXAMPLE.COM", `example\ann`, `EXAMPLE\ann`, `example.com\ann`} {
		got, err := d.Authenticate(t.Context(), name, "a")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	eve, err := d.Authenticate(t.Context(), "eve@else.where", "e")
	if err != nil || eve.Identifier != "uid=eve@else.where,ou=people,"+base || eve.Name != "eve@else.where" || len(eve.Groups) > 0 {
		t.Errorf("without an entryUUID: %+v, %v", eve, err)
	}
}

func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, windows(nil)...)
	d := at(t, directory.AD, s.URL(), nil)
	const of = "S-1-5-21-1-2-3-"
	want := directory.Account{
		Identifier: of + "1001", Name: "ann@example.com", DisplayName: "Ann Other", Principal: "ann.other@example.com",
		Groups: []string{of + "2001", of + "2002", of + "2003", of + "513"},
	}
	for _, name := range []string{"ann", `EXAMPLE\ann`, "ann@example.com", "ann.other@example.com"} {
		got, err := d.Authenticate(t.Context(), name, "a")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	got, err := d.Lookup(t.Context(), want.Identifier)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("by SID: %v (-want +got):\n%s", err, diff)
	}
	if got, err := d.Find(t.Context(), "staff"); err != nil || !got.IsGroup || got.Identifier != of+"2001" || !slices.Equal(got.Groups, []string{of + "2002"}) {
		t.Errorf("a group: %+v, %v", got, err)
	}
	for _, name := range []string{"mail", "reader"} { // no security group, no person
		if got, err := d.Find(t.Context(), name); !errors.Is(err, directory.ErrNobody) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// An account that must not come in says why, whatever its password.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		control attributes
		want    string
	}{
		{attributes{"userAccountControl": {"514"}}, "The account is disabled"},
		{attributes{"accountExpires": {"116444736000000000"}}, "The account has expired"}, // in 1970
		{attributes{"accountExpires": {"0"}}, ""},
		{attributes{"accountExpires": {"9223372036854775807"}}, ""},
		{attributes{"msDS-User-Account-Control-Computed": {"16"}}, "The account is locked"},
		{attributes{"msDS-User-Account-Control-Computed": {"8388608"}}, "The account's password has expired"},
	} {
		s := ldaptest.New(t, "ldapi", nil, windows(tt.control)...)
		got, err := at(t, directory.AD, s.URL(), nil).Authenticate(t.Context(), "ann", "a")
		if err != nil || got.Suspended() != tt.want {
			t.Errorf("%v: %q, %v", tt.control, got.Suspended(), err)
		}
	}
	for _, tt := range []struct {
		control attributes
		want    string
	}{
		{attributes{"nsAccountLock": {"TRUE"}}, "The account is disabled"},
		{attributes{"shadowExpire": {"1"}}, "The account has expired"},
		{attributes{"shadowExpire": {"-1"}}, ""},
		{attributes{"shadowExpire": {"99999"}}, ""},
		{attributes{"pwdAccountLockedTime": {"000001010000Z"}}, "The account is locked"},
		{attributes{"pwdAccountLockedTime": {"20150213100000Z"}}, ""}, // the directory knows for how long
	} {
		s := ldaptest.New(t, "ldapi", nil, unix()...)
		tt.control["objectClass"], tt.control["uid"] = []string{"account"}, []string{"max"}
		s.Put(ldaptest.Entry{DN: "uid=max," + base, Password: "m", Attributes: tt.control})
		got, err := at(t, directory.LDAP, s.URL(), nil).Authenticate(t.Context(), "max", "m")
		if err != nil || got.Suspended() != tt.want {
			t.Errorf("%v: %q, %v", tt.control, got.Suspended(), err)
		}
	}
}

// What a bind says no with differs from server to server, and so does what only says that the server is in trouble.
func TestResultsOfABind(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, unix()...)
	d := at(t, directory.LDAP, s.URL(), nil)
	for code, want := range map[uint16]error{
		ldap.LDAPResultInvalidCredentials: directory.ErrRefused, ldap.LDAPResultUnwillingToPerform: directory.ErrRefused,
		ldap.LDAPResultConstraintViolation: directory.ErrRefused, ldap.LDAPResultInsufficientAccessRights: directory.ErrRefused,
		ldap.LDAPResultReferral: directory.ErrUnavailable, ldap.LDAPResultBusy: directory.ErrUnavailable, ldap.LDAPResultUnavailable: directory.ErrUnavailable,
	} {
		s.Answer("uid=ann,ou=people,"+base, code)
		if _, err := d.Authenticate(t.Context(), "ann", "a"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", ldap.LDAPResultCodeMap[code], err, want)
		}
	}
	s.Answer(reader, ldap.LDAPResultInvalidCredentials)
	if _, err := d.Authenticate(t.Context(), "ann", "a"); !errors.Is(err, directory.ErrUser) || errors.Is(err, directory.ErrRefused) {
		t.Errorf("where nobody may look her up: %v", err)
	}
	if err := d.Check(t.Context()); !errors.Is(err, directory.ErrUser) {
		t.Errorf("check: %v", err)
	}
}

// Both ways to TLS, with a certificate that has the server's name and with others.
func TestTLS(t *testing.T) {
	t.Parallel()
	right, wrong := ldaptest.NewCertificate(t, "127.0.0.1"), ldaptest.NewCertificate(t, "other.example.com")
	for _, scheme := range []string{"ldaps", "ldap"} {
		for _, tt := range []struct {
			name  string
			shows *tls.Config
			trust *tls.Config
			want  string
		}{
			{"its own", right.Server(t), right.Trust(), ""},
			{"of another name", wrong.Server(t), wrong.Trust(), "doesn't contain any IP SANs"},
			{"that nobody trusts", right.Server(t), wrong.Trust(), "unknown authority"},
		} {
			s := ldaptest.New(t, scheme, tt.shows, unix()...)
			d := at(t, directory.LDAP, s.URL(), tt.trust)
			err := d.Check(t.Context())
			_, aerr := d.Authenticate(t.Context(), "ann", "a")
			if tt.want == "" && (err != nil || aerr != nil) {
				t.Errorf("%s, %s: %v, %v", scheme, tt.name, err, aerr)
			}
			if tt.want != "" && (!errors.Is(err, directory.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), tt.want) || !errors.Is(aerr, directory.ErrUnavailable) || len(s.Binds()) > 0) {
				t.Errorf("%s, %s: %v, %v; binds %q", scheme, tt.name, err, aerr, s.Binds())
			}
		}
	}
	plain := ldaptest.New(t, "ldap", nil, unix()...)
	if _, err := at(t, directory.LDAP, plain.URL(), right.Trust()).Authenticate(t.Context(), "ann", "a"); !errors.Is(err, directory.ErrUnavailable) || len(plain.Binds()) > 0 {
		t.Errorf("a server that knows no TLS: %v, binds %q", err, plain.Binds())
	}
}

// A server that is away, or silent, or speaks of others, is not one that says no; the next one is asked.
func TestServers(t *testing.T) {
	t.Parallel()
	s, away, elsewhere := ldaptest.New(t, "ldapi", nil, unix()...), ldaptest.New(t, "ldapi", nil), ldaptest.New(t, "ldapi", nil, unix()...)
	away.Stop()
	elsewhere.Refer()
	for _, first := range []*ldaptest.Server{away, elsewhere} {
		d := at(t, directory.LDAP, first.URL(), nil)
		_, err := d.Authenticate(t.Context(), "ann", "a")
		_, lerr := d.Lookup(t.Context(), annID)
		if !errors.Is(err, directory.ErrUnavailable) || errors.Is(err, directory.ErrRefused) || !errors.Is(lerr, directory.ErrUnavailable) || errors.Is(lerr, directory.ErrNobody) {
			t.Errorf("alone: %v, %v", err, lerr)
		}
		d = at(t, directory.LDAP, first.URL()+", "+s.URL(), nil)
		if a, err := d.Authenticate(t.Context(), "ann", "a"); err != nil || a.Identifier != annID {
			t.Errorf("with another one: %+v, %v", a, err)
		}
		if _, err := d.Authenticate(t.Context(), "ann", "b"); !errors.Is(err, directory.ErrRefused) {
			t.Errorf("with another one and the wrong password: %v", err)
		}
	}
	if err := at(t, directory.LDAP, s.URL()+","+away.URL(), nil).Check(t.Context()); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("a check wants all of them: %v", err)
	}
}

// Who goes away waits for no server.
func TestSilence(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		conn, err := silent.Accept()
		if err == nil {
			leave()
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1))
		}
	}()
	_, err = at(t, directory.LDAP, "ldap://"+silent.Addr().String(), &tls.Config{}).Authenticate(ctx, "ann", "a")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A server that sends without end, or a packet that says it is huge, is not listened to.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	const most = 64 << 20
	for name, tt := range map[string]struct {
		flood []byte
		want  string
	}{
		"a huge packet":       {[]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, "greater than maximum"},
		"packets without end": {append([]byte{0x30, 0x82, 0xea, 0x70, 0x02, 0x01, 0x63, 0x61, 0x82, 0xea, 0x69, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x82, 0xea, 0x60}, make([]byte, 60000)...), "more than"},
	} {
		path := filepath.Join(t.TempDir(), "ldapi")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		sent := make(chan int, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			n := 0
			for chunk := bytes.Repeat(tt.flood, 1<<16/len(tt.flood)+1); err == nil && n < most; n += len(chunk) {
				_, err = conn.Write(chunk)
			}
			sent <- n
		}()
		_, err = at(t, directory.LDAP, "ldapi://"+url.PathEscape(path), nil).Authenticate(t.Context(), "ann", "a")
		if n := <-sent; !errors.Is(err, directory.ErrUnavailable) || n >= most || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: %v after %d bytes", name, err, n)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, append(unix(), ldaptest.Entry{DN: "cn=config", Attributes: attributes{"objectClass": {"olcGlobal"}}})...)
	d := at(t, directory.LDAP, s.URL(), nil)
	for _, identifier := range []string{annID, strings.ToUpper(annID), "uid=ann,ou=people," + base, "UID=Ann, OU=People, DC=Example, DC=Com"} {
		if got, err := d.Lookup(t.Context(), identifier); err != nil || got.Identifier != annID || len(got.Groups) != 5 {
			t.Errorf("%s: %+v, %v", identifier, got, err)
		}
	}
	for _, identifier := range []string{"", "ann", "*", "cn=config", "dc=com", "uid=nobody," + base, "0d3fbc2e-5c1a-103e-8f5d-ffffffffffff", "S-1-5-21-1-2-3-4", "uid=ann,ou=people"} {
		if got, err := d.Lookup(t.Context(), identifier); !errors.Is(err, directory.ErrNobody) {
			t.Errorf("%s: %+v, %v", identifier, got, err)
		}
	}
	if got, err := d.Find(t.Context(), "staff"); err != nil || got.Identifier != groupID("staff") || !got.IsGroup {
		t.Errorf("a group by name: %+v, %v", got, err)
	}
	s.Remove(base)
	for _, e := range unix() {
		s.Remove(e.DN)
	}
	s.Put(ldaptest.Entry{DN: reader, Password: "secret"})
	if _, err := at(t, directory.LDAP, s.URL(), nil, "base", "ou=gone,"+base).Lookup(t.Context(), "uid=ann,ou=gone,"+base); err == nil || errors.Is(err, directory.ErrNobody) {
		t.Errorf("below a base that is not to be read: %v", err)
	}
}

// Somebody in more groups than anybody may be is an error, not somebody in fewer groups.
func TestTooManyGroups(t *testing.T) {
	t.Parallel()
	entries := unix()
	for i := range 1001 {
		entries = append(entries, ldaptest.Entry{DN: fmt.Sprintf("cn=g%d,%s", i, base), Attributes: attributes{"objectClass": {"groupOfNames"}, "member": {"uid=bob,ou=people," + base}}})
	}
	s := ldaptest.New(t, "ldapi", nil, entries...)
	if got, err := at(t, directory.LDAP, s.URL(), nil).Lookup(t.Context(), "uid=bob,ou=people,"+base); err == nil || errors.Is(err, directory.ErrNobody) || errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("%d groups, %v", len(got.Groups), err)
	}
}

// Two who are called alike are a defect of the directory: neither comes in for the other.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, unix()...)
	s.Put(ldaptest.Entry{DN: "uid=ann,ou=guests," + base, Password: "a", Attributes: attributes{"uid": {"ann"}}})
	if got, err := at(t, directory.LDAP, s.URL(), nil).Authenticate(t.Context(), "ann", "a"); err == nil {
		t.Errorf("came in: %+v", got)
	}
	filter := at(t, directory.LDAP, s.URL(), nil, "user_filter", "(&(objectClass=posixAccount)(uid=%s))")
	if got, err := filter.Authenticate(t.Context(), "ann", "a"); err != nil || got.Identifier != annID {
		t.Errorf("with a filter that tells them apart: %+v, %v", got, err)
	}
}

// A directory may let nobody read, or let anybody.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	s := ldaptest.New(t, "ldapi", nil, unix()...)
	c, err := directory.Parse(directory.LDAP, domain, map[string]string{"servers": s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := directory.New(c, nil).Authenticate(t.Context(), "ann", "a"); err != nil || got.Identifier != annID {
		t.Errorf("without a user: %+v, %v", got, err)
	}
}
