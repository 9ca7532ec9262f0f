package pool_test

import (
	"os"
	"testing"

	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// A host with a new certificate is the one that it was, to others and at its next start.
func TestRenew(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	one, two := newKnown(t, store, uuidOne), newKnown(t, store, uuidTwo)
	first, _ := one.keys.Current()
	if err := one.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _ := one.keys.Current(); string(now.Cert) == string(first.Cert) {
		t.Error("the certificate is the old one")
	}
	for _, rec := range all[xenapi.Certificate](one.d) {
		if now, _ := one.keys.Current(); rec.Type != xenapi.CertificateTypeHostInternal || rec.Host != one.host || !rec.NotAfter.Equal(now.Leaf().NotAfter) {
			t.Errorf("its record is %+v", rec)
		}
	}
	if n := len(all[xenapi.Certificate](one.d)); n != 1 {
		t.Errorf("%d records of certificates", n)
	}
	if there, here, err := one.reaches(t, two); err != nil || there != uuidTwo || here != uuidOne {
		t.Errorf("host 1 met %q, host 2 met %q, %v", there, here, err)
	}
	file, _ := one.Files()
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(written) {
		t.Errorf("the next start made another one, %v", err)
	}
}
