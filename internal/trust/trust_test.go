package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/trust"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

const thePool = xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")

// pool is what a pool trusts, as one host sees it.
type pool struct {
	*trust.Store
	t  *testing.T
	db *db.DB
}

// newPool lets clients in by certificates of the name "robot".
func newPool(t *testing.T) *pool {
	t.Helper()
	d, err := db.Open(t.Context(), memkv.New(), db.Options{Tables: append(trust.Tables(), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host]())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	p := &pool{trust.New(d), t, d}
	p.must(func(tx *db.Tx) error {
		return db.Insert(tx, thePool, xenapi.Pool{UUID: "pool", ClientCertificateAuthEnabled: true, ClientCertificateAuthName: "robot"})
	})
	return p
}

func (p *pool) update(fn func(tx *db.Tx) error) error { return p.db.Update(p.t.Context(), fn) }

func (p *pool) must(fn func(tx *db.Tx) error) {
	p.t.Helper()
	if err := p.update(fn); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pool) install(name, text string) error {
	return p.update(func(tx *db.Tx) error { return trust.Install(tx, name, text) })
}

func (p *pool) installList(name, text string) error {
	return p.update(func(tx *db.Tx) error { return p.InstallList(tx, name, text) })
}

func (p *pool) trusts(name string, a *trusttest.Authority) {
	p.t.Helper()
	p.must(func(tx *db.Tx) error { return trust.Install(tx, name, a.PEM()) })
}

func (p *pool) revokes(name, text string) {
	p.t.Helper()
	p.must(func(tx *db.Tx) error { return p.InstallList(tx, name, text) })
}

func (p *pool) admit(cert tls.Certificate) (client trust.Client, err error) {
	return client, p.db.View(func(tx *db.Tx) error {
		client, err = p.Admit(tx, trusttest.Shown(p.t, cert), time.Now())
		return err
	})
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if got := xenapi.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

func dns(names ...string) trusttest.Edit { return func(c *x509.Certificate) { c.DNSNames = names } }

func usage(all ...x509.ExtKeyUsage) trusttest.Edit {
	return func(c *x509.Certificate) { c.ExtKeyUsage = all }
}

func valid(from, to time.Duration) trusttest.Edit {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to)
	}
}

// Every way to be let in, and every way not to be.
func TestAdmit(t *testing.T) {
	t.Parallel()
	root, stranger, twin := trusttest.New(t, "root"), trusttest.New(t, "stranger"), trusttest.New(t, "root")
	below := root.Below(t, "below")
	revokedBelow := root.Below(t, "revoked below")
	bound := root.Below(t, "bound", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} })
	endedRoot := trusttest.New(t, "ended root", valid(-48*time.Hour, -time.Hour))
	lone := trusttest.SelfSigned(t, "robot")
	revoked, revokedByTwin := root.Issue(t, "robot"), root.Issue(t, "robot")
	noSigner := root.Below(t, "no signer", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })

	p := newPool(t)
	p.revokes("twin", twin.Revoke(t, revokedByTwin.Leaf)) // before the authority of that name is there
	p.trusts("root", root)
	p.trusts("ended", endedRoot)
	if err := p.install("lone", trusttest.PEM(lone.Leaf)); err != nil {
		t.Fatal(err)
	}
	p.revokes("one", root.Revoke(t, revoked.Leaf))
	p.revokes("two", root.Revoke(t, revokedBelow.Cert))

	for _, c := range []struct {
		name  string
		cert  tls.Certificate
		wants string // "" is in
	}{
		{"by its common name", root.Issue(t, "robot"), ""},
		{"by a DNS name", root.Issue(t, "another", dns("x.example.org", "ROBOT")), ""},
		{"of an authority below", trusttest.With(below.Issue(t, "robot"), below), ""},
		{"for whatever use", root.Issue(t, "robot", usage()), ""},
		{"for servers too", root.Issue(t, "robot", usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)), ""},
		{"the root shown along", trusttest.With(root.Issue(t, "robot"), root), ""},
		{"revoked by a list of another with the same name", revokedByTwin, ""},

		{"none", tls.Certificate{}, "no certificate"},
		{"expired", root.Issue(t, "robot", valid(-48*time.Hour, -time.Hour)), "expired"},
		{"not valid yet", root.Issue(t, "robot", valid(time.Hour, 48*time.Hour)), "not yet valid"},
		{"of another authority", stranger.Issue(t, "robot"), "unknown authority"},
		{"of another authority that is shown along", trusttest.With(stranger.Issue(t, "robot"), stranger), "unknown authority"},
		{"of another authority of the same name", trusttest.With(twin.Issue(t, "robot"), twin), "unknown authority"},
		{"of an authority whose time is over", endedRoot.Issue(t, "robot"), "expired"},
		{"of an authority below that is not shown", below.Issue(t, "robot"), "unknown authority"},
		{"of one that is no authority", trusttest.With(noSigner.Issue(t, "robot"), noSigner), "unknown authority"},
		{"with another name", root.Issue(t, "droid"), "is not that of"},
		{"with another name, and ours in it", root.Issue(t, "robot2", dns("*.robot", "robot.example.org")), "is not that of"},
		{"with our name in other case", root.Issue(t, "Robot"), "is not that of"},
		{"with a common name of a bound authority", trusttest.With(bound.Issue(t, "robot", dns("x.example.org")), bound), "is not that of"},
		{"a DNS name that its authority may not vouch for", trusttest.With(bound.Issue(t, "robot", dns("robot")), bound), "not permitted"},
		{"revoked", revoked, "revoked"},
		{"of a revoked authority", trusttest.With(revokedBelow.Issue(t, "robot"), revokedBelow), "revoked"},
		{"for servers alone", root.Issue(t, "robot", usage(x509.ExtKeyUsageServerAuth)), "key usage"},
		{"below one for servers alone", func() tls.Certificate {
			servers := root.Below(t, "servers", usage(x509.ExtKeyUsageServerAuth))
			return trusttest.With(servers.Issue(t, "robot"), servers)
		}(), "key usage"},
		{"self-signed", trusttest.SelfSigned(t, "robot"), "unknown authority"},
		{"self-signed in the authority's name", trusttest.SelfSigned(t, "root", dns("robot")), "unknown authority"},
		{"self-signed and trusted as a server", lone, "unknown authority"},
		{"an authority's own", tls.Certificate{Certificate: [][]byte{root.Below(t, "robot").Cert.Raw}}, "no client's"},
		{"too long", root.Issue(t, "robot", dns(strings.Repeat("a", 33<<10))), "too many"},
	} {
		client, err := p.admit(c.cert)
		switch {
		case c.wants == "" && (err != nil || client.Name != "robot"):
			t.Errorf("%s: %v", c.name, err)
		case c.wants != "" && (err == nil || !strings.Contains(err.Error(), c.wants)):
			t.Errorf("%s: %v, want %q", c.name, err, c.wants)
		}
	}
}

