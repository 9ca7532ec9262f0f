// Package trusttest makes authorities, certificates of theirs and revocation lists for tests, with every fault that a test may
// ask for. It is for tests alone, and its keys are thrown away. Start with [New].
package trusttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync/atomic"
	"testing"
	"time"
)

// Edit changes a certificate before it is signed.
type Edit = func(*x509.Certificate)

// Authority signs.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serials atomic.Int64

// New makes an authority that has signed itself.
func New(t testing.TB, name string, edits ...Edit) *Authority {
	t.Helper()
	key := newKey(t)
	template := authority(name, edits)
	return &Authority{sign(t, template, template, key, key), key}
}

// Below makes an authority that this one vouches for.
func (a *Authority) Below(t testing.TB, name string, edits ...Edit) *Authority {
	t.Helper()
	key := newKey(t)
	return &Authority{sign(t, authority(name, edits), a.Cert, key, a.key), key}
}

// Issue makes a certificate for a client, and its key.
func (a *Authority) Issue(t testing.TB, name string, edits ...Edit) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := sign(t, leaf(name, edits), a.Cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// SelfSigned makes a certificate that vouches for itself alone.
func SelfSigned(t testing.TB, name string, edits ...Edit) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := leaf(name, edits)
	cert := sign(t, template, template, key, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// With is a certificate that is shown along with those that lead to its authority.
func With(cert tls.Certificate, along ...*Authority) tls.Certificate {
	for _, a := range along {
		cert.Certificate = append(cert.Certificate, a.Cert.Raw)
	}
	return cert
}

// Shown are the certificates as they arrive.
func Shown(t testing.TB, cert tls.Certificate) (shown []*x509.Certificate) {
	t.Helper()
	for _, der := range cert.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, parsed)
	}
	return shown
}

// Revoke makes a revocation list, in PEM.
func (a *Authority) Revoke(t testing.TB, certs ...*x509.Certificate) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(serials.Add(1)), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, cert := range certs {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// PEM is the authority's certificate.
func (a *Authority) PEM() string { return PEM(a.Cert) }

// PEM is a certificate.
func PEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func authority(name string, edits []Edit) *x509.Certificate {
	return edited(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}, edits)
}

func leaf(name string, edits []Edit) *x509.Certificate {
	return edited(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}, edits)
}

func edited(template *x509.Certificate, edits []Edit) *x509.Certificate {
	template.SerialNumber = big.NewInt(serials.Add(1))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	for _, edit := range edits {
		edit(template)
	}
	return template
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
