package httpd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"poolpatch/internal/durable"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// certificateLife is how long a self-signed certificate is valid.
const certificateLife = 10 * 365 * 24 * time.Hour

// TLS reads a certificate and its key from PEM files.
func TLS(certFile, keyFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		// A client of HTTP/1.0 may offer that alone, and would be refused without it.
		NextProtos: []string{"http/1.1", "http/1.0"},
	}, nil
}

// SelfSigned is TLS with a certificate for the given names that is made when the files are missing. The
// key is written first: a certificate without its key would be refused, a key without its certificate
// is replaced.
func SelfSigned(certFile, keyFile string, names []string) (*tls.Config, error) {
	if _, err := os.Stat(certFile); err == nil {
		return TLS(certFile, keyFile)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	cert, key, err := makeCertificate(names)
	if err != nil {
		return nil, fmt.Errorf("make a TLS certificate: %w", err)
	}
	if err := durable.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(certFile, cert, 0o644); err != nil {
		return nil, err
	}
	return TLS(certFile, keyFile)
}

func makeCertificate(names []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// ReplaceCertificate puts another certificate into the files that SelfSigned reads, for the next start. All is checked first.
// Errors: SERVER_CERTIFICATE_… .
func ReplaceCertificate(certFile, keyFile string, cert, key, chain []byte, now time.Time) error {
	if err := checkCertificate(cert, key, chain, now); err != nil {
		return err
	}
	if err := DropCertificate(certFile, keyFile); err != nil {
		return err
	}
	// A crash from here on leaves no certificate, or a key without one: the next start makes a self-signed one.
	if err := durable.WriteFile(keyFile, key, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(certFile, slices.Concat(cert, []byte("\n"), chain), 0o644)
}

// DropCertificate removes the files that SelfSigned reads, the certificate first: the next start makes others.
func DropCertificate(certFile, keyFile string) error {
	if err := durable.Remove(certFile); err != nil {
		return err
	}
	return durable.Remove(keyFile)
}

func checkCertificate(cert, key, chain []byte, now time.Time) error {
	leaf, err := onlyCertificate(cert)
	if err != nil {
		return xenapi.ErrServerCertificateInvalid().Because(err)
	}
	if block, _ := pem.Decode(key); block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return xenapi.ErrServerCertificateKeyInvalid()
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return xenapi.ErrServerCertificateKeyMismatch().Because(err)
	}
	at := func(t time.Time) string { return rpc.FormatTime(t.UTC()) }
	switch {
	case now.Before(leaf.NotBefore):
		return xenapi.ErrServerCertificateNotValidYet(at(now), at(leaf.NotBefore))
	case now.After(leaf.NotAfter):
		return xenapi.ErrServerCertificateExpired(at(now), at(leaf.NotAfter))
	}
	for rest := chain; len(bytes.TrimSpace(rest)) > 0; {
		if _, rest, err = nextCertificate(rest); err != nil {
			return xenapi.ErrServerCertificateChainInvalid().Because(err)
		}
	}
	return nil
}

func onlyCertificate(text []byte) (*x509.Certificate, error) {
	cert, rest, err := nextCertificate(text)
	if err == nil && len(bytes.TrimSpace(rest)) > 0 {
		err = errors.New("there is more behind the certificate")
	}
	return cert, err
}

func nextCertificate(text []byte) (*x509.Certificate, []byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, errors.New("no certificate in PEM form")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return cert, rest, err
}
