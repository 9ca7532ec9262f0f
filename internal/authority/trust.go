package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
)

// Fingerprint names an authority: the SHA-256 of its certificate.
type Fingerprint [sha256.Size]byte

// String is in hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

func fingerprintOf(cert *x509.Certificate) Fingerprint { return sha256.Sum256(cert.Raw) }

// Trust is the authorities whose certificates count: one, or two while one is replaced by another. It is a
// value that does not change. The zero Trust trusts nobody.
type Trust struct {
	certs []*x509.Certificate
}

// ParseTrust reads certificates of authorities in PEM, one or more.
func ParseTrust(text []byte) (Trust, error) {
	blocks, err := pemBlocks(text)
	if err != nil {
		return Trust{}, fmt.Errorf("parse trust: %w", err)
	}
	var t Trust
	for _, block := range blocks {
		if block.Type != certificateBlock {
			return Trust{}, fmt.Errorf("parse trust: PEM: %q instead of %q", block.Type, certificateBlock)
		}
		cert, err := parseAuthorityCertificate(block.Bytes)
		if err != nil {
			return Trust{}, fmt.Errorf("parse trust: %w", err)
		}
		t = t.Add(Trust{certs: []*x509.Certificate{cert}})
	}
	return t, nil
}

// Add is t and the authorities of other.
func (t Trust) Add(other Trust) Trust {
	sum := Trust{certs: slices.Clone(t.certs)}
	for _, cert := range other.certs {
		if !slices.ContainsFunc(sum.certs, cert.Equal) {
			sum.certs = append(sum.certs, cert)
		}
	}
	return sum
}

// Without is t but for one authority.
func (t Trust) Without(f Fingerprint) Trust {
	is := func(cert *x509.Certificate) bool { return fingerprintOf(cert) == f }
	return Trust{certs: slices.DeleteFunc(slices.Clone(t.certs), is)}
}

// Fingerprints names the authorities, in the order in which they were added.
func (t Trust) Fingerprints() []Fingerprint {
	var all []Fingerprint
	for _, cert := range t.certs {
		all = append(all, fingerprintOf(cert))
	}
	return all
}

// Marshal is the certificates in PEM. It holds no secret.
func (t Trust) Marshal() []byte {
	var text []byte
	for _, cert := range t.certs {
		text = append(text, encodePEM(certificateBlock, cert.Raw)...)
	}
	return text
}

func (t Trust) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range t.certs {
		pool.AddCert(cert)
	}
	return pool
}
