package httpd_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"poolpatch/internal/httpd"
	"poolpatch/xenapi"
)

// pair makes a certificate and its key, as files and as they stand in them.
func pair(t *testing.T, name string) (certFile, keyFile string, cert, key []byte) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	_, err := httpd.SelfSigned(certFile, keyFile, []string{name})
	cert, cerr := os.ReadFile(certFile)
	key, kerr := os.ReadFile(keyFile)
	must(t, errors.Join(err, cerr, kerr))
	return certFile, keyFile, cert, key
}

func TestReplaceCertificate(t *testing.T) {
	t.Parallel()
	certFile, keyFile, old, oldKey := pair(t, "old.lab")
	_, _, cert, key := pair(t, "new.lab")
	now := time.Now()
	for _, c := range []struct {
		name             string
		cert, key, chain []byte
		now              time.Time
		code             string
	}{
		{"no certificate", []byte("x"), key, nil, now, xenapi.CodeServerCertificateInvalid},
		{"a key as certificate", key, key, nil, now, xenapi.CodeServerCertificateInvalid},
		{"two certificates", bytes.Join([][]byte{cert, old}, nil), key, nil, now, xenapi.CodeServerCertificateInvalid},
		{"a damaged certificate", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, nil, now, xenapi.CodeServerCertificateInvalid},
		{"no key", cert, []byte("x"), nil, now, xenapi.CodeServerCertificateKeyInvalid},
		{"a certificate as key", cert, cert, nil, now, xenapi.CodeServerCertificateKeyInvalid},
		{"another's key", cert, oldKey, nil, now, xenapi.CodeServerCertificateKeyMismatch},
		{"too early", cert, key, nil, now.Add(-2 * time.Hour), xenapi.CodeServerCertificateNotValidYet},
		{"too late", cert, key, nil, now.AddDate(11, 0, 0), xenapi.CodeServerCertificateExpired},
		{"no chain", cert, key, []byte("x"), now, xenapi.CodeServerCertificateChainInvalid},
		{"a chain with an end that is none", cert, key, append(bytes.Clone(old), 'x'), now, xenapi.CodeServerCertificateChainInvalid},
	} {
		err := httpd.ReplaceCertificate(certFile, keyFile, c.cert, c.key, c.chain, c.now)
		if got := xenapi.CodeOf(err); got != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		if text, err := os.ReadFile(certFile); err != nil || !bytes.Equal(text, old) {
			t.Fatalf("%s: the files changed: %v", c.name, err)
		}
	}
	must(t, httpd.ReplaceCertificate(certFile, keyFile, cert, key, old, now))
	config, err := httpd.TLS(certFile, keyFile)
	must(t, err)
	if shown := config.Certificates[0]; shown.Leaf.Subject.CommonName != "new.lab" || len(shown.Certificate) != 2 {
		t.Errorf("shown: %s, and %d certificates", shown.Leaf.Subject, len(shown.Certificate))
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key can be read by others: %v %v", info.Mode(), err)
	}
}

// What cannot be written to its end leaves no certificate whose key has gone: such a host would not start.
func TestReplaceCertificateThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	certFile, _, _, _ := pair(t, "old.lab")
	_, _, cert, key := pair(t, "new.lab")
	if err := httpd.ReplaceCertificate(certFile, filepath.Join(t.TempDir(), "missing", "tls.key"), cert, key, nil, time.Now()); err == nil {
		t.Fatal("the key was written into a directory that is not there")
	}
	if _, err := os.Stat(certFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old certificate: %v", err)
	}
}

// A crash in the middle leaves a key without its certificate, or neither: the host starts all the same.
func TestDropCertificate(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _, key := pair(t, "old.lab")
	must(t, httpd.DropCertificate(certFile, keyFile))
	for _, file := range []string{certFile, keyFile} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", file, err)
		}
	}
	must(t, httpd.DropCertificate(certFile, keyFile)) // again
	must(t, os.WriteFile(keyFile, key, 0o600))
	if _, err := httpd.SelfSigned(certFile, keyFile, []string{"host.lab"}); err != nil {
		t.Errorf("a start with a key alone: %v", err)
	}
}
