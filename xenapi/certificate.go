package xenapi

import "time"

// CertificateType says what a certificate is for.
type CertificateType string

const (
	// CertificateTypeCA is one that the pool trusts.
	CertificateTypeCA CertificateType = "ca"
	// CertificateTypeHost is what a host shows its clients.
	CertificateTypeHost CertificateType = "host"
	// CertificateTypeHostInternal is what a host shows the other hosts of its pool.
	CertificateTypeHostInternal CertificateType = "host_internal"
)

// Values lists the enum in its declared order.
func (CertificateType) Values() []string { return []string{"ca", "host", "host_internal"} }

// Certificate is a certificate that the pool trusts, or one that a host shows. A record never changes: another certificate is
// another record.
type Certificate struct {
	UUID string `json:"uuid" xenapi:"runtime,since=stockholm"`
	// Name is that of a CA certificate; those of hosts have none.
	Name string          `json:"name" xenapi:"constructor,since=1.294.0"`
	Type CertificateType `json:"type" xenapi:"constructor,since=1.294.0" default:"host"`
	// Host is null for a CA certificate.
	Host      Ref[Host] `json:"host" xenapi:"constructor,since=stockholm"`
	NotBefore time.Time `json:"not_before" xenapi:"constructor,since=stockholm"`
	NotAfter  time.Time `json:"not_after" xenapi:"constructor,since=stockholm"`
	// Fingerprint is FingerprintSHA256 under its old name.
	Fingerprint       string `json:"fingerprint" xenapi:"constructor,since=stockholm,deprecated"`
	FingerprintSHA256 string `json:"fingerprint_sha256" xenapi:"constructor,since=24.20.0"`
	FingerprintSHA1   string `json:"fingerprint_sha1" xenapi:"constructor,since=24.20.0"`

	// PEM is a CA certificate itself.
	PEM string `json:"pem" xenapi:"internal"`
}

// Class names the XenAPI class.
func (Certificate) Class() string { return "Certificate" }
