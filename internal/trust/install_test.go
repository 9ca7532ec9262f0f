package trust_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/trust"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.trusts("root", root)
	_ = p.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.Certificate](tx) {
			if rec.Name != "root" || rec.Type != xenapi.CertificateTypeCA || !rec.Host.IsNull() || !rec.NotAfter.Equal(root.Cert.NotAfter) ||
				!rec.NotBefore.Equal(root.Cert.NotBefore) || rec.UUID == "" || rec.PEM != root.PEM() {
				t.Errorf("record %+v", rec)
			}
			if len(rec.Fingerprint) != 32*3-1 || rec.FingerprintSHA256 != rec.Fingerprint || len(rec.FingerprintSHA1) != 20*3-1 || strings.Count(rec.Fingerprint, ":") != 31 {
				t.Errorf("fingerprints %s %s", rec.Fingerprint, rec.FingerprintSHA1)
			}
		}
		return nil
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	list := root.Revoke(t)
	for _, c := range []struct {
		name string
		good bool
	}{
		{"ca.pem", true}, {"A-b_c.0", true}, {strings.Repeat("a", 64), true}, {"_", true}, {"-x", true},
		{"", false}, {".", false}, {"..", false}, {".hidden", false}, {"a/b", false}, {"../etc/passwd", false}, {"a b", false}, {"a\nb", false},
		{"a\n", false}, {"é", false}, {"a\x00", false}, {strings.Repeat("a", 65), false},
	} {
		code, listCode := "", ""
		if !c.good {
			code, listCode = xenapi.CodeCertificateNameInvalid, xenapi.CodeCRLNameInvalid
		}
		wantCode(t, c.name, p.install(c.name, root.PEM()), code)
		wantCode(t, c.name, p.installList(c.name, list), listCode)
		wantCode(t, c.name, p.update(func(tx *db.Tx) error { return trust.Uninstall(tx, c.name) }), code)
		wantCode(t, c.name, p.update(func(tx *db.Tx) error { return trust.UninstallList(tx, c.name) }), listCode)
	}
}

func TestInstalling(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root, other, twin := trusttest.New(t, "root"), trusttest.New(t, "other"), trusttest.New(t, "root")
	for _, name := range []string{"b", "a"} {
		wantCode(t, name, p.install(name, "Certificate:\n    Data:\n"+root.PEM()), "")
		wantCode(t, name, p.install(name, other.PEM()), xenapi.CodeCertificateAlreadyExists)
		wantCode(t, name, p.installList(name, root.Revoke(t)), "")
		wantCode(t, name, p.installList(name, root.Revoke(t)), xenapi.CodeCRLAlreadyExists)
	}
	// A certificate of a host has no name to collide with, and is none of the pool's.
	p.must(func(tx *db.Tx) error {
		rec := trust.Record(xenapi.CertificateTypeHost, other.Cert)
		rec.Name = "host"
		return db.Insert(tx, "OpaqueRef:host", rec)
	})
	wantCode(t, "of a host", p.update(func(tx *db.Tx) error { return trust.Uninstall(tx, "host") }), xenapi.CodeCertificateDoesNotExist)
	leaf, below := root.Issue(t, "leaf").Leaf, root.Below(t, "below")
	unsigning := trusttest.New(t, "u", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }) // self-signed for itself
	for _, c := range []struct{ name, text, code string }{
		{"below", below.PEM(), ""},
		{"for itself", trusttest.PEM(trusttest.SelfSigned(t, "x").Leaf), ""},
		{"for itself too", unsigning.PEM(), ""},
		{"nothing", "", xenapi.CodeCertificateCorrupt},
		{"no PEM", "hello", xenapi.CodeCertificateCorrupt},
		{"a client", trusttest.PEM(leaf), xenapi.CodeCertificateCorrupt},
		{"two", root.PEM() + other.PEM(), xenapi.CodeCertificateCorrupt},
		{"damaged", strings.Replace(root.PEM(), "A", "B", 5), xenapi.CodeCertificateCorrupt},
		{"cut off", root.PEM()[:200], xenapi.CodeCertificateCorrupt},
		{"a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", xenapi.CodeCertificateCorrupt},
		{"a list", root.Revoke(t), xenapi.CodeCertificateCorrupt},
		{"long", root.PEM() + strings.Repeat("\n", 64<<10), xenapi.CodeValueNotSupported},
	} {
		wantCode(t, c.name, p.install(strings.ReplaceAll(c.name, " ", "-"), c.text), c.code)
	}
	for _, c := range []struct{ name, text, code string }{
		{"below", below.Revoke(t, leaf), ""}, // of an authority that is installed
		{"unknown", trusttest.New(t, "unknown").Revoke(t), ""},
		{"of a twin", twin.Revoke(t, leaf), xenapi.CodeCRLCorrupt},
		{"nothing", "", xenapi.CodeCRLCorrupt},
		{"a certificate", root.PEM(), xenapi.CodeCRLCorrupt},
		{"two", root.Revoke(t) + root.Revoke(t), xenapi.CodeCRLCorrupt},
		{"damaged", strings.Replace(root.Revoke(t), "A", "B", 5), xenapi.CodeCRLCorrupt},
		{"long", root.Revoke(t) + strings.Repeat("\n", 256<<10), xenapi.CodeValueNotSupported},
	} {
		wantCode(t, c.name, p.installList(strings.ReplaceAll(c.name, " ", "-"), c.text), c.code)
	}
	_ = p.db.View(func(tx *db.Tx) error {
		if got := trust.Installed(tx); !slices.Equal(got, []string{"a", "b", "below", "for-itself", "for-itself-too"}) {
			t.Errorf("certificates %v", got)
		}
		if got := trust.InstalledLists(tx); !slices.Equal(got, []string{"a", "b", "below", "unknown"}) {
			t.Errorf("lists %v", got)
		}
		return nil
	})
	wantCode(t, "a", p.update(func(tx *db.Tx) error { return trust.Uninstall(tx, "a") }), "")
	wantCode(t, "a again", p.update(func(tx *db.Tx) error { return trust.Uninstall(tx, "a") }), xenapi.CodeCertificateDoesNotExist)
	wantCode(t, "a list", p.update(func(tx *db.Tx) error { return trust.UninstallList(tx, "a") }), "")
	wantCode(t, "a list again", p.update(func(tx *db.Tx) error { return trust.UninstallList(tx, "a") }), xenapi.CodeCRLDoesNotExist)
}

func TestWhatIsInstalledIsBounded(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	list := root.Revoke(t)
	p.must(func(tx *db.Tx) error {
		for i := range 128 {
			if err := trust.Install(tx, "ca"+strings.Repeat("x", i%60)+string(rune('a'+i/60)), root.PEM()); err != nil {
				return err
			}
		}
		for i := range 32 {
			if err := p.InstallList(tx, "list"+strings.Repeat("x", i), list); err != nil {
				return err
			}
		}
		return nil
	})
	wantCode(t, "one more", p.install("more", root.PEM()), xenapi.CodeOperationNotAllowed)
	wantCode(t, "one more list", p.installList("more", list), xenapi.CodeOperationNotAllowed)
}
