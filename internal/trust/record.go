package trust

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"

	"poolpatch/xenapi"
)

// Record describes a certificate, without a name, a host and the certificate itself.
func Record(kind xenapi.CertificateType, cert *x509.Certificate) xenapi.Certificate {
	one, two := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	rec := xenapi.New[xenapi.Certificate]()
	rec.UUID, rec.Type = xenapi.NewUUID(), kind
	rec.NotBefore, rec.NotAfter = cert.NotBefore.UTC(), cert.NotAfter.UTC()
	rec.FingerprintSHA1, rec.FingerprintSHA256 = colons(one[:]), colons(two[:])
	rec.Fingerprint = rec.FingerprintSHA256
	return rec
}

// colons writes a fingerprint as openssl does.
func colons(sum []byte) string { return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":") }
