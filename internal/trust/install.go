package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Bounds of what a pool trusts: every host keeps all of it in memory.
const (
	maxName         = 64
	maxCertificate  = 64 << 10  // bytes of PEM
	maxCertificates = 128       // CA certificates of a pool
	maxList         = 256 << 10 // bytes of PEM
	maxLists        = 32        // revocation lists of a pool
)

const (
	certificateBlock = "CERTIFICATE"
	listBlock        = "X509 CRL"
)

// list is a revocation list that is installed.
type list struct {
	Name string `json:"name" xenapi:"internal"`
	PEM  string `json:"pem" xenapi:"internal"`
}

// Class names the table.
func (list) Class() string { return "crl" }

// Tables are what the package keeps in the database.
func Tables() []db.Table {
	return []db.Table{db.TableOf[xenapi.Certificate](), db.TableOf[list]()}
}

// names are those that are file names everywhere, and name no other directory.
var names = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,%d}$`, maxName-1))

// Install has the pool trust a CA certificate, in PEM, under a name. Errors: CERTIFICATE_NAME_INVALID, CERTIFICATE_CORRUPT,
// CERTIFICATE_ALREADY_EXISTS, VALUE_NOT_SUPPORTED, OPERATION_NOT_ALLOWED.
func Install(tx *db.Tx, name, text string) error {
	if !names.MatchString(name) {
		return xenapi.ErrCertificateNameInvalid(name)
	}
	if err := short(text, maxCertificate); err != nil {
		return err
	}
	cert, err := parseCertificate(text)
	if err != nil {
		return xenapi.ErrCertificateCorrupt(name).Because(err)
	}
	installed := 0
	for _, rec := range authorities(tx) {
		if installed++; rec.Name == name {
			return xenapi.ErrCertificateAlreadyExists(name)
		}
	}
	if installed >= maxCertificates {
		return xenapi.ErrOperationNotAllowed(fmt.Sprintf("the pool has %d CA certificates: uninstall those that it does not need", installed))
	}
	rec := Record(xenapi.CertificateTypeCA, cert)
	rec.Name, rec.PEM = name, string(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: cert.Raw}))
	return db.Insert(tx, xenapi.NewRef[xenapi.Certificate](), rec)
}

// Uninstall has the pool trust a CA certificate no more. Errors: CERTIFICATE_NAME_INVALID, CERTIFICATE_DOES_NOT_EXIST.
func Uninstall(tx *db.Tx, name string) error {
	if !names.MatchString(name) {
		return xenapi.ErrCertificateNameInvalid(name)
	}
	for ref, rec := range authorities(tx) {
		if rec.Name == name {
			return db.Delete(tx, ref)
		}
	}
	return xenapi.ErrCertificateDoesNotExist(name)
}

// Installed lists the names of the CA certificates, in order.
func Installed(tx *db.Tx) []string {
	all := []string{}
	for _, rec := range authorities(tx) {
		all = append(all, rec.Name)
	}
	slices.Sort(all)
	return all
}

// authorities are the rows of CA certificates.
func authorities(tx *db.Tx) map[xenapi.Ref[xenapi.Certificate]]xenapi.Certificate {
	all := map[xenapi.Ref[xenapi.Certificate]]xenapi.Certificate{}
	for ref, rec := range db.All[xenapi.Certificate](tx) {
		if rec.Type == xenapi.CertificateTypeCA {
			all[ref] = rec
		}
	}
	return all
}

// InstallList has the pool trust nothing that a revocation list, in PEM, revokes. Errors: CRL_NAME_INVALID, CRL_CORRUPT, also where
// the list names an authority whose certificate is installed and which has not signed it; CRL_ALREADY_EXISTS,
// VALUE_NOT_SUPPORTED, OPERATION_NOT_ALLOWED.
func (s *Store) InstallList(tx *db.Tx, name, text string) error {
	if !names.MatchString(name) {
		return xenapi.ErrCRLNameInvalid(name)
	}
	if err := short(text, maxList); err != nil {
		return err
	}
	parsed, err := parseList(text)
	if err == nil {
		err = s.library(tx).signs(parsed)
	}
	if err != nil {
		return xenapi.ErrCRLCorrupt(name).Because(err)
	}
	installed := 0
	for _, rec := range db.All[list](tx) {
		if installed++; rec.Name == name {
			return xenapi.ErrCRLAlreadyExists(name)
		}
	}
	if installed >= maxLists {
		return xenapi.ErrOperationNotAllowed(fmt.Sprintf("the pool has %d revocation lists: uninstall those that newer ones replace", installed))
	}
	return db.Insert(tx, xenapi.NewRef[list](), list{Name: name, PEM: text})
}

// UninstallList forgets a revocation list: what it alone revokes is trusted again. Errors: CRL_NAME_INVALID, CRL_DOES_NOT_EXIST.
func UninstallList(tx *db.Tx, name string) error {
	if !names.MatchString(name) {
		return xenapi.ErrCRLNameInvalid(name)
	}
	for ref, rec := range db.All[list](tx) {
		if rec.Name == name {
			return db.Delete(tx, ref)
		}
	}
	return xenapi.ErrCRLDoesNotExist(name)
}

// InstalledLists lists the names of the revocation lists, in order.
func InstalledLists(tx *db.Tx) []string {
	all := []string{}
	for _, rec := range db.All[list](tx) {
		all = append(all, rec.Name)
	}
	slices.Sort(all)
	return all
}

func short(text string, most int) error {
	if len(text) > most {
		return xenapi.ErrValueNotSupported("cert", fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("it may be %d bytes long", most))
	}
	return nil
}

// parseCertificate reads the one certificate that may be trusted: that of an authority, or one that vouches for itself alone.
func parseCertificate(text string) (*x509.Certificate, error) {
	der, err := onlyBlock(text, certificateBlock)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if isAuthority(cert) {
		return cert, nil
	}
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) || cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		return nil, errors.New("the certificate is neither that of an authority nor signed by itself")
	}
	return cert, nil
}

// isAuthority tells certificates that may sign others.
func isAuthority(cert *x509.Certificate) bool {
	return cert.BasicConstraintsValid && cert.IsCA && (cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0)
}

// onlyBlock is the content of the only block of PEM in a text. Words before it, as openssl writes them, are passed over.
func onlyBlock(text, kind string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("there is no PEM")
	case block.Type != kind:
		return nil, fmt.Errorf("PEM: %q instead of %q", block.Type, kind)
	case bytes.Count([]byte(text), []byte("-----BEGIN ")) != 1 || len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is more than one thing in PEM")
	}
	return block.Bytes, nil
}
