package trust

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"poolpatch/internal/db"
)

// TLS is that with which this host connects to servers outside of its pool: it trusts the authorities that the system trusts, and the
// CA certificates that are installed now, and nothing that a revocation list revokes. Make one for each piece of work.
func (s *Store) TLS() *tls.Config {
	l := s.now()
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // the pool's own still count
	}
	for _, cert := range l.authorities {
		roots.AddCert(cert)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := s.now().unrevoked(state.VerifiedChains)
			return err
		},
	}
}

// Asking is the TLS of an ordinary server with the question for a client's certificate; nil while the pool lets no client in by one. A
// client need not show any, but one that it shows must be good. Its name is not looked at: who has another one may log in with a
// password.
func (s *Store) Asking(ordinary *tls.Config) *tls.Config {
	var l *library
	_ = s.db.View(func(tx *db.Tx) error {
		if _, enabled := wanted(tx); enabled {
			l = s.library(tx)
		}
		return nil
	})
	if l == nil {
		return nil
	}
	config := ordinary.Clone()
	config.GetConfigForClient = nil
	// No tickets: a connection that is resumed would rest on what counted when the first one was made.
	config.SessionTicketsDisabled = true
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, l.signers
	// Once more, by what counts at the end of a handshake that may have been slow, and by the revocation lists.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		_, err := s.now().client(state.PeerCertificates, time.Now())
		return err
	}
	return config
}

func (s *Store) now() (l *library) {
	_ = s.db.View(func(tx *db.Tx) error { l = s.library(tx); return nil })
	return l
}
