package pool

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// Read gets a path of another host's handlers, for the pool itself: the body, which the caller closes, and its length in
// bytes, -1 when that is not known. It breaks when the pool takes the host for dead. Errors: HANDLE_INVALID,
// HOST_OFFLINE, and what the host says instead of a body.
func (h *Hosts) Read(ctx context.Context, host xenapi.Ref[xenapi.Host], path string) (io.ReadCloser, int64, error) {
	client, address, err := h.reader(host)
	if err != nil {
		return nil, 0, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	go h.watch(ctx, host, giveUp)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		giveUp(nil)
		return nil, 0, err
	}
	request.Header.Set(RevisionHeader, strconv.FormatInt(h.db.Revision(), 10))
	answer, err := client.Do(request)
	if err != nil {
		err = errors.Join(context.Cause(ctx), err)
		giveUp(nil)
		return nil, 0, offline(host, err)
	}
	answer.Body = &body{answer.Body, giveUp}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		var domain []string
		if json.Unmarshal([]byte(answer.Header.Get(ErrorHeader)), &domain) == nil && len(domain) > 0 {
			return nil, 0, xenapi.NewError(domain[0], domain[1:]...)
		}
		said, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		return nil, 0, fmt.Errorf("%s of host %s: %s: %s", path, host, answer.Status, said)
	}
	return answer.Body, answer.ContentLength, nil
}

// reader is the way to a host for what may be asked twice: connections are kept, several to a host.
func (h *Hosts) reader(host xenapi.Ref[xenapi.Host]) (*http.Client, string, error) {
	address, config, err := h.locate(host)
	if err != nil {
		return nil, "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	client := h.readers[host]
	if client == nil {
		client = &http.Client{Transport: &http.Transport{
			DialContext: impatient().DialContext, TLSHandshakeTimeout: dialTimeout,
			TLSClientConfig: config, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8, DisableCompression: true,
		}}
		h.readers[host] = client
	}
	return client, address, nil
}

// impatient makes connections that break when nothing at all is heard from the other end for silence. It is for requests,
// which are short: a connection on which much is sent may break when the other end is only slow to take it.
func impatient() *net.Dialer {
	return &net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4}, // while an answer is due
		Control: func(_, _ string, c syscall.RawConn) (err error) { // while the other end has not taken the request
			cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
			})
			return errors.Join(cerr, err)
		},
	}
}

// FetchPatch gives the signed file of a patch as the coordinator has it, and its length in bytes. Errors:
// CANNOT_FETCH_PATCH, HOST_OFFLINE.
func (h *Hosts) FetchPatch(ctx context.Context, uuid string) (io.ReadCloser, int64, error) {
	var from xenapi.Ref[xenapi.Host]
	_ = h.db.View(func(tx *db.Tx) error { from = Coordinator(tx); return nil })
	signed, length, err := h.Read(ctx, from, "/pool_patch_download?uuid="+uuid)
	if xenapi.CodeOf(err) == xenapi.CodeHostOffline {
		return nil, 0, err
	}
	if err != nil {
		return nil, 0, xenapi.ErrCannotFetchPatch(uuid).Because(err)
	}
	return signed, length, nil
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
	return WithPort(rec.Address), h.keys.ClientConfigFor(rec.UUID), err
}

// WithPort adds HTTPS's port to an address that has none.
func WithPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, "443")
}
