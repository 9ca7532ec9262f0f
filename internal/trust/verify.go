package trust

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// maxShown bounds the certificates of a client that are looked at, in bytes: a session keeps its chain.
const maxShown = 32 << 10

// ErrNotAsked says that the pool lets no client in by a certificate.
var ErrNotAsked = errors.New("the pool lets no client in by a certificate")

// Client is a client whose certificate counts.
type Client struct {
	// Name is the pool's for such clients, which the certificate has.
	Name string
	// Chain is the client's certificate and those that lead to the authority, without that, in PEM.
	Chain string
	// Until is when the first of them, or the authority's, expires.
	Until time.Time
}

// Admit says who shows these certificates, the client's own first. An error says that they let nobody in: the pool does not want
// certificates, an installed authority does not vouch for this one, it is expired, revoked or not for clients, or it has another name.
func (s *Store) Admit(tx *db.Tx, shown []*x509.Certificate, now time.Time) (Client, error) {
	name, enabled := wanted(tx)
	if !enabled {
		return Client{}, ErrNotAsked
	}
	chain, err := s.library(tx).client(shown, now)
	if err != nil {
		return Client{}, err
	}
	if !named(chain, name) {
		return Client{}, fmt.Errorf("the certificate of %q is not that of %q", chain[0].Subject.CommonName, name)
	}
	client := Client{Name: name, Until: chain[0].NotAfter}
	for i, cert := range chain {
		if cert.NotAfter.Before(client.Until) {
			client.Until = cert.NotAfter
		}
		if i < len(chain)-1 {
			client.Chain += string(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: cert.Raw}))
		}
	}
	return client, nil
}

// Still reports whether the certificates that opened a session would open it now, under the same name.
func (s *Store) Still(tx *db.Tx, client Client, now time.Time) bool {
	var shown []*x509.Certificate
	for rest := []byte(client.Chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return false
		}
		shown = append(shown, cert)
	}
	again, err := s.Admit(tx, shown, now)
	return err == nil && again.Name == client.Name
}

// wanted is the name that the certificates of clients must have, if the pool lets clients in by them.
func wanted(tx *db.Tx) (name string, enabled bool) {
	for _, rec := range db.All[xenapi.Pool](tx) {
		return rec.ClientCertificateAuthName, rec.ClientCertificateAuthEnabled && rec.ClientCertificateAuthName != ""
	}
	return "", false
}

// client verifies all of a client's certificates but the name.
func (l *library) client(shown []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if len(shown) == 0 {
		return nil, errors.New("there is no certificate")
	}
	size, between := 0, x509.NewCertPool()
	for i, cert := range shown {
		if size += len(cert.Raw); i > 0 {
			between.AddCert(cert)
		}
	}
	switch {
	case size > maxShown:
		return nil, fmt.Errorf("%d bytes of certificates are too many", size)
	case shown[0].IsCA:
		return nil, errors.New("the certificate is an authority's, and no client's")
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{
		Roots: l.signers, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	return l.unrevoked(chains)
}

// named reports whether the certificate at the start of a chain has a name: as the common name of its subject, or among its DNS
// names. Where an authority of the chain may vouch for some DNS names only, a common name says nothing: nobody has checked it.
func named(chain []*x509.Certificate, name string) bool {
	for _, dns := range chain[0].DNSNames {
		if strings.EqualFold(dns, name) {
			return true
		}
	}
	for _, authority := range chain[1:] {
		if len(authority.PermittedDNSDomains) > 0 || len(authority.ExcludedDNSDomains) > 0 {
			return false
		}
	}
	return chain[0].Subject.CommonName == name
}
