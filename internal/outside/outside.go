// Package outside speaks HTTP to servers that are not of the pool: it brings them what an administrator has a host send.
//
// It is not how hosts speak to one another: that is package pool. Its invariant: what is secret in an address, a user or what follows the path,
// is in no error. Start with [Client].
package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"poolpatch/xenapi"
)

const (
	// dialTimeout bounds the way to a server, its name's resolution included.
	dialTimeout = 20 * time.Second
	// handshakeTimeout bounds the agreement on TLS.
	handshakeTimeout = 20 * time.Second
	// silence is how long nothing may move until a server is given up.
	silence = time.Minute
	// postTimeout bounds a test of the way to a server as a whole.
	postTimeout = 2 * time.Minute
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 300 << 10
	// maxReason bounds what of a refusal is told, in bytes.
	maxReason = 200
)

// Client sends things.
type Client struct {
	trust   func() *tls.Config
	silence time.Duration
}

// New makes a client that trusts servers as trust says at the time.
func New(trust func() *tls.Config) *Client { return &Client{trust, silence} }

// Parcel is something to put somewhere.
type Parcel struct {
	Body        io.Reader
	Length      int64 // in bytes
	ContentType string
}

// Target is where to put something.
type Target struct{ to, by *url.URL } // by is nil for straight

// ParseTarget reads an address, http or https, and that of a proxy, "" for none. Errors: INVALID_VALUE.
func ParseTarget(address, proxy string) (t Target, err error) {
	if t.to, err = parse("url", address); err == nil && proxy != "" {
		t.by, err = parse(ProxyOption, proxy)
	}
	return t, err
}

// ProxyOption is how XenAPI calls a proxy.
const ProxyOption = "http_proxy"

// Put puts a parcel where it is to go. Errors: SSL_VERIFY_ERROR, SYSTEM_STATUS_RETRIEVAL_FAILED when the server does not take it.
func (c *Client) Put(ctx context.Context, t Target, p Parcel) error {
	transport := c.transport()
	defer transport.CloseIdleConnections()
	if t.by != nil {
		transport.Proxy = http.ProxyURL(t.by)
	}
	to := t.to
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), io.NopCloser(p.Body))
	if err != nil {
		return xenapi.ErrInvalidValue("url", shown(to))
	}
	r.ContentLength = p.Length
	r.Header.Set("Content-Type", p.ContentType)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return failure(ctx, err, func(why string) *xenapi.Error {
			return xenapi.ErrSystemStatusRetrievalFailed("the server at " + to.Host + " could not be given the report: " + why)
		})
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return xenapi.ErrSystemStatusRetrievalFailed("the server at " + to.Host + " refused the report: " + refusal(answer))
	}
	_, err = io.CopyN(io.Discard, answer.Body, maxAnswer)
	if err != nil && err != io.EOF && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil // what it says after that it has taken it does not matter
}

// Post posts a body to a server over TLS and gives the body of its answer. Errors: INVALID_VALUE, SSL_VERIFY_ERROR, CANNOT_CONTACT_HOST.
func (c *Client) Post(ctx context.Context, host string, port int64, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	switch {
	case port < 1 || port > 65535:
		return "", xenapi.ErrInvalidValue("port", strconv.FormatInt(port, 10))
	case host == "" || strings.ContainsAny(host, "/?#@ "):
		return "", xenapi.ErrInvalidValue("host", host)
	}
	transport := c.transport()
	defer transport.CloseIdleConnections()
	at := net.JoinHostPort(strings.Trim(host, "[]"), strconv.FormatInt(port, 10))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+"/", strings.NewReader(body))
	if err != nil {
		return "", xenapi.ErrInvalidValue("host", host)
	}
	unreached := func(why string) *xenapi.Error {
		return xenapi.NewError(xenapi.CodeCannotContactHost, at, why) // it is no host of the pool's, and has no reference
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return "", failure(ctx, err, unreached)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return "", unreached("it refused: " + refusal(answer))
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", failure(ctx, err, unreached)
	case len(text) > maxAnswer:
		return "", unreached(fmt.Sprintf("its answer is longer than %d bytes", maxAnswer))
	}
	return strings.ToValidUTF8(string(text), "�"), nil
}

func (c *Client) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		TLSClientConfig: c.trust(), TLSHandshakeTimeout: handshakeTimeout,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{conn, c.silence}, nil
		},
	}
}

// watched is a connection that fails when nothing has moved on it for too long, in either direction: who sends for long hears nothing
// meanwhile.
type watched struct {
	net.Conn
	silence time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	_ = w.SetDeadline(time.Now().Add(w.silence))
	return w.Conn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	_ = w.SetDeadline(time.Now().Add(w.silence))
	return w.Conn.Write(p)
}

// parse reads the address of a server.
func parse(field, address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, xenapi.ErrInvalidValue(field, shown(u))
	}
	return u, nil
}

// shown is what may be said of an address: neither the user in it nor what follows the path.
func shown(u *url.URL) string {
	if u == nil {
		return "(not an address)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// failure makes a domain error of a request that got no answer. The text of net/http's own error has the address in it.
func failure(ctx context.Context, err error, unreached func(why string) *xenapi.Error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return xenapi.ErrSSLVerifyError(v.Err.Error())
	}
	if h, ok := errors.AsType[x509.HostnameError](err); ok {
		return xenapi.ErrSSLVerifyError(h.Error())
	}
	return unreached(err.Error())
}

// refusal is what a server says of why it does not do it, in one line.
func refusal(answer *http.Response) string {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxReason))
	said := strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "")), " ")
	if said == "" {
		return "HTTP " + answer.Status
	}
	return "HTTP " + answer.Status + ": " + said
}
