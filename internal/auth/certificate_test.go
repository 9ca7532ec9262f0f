package auth_test

import (
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/trust"
	"poolpatch/internal/trust/trusttest"
	"poolpatch/xenapi"
)

// letsIn has a pool let in clients with certificates of an authority that have a name.
func (p pool) letsIn(t testing.TB, a *trusttest.Authority, name string) {
	t.Helper()
	p.update(t, func(tx *db.Tx) error {
		if err := trust.Install(tx, "ca", a.PEM()); err != nil {
			return err
		}
		return db.Change(tx, "OpaqueRef:pool", func(rec *xenapi.Pool) error {
			rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName = true, name
			return nil
		})
	})
}

// A session by certificate ends with the certificate, even in the middle of work, and before anybody collects it.
func TestSessionsEndWithTheirCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		root := trusttest.New(t, "root")
		p.letsIn(t, root, "robot")
		shown := trusttest.Shown(t, root.Issue(t, "robot", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }))
		ref, err := p.LoginCertificate(t.Context(), shown, anyone)
		if err != nil {
			t.Fatal(err)
		}
		p.update(t, func(tx *db.Tx) error {
			return db.Insert(tx, "OpaqueRef:t", xenapi.Task{Status: xenapi.TaskStatusPending, Session: ref})
		})
		time.Sleep(time.Hour - time.Second)
		if rec, err := p.Session(t.Context(), ref); err != nil || rec.AuthUserName != "robot" || !p.Open(ref) {
			t.Errorf("a second before: %v", err)
		}
		if err := p.Collect(t.Context(), time.Now()); err != nil || len(p.sessions()) != 1 {
			t.Errorf("collected a second before: %v", err)
		}
		time.Sleep(2 * time.Second)
		_, err = p.Session(t.Context(), ref)
		wantCode(t, err, xenapi.CodeSessionInvalid)
		if p.Open(ref) {
			t.Error("it is open after the end of its certificate")
		}
		_, err = p.LoginCertificate(t.Context(), shown, anyone)
		wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)
		if err := p.Collect(t.Context(), time.Now()); err != nil || len(p.sessions()) != 0 {
			t.Errorf("collected after the end: %v, %v", p.sessions(), err)
		}
	})
}

// EndUntrusted leaves the sessions of users, of hosts and of the unix socket.
func TestEndUntrusted(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.letsIn(t, root, "ann") // as a user is called
	gone, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "ann")), anyone)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "ann")), anyone)
	if err != nil {
		t.Fatal(err)
	}
	var others []xenapi.Ref[xenapi.Session]
	for _, login := range []func() (xenapi.Ref[xenapi.Session], error){
		func() (xenapi.Ref[xenapi.Session], error) { return p.Login(t.Context(), "ann", "a", anyone) },
		func() (xenapi.Ref[xenapi.Session], error) { return p.LoginLocal(t.Context(), anyone) },
		func() (xenapi.Ref[xenapi.Session], error) { return p.LoginPool(t.Context(), secret, anyone) },
	} {
		ref, err := login()
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, ref)
	}
	cert := p.sessions()[gone]
	p.update(t, func(tx *db.Tx) error {
		rec := cert
		rec.Shown = p.sessions()[stays].Shown[:20] // damaged
		if err := db.Put(tx, gone, rec); err != nil {
			return err
		}
		return p.EndUntrusted(tx)
	})
	left := p.sessions()
	if _, there := left[gone]; there || len(left) != len(others)+1 {
		t.Errorf("left: %v", left)
	}
	p.update(t, func(tx *db.Tx) error {
		if err := trust.Uninstall(tx, "ca"); err != nil {
			return err
		}
		return p.EndUntrusted(tx)
	})
	if left := p.sessions(); len(left) != len(others) {
		t.Errorf("left: %v", left)
	}
	// Users are none of it: ann's role, and the end of ann's sessions, are not those of the certificate called ann.
	if _, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "ann")), anyone); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
		t.Errorf("after it is uninstalled: %v", err)
	}
}

// Who is let in while the database takes no changes could not be put out: so nobody is.
func TestNoCertificatesWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	p := open(t, memkv.New(memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
		if broken.Load() {
			return memkv.Unavailable
		}
		return memkv.None
	})), here)
	p.update(t, func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:pool", xenapi.Pool{Secret: secret}) })
	root := trusttest.New(t, "root")
	p.letsIn(t, root, "robot")
	broken.Store(true)
	ref, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "robot")), anyone)
	if err == nil || p.Open(ref) {
		t.Errorf("a session without a database: %v", err)
	}
	if _, err := p.LoginLocal(t.Context(), anyone); err != nil {
		t.Errorf("root on the unix socket: %v", err)
	}
}

// Sessions by certificate have a limit of their own.
func TestLimitOfCertificates(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.letsIn(t, root, "robot")
	p.update(t, func(tx *db.Tx) error {
		for i := range 500 {
			rec := xenapi.Session{Kind: "cert", AuthUserName: "robot", LastActive: time.Now().Add(-time.Duration(i) * time.Second)}
			if err := db.Insert(tx, xenapi.Ref[xenapi.Session](fmt.Sprintf("OpaqueRef:%03d", i)), rec); err != nil {
				return err
			}
		}
		return db.Insert(tx, "OpaqueRef:user", xenapi.Session{Kind: "user", AuthUserName: "robot"})
	})
	if _, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "robot")), anyone); err != nil {
		t.Fatal(err)
	}
	left := p.sessions()
	_, oldest := left["OpaqueRef:499"]
	_, user := left["OpaqueRef:user"]
	if len(left) != 501 || oldest || !user {
		t.Errorf("%d left, the oldest %t, a user's %t", len(left), oldest, user)
	}
}

// A certificate's name is no user's: what is done to the user of that name is not done to the client.
func TestCertificatesAreNoUsers(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	root := trusttest.New(t, "root")
	p.letsIn(t, root, "ann")
	ref, err := p.LoginCertificate(t.Context(), trusttest.Shown(t, root.Issue(t, "ann")), anyone)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.DestroyUser(t.Context(), p.users()["ann"]); err != nil {
		t.Fatal(err)
	}
	rec := p.sessions()[ref]
	if rec.Role != xenapi.RoleClientCert || rec.Subject != "" {
		t.Errorf("session %+v", rec)
	}
	if err := auth.Authorize(rec, "vdi.copy", xenapi.RoleVMAdmin); xenapi.CodeOf(err) != xenapi.CodeRBACPermissionDenied {
		t.Errorf("what ann might: %v", err)
	}
}
