package etcdserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// connectDeadline bounds the first answer of an external cluster.
	connectDeadline = 15 * time.Second
	// dialDeadline bounds reaching one endpoint.
	dialDeadline = 5 * time.Second
	// keepAlive and keepAliveDeadline find a connection dead when its peer is gone without a word.
	keepAlive         = 10 * time.Second
	keepAliveDeadline = 5 * time.Second
)

// TLSConfig names PEM files: the authority that signed the servers' certificates, and this client's own
// certificate and key, which may both be "".
type TLSConfig struct {
	CAFile, CertFile, KeyFile string
}

// Connect reaches a cluster of your own. Endpoints are URLs (https://host:2379). It returns when the
// cluster has answered a read that its majority agreed on. The caller closes the client. The zero
// TLSConfig connects without TLS.
func Connect(ctx context.Context, endpoints []string, t TLSConfig) (*clientv3.Client, error) {
	config, err := t.load()
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: config, Logger: zap.NewNop(), DialTimeout: dialDeadline,
		DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveDeadline,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectDeadline)
	defer cancel()
	if _, err := client.Get(ctx, "/poolpatch/schema"); err != nil {
		client.Close()
		return nil, fmt.Errorf("connect to etcd at %q: %w", endpoints, err)
	}
	return client, nil
}

func (t TLSConfig) load() (*tls.Config, error) {
	if t == (TLSConfig{}) {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("read authority: no certificate in " + t.CAFile)
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read client certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
