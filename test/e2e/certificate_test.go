package e2e

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"poolpatch/internal/rpc"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// loginWith logs in over HTTPS on a connection with a certificate, and a password that is none.
func loginWith(t *testing.T, d *harness.Daemon, cert tls.Certificate) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}, DisableKeepAlives: true}
	body := rpc.EncodeRequest("session.login_with_password", []any{"x", "y"})
	answer, err := (&http.Client{Transport: transport}).Post("https://"+d.Address()+"/jsonrpc", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	session, refused, err := rpc.DecodeReply(text)
	if refused != nil {
		return "", refused
	}
	return session.Text, err
}

// TestClientCertificates: what is said on one host counts on all, and hosts still meet.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 2)
	one, two := hosts[0], hosts[1]
	authority := trusttest.New(t, "corp")
	robot := authority.Issue(t, "robot")
	pool, _ := harness.Only[xenapi.Pool](one)

	two.Do("pool.install_ca_certificate", "corp.pem", authority.PEM())
	two.Do("pool.enable_client_certificate_auth", pool, "robot")
	one.Do("pool.certificate_sync")
	session, err := loginWith(t, one, robot)
	if err != nil {
		t.Fatal(err)
	}
	two.Do("pool.certificate_sync") // which has it see the session too
	if got := harness.Call[string](two, "session.get_auth_user_name", session); got != "robot" {
		t.Errorf("host 2 knows the session of %q", got)
	}
	kinds := map[xenapi.CertificateType]int{}
	for _, rec := range harness.Records[xenapi.Certificate](one) {
		kinds[rec.Type]++
	}
	if kinds["ca"] != 1 || kinds["host"] != 2 || kinds["host_internal"] != 2 {
		t.Errorf("certificates %v", kinds)
	}

	one.Do("pool.crl_install", "corp.crl", authority.Revoke(t, robot.Leaf))
	two.Do("pool.certificate_sync")
	if session, err := loginWith(t, two, robot); err == nil || xenapi.CodeOf(err) != "" {
		t.Errorf("host 2 lets a revoked one in: %q %v", session, err)
	}
	if _, err := loginWith(t, two, authority.Issue(t, "robot")); err != nil {
		t.Errorf("host 2 does not let another one in: %v", err)
	}
	for ref, rec := range harness.Records[xenapi.Host](one) {
		one.Do("host.sync_data", ref) // hosts meet by certificates of their own still
		if len(rec.Certificates) != 2 {
			t.Errorf("host %s has the certificates %v", rec.UUID, rec.Certificates)
		}
	}
}
