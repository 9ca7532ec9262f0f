package etcdserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const (
	// connectDeadline bounds the first answer of an external cluster.
	connectDeadline = 15 * time.Second
	// dialDeadline bounds reaching one endpoint.
	dialDeadline = 5 * time.Second
	// greetDeadline bounds what is asked of an endpoint when none has answered.
	greetDeadline = 2 * time.Second
	// keepAlive and keepAliveDeadline find a connection dead when its peer is gone without a word: an idle one, and, by the
	// deadline alone, one on which something was sent. A host keeps its lease over one such connection, so it must have
	// found another server before a lease of some seconds ends.
	keepAlive         = 10 * time.Second
	keepAliveDeadline = 3 * time.Second
	// maxSendBytes is more than what a server takes, so that it is the server who refuses.
	maxSendBytes = 2 * maxRequestBytes
)

// TLSConfig says how to reach a cluster: by a Config, or by PEM files.
type TLSConfig struct {
	// Config, if it is not nil, is used as it is, ServerName included, and the other fields are not.
	Config *tls.Config
	// CAFile is of the authority that signed the servers' certificates.
	CAFile string
	// CertFile and KeyFile are this client's own, and may both be "". They are read anew for each connection.
	CertFile, KeyFile string
	// ServerName is what the servers' certificates must be for; "" is the address that was dialled.
	ServerName string
}

// Connect reaches a cluster of your own, or the ClientHandler of a pool's members. Endpoints are URLs (https://host:2379). It returns when the
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
		MaxCallSendMsgSize: maxSendBytes, DialOptions: dialOptions(config),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	answered, cancel := context.WithTimeout(ctx, connectDeadline)
	defer cancel()
	if err := firstAnswer(answered, client); err != nil {
		client.Close()
		return nil, fmt.Errorf("connect to etcd at %q: %w", endpoints, errors.Join(obstacle(ctx, endpoints, config), err))
	}
	return client, nil
}

// obstacle finds what is in the way to the first endpoint that has something in it, nil where there is nothing: of a
// connection that it could not make the client says only that no answer came in time.
func obstacle(ctx context.Context, endpoints []string, config *tls.Config) error {
	for _, endpoint := range endpoints {
		if err := greet(ctx, endpoint, config); err != nil {
			return fmt.Errorf("%s: %w", endpoint, err)
		}
	}
	return nil
}

// greet connects to a server as the client does.
func greet(ctx context.Context, endpoint string, config *tls.Config) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, greetDeadline)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if u.Scheme != "https" {
		return nil
	}
	config = config.Clone() // nil for nil
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	config.NextProtos = []string{"h2"}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	// A server that wants a certificate says so after the handshake; another one begins to speak HTTP/2.
	_ = secured.SetReadDeadline(time.Now().Add(greetDeadline))
	if _, err = secured.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// firstAnswer waits for a read that a majority agreed on. A learner refuses it; the next try goes to another
// endpoint, or finds that it is a learner no more.
func firstAnswer(ctx context.Context, client *clientv3.Client) error {
	for {
		_, err := client.Get(ctx, "/poolpatch/schema")
		if !errors.Is(err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)) {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// Sync makes a client that reaches members by their ClientHandler use those that the cluster has now. The caller
// does it from time to time, and when members come and go. It is not for a cluster of your own, whose
// members have other addresses for clients than for one another.
func Sync(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, memberDeadline)
	defer cancel()
	reply, err := client.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("list etcd members: %w", err)
	}
	var endpoints []string
	for _, m := range members(reply.Members) {
		if !m.Learner { // a learner answers no client
			endpoints = append(endpoints, m.URL)
		}
	}
	client.SetEndpoints(endpoints...)
	return nil
}

// dialOptions keep the server name of a configuration, for which the client would use each endpoint's address.
func dialOptions(config *tls.Config) []grpc.DialOption {
	if config == nil || config.ServerName == "" {
		return nil
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(named{credentials.NewTLS(config), config.ServerName})}
}

// named are credentials that greet every server by one name.
type named struct {
	credentials.TransportCredentials
	name string
}

// ClientHandshake implements credentials.TransportCredentials.
func (n named) ClientHandshake(ctx context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return n.TransportCredentials.ClientHandshake(ctx, n.name, c)
}

// Clone implements credentials.TransportCredentials.
func (n named) Clone() credentials.TransportCredentials {
	return named{n.TransportCredentials.Clone(), n.name}
}

func (t TLSConfig) load() (*tls.Config, error) {
	if t == (TLSConfig{}) {
		return nil, nil
	}
	if t.Config != nil {
		return t.Config, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: t.ServerName}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("read authority: no certificate in " + t.CAFile)
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return config, nil
	}
	if _, err := t.pair(nil); err != nil {
		return nil, err
	}
	config.GetClientCertificate = t.pair
	return config, nil
}

func (t TLSConfig) pair(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read client certificate: %w", err)
	}
	return &pair, nil
}
