package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/trust"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

// shake makes a connection, and gives what each end says of it.
func shake(t *testing.T, client, server *tls.Config) (state tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			secured := tls.Server(conn, server)
			if err = secured.HandshakeContext(t.Context()); err == nil {
				state = secured.ConnectionState()
				_, err = secured.Write([]byte("x"))
			}
		}
		served <- err
	}()
	outgoing, clientErr := tls.Dial("tcp", l.Addr().String(), client)
	if clientErr == nil {
		_, clientErr = outgoing.Read(make([]byte, 1)) // in TLS 1.3 the server speaks last
		outgoing.Close()
	}
	serverErr = <-served
	return state, clientErr, serverErr
}

// Servers outside of the pool are trusted by what is installed at the time of the connection.
func TestServers(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	forServers := usage(x509.ExtKeyUsageServerAuth)
	cert := root.Issue(t, "server", dns("server"), forServers)
	connect := func(config *tls.Config, cert tls.Certificate, name string) error {
		config = config.Clone()
		config.ServerName = name
		_, err, _ := shake(t, config, &tls.Config{Certificates: []tls.Certificate{cert}})
		return err
	}
	refused := func(what string, err error, words string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", what, err, words)
		}
	}
	refused("before it is installed", connect(p.TLS(), cert, "server"), "unknown authority")
	p.trusts("root", root)
	config := p.TLS()
	if err := connect(config, cert, "server"); err != nil {
		t.Errorf("when it is installed: %v", err)
	}
	refused("by another name", connect(config, cert, "other"), "not other")
	refused("a client's", connect(config, root.Issue(t, "server", dns("server")), "server"), "key usage")
	p.revokes("list", root.Revoke(t, cert.Leaf))
	refused("revoked", connect(config, cert, "server"), "revoked") // also with the older configuration
	if err := connect(config, root.Issue(t, "server", dns("server"), forServers), "server"); err != nil {
		t.Errorf("one that is not revoked: %v", err)
	}
	p.must(func(tx *db.Tx) error { return trust.Uninstall(tx, "root") })
	refused("uninstalled", connect(p.TLS(), root.Issue(t, "server", dns("server"), forServers), "server"), "unknown authority")
	lone := trusttest.SelfSigned(t, "lone", dns("lone"), forServers)
	if err := p.install("lone", trusttest.PEM(lone.Leaf)); err != nil {
		t.Fatal(err)
	}
	if err := connect(p.TLS(), lone, "lone"); err != nil {
		t.Errorf("one that vouches for itself: %v", err)
	}
}

// A client that shows no certificate is let through, one that shows a bad one is not, and nobody is asked while nothing depends on it.
func TestAsking(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.trusts("root", root)
	ordinary := &tls.Config{Certificates: []tls.Certificate{root.Issue(t, "server", dns("server"))}, NextProtos: []string{"http/1.1"}}
	good, revoked, other := root.Issue(t, "robot"), root.Issue(t, "robot"), root.Issue(t, "other")
	early := p.Asking(ordinary) // of a handshake that began before
	if early.SessionTicketsDisabled != true || !slices.Equal(early.NextProtos, ordinary.NextProtos) || ordinary.ClientAuth != tls.NoClientCert {
		t.Errorf("configuration %+v", early)
	}
	p.revokes("list", root.Revoke(t, revoked.Leaf))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := func(certs ...tls.Certificate) *tls.Config {
			return &tls.Config{InsecureSkipVerify: true, MaxVersion: version, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(certs) == 0 {
					return &tls.Certificate{}, nil
				}
				return &certs[0], nil // whatever the server asks for
			}}
		}
		for _, c := range []struct {
			name  string
			certs []tls.Certificate
			in    bool
		}{
			{"none", nil, true}, {"good", []tls.Certificate{good}, true}, {"with another name", []tls.Certificate{other}, true},
			{"revoked", []tls.Certificate{revoked}, false}, {"of a stranger", []tls.Certificate{trusttest.New(t, "s").Issue(t, "robot")}, false},
			{"expired", []tls.Certificate{root.Issue(t, "robot", valid(-2*time.Hour, -time.Hour))}, false},
			{"for servers alone", []tls.Certificate{root.Issue(t, "robot", usage(x509.ExtKeyUsageServerAuth))}, false},
		} {
			for _, config := range []*tls.Config{early, p.Asking(ordinary)} {
				state, clientErr, serverErr := shake(t, client(c.certs...), config)
				if in := clientErr == nil && serverErr == nil; in != c.in {
					t.Errorf("%s, %x: %v, %v", c.name, version, clientErr, serverErr)
				}
				if c.in && len(state.PeerCertificates) != len(c.certs) {
					t.Errorf("%s: %d certificates arrived", c.name, len(state.PeerCertificates))
				}
			}
		}
	}
	p.must(func(tx *db.Tx) error {
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.ClientCertificateAuthEnabled = false; return nil })
	})
	if p.Asking(ordinary) != nil {
		t.Error("clients are asked though the pool does not want to know")
	}
}
