package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/authority"
)

func TestHostsMeet(t *testing.T) {
	t.Parallel()
	pool := newAuthority(t, time.Now())
	a, b := newMember(t, pool, hostA, time.Now()), newMember(t, pool, hostB, time.Now())
	config := b.ClientConfigFor(hostA)
	config.NextProtos = []string{"h2"}
	m := meet(t, a.ServerConfig(ordinary(t)), config)
	if m.clientErr != nil || m.serverErr != nil {
		t.Fatalf("client: %v, server: %v", m.clientErr, m.serverErr)
	}
	if host, ok := a.Peer(m.server); host != hostB || !ok {
		t.Errorf("the server sees %q, %v", host, ok)
	}
	if host, ok := b.Peer(m.client); host != hostA || !ok {
		t.Errorf("the client sees %q, %v", host, ok)
	}
	if m.server.Version != tls.VersionTLS13 || m.server.NegotiatedProtocol != "h2" || m.server.VerifiedChains == nil {
		t.Errorf("TLS %x, protocol %q, chains %v", m.server.Version, m.server.NegotiatedProtocol, m.server.VerifiedChains)
	}
	m.server.HandshakeComplete = false
	if host, ok := a.Peer(m.server); host != "" || ok {
		t.Errorf("before the handshake is complete the server sees %q, %v", host, ok)
	}
	if host, ok := a.Peer(tls.ConnectionState{}); host != "" || ok {
		t.Errorf("at the other end of nothing there is %q, %v", host, ok)
	}
}

// Host A is the server, and right; the client is not.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pool, stranger := newAuthority(t, now.AddDate(-5, 0, 0)), newAuthority(t, now)
	server := newMember(t, pool, hostA, now).ServerConfig(ordinary(t))
	shows := func(pair tls.Certificate) *tls.Config {
		return &tls.Config{
			ServerName: authority.ServerName, InsecureSkipVerify: true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		}
	}
	issued := func(a *authority.Authority, when time.Time) *tls.Config {
		key, cert := newHost(t, a, hostB, when)
		return shows(pairOf(t, key, cert))
	}
	names := []string{authority.ServerName}
	otherKey, _ := newHost(t, pool, hostB, now)
	_, cert := newHost(t, pool, hostB, now)
	block := pairOf(t, otherKey, selfSignedOf(t, otherKey))
	block.Certificate = [][]byte{derOf(t, cert)}
	old := issued(pool, now)
	old.MaxVersion = tls.VersionTLS12

	tests := []struct {
		name   string
		client *tls.Config
		why    string
	}{
		{"no certificate", &tls.Config{ServerName: authority.ServerName, InsecureSkipVerify: true}, "didn't provide a certificate"},
		{"a certificate of another authority", issued(stranger, now), "unknown authority"},
		{"another authority's, which is sent along", shows(certificate(t, &x509.Certificate{DNSNames: names, URIs: uri(t, "poolpatch:host:"+hostB)}, nil)), "unknown authority"},
		{"expired", issued(pool, now.AddDate(-2, 0, 0)), "expired"},
		{"not yet valid", issued(pool, now.AddDate(1, 0, 0)), "not yet valid"},
		{"a certificate whose key it has not", shows(block), "invalid signature"},
		{"of the pool, without the name of hosts", shows(certificate(t, &x509.Certificate{URIs: uri(t, "poolpatch:host:"+hostB)}, pool)), authority.ServerName},
		{"of the pool, but no host", shows(certificate(t, &x509.Certificate{DNSNames: names}, pool)), "says of no host"},
		{"of the pool, with another kind of identity", shows(certificate(t, &x509.Certificate{DNSNames: names, URIs: uri(t, "poolpatch:user:"+hostB)}, pool)), "says of no host"},
		{"of the pool, with a host that is no UUID", shows(certificate(t, &x509.Certificate{DNSNames: names, URIs: uri(t, "poolpatch:host:root")}, pool)), "says of no host"},
		{"of the pool, for two hosts", shows(certificate(t, &x509.Certificate{DNSNames: names, URIs: slices.Concat(uri(t, "poolpatch:host:"+hostB), uri(t, "poolpatch:host:"+hostC))}, pool)), "says of no host"},
		{"TLS 1.2", old, "version"},
		{"a keyholder of no pool", new(authority.Keyholder).ClientConfig(), "in no pool"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			meet(t, server, test.client).refused(t, test.why)
		})
	}
}

