package pool

import (
	"context"
	"crypto/tls"
	"net"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Dial connects to another host, for what is more than a call: a stream of bytes. Both sides know each other by their
// certificates; the protocol is HTTP/1.1. Errors: HANDLE_INVALID, HOST_OFFLINE.
func (h *Hosts) Dial(ctx context.Context, host xenapi.Ref[xenapi.Host]) (net.Conn, error) {
	address, config, err := h.locate(host)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: config}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, offline(host, err)
	}
	return conn, nil
}

// locate finds the address, with a port, of a host that lives, and the TLS that takes no other for it.
func (h *Hosts) locate(host xenapi.Ref[xenapi.Host]) (address string, config *tls.Config, err error) {
	var rec xenapi.Host
	err = h.db.View(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, host); err == nil && !Alive(tx, host) {
			err = xenapi.ErrHostOffline(host)
		}
		return err
	})
	return withPort(rec.Address), h.keys.ClientConfigFor(rec.UUID), err
}

// withPort adds HTTPS's port to an address that has none.
func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, "443")
}
