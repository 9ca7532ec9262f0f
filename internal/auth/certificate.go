package auth

import (
	"context"
	"crypto/x509"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

// certificateSID names the clients that certificates let in, as one user apart from all who have passwords.
const certificateSID = "client-cert:"

// LoginCertificate opens a session for a client that has shown these certificates, its own first, on a connection of which it has
// proved to hold the key. It is opened in the transaction that has seen all that it rests on: nobody is let in by what is
// revoked meanwhile. Where the database takes no changes there is no such session. Errors: SESSION_AUTHENTICATION_FAILED.
func (s *Service) LoginCertificate(ctx context.Context, shown []*x509.Certificate, originator string) (xenapi.Ref[xenapi.Session], error) {
	if s.options.Trust == nil {
		return "", refusedCertificate(trust.ErrNotAsked)
	}
	ref := xenapi.NewRef[xenapi.Session]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error {
		client, err := s.options.Trust.Admit(tx, shown, time.Now())
		if err != nil {
			return refusedCertificate(err)
		}
		return insert(tx, ref, s.begun(xenapi.Session{
			Kind: kindCert, Role: xenapi.RoleClientCert, ClientCertificate: true, Originator: originator,
			AuthUserName: client.Name, AuthUserSID: certificateSID + client.Name, Shown: client.Chain, ValidUntil: client.Until.UTC(),
		}))
	})
}

func refusedCertificate(why error) error {
	return xenapi.ErrSessionAuthenticationFailed("", "The certificate lets nobody in").Because(why)
}

// EndUntrusted ends the sessions whose certificates would not open them any more. Whoever changes what those rest on does
// so in the same transaction.
func (s *Service) EndUntrusted(tx *db.Tx) error {
	for ref, rec := range db.All[xenapi.Session](tx) {
		if rec.Kind != kindCert || s.options.Trust != nil && s.options.Trust.Still(tx, trust.Client{Name: rec.AuthUserName, Chain: rec.Shown}, time.Now()) {
			continue
		}
		if err := db.Delete(tx, ref); err != nil {
			return err
		}
	}
	return nil
}

// expired reports whether a session rests on a certificate whose time is over.
func expired(rec xenapi.Session, now time.Time) bool {
	return rec.Kind == kindCert && now.After(rec.ValidUntil)
}
