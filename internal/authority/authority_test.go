package authority_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/authority"
)

func derOf(t testing.TB, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

func marshal(t testing.TB, a *authority.Authority) []byte {
	t.Helper()
	text, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// selfSignedOf is a certificate of a key that no authority has seen.
func selfSignedOf(t testing.TB, key []byte) []byte {
	t.Helper()
	parsed, err := x509.ParsePKCS8PrivateKey(derOf(t, key))
	if err != nil {
		t.Fatal(err)
	}
	private := parsed.(*ecdsa.PrivateKey)
	template := &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestAuthorityCertificate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	cert, _ := keyOf(t, newAuthority(t, now))
	if !cert.IsCA || cert.MaxPathLen != 0 || !cert.MaxPathLenZero || cert.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("CA %v, path length %d, usage %b", cert.IsCA, cert.MaxPathLen, cert.KeyUsage)
	}
	if years := cert.NotAfter.Sub(now).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("valid for %.1f years", years)
	}
	if cert.Subject.CommonName != "a pool" || !cert.NotBefore.Before(now) {
		t.Errorf("%q from %s", cert.Subject.CommonName, cert.NotBefore)
	}
	if _, err := authority.New("", now); err == nil {
		t.Error("an authority without a name")
	}
}

func TestParseRoundTrip(t *testing.T) {
	t.Parallel()
	made := newAuthority(t, time.Now())
	text := marshal(t, made)
	read, err := authority.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, read), text) || read.Fingerprint() != made.Fingerprint() {
		t.Error("what was read is not what was written")
	}
	newMember(t, read, hostA, time.Now())
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	text, other := marshal(t, newAuthority(t, time.Now())), marshal(t, newAuthority(t, time.Now()))
	split := bytes.Index(text, []byte("-----BEGIN PRIVATE KEY"))
	otherSplit := bytes.Index(other, []byte("-----BEGIN PRIVATE KEY"))
	cert, key := text[:split], text[split:]
	hostKey, hostCert := newHost(t, newAuthority(t, time.Now()), hostA, time.Now())
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384DER, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		text []byte
		why  string
	}{
		{"nothing", nil, "missing or damaged"},
		{"no PEM", []byte("hello"), "missing or damaged"},
		{"no key", cert, "1 blocks instead of 2"},
		{"no certificate", key, "1 blocks instead of 2"},
		{"the key of another", slices.Concat(cert, other[otherSplit:]), "not that of the certificate"},
		{"the other order", slices.Concat(key, cert), `block 1 is "PRIVATE KEY"`},
		{"a second certificate", slices.Concat(cert, other[:otherSplit], key), "3 blocks instead of 2"},
		{"a host", slices.Concat(hostCert, hostKey), "not that of an authority"},
		{"another kind of key", slices.Concat(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: edDER})), "not ECDSA P-256"},
		{"a key on another curve", slices.Concat(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p384DER})), "not ECDSA P-256"},
		{"a key that is none", slices.Concat(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "parse authority"},
		{"cut off", text[:len(text)-10], "missing or damaged"},
		{"a damaged block before it", slices.Concat(cert[:len(cert)-30], text), "missing or damaged"},
		{"something after it", slices.Concat(text, []byte("hello")), "missing or damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := authority.Parse(test.text); err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
}

// Whatever byte is changed, what is read is what was written, or nothing.
func TestParseTampered(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, time.Now())
	text, trust := marshal(t, a), a.Trust().Marshal()
	refused := 0
	for i := range text {
		tampered := bytes.Clone(text)
		tampered[i] ^= 1
		read, err := authority.Parse(tampered)
		if err != nil {
			refused++
		} else if !bytes.Equal(marshal(t, read), text) {
			t.Fatalf("byte %d changed, and another authority was read", i)
		}
	}
	// The public key that stands beside the private one is not read, for that one has it.
	if refused < len(text)*4/5 {
		t.Errorf("%d of %d were refused", refused, len(text))
	}
	for i := range trust {
		tampered := bytes.Clone(trust)
		tampered[i] ^= 1
		if read, err := authority.ParseTrust(tampered); err == nil && !bytes.Equal(read.Marshal(), trust) {
			t.Fatalf("byte %d changed, and another trust was read", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(marshal(f, newAuthority(f, time.Now())))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN "))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := authority.Parse(text)
		if err != nil {
			return
		}
		again, err := authority.Parse(marshal(t, a))
		if err != nil || again.Fingerprint() != a.Fingerprint() {
			t.Errorf("written and read again: %v", err)
		}
	})
}

// The request asks for more than it gets.
func TestIssue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := newAuthority(t, now)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Issue(request(t, private, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: hostB, Organization: []string{"root"}},
		DNSNames: []string{"example.org"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, URIs: uri(t, "poolpatch:host:"+hostB),
		EmailAddresses: []string{"root@example.org"},
	}), hostA, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(derOf(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.String() != "CN="+hostA || len(cert.IPAddresses) > 0 || len(cert.EmailAddresses) > 0 ||
		!slices.Equal(cert.DNSNames, []string{authority.ServerName}) || len(cert.URIs) != 1 || cert.URIs[0].String() != "poolpatch:host:"+hostA {
		t.Errorf("names %s, %v, %v, %v, %v", cert.Subject, cert.DNSNames, cert.URIs, cert.IPAddresses, cert.EmailAddresses)
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature ||
		!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("CA %v, usage %b, %v", cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
	}
	if days := cert.NotAfter.Sub(now).Hours() / 24; days < 364 || days > 366 {
		t.Errorf("valid for %.0f days", days)
	}
	if before := now.Sub(cert.NotBefore).Minutes(); before < 59 || before > 61 {
		t.Errorf("valid for %.0f minutes already", before)
	}
	if !private.PublicKey.Equal(cert.PublicKey) || cert.SerialNumber.BitLen() < 64 || cert.SerialNumber.BitLen() > 128 {
		t.Errorf("serial %x", cert.SerialNumber)
	}
}

func request(t testing.TB, key any, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := newAuthority(t, now)
	_, good, err := authority.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	// The public key of another in a request that is otherwise right.
	_, other, err := authority.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(derOf(t, good), publicOf(t, good), publicOf(t, other), 1)
	signature := bytes.Clone(derOf(t, good))
	signature[len(signature)-1] ^= 1
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	tests := []struct {
		name string
		csr  []byte
		host string
		now  time.Time
		why  string
	}{
		{"a bad signature", asPEM(signature), hostA, now, "certificate request"},
		{"the key of another", asPEM(forged), hostA, now, "certificate request"},
		{"nothing", nil, hostA, now, "missing or damaged"},
		{"no request", a.Trust().Marshal(), hostA, now, `"CERTIFICATE" instead of`},
		{"another kind of key", request(t, edKey, &x509.CertificateRequest{}), hostA, now, "not ECDSA P-256"},
		{"a weak key", request(t, weak, &x509.CertificateRequest{}), hostA, now, "not ECDSA P-256"},
		{"no host", good, "", now, "not a UUID"},
		{"a host that is no UUID", good, "root", now, "not a UUID"},
		{"a host in capitals", good, strings.ToUpper(hostA), now, "not a UUID"},
		{"more than a host", good, hostA + "\n", now, "not a UUID"},
		{"an authority that is over", good, hostA, now.AddDate(11, 0, 0), "the authority is valid from"},
		{"a clock that is far behind", good, hostA, now.AddDate(-1, 0, 0), "the authority is valid from"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := a.Issue(test.csr, test.host, test.now); err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
	if _, err := a.Issue(good, hostA, now); err != nil {
		t.Errorf("the request that is right: %v", err)
	}
}

// publicOf is the point of a request's key, as it stands in the request.
func publicOf(t testing.TB, csr []byte) []byte {
	t.Helper()
	parsed, err := x509.ParseCertificateRequest(derOf(t, csr))
	if err != nil {
		t.Fatal(err)
	}
	point, err := parsed.PublicKey.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return point
}

// A certificate that outlives its authority would fail before anybody thinks of renewing it.
func TestIssueNoLongerThanTheAuthority(t *testing.T) {
	t.Parallel()
	made := time.Now()
	a := newAuthority(t, made)
	ca, _ := keyOf(t, a)
	for _, when := range []time.Time{made.Add(-time.Minute), made.AddDate(9, 6, 0)} {
		_, text := newHost(t, a, hostA, when)
		cert, err := x509.ParseCertificate(derOf(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if cert.NotBefore.Before(ca.NotBefore) || cert.NotAfter.After(ca.NotAfter) {
			t.Errorf("issued at %s: from %s to %s", when, cert.NotBefore, cert.NotAfter)
		}
	}
}

func TestNeedsRenewal(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := newAuthority(t, now)
	id, _ := newMember(t, a, hostA, now).Current()
	day := 24 * time.Hour
	tests := []struct {
		after           time.Duration
		host, authority bool
	}{
		{0, false, false},
		{243 * day, false, false},
		{244 * day, true, false},
		{400 * day, true, false},
		{2433 * day, true, false},
		{2434 * day, true, true},
		{4000 * day, true, true},
	}
	for _, test := range tests {
		at := now.Add(test.after)
		if got := id.NeedsRenewal(at); got != test.host {
			t.Errorf("host after %v: %v", test.after, got)
		}
		if got := a.NeedsRenewal(at); got != test.authority {
			t.Errorf("authority after %v: %v", test.after, got)
		}
	}
	if !(authority.Identity{}).NeedsRenewal(now) {
		t.Error("the zero identity needs none")
	}
}
