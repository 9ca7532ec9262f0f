package trust

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Store is what a host trusts. Any number of goroutines may use it.
type Store struct {
	db *db.DB

	mu   sync.Mutex
	last *library // what was read last
}

// New makes the store of a host, which follows a database.
func New(d *db.DB) *Store { return &Store{db: d, last: newLibrary("")} }

// library is the rows, read. It does not change.
type library struct {
	key         string // the refs of the rows
	authorities map[string]*x509.Certificate
	// signers are the authorities that vouch for clients. A certificate that was installed for a server which vouches for itself is none.
	signers *x509.CertPool
	lists   map[string]*revocations
	err     error // of the first row that cannot be read
}

func newLibrary(key string) *library {
	// No pool would be the system's.
	return &library{key: key, authorities: map[string]*x509.Certificate{}, signers: x509.NewCertPool(), lists: map[string]*revocations{}}
}

// revocations are a revocation list, as far as it is asked again.
type revocations struct {
	issuer    []byte // raw subject of the authority
	algorithm x509.SignatureAlgorithm
	signed    []byte
	signature []byte
	serials   map[string]bool
}

// library reads the rows of a state of the database. Most often they are those that were read last.
func (s *Store) library(tx *db.Tx) *library {
	key := strings.Join(tx.Refs(xenapi.Certificate{}.Class()), " ") + "|" + strings.Join(tx.Refs(list{}.Class()), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.key != key {
		s.last = read(tx, key, s.last)
	}
	return s.last
}

// read reads the rows that an earlier library has not.
func read(tx *db.Tx, key string, earlier *library) *library {
	l := newLibrary(key)
	for ref, rec := range authorities(tx) {
		cert, known := earlier.authorities[ref.String()]
		if !known {
			var err error
			if cert, err = parseCertificate(rec.PEM); err != nil {
				l.damaged("CA certificate", rec.Name, err)
				continue
			}
		}
		l.authorities[ref.String()] = cert
		if isAuthority(cert) {
			l.signers.AddCert(cert)
		}
	}
	for ref, rec := range db.All[list](tx) {
		revoked, known := earlier.lists[ref.String()]
		if !known {
			var err error
			if revoked, err = parseList(rec.PEM); err != nil {
				l.damaged("revocation list", rec.Name, err)
				continue
			}
		}
		l.lists[ref.String()] = revoked
	}
	return l
}

func (l *library) damaged(what, name string, err error) {
	if l.err == nil {
		l.err = xenapi.ErrCertificateLibraryCorrupt().Because(fmt.Errorf("%s %s: %w", what, name, err))
	}
}

// Check reads all that the pool trusts. Errors: CERTIFICATE_LIBRARY_CORRUPT.
func (s *Store) Check() error {
	return s.db.View(func(tx *db.Tx) error { return s.library(tx).err })
}

func parseList(text string) (*revocations, error) {
	der, err := onlyBlock(text, listBlock)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	r := &revocations{
		issuer: parsed.RawIssuer, algorithm: parsed.SignatureAlgorithm, signed: parsed.RawTBSRevocationList, signature: parsed.Signature,
		serials: map[string]bool{},
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		r.serials[serial(entry.SerialNumber)] = true
	}
	return r, nil
}

func serial(n *big.Int) string { return n.Text(16) }

// by reports whether an authority has signed the list. One whose certificate does not say that it signs lists is believed as well:
// to revoke too much is the safe error.
func (r *revocations) by(issuer *x509.Certificate) bool {
	return bytes.Equal(r.issuer, issuer.RawSubject) && issuer.CheckSignature(r.algorithm, r.signed, r.signature) == nil
}

// signs refuses a list that names an installed authority which has not signed it. Of one that is not installed nothing is known:
// it may be below one that is.
func (l *library) signs(r *revocations) error {
	named := false
	for _, cert := range l.authorities {
		if r.by(cert) {
			return nil
		}
		named = named || bytes.Equal(r.issuer, cert.RawSubject)
	}
	if named {
		return errors.New("the authority that the list names has not signed it")
	}
	return nil
}

// revoked reports whether an authority says that it has revoked a certificate of its own.
func (l *library) revoked(cert, issuer *x509.Certificate) bool {
	for _, r := range l.lists {
		if r.serials[serial(cert.SerialNumber)] && r.by(issuer) {
			return true
		}
	}
	return false
}

// unrevoked is the first chain of which nothing is revoked.
func (l *library) unrevoked(chains [][]*x509.Certificate) ([]*x509.Certificate, error) {
	if l.err != nil {
		return nil, l.err // what cannot be read may revoke any of them
	}
	for _, chain := range chains {
		good := true
		for i := range len(chain) - 1 {
			good = good && !l.revoked(chain[i], chain[i+1])
		}
		if good {
			return chain, nil
		}
	}
	return nil, errors.New("the certificate is revoked")
}