// Host B is the client, and right; the server is not, or not the one that was meant.
func TestClientRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pool, stranger := newAuthority(t, now.AddDate(-5, 0, 0)), newAuthority(t, now)
	b := newMember(t, pool, hostB, now)
	member := func(a *authority.Authority, when time.Time) *tls.Config {
		return newMember(t, a, hostA, when).ServerConfig(ordinary(t))
	}
	tests := []struct {
		name           string
		server, client *tls.Config
		why            string
	}{
		{"a stranger", member(stranger, now), b.ClientConfig(), "unknown authority"},
		{"expired", member(pool, now.AddDate(-2, 0, 0)), b.ClientConfig(), "expired"},
		{"not yet valid", member(pool, now.AddDate(1, 0, 0)), b.ClientConfig(), "not yet valid"},
		{"another host", member(pool, now), b.ClientConfigFor(hostC), "host " + hostA + " answers in the place of host " + hostC},
		{"no host is meant", member(pool, now), b.ClientConfigFor(""), "in the place of"},
		{"the ordinary certificate", ordinary(t), b.ClientConfig(), "verify host certificate"},
		{"of the pool, but no host", &tls.Config{Certificates: []tls.Certificate{
			certificate(t, &x509.Certificate{DNSNames: []string{authority.ServerName}}, pool)}}, b.ClientConfig(), "says of no host"},
		{"a host in no pool", new(authority.Keyholder).ServerConfig(ordinary(t)), b.ClientConfig(), "in no pool"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			meet(t, test.server, test.client).refused(t, test.why)
		})
	}
}

func TestOrdinaryClients(t *testing.T) {
	t.Parallel()
	pool := newAuthority(t, time.Now())
	a := newMember(t, pool, hostA, time.Now())
	key, cert := newHost(t, pool, hostB, time.Now())
	certificates := []tls.Certificate{pairOf(t, key, cert)}
	special := ordinary(t)
	special.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName != "special.example.org" {
			return nil, nil
		}
		return &tls.Config{Certificates: []tls.Certificate{certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "special"}}, nil)}}, nil
	}
	asking := ordinary(t)
	asking.ClientAuth = tls.RequireAnyClientCert
	tests := []struct {
		name           string
		server, client *tls.Config
		gets           string
	}{
		{"without a name", ordinary(t), &tls.Config{}, "ordinary"},
		{"by a name of its own", ordinary(t), &tls.Config{ServerName: "xen1.example.org"}, "ordinary"},
		{"old", ordinary(t), &tls.Config{MaxVersion: tls.VersionTLS12}, "ordinary"},
		{"HTTP/1.0", ordinary(t), &tls.Config{NextProtos: []string{"http/1.0"}}, "ordinary"},
		{"the ordinary configuration chooses", special, &tls.Config{ServerName: "special.example.org"}, "special"},
		{"the ordinary configuration chooses nothing", special, &tls.Config{}, "ordinary"},
		{"one who shows a host's certificate", asking, &tls.Config{Certificates: certificates}, "ordinary"},
		{"one who joins", ordinary(t), &tls.Config{ServerName: authority.JoinName, Certificates: certificates}, hostA},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.client.InsecureSkipVerify = true
			m := meet(t, a.ServerConfig(test.server), test.client)
			if m.clientErr != nil {
				t.Fatal(m.clientErr)
			}
			if got := m.client.PeerCertificates[0].Subject.CommonName; got != test.gets {
				t.Errorf("got the certificate of %q, want %q", got, test.gets)
			}
			if host, ok := a.Peer(m.server); host != "" || ok {
				t.Errorf("an ordinary client is host %q, %v", host, ok)
			}
		})
	}
}