// What let a client in lets it in until one of the things that it rests on goes.
func TestStill(t *testing.T) {
	t.Parallel()
	root := trusttest.New(t, "root")
	below := root.Below(t, "below", valid(-time.Hour, 2*time.Hour))
	cert := trusttest.With(below.Issue(t, "robot", dns("droid")), below)
	setting := func(enabled bool, name string) func(p *pool) {
		return func(p *pool) {
			p.must(func(tx *db.Tx) error {
				return db.Change(tx, thePool, func(rec *xenapi.Pool) error {
					rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName = enabled, name
					return nil
				})
			})
		}
	}
	uninstall := func(p *pool) { p.must(func(tx *db.Tx) error { return trust.Uninstall(tx, "root") }) }
	for _, c := range []struct {
		name   string
		change func(p *pool)
		after  time.Duration
		still  bool
	}{
		{"nothing", func(*pool) {}, 0, true},
		{"another authority", func(p *pool) { p.trusts("more", trusttest.New(t, "more")) }, 0, true},
		{"the same again", func(p *pool) { uninstall(p); p.trusts("again", root) }, 0, true},
		{"another is revoked", func(p *pool) { p.revokes("r", root.Revoke(t, root.Issue(t, "x").Leaf)) }, 0, true},
		{"disabled", setting(false, "robot"), 0, false},
		{"no name", setting(true, ""), 0, false},
		{"another name", setting(true, "other"), 0, false},
		{"another name that it has too", setting(true, "droid"), 0, false},
		{"uninstalled", uninstall, 0, false},
		{"revoked", func(p *pool) { p.revokes("r", below.Revoke(t, cert.Leaf)) }, 0, false},
		{"its authority is revoked", func(p *pool) { p.revokes("r", root.Revoke(t, below.Cert)) }, 0, false},
		{"its authority expires", func(*pool) {}, 3 * time.Hour, false},
	} {
		p := newPool(t)
		p.trusts("root", root)
		client, err := p.admit(cert)
		if err != nil {
			t.Fatal(err)
		}
		if !client.Until.Equal(below.Cert.NotAfter) {
			t.Errorf("until %v, want %v", client.Until, below.Cert.NotAfter)
		}
		c.change(p)
		_ = p.db.View(func(tx *db.Tx) error {
			if got := p.Still(tx, client, time.Now().Add(c.after)); got != c.still {
				t.Errorf("%s: still %t", c.name, got)
			}
			return nil
		})
	}
}

// What cannot be read lets nobody in, and is told.
func TestDamagedRows(t *testing.T) {
	t.Parallel()
	root := trusttest.New(t, "root")
	cert := root.Issue(t, "robot")
	p := newPool(t)
	p.trusts("root", root)
	p.revokes("list", root.Revoke(t))
	if _, err := p.admit(cert); err != nil || p.Check() != nil {
		t.Fatalf("%v, %v", err, p.Check())
	}
	p.must(trust.Damage)
	_, err := p.admit(cert)
	wantCode(t, "a client", err, xenapi.CodeCertificateLibraryCorrupt)
	wantCode(t, "the check", p.Check(), xenapi.CodeCertificateLibraryCorrupt)
	config := p.TLS()
	config.ServerName = "server"
	server := root.Issue(t, "server", dns("server"), usage(x509.ExtKeyUsageServerAuth))
	_, err, _ = shake(t, config, &tls.Config{Certificates: []tls.Certificate{server}})
	wantCode(t, "a server", err, xenapi.CodeCertificateLibraryCorrupt)
}
