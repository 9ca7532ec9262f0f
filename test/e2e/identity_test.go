package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"poolpatch/test/harness"
)

// hostName is what hosts of a pool ask for at one another's port for HTTPS.
const hostName = "host.poolpatch.internal"

// TestHostsMeetAtTheOnePort: whoever shows a certificate of the pool there is met by one, and nobody else is.
func TestHostsMeetAtTheOnePort(t *testing.T) {
	t.Parallel()
	d, other := start(t), start(t)
	dial := func(c *tls.Config) (*x509.Certificate, error) {
		conn, err := tls.Dial("tcp", d.Address(), c)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		// With TLS 1.3 a client learns that it is refused when it reads.
		if _, err := conn.Write([]byte("GET /metrics HTTP/1.0\r\n\r\n")); err != nil {
			return nil, err
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		return conn.ConnectionState().PeerCertificates[0], nil
	}
	identity := func(d *harness.Daemon) tls.Certificate {
		file := d.Path("var/lib/poolpatch/identity/host.pem")
		pair, err := tls.LoadX509KeyPair(file, file)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM([]byte(d.Read("var/lib/poolpatch/identity/authorities.pem"))) {
		t.Fatal("no authorities")
	}
	met, err := dial(&tls.Config{ServerName: hostName, RootCAs: authorities, Certificates: []tls.Certificate{identity(d)}})
	if err != nil || met.VerifyHostname(hostName) != nil {
		t.Errorf("a host of the pool met %v, %v", met, err)
	}
	if _, err := dial(&tls.Config{ServerName: hostName, RootCAs: authorities, Certificates: []tls.Certificate{identity(other)}}); err == nil {
		t.Error("a host of another pool got in")
	}
	if _, err := dial(&tls.Config{ServerName: hostName, RootCAs: authorities}); err == nil {
		t.Error("a client without a certificate got in as a host")
	}
	ordinary, err := dial(&tls.Config{InsecureSkipVerify: true})
	if err != nil || ordinary.VerifyHostname(hostName) == nil {
		t.Errorf("an ordinary client met %v, %v", ordinary, err)
	}
}
