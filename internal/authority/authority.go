package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"
)

const (
	// authorityLife is how long an authority is valid.
	authorityLife = 10 * 365 * 24 * time.Hour
	// hostLife is how long a host's certificate is valid, if its authority is.
	hostLife = 365 * 24 * time.Hour
	// clockSkew is how far the clock of another host may be behind.
	clockSkew = time.Hour
)

// Authority signs the certificates of a pool's hosts and nothing else. Who holds it can let any host into
// the pool.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority that is valid for ten years. The name is for people, in the certificate's subject;
// two authorities may have the same.
func New(name string, now time.Time) (*Authority, error) {
	if name == "" {
		return nil, errors.New("make authority: it has no name")
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// Parse reads what [Authority.Marshal] wrote. It takes an authority whose time is over; Issue does not.
func Parse(text []byte) (*Authority, error) {
	blocks, err := decodePEM(text, certificateBlock, keyBlock)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	cert, err := parseAuthorityCertificate(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	key, err := parseKey(blocks[1])
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("parse authority: the key is not that of the certificate")
	}
	return &Authority{cert: cert, key: key}, nil
}

// Marshal is the certificate and the private key in PEM: a secret.
func (a *Authority) Marshal() ([]byte, error) {
	key, err := encodeKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("marshal authority: %w", err)
	}
	return append(encodePEM(certificateBlock, a.cert.Raw), key...), nil
}

// Trust is the trust in this authority alone.
func (a *Authority) Trust() Trust { return Trust{certs: []*x509.Certificate{a.cert}} }

// NotAfter is when the authority's time is over.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Fingerprint names the authority.
func (a *Authority) Fingerprint() Fingerprint { return fingerprintOf(a.cert) }

// NeedsRenewal says that a third of the authority's life, or less, is left: time to replace it.
func (a *Authority) NeedsRenewal(now time.Time) bool { return needsRenewal(a.cert, now) }

// Issue signs a host's request, which [NewHost] makes, and gives the certificate in PEM. The request has
// only the key to say: whatever names it asks for are ignored, the certificate has those of host, a UUID.
// It is valid for a year from now, and for an hour before, but no longer than the authority.
func (a *Authority) Issue(csr []byte, host string, now time.Time) ([]byte, error) {
	if !uuid.MatchString(host) {
		return nil, fmt.Errorf("issue certificate: host %q is not a UUID", host)
	}
	if now.Before(a.cert.NotBefore) || now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("issue certificate of host %s: the authority is valid from %s to %s, and it is %s", host,
			a.cert.NotBefore.Format(time.RFC3339), a.cert.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	public, err := parseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of host %s: %w", host, err)
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: host},
		NotBefore: latest(now.Add(-clockSkew), a.cert.NotBefore), NotAfter: earliest(now.Add(hostLife), a.cert.NotAfter),
		DNSNames: []string{ServerName}, URIs: []*url.URL{{Scheme: hostScheme, Opaque: hostKind + host}},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of host %s: %w", host, err)
	}
	return encodePEM(certificateBlock, der), nil
}

// parseRequest gives the key that a request is for, if who asks holds it.
func parseRequest(csr []byte) (*ecdsa.PublicKey, error) {
	blocks, err := decodePEM(csr, requestBlock)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(blocks[0])
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	public, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: the key is not ECDSA P-256")
	}
	return public, nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
