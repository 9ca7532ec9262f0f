package pool

import (
	"crypto/x509"

	"poolpatch/internal/db"
	certificates "poolpatch/internal/trust"
	"poolpatch/xenapi"
)

// ShowCertificate has the records of a host's certificates say which one of a kind it shows; nil is none.
func ShowCertificate(tx *db.Tx, host xenapi.Ref[xenapi.Host], kind xenapi.CertificateType, cert *x509.Certificate) error {
	for _, ref := range db.Referrers[xenapi.Certificate](tx, "host", host) {
		rec, _ := db.Lookup(tx, ref)
		switch {
		case rec.Type != kind:
		case cert != nil && rec.FingerprintSHA256 == certificates.Record(kind, cert).FingerprintSHA256:
			return nil
		default:
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	if cert == nil {
		return nil
	}
	rec := certificates.Record(kind, cert)
	rec.Host = host
	return db.Insert(tx, xenapi.NewRef[xenapi.Certificate](), rec)
}
