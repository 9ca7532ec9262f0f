package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/httpd"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// agentPause lies between the answer to whoever ends the daemon and its end, for the answer, and a task's, to arrive.
const agentPause = time.Second

// errStopped ends a daemon that was told to over the API.
var errStopped = errors.New("the daemon was told to stop")

// Restart implements api.Daemon.
func (h *host) Restart() { h.end(errMoved) }

// Stop implements api.Daemon.
func (h *host) Stop() { h.end(errStopped) }

func (h *host) end(how error) {
	select {
	case h.ending <- how:
	default: // somebody was faster
	}
}

// awaitEnd gives how the daemon is to end, a moment after it was told, or nil when ctx ends.
func (h *host) awaitEnd(ctx context.Context) error {
	select {
	case how := <-h.ending:
		h.log.Info("this daemon ends on request", "again", how == errMoved)
		select {
		case <-time.After(agentPause):
		case <-ctx.Done():
		}
		return how
	case <-ctx.Done():
		return nil
	}
}

// show says in the database which certificate clients are shown; nil is none. Another one begins the daemon anew, and comes here again.
func (h *host) show(ctx context.Context, cert *x509.Certificate) error {
	h.certificate = cert
	err := h.db.Update(ctx, func(tx *db.Tx) error {
		return pool.ShowCertificate(tx, h.member.Host, xenapi.CertificateTypeHost, cert)
	})
	if err != nil {
		return fmt.Errorf("certificate of this host: %w", err)
	}
	return nil
}

// Certificate implements api.Daemon.
func (h *host) Certificate() string {
	if h.certificate == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.certificate.Raw}))
}

// ReplaceCertificate implements api.Daemon.
func (h *host) ReplaceCertificate(cert, key, chain string) error {
	if err := h.keepsCertificate(); err != nil {
		return err
	}
	return httpd.ReplaceCertificate(h.paths.tlsCert, h.paths.tlsKey, []byte(cert), []byte(key), []byte(chain), time.Now())
}

// ResetCertificate implements api.Daemon.
func (h *host) ResetCertificate() error {
	if err := h.keepsCertificate(); err != nil {
		return err
	}
	return httpd.DropCertificate(h.paths.tlsCert, h.paths.tlsKey)
}

// keepsCertificate refuses to touch one that the administrator keeps.
func (h *host) keepsCertificate() error {
	if h.ownCertificate {
		return xenapi.ErrOperationNotAllowed("the certificate is that of --tls-cert: replace that file, and start the daemon again")
	}
	return nil
}

// RenewIdentity implements api.Daemon.
func (h *host) RenewIdentity(ctx context.Context) error { return h.known.Renew(ctx) }
