package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A host comes to its identity in one of two ways. The first host of a pool makes the authority:
//
//	New → NewHost → Issue → Keyholder.Set
//
// Every other host joins, with a token that a person brought:
//
//	ParseToken → dial with JoinClientConfig → send the token and NewHost's request
//	the pool: TokenRecord.Check → Issue → send the certificate and Trust.Marshal
//	Keyholder.Set
//
// Later Identity.NeedsRenewal says when a new certificate is due; it is asked for over a connection between
// hosts, and Set makes it count.

// Identity is what a host is in its pool: a key, its certificate, and the authorities that it trusts.
type Identity struct {
	// Host is the UUID in the certificate.
	Host string
	// Key and Cert are PEM as they were given to Set, and not to be changed.
	Key, Cert []byte
	Trust     Trust

	pair  tls.Certificate
	by    Fingerprint
	roots *x509.CertPool
}

// Authority names the authority that issued the certificate: the one that a join token must name.
func (id Identity) Authority() Fingerprint { return id.by }

// Leaf is the certificate, read; nil for the zero Identity.
func (id Identity) Leaf() *x509.Certificate { return id.pair.Leaf }

// NeedsRenewal says that a third of the certificate's life, or less, is left. The zero Identity needs one.
func (id Identity) NeedsRenewal(now time.Time) bool {
	return id.pair.Leaf == nil || needsRenewal(id.pair.Leaf, now)
}

// Keyholder holds the identity of this host, from which the TLS of its connections is made. The zero
// Keyholder is in no pool: nobody reaches it as a host, and it reaches nobody. Any number of goroutines may
// use it.
type Keyholder struct {
	// Allowed says whether a host is of the pool; nil is that all are. It is asked at every new connection
	// but those to MemberName, in both directions, and by Peer. It must not block, and is set before the first connection.
	Allowed func(host string) bool

	current atomic.Pointer[Identity]
}

// Set makes an identity count for every connection from now on. An identity that could not work is refused,
// and the former one stays: a certificate that is not of the key, not a host's, or of an authority that the
// trust leaves out. A certificate whose time is over is taken, for clocks may be wrong when a daemon starts.
func (k *Keyholder) Set(key, cert []byte, trust Trust) error {
	id, err := newIdentity(key, cert, trust)
	if err != nil {
		return fmt.Errorf("set identity: %w", err)
	}
	k.current.Store(id)
	return nil
}

// Current is the identity that counts now; false when there is none yet.
func (k *Keyholder) Current() (Identity, bool) {
	if id := k.current.Load(); id != nil {
		return *id, true
	}
	return Identity{}, false
}

func newIdentity(key, cert []byte, trust Trust) (*Identity, error) {
	if _, err := decodePEM(cert, certificateBlock); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	roots := trust.roots()
	// The end of a certificate is within the life of its authority: at that time only signatures can fail.
	host, by, err := verify(pair.Leaf, roots, pair.Leaf.NotAfter)
	if err != nil {
		return nil, err
	}
	// The authority's certificate is sent along, for a host that joins knows no more than its fingerprint.
	pair.Certificate = append(pair.Certificate, by.Raw)
	return &Identity{Host: host, Key: key, Cert: cert, Trust: trust, pair: pair, by: fingerprintOf(by), roots: roots}, nil
}

// Peer is the UUID of the host at the other end of a connection, either end. It is false for ordinary
// clients and hosts that join; and, on a connection that is older than the change, for a host that is not
// allowed, expired, or of an authority no longer trusted. It verifies a signature (0.2 ms): ask once a call.
func (k *Keyholder) Peer(state tls.ConnectionState) (host string, ok bool) {
	// Before the handshake is complete the peer has shown a certificate, and not yet that it is its own.
	if !state.HandshakeComplete {
		return "", false
	}
	host, err := k.peer(state, ServerName)
	return host, err == nil
}

// Asker is the UUID of the host at the other end of a connection to [MemberName]. Its certificate is the pool's, but
// whether it is allowed is what it asks.
func (k *Keyholder) Asker(state tls.ConnectionState) (host string, ok bool) {
	if !state.HandshakeComplete {
		return "", false
	}
	host, err := k.genuine(state, MemberName)
	return host, err == nil
}

// peer is the host at the other end of a connection to a server name, if it is allowed.
func (k *Keyholder) peer(state tls.ConnectionState, name string) (string, error) {
	host, err := k.genuine(state, name)
	if err != nil {
		return "", err
	}
	if k.Allowed != nil && !k.Allowed(host) {
		return "", fmt.Errorf("host %s is not of this pool", host)
	}
	return host, nil
}

// genuine is the host that an authority which counts has certified, be it allowed or not.
func (k *Keyholder) genuine(state tls.ConnectionState, name string) (string, error) {
	id := k.current.Load()
	if id == nil {
		return "", errNoPool
	}
	if state.ServerName != name || len(state.PeerCertificates) == 0 {
		return "", errors.New("the connection is not between hosts")
	}
	host, _, err := verify(state.PeerCertificates[0], id.roots, time.Now())
	return host, err
}

var errNoPool = errors.New("this host is in no pool")
