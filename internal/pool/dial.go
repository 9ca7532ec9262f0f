package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

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

// Get reads a path of another host's, for the pool itself; whoever gets the body closes it. It breaks when the pool takes
// the host for dead. Errors: HANDLE_INVALID, HOST_OFFLINE, and what the host says instead of a body.
func (h *Hosts) Get(ctx context.Context, host xenapi.Ref[xenapi.Host], path string, header http.Header) (*http.Response, error) {
	client, address, err := h.reach(host)
	if err != nil {
		return nil, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	go func() {
		if h.db.Wait(ctx, func(tx *db.Tx) (bool, error) { return !Alive(tx, host), nil }) == nil {
			giveUp(xenapi.ErrHostOffline(host))
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		giveUp(nil)
		return nil, err
	}
	if header != nil {
		request.Header = header.Clone()
	}
	request.Header.Set(RevisionHeader, strconv.FormatInt(h.db.Revision(), 10))
	answer, err := client.Do(request)
	if err != nil {
		err = errors.Join(context.Cause(ctx), err)
		giveUp(nil)
		return nil, offline(host, err)
	}
	answer.Body = &body{answer.Body, giveUp}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		return nil, fmt.Errorf("%s of host %s: %s: %s", path, host, answer.Status, said)
	}
	return answer, nil
}

// FetchPatch gives the signed file of a patch as the coordinator has it, and its length in bytes. Errors:
// CANNOT_FETCH_PATCH, HOST_OFFLINE.
func (h *Hosts) FetchPatch(ctx context.Context, uuid string) (io.ReadCloser, int64, error) {
	var from xenapi.Ref[xenapi.Host]
	_ = h.db.View(func(tx *db.Tx) error { from = Coordinator(tx); return nil })
	answer, err := h.Get(ctx, from, "/pool_patch_download?uuid="+uuid, nil)
	if xenapi.CodeOf(err) == xenapi.CodeHostOffline {
		return nil, 0, err
	}
	if err != nil {
		return nil, 0, xenapi.ErrCannotFetchPatch(uuid).Because(err)
	}
	return answer.Body, answer.ContentLength, nil
}

// maxRefusal is how much is read of what a host says instead of a body, in bytes.
const maxRefusal = 4 << 10

// body ends what watches over a transfer with it.
type body struct {
	io.ReadCloser
	giveUp context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.giveUp(nil)
	return b.ReadCloser.Close()
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
