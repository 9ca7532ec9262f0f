package etcdserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/etcdserver"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority := newAuthority(t, dir, "ca")
	authority.issue(t, dir, "server")
	authority.issue(t, dir, "client")
	newAuthority(t, dir, "stranger").issue(t, dir, "other")
	endpoint := cluster(t, dir)

	file := func(name string) string { return filepath.Join(dir, name) }
	good := etcdserver.TLSConfig{CAFile: file("ca.crt"), CertFile: file("client.crt"), KeyFile: file("client.key")}
	tests := []struct {
		name string
		tls  etcdserver.TLSConfig
		ok   bool
	}{
		{"the right files", good, true},
		{"another authority", etcdserver.TLSConfig{CAFile: file("stranger.crt"), CertFile: good.CertFile, KeyFile: good.KeyFile}, false},
		{"another's client certificate", etcdserver.TLSConfig{CAFile: good.CAFile, CertFile: file("other.crt"), KeyFile: file("other.key")}, false},
		{"no client certificate", etcdserver.TLSConfig{CAFile: good.CAFile}, false},
		{"no authority", etcdserver.TLSConfig{CertFile: good.CertFile, KeyFile: good.KeyFile}, false},
		{"an authority that is no certificate", etcdserver.TLSConfig{CAFile: good.KeyFile}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			deadline := 2 * time.Second // a refused client tries again until then
			if test.ok {
				deadline = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			client, err := etcdserver.Connect(ctx, []string{endpoint}, test.tls)
			if (err == nil) != test.ok {
				t.Fatalf("connect gave %v", err)
			}
			if err != nil {
				return
			}
			defer client.Close()
			d, err := db.Open(ctx, etcdkv.New(client), db.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := d.Sync(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// cluster runs an etcd that listens with TLS and asks clients for certificates.
func cluster(t *testing.T, dir string) string {
	t.Helper()
	endpoint := url.URL{Scheme: "https", Host: "127.0.0.1:0"} // etcd takes a free port
	c := embed.NewConfig()
	c.Dir, c.Name = filepath.Join(dir, "etcd"), "external"
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{endpoint}, []url.URL{endpoint}
	c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = filepath.Join(dir, "ca.crt"), true
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return "https://" + e.Clients[0].Addr().String()
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) authority {
	t.Helper()
	a := authority{cert: template(name)}
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign
	a.key = write(t, dir, name, a.cert, authority{cert: a.cert})
	return a
}

func (a authority) issue(t *testing.T, dir, name string) {
	t.Helper()
	write(t, dir, name, template(name), a)
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// write makes a key and a certificate that by signs; without a key of its own it is signed by itself.
func write(t *testing.T, dir, name string, cert *x509.Certificate, by authority) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by.key == nil {
		by.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{
		".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}
