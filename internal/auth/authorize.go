package auth

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Authorize reports whether a session may do what needs at least the role lowest; permission names it
// in the error. Errors: RBAC_PERMISSION_DENIED.
func Authorize(session xenapi.Session, permission, lowest string) error {
	if session.IsLocalSuperuser || session.Pool {
		return nil
	}
	allowed := xenapi.RolesWith(lowest)
	if session.Role != "" && slices.Contains(allowed, session.Role) {
		return nil
	}
	return xenapi.ErrRBACPermissionDenied(permission,
		"No permission in user session. (Roles with this permission: "+strings.Join(allowed, ", ")+")")
}

// Credentials are what a request to an HTTP handler shows. The first that is there counts.
type Credentials struct {
	Local          bool // it came over the unix socket
	SessionID      string
	PoolSecret     string
	Basic          bool // User and Password were given
	User, Password string
	Certificates   []*x509.Certificate // of the client's connection, its own first
}

// Caller is an authenticated session; Done ends it if it was opened for this one request.
type Caller struct {
	Ref     xenapi.Ref[xenapi.Session]
	Session xenapi.Session
	Done    func(context.Context)
}

// Authenticate finds or opens the session of a request to an HTTP handler. Errors: SESSION_INVALID,
// SESSION_AUTHENTICATION_FAILED; nothing shown is the latter.
func (s *Service) Authenticate(ctx context.Context, c Credentials, originator string) (Caller, error) {
	switch {
	case c.Local:
		ref, err := s.LoginLocal(ctx, originator)
		return s.temporary(ctx, ref, err)
	case c.SessionID != "":
		ref := xenapi.ParseRef[xenapi.Session](c.SessionID)
		session, err := s.Session(ctx, ref)
		return Caller{Ref: ref, Session: session, Done: func(context.Context) {}}, err
	case c.PoolSecret != "":
		ref, err := s.LoginPool(ctx, c.PoolSecret, originator)
		return s.temporary(ctx, ref, err)
	case c.Basic:
		ref, err := s.Login(ctx, c.User, c.Password, originator)
		return s.temporary(ctx, ref, err)
	case len(c.Certificates) > 0:
		ref, err := s.LoginCertificate(ctx, c.Certificates, originator)
		return s.temporary(ctx, ref, err)
	}
	return Caller{}, xenapi.ErrSessionAuthenticationFailed("", "No credentials")
}

func (s *Service) temporary(ctx context.Context, ref xenapi.Ref[xenapi.Session], err error) (Caller, error) {
	if err != nil {
		return Caller{}, err
	}
	session, err := s.Session(ctx, ref)
	return Caller{Ref: ref, Session: session, Done: func(ctx context.Context) {
		if err := s.Logout(context.WithoutCancel(ctx), ref); err != nil {
			s.log.Warn("session of a request not closed; it will expire", "error", err)
		}
	}}, err
}

// LoginPool opens a session for a host that knows the pool's secret. Errors: SESSION_AUTHENTICATION_FAILED.
func (s *Service) LoginPool(ctx context.Context, secret, originator string) (xenapi.Ref[xenapi.Session], error) {
	known := false
	_ = s.db.View(func(tx *db.Tx) error {
		for _, pool := range db.All[xenapi.Pool](tx) {
			known = pool.Secret != "" && subtle.ConstantTimeCompare([]byte(pool.Secret), []byte(secret)) == 1
		}
		return nil
	})
	if !known {
		return "", xenapi.ErrSessionAuthenticationFailed("", "The pool secret is wrong")
	}
	return s.open(ctx, xenapi.Session{Kind: kindPool, Pool: true, Originator: originator})
}
