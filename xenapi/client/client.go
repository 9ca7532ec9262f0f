package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"poolpatch/xenapi"
)

const (
	// dialTimeout bounds the making of a connection, and that of its TLS.
	dialTimeout = 10 * time.Second
	// DefaultCallTimeout bounds a call when Options do not say.
	DefaultCallTimeout = 5 * time.Minute
	// apiVersion is what a client says at login; servers do not look at it.
	apiVersion = "1.0"
)

// Options say where a pool is, and who calls. Either Socket or URL is given.
type Options struct {
	// Socket is the path of the daemon's unix socket. Who may open it is the local superuser; User and
	// Password are not needed.
	Socket string
	// URL is https://HOST[:PORT], or http://HOST[:PORT] where passwords may be seen on the way.
	URL            string
	User, Password string
	// RootCAs are trusted to sign the server's certificate; nil is the system's.
	RootCAs *x509.CertPool
	// InsecureSkipVerify takes any certificate: whoever answers gets the password.
	InsecureSkipVerify bool
	// Originator is how the client calls itself; sessions and the server's log show it.
	Originator string
	// CallTimeout bounds each call; 0 is DefaultCallTimeout. It does not bound tasks and transfers.
	CallTimeout time.Duration
}

// Client is a connection to a pool with a session. Any number of goroutines may use it.
type Client struct {
	options Options
	base    *url.URL
	tls     *tls.Config // nil for plain connections
	http    *http.Client

	mu      sync.Mutex
	session xenapi.Ref[xenapi.Session]
}

// Dial logs in. A host that says HOST_IS_SLAVE is left for the coordinator that it names. Errors:
// SESSION_AUTHENTICATION_FAILED, SESSION_AUTHORIZATION_FAILED.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	err = c.login(ctx)
	if e, ok := errors.AsType[*xenapi.Error](err); ok && e.Code == xenapi.CodeHostIsSlave && len(e.Params) == 1 && o.Socket == "" {
		c.http.CloseIdleConnections()
		o.URL = c.base.Scheme + "://" + e.Params[0]
		if c, err = newClient(o); err != nil {
			return nil, err
		}
		err = c.login(ctx)
	}
	if err != nil {
		c.http.CloseIdleConnections()
		return nil, err
	}
	return c, nil
}

func newClient(o Options) (*Client, error) {
	if o.CallTimeout == 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	c := &Client{options: o}
	if err := c.locate(); err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:         c.dial,
			TLSClientConfig:     c.tls,
			TLSHandshakeTimeout: dialTimeout,
			IdleConnTimeout:     time.Minute,
		},
		// A transfer that is sent elsewhere takes the session there: at decides whether.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func (c *Client) locate() error {
	if (c.options.Socket == "") == (c.options.URL == "") {
		return errors.New("a pool is reached by its socket or by its URL")
	}
	if c.options.Socket != "" {
		c.base = &url.URL{Scheme: "http", Host: "localhost"}
		return nil
	}
	u, err := url.Parse(c.options.URL)
	switch {
	case err != nil:
		return fmt.Errorf("URL of the pool: %w", err)
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("URL of the pool %q: it has the form https://HOST", c.options.URL)
	}
	c.base = &url.URL{Scheme: u.Scheme, Host: u.Host}
	if u.Scheme == "https" {
		c.tls = &tls.Config{RootCAs: c.options.RootCAs, InsecureSkipVerify: c.options.InsecureSkipVerify, ServerName: u.Hostname()}
	}
	return nil
}

// dial connects to the pool, whatever the address says.
func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if c.options.Socket != "" {
		return d.DialContext(ctx, "unix", c.options.Socket)
	}
	port := c.base.Port()
	if port == "" {
		port = c.base.Scheme // net knows the ports of http and https by name
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), port))
}

// Close logs out and closes the connections. The pool collects sessions that nobody closed, so the error
// may be passed over.
func (c *Client) Close(ctx context.Context) error {
	defer c.http.CloseIdleConnections()
	c.mu.Lock()
	session := c.session
	c.session = ""
	c.mu.Unlock()
	if session.IsNull() {
		return nil
	}
	_, err := c.send(ctx, "session.logout", []any{session})
	return err
}

// Session is the session of the calls. It is a secret.
func (c *Client) Session() xenapi.Ref[xenapi.Session] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *Client) login(ctx context.Context) error { return c.replace(ctx, "") }

// replace logs in anew, unless another goroutine has done so since the session was seen to have ended.
func (c *Client) replace(ctx context.Context, ended xenapi.Ref[xenapi.Session]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != ended {
		return nil
	}
	reply, err := c.send(ctx, "session.login_with_password", []any{c.options.User, c.options.Password, apiVersion, c.options.Originator})
	if err != nil {
		return err
	}
	return reply.value.Decode(&c.session)
}
