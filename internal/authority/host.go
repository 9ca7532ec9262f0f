package authority

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A host's certificate says who it is in a URI: poolpatch:host:UUID. Its DNS name is ServerName for all.
const (
	hostScheme = "poolpatch"
	hostKind   = "host:"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// NewHost makes a host's private key, which stays on the host, and the request for its certificate, which
// goes to [Authority.Issue]. Both are PEM.
func NewHost() (key, csr []byte, err error) {
	private, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make host key: %w", err)
	}
	if key, err = encodeKey(private); err != nil {
		return nil, nil, fmt.Errorf("make host key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	return key, encodePEM(requestBlock, der), nil
}

// verify gives the host's UUID and the authority's certificate, if cert is a host's that one of roots
// issued, and both are valid at the given time.
func verify(cert *x509.Certificate, roots *x509.CertPool, at time.Time) (host string, by *x509.Certificate, err error) {
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, DNSName: ServerName, CurrentTime: at,
		// Every certificate that an authority issues has both.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", nil, fmt.Errorf("verify host certificate: %w", err)
	}
	if host, err = hostOf(cert); err != nil {
		return "", nil, fmt.Errorf("verify host certificate: %w", err)
	}
	return host, chains[0][len(chains[0])-1], nil
}

func hostOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) == 1 && cert.URIs[0].Scheme == hostScheme {
		if host, ok := strings.CutPrefix(cert.URIs[0].Opaque, hostKind); ok && uuid.MatchString(host) {
			return host, nil
		}
	}
	return "", fmt.Errorf("%q says of no host that it is it", cert.Subject.CommonName)
}

func needsRenewal(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return !now.Before(cert.NotAfter.Add(-life / 3))
}
