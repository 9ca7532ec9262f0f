package pool_test

import (
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

// A host has one record of each kind of certificate that it shows, and another record where it shows another certificate.
func TestShowCertificate(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New(), "one")
	m := enter(t, d, one)
	first, second := trusttest.New(t, "first").Cert, trusttest.New(t, "second").Cert
	show := func(kind xenapi.CertificateType, certs ...int) map[xenapi.Ref[xenapi.Certificate]]xenapi.Certificate {
		t.Helper()
		if err := d.Update(t.Context(), func(tx *db.Tx) error {
			switch {
			case len(certs) == 0:
				return pool.ShowCertificate(tx, m.Host, kind, nil)
			case certs[0] == 1:
				return pool.ShowCertificate(tx, m.Host, kind, first)
			}
			return pool.ShowCertificate(tx, m.Host, kind, second)
		}); err != nil {
			t.Fatal(err)
		}
		return all[xenapi.Certificate](d)
	}
	only := func(what string, rows map[xenapi.Ref[xenapi.Certificate]]xenapi.Certificate, want int) (ref xenapi.Ref[xenapi.Certificate]) {
		t.Helper()
		if len(rows) != want {
			t.Errorf("%s: %d rows, want %d", what, len(rows), want)
		}
		for r, rec := range rows {
			if rec.Type == xenapi.CertificateTypeHost {
				ref = r
			}
			if rec.Host != m.Host || rec.Name != "" || rec.PEM != "" {
				t.Errorf("%s: %+v", what, rec)
			}
		}
		return ref
	}
	before := only("the first", show(xenapi.CertificateTypeHost, 1), 1)
	revision := d.Revision()
	if again := only("the same", show(xenapi.CertificateTypeHost, 1), 1); again != before || d.Revision() != revision {
		t.Error("the same certificate is another record")
	}
	if after := only("another", show(xenapi.CertificateTypeHost, 2), 1); after == before {
		t.Error("another certificate is the same record")
	}
	only("of another kind", show(xenapi.CertificateTypeHostInternal, 1), 2)
	only("none", show(xenapi.CertificateTypeHost), 1)
}