// A server whose TLS was made elsewhere may take anyone's certificate; that makes nobody a host.
func TestPeerTrustsNoOtherServer(t *testing.T) {
	t.Parallel()
	pool, stranger := newAuthority(t, time.Now()), newAuthority(t, time.Now())
	a := newMember(t, pool, hostA, time.Now())
	server := ordinary(t)
	server.ClientAuth = tls.RequireAnyClientCert
	for _, by := range []*authority.Authority{pool, stranger} {
		key, cert := newHost(t, by, hostB, time.Now())
		for _, name := range []string{authority.ServerName, authority.JoinName, "xen1.example.org"} {
			m := meet(t, server, &tls.Config{ServerName: name, InsecureSkipVerify: true, Certificates: []tls.Certificate{pairOf(t, key, cert)}})
			if m.clientErr != nil {
				t.Fatal(m.clientErr)
			}
			_, ok := a.Peer(m.server)
			if want := by == pool && name == authority.ServerName; ok != want {
				t.Errorf("at %s, with a certificate of the pool: %v: peer %v", name, by == pool, ok)
			}
		}
	}
}

func TestNoConnectionIsResumed(t *testing.T) {
	t.Parallel()
	pool := newAuthority(t, time.Now())
	server := newMember(t, pool, hostA, time.Now()).ServerConfig(ordinary(t))
	configs := map[string]*tls.Config{
		"between hosts": newMember(t, pool, hostB, time.Now()).ClientConfig(),
		"joining":       authority.JoinClientConfig(pool.Fingerprint()),
	}
	for name, config := range configs {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		for range 2 {
			if m := meet(t, server, config); m.clientErr != nil || m.client.DidResume {
				t.Errorf("%s: %v, resumed: %v", name, m.clientErr, m.client.DidResume)
			}
		}
	}
}

func TestEjectedHost(t *testing.T) {
	t.Parallel()
	pool := newAuthority(t, time.Now())
	a, b := newMember(t, pool, hostA, time.Now()), newMember(t, pool, hostB, time.Now())
	var ejected atomic.Bool
	a.Allowed = func(host string) bool { return host != hostB || !ejected.Load() }
	fromB := func() meeting { return meet(t, a.ServerConfig(ordinary(t)), b.ClientConfig()) }
	toB := func() meeting { return meet(t, b.ServerConfig(ordinary(t)), a.ClientConfig()) }

	from, to := fromB(), toB()
	if _, ok := a.Peer(from.server); !ok || from.clientErr != nil || to.clientErr != nil {
		t.Fatalf("before: peer %v, %v, %v", ok, from.clientErr, to.clientErr)
	}
	ejected.Store(true)
	fromB().refused(t, "host "+hostB+" is not of this pool")
	toB().refused(t, "host "+hostB+" is not of this pool")
	for _, state := range []tls.ConnectionState{from.server, to.client} {
		if host, ok := a.Peer(state); host != "" || ok {
			t.Errorf("on a connection that it still has the ejected host is %q, %v", host, ok)
		}
	}
}

// TestAskingWhetherOneIsOfThePool: a host that is not allowed is known where it asks about that, and nowhere else; a
// stranger is known nowhere.
func TestAskingWhetherOneIsOfThePool(t *testing.T) {
	t.Parallel()
	pool, stranger := newAuthority(t, time.Now()), newAuthority(t, time.Now())
	a, b := newMember(t, pool, hostA, time.Now()), newMember(t, pool, hostB, time.Now())
	a.Allowed = func(host string) bool { return host != hostB }
	m := meet(t, a.ServerConfig(ordinary(t)), b.MemberConfig())
	if m.clientErr != nil || m.serverErr != nil {
		t.Fatalf("client: %v, server: %v", m.clientErr, m.serverErr)
	}
	if host, ok := a.Asker(m.server); host != hostB || !ok {
		t.Errorf("%q asks, %v", host, ok)
	}
	if host, ok := a.Peer(m.server); host != "" || ok {
		t.Errorf("who asks is taken for the host %q, %v", host, ok)
	}
	m.server.HandshakeComplete = false
	if host, ok := a.Asker(m.server); host != "" || ok {
		t.Errorf("before the handshake is complete %q asks, %v", host, ok)
	}
	c := newMember(t, pool, hostC, time.Now())
	if host, ok := a.Asker(meet(t, a.ServerConfig(ordinary(t)), c.ClientConfig()).server); host != "" || ok {
		t.Errorf("a host of the pool that asks nothing is taken for %q, which asks, %v", host, ok)
	}
	other := newMember(t, stranger, hostB, time.Now())
	meet(t, a.ServerConfig(ordinary(t)), other.MemberConfig()).refused(t, "unknown authority")
	meet(t, other.ServerConfig(ordinary(t)), b.MemberConfig()).refused(t, "unknown authority")
	meet(t, a.ServerConfig(ordinary(t)), &tls.Config{ServerName: authority.MemberName, InsecureSkipVerify: true}).refused(t, "didn't provide a certificate")
}

