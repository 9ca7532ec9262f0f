package authority

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

const (
	// ServerName is the server name of connections between hosts, and the DNS name in every host's
	// certificate: hosts are known by their UUIDs, so addresses and ports may change.
	ServerName = "host.poolpatch.internal"
	// JoinName is the server name at which a host that joins meets the pool.
	JoinName = "join.poolpatch.internal"
	// MemberName is the server name at which a host asks whether it is of the pool still. A host that is not allowed gets
	// that far, and no further.
	MemberName = "member.poolpatch.internal"
)

// Reserved reports whether a server name is for hosts, and those that are to be one. What is shown on such a connection is no
// client's.
func Reserved(name string) bool { return name == ServerName || name == JoinName || name == MemberName }

// ServerConfig is the TLS of the one port. A connection to [ServerName] is between hosts: TLS 1.3, HTTP/2 or
// HTTP/1.1, both sides show certificates. One to [MemberName] is the same, for a host that is not allowed too.
// One to [JoinName] gets this host's certificate of the pool, and is otherwise an ordinary client's. All others get ordinary, unchanged.
func (k *Keyholder) ServerConfig(ordinary *tls.Config) *tls.Config {
	config := ordinary.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case hello.ServerName == ServerName:
			return k.betweenHosts(func(state tls.ConnectionState) error { _, err := k.peer(state, ServerName); return err })
		case hello.ServerName == MemberName:
			return k.betweenHosts(func(state tls.ConnectionState) error { _, err := k.genuine(state, MemberName); return err })
		case hello.ServerName == JoinName:
			return k.joining(ordinary.NextProtos)
		case ordinary.GetConfigForClient != nil:
			return ordinary.GetConfigForClient(hello)
		}
		return nil, nil
	}
	return config
}

// No tickets: a connection that is resumed would rest on what counted when the first one was made.

func (k *Keyholder) betweenHosts(accept func(tls.ConnectionState) error) (*tls.Config, error) {
	id := k.current.Load()
	if id == nil {
		return nil, errNoPool
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{id.pair},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: id.roots,
		// Once more, by the trust at the end of a handshake that may have been slow, and who is allowed.
		VerifyConnection: accept,
	}, nil
}

func (k *Keyholder) joining(protocols []string) (*tls.Config, error) {
	id := k.current.Load()
	if id == nil {
		return nil, errNoPool
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: protocols,
		Certificates: []tls.Certificate{id.pair},
	}, nil
}

// ClientConfig is the TLS with which this host dials another, at whatever address. It may be kept: each
// connection uses the identity and the trust of its time. The caller may set NextProtos.
func (k *Keyholder) ClientConfig() *tls.Config {
	return k.clientConfig(ServerName, func(string) error { return nil })
}

// MemberConfig is the TLS with which this host asks another whether it is of the pool still.
func (k *Keyholder) MemberConfig() *tls.Config {
	return k.clientConfig(MemberName, func(string) error { return nil })
}

// ClientConfigFor is ClientConfig that takes the given host alone for an answer. host is a UUID.
func (k *Keyholder) ClientConfigFor(host string) *tls.Config {
	return k.clientConfig(ServerName, func(peer string) error {
		if peer != host {
			return fmt.Errorf("host %s answers in the place of host %s", peer, host)
		}
		return nil
	})
}

func (k *Keyholder) clientConfig(name string, accept func(peer string) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			id := k.current.Load()
			if id == nil {
				return nil, errNoPool
			}
			return &id.pair, nil
		},
		// RootCAs would be those of the time at which the configuration was made. VerifyConnection does
		// all that is skipped here, by those that count at the time of the connection.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			peer, err := k.peer(state, name)
			if err != nil {
				return err
			}
			return accept(peer)
		},
	}
}

// JoinClientConfig is the TLS with which a host that has no identity yet meets the pool of a token: the
// server must show a host's certificate that the authority of that fingerprint issued, and the authority's
// own along with it. Nothing is sent before that is verified. The error of a server of another authority is ErrOtherPool.
func JoinClientConfig(ca Fingerprint) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: JoinName,
		// VerifyConnection does all that is skipped here: the authority is not known before it is met.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPool(state.PeerCertificates, ca)
		},
	}
}

func verifyPool(shown []*x509.Certificate, ca Fingerprint) error {
	at := slices.IndexFunc(shown, func(cert *x509.Certificate) bool { return fingerprintOf(cert) == ca })
	if at < 1 {
		return ErrOtherPool
	}
	_, _, err := verify(shown[0], Trust{certs: shown[at : at+1]}.roots(), time.Now())
	return err
}
