package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

const (
	// dialTimeout bounds the wait for a server that may not be there.
	dialTimeout = 5 * time.Second
	// serverTimeout bounds all that one server is asked for one caller, askTimeout what all of them are.
	serverTimeout = 15 * time.Second
	askTimeout    = 40 * time.Second
	// maxMessage and maxConversation bound what a server sends, in bytes: at once, and in all.
	maxMessage      = 4 << 20
	maxConversation = 16 << 20
)

// What a directory says, or does not.
var (
	// ErrRefused says that name and password do not belong together.
	ErrRefused = errors.New("the directory refuses the name or the password")
	// ErrNobody says that the directory has no such user or group: it was asked, and answered.
	ErrNobody = errors.New("the directory has nobody of that name")
	// ErrUser says that the directory does not take who looks others up.
	ErrUser = errors.New("the directory refuses the user of the configuration")
	// ErrUnavailable says that no server answered.
	ErrUnavailable = errors.New("no server of the directory answers")
)

// The library has no limit for one connection: this is for all, and nothing else reads BER.
func init() { ber.MaxPacketLengthBytes = maxMessage }

// conversation is a connection on which the user of the configuration is logged in.
type conversation struct {
	*ldap.Conn
	Config
}

// ask has the first server that answers do some work.
func (d *Directory) ask(ctx context.Context, work func(*conversation) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var away []string
	for _, s := range d.config.servers {
		err := d.askServer(ctx, s, work)
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		away = append(away, s.url+": "+err.Error())
	}
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Cause(ctx) // the caller went away
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, strings.Join(away, "; "))
}

func (d *Directory) askServer(ctx context.Context, s server, work func(*conversation) error) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	dialer := net.Dialer{Timeout: dialTimeout}
	raw, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return unavailable(err)
	}
	// The library knows no contexts: the end of this one ends the connection under it.
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	deadline, _ := ctx.Deadline()
	err = raw.SetDeadline(deadline)
	conn, cerr := s.converse(ctx, &bounded{Conn: raw, left: maxConversation}, d.trust)
	if err := errors.Join(err, cerr); err != nil {
		raw.Close()
		return unavailable(err)
	}
	defer conn.Close()
	c := &conversation{conn, d.config}
	if err := c.logIn(); err != nil {
		return err
	}
	return work(c)
}

// converse begins to speak LDAP, over TLS unless the other side is on this machine.
func (s server) converse(ctx context.Context, raw net.Conn, trust func() *tls.Config) (*ldap.Conn, error) {
	if s.scheme == "ldap" {
		if err := askForTLS(raw); err != nil {
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	if s.scheme != "ldapi" {
		secure := tls.Client(raw, s.tls(trust))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		raw = secure
	}
	conn := ldap.NewConn(raw, s.scheme != "ldapi")
	conn.SetTimeout(serverTimeout)
	conn.Start()
	return conn, nil
}

// startTLS names the request that TLS begins with (RFC 4511, 4.14).
const startTLS = "1.3.6.1.4.1.1466.20037"

// askForTLS has the server begin TLS. The library has the same, and waits without end for a server that answers something else.
func askForTLS(raw net.Conn) error {
	const id = 1
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "")
	request.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, startTLS, ""))
	message := ber.NewSequence("")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	message.AppendChild(request)
	if _, err := raw.Write(message.Bytes()); err != nil {
		return err
	}
	answer, err := ber.ReadPacket(raw) // which reads no byte beyond it
	if err != nil {
		return err
	}
	if err := ldap.GetLDAPError(answer); err != nil {
		return err
	}
	if answer.Children[0].Value != int64(id) || answer.Children[1].Tag != ldap.ApplicationExtendedResponse {
		return errors.New("the server answers something else")
	}
	return nil
}

func (s server) tls(trust func() *tls.Config) *tls.Config {
	config := trust().Clone()
	config.ServerName, config.MinVersion = s.name, max(config.MinVersion, tls.VersionTLS12)
	return config
}

// refusals are the results of a bind that says no to who asks, and not to everybody: locked accounts have more than one.
var refusals = []uint16{
	ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInsufficientAccessRights,
	ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultConstraintViolation, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
}

// logIn makes the connection that of the user of the configuration, also where it was another's.
func (c *conversation) logIn() error {
	var err error
	if c.user == "" {
		err = c.UnauthenticatedBind("")
	} else {
		err = c.Bind(c.user, c.password) // which refuses an empty password, as Parse has
	}
	if ldap.IsErrorAnyOf(err, refusals...) {
		return fmt.Errorf("%w: %w", ErrUser, err)
	}
	return failed("bind", err)
}

// prove reports whether a password is that of an entry: nil or ErrRefused, where the server can tell.
func (c *conversation) prove(dn, password string) error {
	err := c.Bind(dn, password)
	if ldap.IsErrorAnyOf(err, refusals...) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return failed("bind", err)
}

// broken are the results of a server in whose place another one may be asked. A referral is one: it is not followed.
var broken = []uint16{
	ldap.ErrorNetwork, ldap.ErrorUnexpectedMessage, ldap.ErrorUnexpectedResponse, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable,
	ldap.LDAPResultServerDown, ldap.LDAPResultTimeout, ldap.LDAPResultConnectError, ldap.LDAPResultReferral, ldap.LDAPResultTimeLimitExceeded,
}

// failed makes an error of what a server answered to an operation.
func failed(operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case !told(err) || ldap.IsErrorAnyOf(err, broken...):
		return fmt.Errorf("%s: %w", operation, unavailable(err))
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// told is true of what a server answered. All else is of a connection that has ended, or of bytes that are no LDAP.
func told(err error) bool {
	_, ok := errors.AsType[*ldap.Error](err)
	return ok
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// bounded is a connection that ends when the other side has sent too much.
type bounded struct {
	net.Conn
	left int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the server has sent more than %d bytes: %w", maxConversation, io.ErrShortBuffer)
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
