package httpd

import (
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
	"time"

	"poolpatch/internal/durable"
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
