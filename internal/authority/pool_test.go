package authority_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/authority"
)

// Hosts of the tests.
const (
	hostA = "aaaaaaaa-0000-4000-8000-000000000001"
	hostB = "bbbbbbbb-0000-4000-8000-000000000002"
	hostC = "cccccccc-0000-4000-8000-000000000003"
)

// patience bounds every connection of the tests.
const patience = 20 * time.Second

func newAuthority(t testing.TB, now time.Time) *authority.Authority {
	t.Helper()
	a, err := authority.New("a pool", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newHost is a key and the certificate that a issued for it at the given time.
func newHost(t testing.TB, a *authority.Authority, host string, now time.Time) (key, cert []byte) {
	t.Helper()
	key, csr, err := authority.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = a.Issue(csr, host, now); err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// newMember is a host of the pool of a, with a certificate of the given time.
func newMember(t testing.TB, a *authority.Authority, host string, now time.Time) *authority.Keyholder {
	t.Helper()
	key, cert := newHost(t, a, host, now)
	k := new(authority.Keyholder)
	if err := k.Set(key, cert, a.Trust()); err != nil {
		t.Fatal(err)
	}
	return k
}

// keyOf is the authority's own key, with which tests sign what the authority would not.
func keyOf(t testing.TB, a *authority.Authority) (*x509.Certificate, any) {
	t.Helper()
	text, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode(rest)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// certificate signs what template says with the key of by, nil for itself.
func certificate(t testing.TB, template *x509.Certificate, by *authority.Authority) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := template, any(key)
	if by != nil {
		parent, signer = keyOf(t, by)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func uri(t testing.TB, text string) []*url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return []*url.URL{u}
}

// pairOf is a certificate for a tls.Config that the test makes itself.
func pairOf(t testing.TB, key, cert []byte) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// ordinary is the TLS of a host for its clients, and the name in its certificate.
func ordinary(t testing.TB) *tls.Config {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "ordinary"}, DNSNames: []string{"xen1.example.org"}}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate(t, template, nil)},
		MinVersion:   tls.VersionTLS12, NextProtos: []string{"http/1.1", "http/1.0"},
	}
}

// meeting is what became of one connection, as both ends see it.
type meeting struct {
	server, client       tls.ConnectionState
	serverErr, clientErr error
}

// refused demands that the connection failed, for the given reason at one of the ends.
func (m meeting) refused(t testing.TB, why string) {
	t.Helper()
	if m.clientErr == nil {
		t.Fatal("the client was let in")
	}
	var text string
	for _, err := range []error{m.serverErr, m.clientErr} {
		if err != nil {
			text += err.Error() + "\n"
		}
	}
	if !strings.Contains(text, why) {
		t.Fatalf("refused because of\n%swant %q", text, why)
	}
}

// meet makes one connection over the loopback interface.
func meet(t testing.TB, server, client *tls.Config) meeting {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return meetOver(t, tls.Server(accepted, server), tls.Client(dialed, client))
}

// meetOver ends when the client has a byte that the server sends after its handshake: only then does the
// client know that its own certificate was taken.
func meetOver(t testing.TB, server, client *tls.Conn) (m meeting) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer server.Close()
		if m.serverErr = server.HandshakeContext(ctx); m.serverErr == nil {
			m.server = server.ConnectionState()
			server.Write([]byte("."))
			io.Copy(io.Discard, server)
		}
	}()
	if m.clientErr = client.HandshakeContext(ctx); m.clientErr == nil {
		client.SetReadDeadline(time.Now().Add(patience))
		_, m.clientErr = client.Read(make([]byte, 1))
		m.client = client.ConnectionState()
	}
	client.Close()
	<-served
	return m
}
