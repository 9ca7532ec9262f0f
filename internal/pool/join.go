package pool

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	// joinTimeout bounds one call of a host that joins.
	joinTimeout = time.Minute
	// maxHops is how often it is sent on to the coordinator.
	maxHops = 3
)

// Join brings this host into the pool of which a host is at address. With a token for a password the host knows whom it
// meets before it says anything; with a user's password it believes whoever answers. Without a user the password must be
// a token. What is meant for one and was not copied whole is told to nobody. When Join returns the host is about to start
// again as one of that pool. Errors: those of Describe and of Admit, CANNOT_CONTACT_HOST,
// SESSION_AUTHENTICATION_FAILED.
func (c *Cluster) Join(ctx context.Context, t xenapi.Ref[xenapi.Task], address, user, password string, force bool) error {
	a, err := c.Describe(t, force)
	if err != nil {
		return err
	}
	key, request, err := authority.NewHost()
	if err != nil {
		return err
	}
	a.Request = string(request)
	admitted, err := apply(ctx, address, user, password, a)
	if err != nil {
		return err
	}
	return c.Move(ctx, admitted.Place, Credential{Key: string(key), Certificate: admitted.Certificate, Trusted: admitted.Trusted})
}

// apply asks for admission, of the coordinator in the end.
func apply(ctx context.Context, address, user, password string, a Applicant) (admitted Admission, err error) {
	for range maxHops {
		door, err := newEntrance(ctx, address, user, password)
		if err != nil {
			return admitted, err
		}
		admitted, err = door.admit(ctx, a)
		var domain *xenapi.Error
		if !errors.As(err, &domain) || domain.Code != xenapi.CodeHostIsSlave || len(domain.Params) != 1 {
			return admitted, err
		}
		address = domain.Params[0]
	}
	return admitted, xenapi.ErrCannotContactHost(xenapi.Ref[xenapi.Host](address))
}

// entrance is a host of a pool as one sees it who is not in the pool.
type entrance struct {
	address string
	http    *http.Client
	session string
	token   string
}

func newEntrance(ctx context.Context, address, user, password string) (*entrance, error) {
	e := &entrance{address: address}
	ca, err := authority.ParseToken(password)
	if err == nil {
		e.token = strings.TrimSpace(password)
		e.connect(authority.JoinClientConfig(ca))
		return e, nil
	}
	if user == "" || authority.LooksLikeToken(password) {
		return nil, xenapi.ErrSessionAuthenticationFailed("join token", err.Error())
	}
	e.connect(&tls.Config{InsecureSkipVerify: true}) // nothing vouches for the certificate; the token is the way that does
	return e, e.call(ctx, &e.session, "session.login_with_password", user, password, "1.0", "poolpatch join")
}

func (e *entrance) connect(config *tls.Config) {
	e.http = &http.Client{Timeout: joinTimeout, Transport: &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true,
	}}
}

func (e *entrance) admit(ctx context.Context, a Applicant) (admitted Admission, err error) {
	a.Token = e.token
	text, err := json.Marshal(a)
	if err != nil {
		return admitted, err
	}
	var answer string
	if err := e.call(ctx, &answer, "pool.admit", e.session, string(text)); err != nil {
		return admitted, err
	}
	return admitted, json.Unmarshal([]byte(answer), &admitted)
}

func (e *entrance) call(ctx context.Context, result any, message string, params ...any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, URL(e.address)+"/jsonrpc", bytes.NewReader(rpc.EncodeRequest(message, params)))
	if err != nil {
		return xenapi.ErrInvalidValue("master_address", e.address).Because(err)
	}
	answer, err := e.http.Do(request)
	if errors.Is(err, authority.ErrOtherPool) {
		return xenapi.ErrSessionAuthenticationFailed("join token", authority.ErrOtherPool.Error())
	}
	if err != nil {
		return xenapi.ErrCannotContactHost(xenapi.Ref[xenapi.Host](e.address)).Because(err)
	}
	defer answer.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(answer.Body, maxReply))
	if err != nil || answer.StatusCode != http.StatusOK {
		return xenapi.ErrCannotContactHost(xenapi.Ref[xenapi.Host](e.address)).Because(errors.Join(err, fmt.Errorf("it answers %s", answer.Status)))
	}
	return decodeReply(reply, result)
}
