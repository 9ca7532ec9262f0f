package e2e

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"poolpatch/internal/httpd"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// shown is the name in the certificate that a daemon shows its clients, "" while it shows none.
func shown(d *harness.Daemon) string {
	conn, err := tls.Dial("tcp", d.Address(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// ready reports whether a daemon shows a certificate with this name, and answers: it shows it before it does.
func ready(t *testing.T, d *harness.Daemon, name string) bool {
	t.Helper()
	if shown(d) != name {
		return false
	}
	_, err := harness.Output("", harness.Binary(t, harness.Build{}), "xe", "--root", d.Root, "host-list")
	return err == nil
}

// TestServerCertificate gives a daemon another certificate over XenAPI, and takes it away again.
func TestServerCertificate(t *testing.T) {
	t.Parallel()
	d := start(t)
	first, pid := shown(d), d.PID()
	certFile, keyFile := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	_, err := httpd.SelfSigned(certFile, keyFile, []string{"host.lab"})
	cert, cerr := os.ReadFile(certFile)
	key, kerr := os.ReadFile(keyFile)
	if err := errors.Join(err, cerr, kerr); err != nil {
		t.Fatal(err)
	}
	d.Refused(xenapi.CodeServerCertificateKeyMismatch, "host.install_server_certificate", d.Host(), string(cert), d.Read("etc/poolpatch/tls.key"))
	d.Do("host.install_server_certificate", d.Host(), string(cert), string(key))
	harness.Eventually(t, "the new certificate is shown", func() bool { return ready(t, d, "host.lab") })
	xe(t, d, false, "host-reset-server-certificate")
	harness.Eventually(t, "a self-signed certificate is shown", func() bool { return ready(t, d, first) })
	if d.PID() != pid {
		t.Error("whoever supervises the daemon saw another process")
	}
	d.Refused(xenapi.CodeHostNotDisabled, "host.reboot", d.Host())
	d.Do("host.disable", d.Host())
	d.Refused(xenapi.CodeOperationNotAllowed, "host.reboot", d.Host()) // the machine is not the daemon's own
	d.Do("host.shutdown_agent")
	d.WaitEnded()
}