// Connections go on through all steps in which one authority replaces another, with configurations that
// were made before.
func TestRotation(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, fresh := newAuthority(t, now), newAuthority(t, now)
	a, b := newMember(t, old, hostA, now), newMember(t, old, hostB, now)
	serverA, clientB := a.ServerConfig(ordinary(t)), b.ClientConfigFor(hostA)
	serverB, clientA := b.ServerConfig(ordinary(t)), a.ClientConfig()
	before := meet(t, serverA, clientB)
	left := newMember(t, old, hostC, now)

	stop := make(chan struct{})
	var dialers sync.WaitGroup
	dial := func(server, client *tls.Config) {
		for {
			if m := meet(t, server, client); m.clientErr != nil || m.serverErr != nil {
				t.Errorf("client: %v, server: %v", m.clientErr, m.serverErr)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}
	dialers.Go(func() { dial(serverA, clientB) })
	dialers.Go(func() { dial(serverB, clientA) })

	set := func(k *authority.Keyholder, key, cert []byte, trust authority.Trust) {
		t.Helper()
		if err := k.Set(key, cert, trust); err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]*tls.Config{{serverA, clientB}, {serverB, clientA}} {
			if m := meet(t, pair[0], pair[1]); m.clientErr != nil || m.serverErr != nil {
				t.Fatalf("client: %v, server: %v", m.clientErr, m.serverErr)
			}
		}
	}
	both := []*authority.Keyholder{a, b}
	for _, k := range both {
		id, _ := k.Current()
		if err := k.Set(id.Key, id.Cert, fresh.Trust()); err == nil {
			t.Fatal("a host could leave the authority of its own certificate out of its trust")
		}
		set(k, id.Key, id.Cert, id.Trust.Add(fresh.Trust()))
	}
	for _, k := range both {
		id, _ := k.Current()
		key, cert := newHost(t, fresh, id.Host, now)
		set(k, key, cert, id.Trust)
	}
	for _, k := range both {
		id, _ := k.Current()
		if id.Authority() != fresh.Fingerprint() {
			t.Fatal("the certificate is not of the new authority")
		}
		set(k, id.Key, id.Cert, id.Trust.Without(old.Fingerprint()))
	}
	close(stop)
	dialers.Wait()

	meet(t, serverA, left.ClientConfig()).refused(t, "unknown authority")
	meet(t, left.ServerConfig(ordinary(t)), clientA).refused(t, "unknown authority")
	if _, ok := a.Peer(before.server); ok {
		t.Error("a connection of the old authority still has a peer")
	}
}

func TestCertificateEndsOnALivingConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newAuthority(t, time.Now())
		a, b := newMember(t, pool, hostA, time.Now()), newMember(t, pool, hostB, time.Now())
		near, far := net.Pipe()
		m := meetOver(t, tls.Server(near, a.ServerConfig(ordinary(t))), tls.Client(far, b.ClientConfig()))
		if _, ok := a.Peer(m.server); !ok || m.clientErr != nil {
			t.Fatalf("before: peer %v, %v", ok, m.clientErr)
		}
		time.Sleep(366 * 24 * time.Hour) // of the bubble's clock
		if _, ok := a.Peer(m.server); ok {
			t.Error("an expired certificate still has a peer")
		}
		// The certificate that is over can still be set: without it nobody could ask for another.
		id, _ := a.Current()
		if err := a.Set(id.Key, id.Cert, id.Trust); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkPeer is what a call between hosts pays for being asked of whom it is.
func BenchmarkPeer(b *testing.B) {
	pool := newAuthority(b, time.Now())
	k := newMember(b, pool, hostA, time.Now())
	m := meet(b, k.ServerConfig(ordinary(b)), newMember(b, pool, hostB, time.Now()).ClientConfig())
	for b.Loop() {
		if _, ok := k.Peer(m.server); !ok {
			b.Fatal("nobody")
		}
	}
}
