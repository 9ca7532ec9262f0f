package etcdserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
)

// What keeps a client from an etcd of the administrator's is named: the certificate that one side does not take, the port
// where nobody is.
func TestWhatIsInTheWayIsNamed(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	own := server.TLS.Certificates
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		what, endpoint string
		config         *tls.Config
		want           string
	}{
		{"nothing", server.URL, &tls.Config{RootCAs: trusted, Certificates: own}, ""},
		{"no certificate of the client's", server.URL, &tls.Config{RootCAs: trusted}, "certificate required"},
		{"an authority that is not trusted", server.URL, nil, "unknown authority"},
		{"nobody", gone.URL, nil, "connection refused"},
		{"no URL", "etcd1:2379", nil, ""},
	} {
		err := obstacle(context.Background(), []string{c.endpoint}, c.config)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}
