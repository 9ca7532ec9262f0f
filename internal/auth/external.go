package auth

import (
	"context"
	"errors"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

// Directory says who somebody is; [directory.Directory] does. Its errors are those of that package.
type Directory interface {
	Check(ctx context.Context) error
	Authenticate(ctx context.Context, name, password string) (directory.Account, error)
	Lookup(ctx context.Context, identifier string) (directory.Account, error)
	Find(ctx context.Context, name string) (directory.Account, error)
}

// maxLookups is how many callers that are logged in ask the directory at once.
const maxLookups = 2

// external is the directory that this host asks; nil where there is none.
func (s *Service) external() (Directory, error) {
	var host xenapi.Host
	_ = s.db.View(func(tx *db.Tx) error { host, _ = db.Lookup(tx, s.host); return nil })
	if host.ExternalAuthType == "" {
		return nil, nil
	}
	config, err := directory.Parse(host.ExternalAuthType, host.ExternalAuthServiceName,
		directory.WithPassword(host.ExternalAuthConfiguration, host.ExternalAuthPassword))
	if err != nil {
		return nil, s.serviceError("", err)
	}
	return s.options.Reach(config), nil
}

// serviceError is what somebody hears for whom the directory could not be asked. What it says of its servers is in the log
// alone: who hears it may not even be logged in.
func (s *Service) serviceError(who string, err error) error {
	s.log.Warn("the directory could not be asked", "about", who, "error", err)
	for _, known := range []error{directory.ErrUnavailable, directory.ErrUser} {
		if errors.Is(err, known) {
			return xenapi.ErrAuthServiceError(known.Error()).Because(err)
		}
	}
	return xenapi.ErrAuthServiceError("the directory answers with an error").Because(err)
}

// loginExternal opens a session for a user of the directory. Errors: SESSION_AUTHENTICATION_FAILED after a delay,
// AUTH_SERVICE_ERROR, TOO_BUSY, those of admitExternal.
func (s *Service) loginExternal(ctx context.Context, d Directory, name, password, originator string) (xenapi.Ref[xenapi.Session], error) {
	if err := s.logins.enter(ctx, s.maxLogins); err != nil {
		return "", err
	}
	account, err := d.Authenticate(ctx, name, password)
	s.logins.leave()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, directory.ErrRefused):
		return "", s.refuse(ctx, name, originator)
	case err != nil:
		return "", s.serviceError(name, err)
	}
	session := xenapi.Session{Kind: kindExternal, ThisHost: s.host, AuthUserName: account.Name, AuthUserSID: account.Identifier, Originator: originator}
	if err := s.db.View(func(tx *db.Tx) error { return admitExternal(tx, &session, account) }); err != nil {
		s.log.Warn("login refused", "user", name, "originator", originator, "error", err)
		return "", err
	}
	return s.open(ctx, session)
}

// maxLogins is how many logins ask the directory at once.
func (s *Service) maxLogins() (most int) {
	_ = s.db.View(func(tx *db.Tx) error {
		for _, pool := range db.All[xenapi.Pool](tx) {
			most = int(pool.ExtAuthMaxThreads)
		}
		return nil
	})
	return max(most, 1)
}

// admitExternal fills in which subjects let the user of a session in: the user's own, and those of the user's groups. The
// strongest role that one of them has counts. Errors: SESSION_AUTHORIZATION_FAILED, RBAC_PERMISSION_DENIED.
func admitExternal(tx *db.Tx, session *xenapi.Session, account directory.Account) error {
	if why := account.Suspended(); why != "" {
		return xenapi.ErrSessionAuthorizationFailed(account.Name, why)
	}
	known := map[string]xenapi.Ref[xenapi.Subject]{}
	for ref, rec := range db.All[xenapi.Subject](tx) {
		if rec.External {
			known[rec.SubjectIdentifier] = ref
		}
	}
	session.Subjects = nil
	for _, identifier := range append([]string{account.Identifier}, account.Groups...) {
		if ref, ok := known[identifier]; ok {
			session.Subjects = append(session.Subjects, ref)
		}
	}
	if !settle(tx, session) {
		return xenapi.ErrSessionAuthorizationFailed(account.Name, "Neither the user nor a group of the user is a subject of the pool")
	}
	if session.Role == "" {
		return xenapi.ErrRBACPermissionDenied(loginPermission, "No subject of "+account.Name+" has a role")
	}
	return nil
}

// settle has the session of a directory's user say what the user's subjects allow as they are now. It is false where they, or the
// host's directory, are gone: such a session ends.
func settle(tx *db.Tx, session *xenapi.Session) bool {
	if host, _ := db.Lookup(tx, session.ThisHost); host.ExternalAuthType == "" {
		return false
	}
	session.Subjects = slices.DeleteFunc(slices.Clone(session.Subjects), func(ref xenapi.Ref[xenapi.Subject]) bool {
		_, there := db.Lookup(tx, ref)
		return !there
	})
	if len(session.Subjects) == 0 {
		return false
	}
	session.Subject, session.Role = session.Subjects[0], ""
	for _, role := range xenapi.Roles() { // the strongest first
		for _, ref := range session.Subjects {
			if rec, _ := db.Lookup(tx, ref); slices.Contains(rec.Roles, xenapi.RoleRef(role)) {
				session.Subject, session.Role = ref, role
				return true
			}
		}
	}
	return true
}

// settleAll settles the open sessions of those whom a subject lets in, after a change of it.
func settleAll(tx *db.Tx, subject xenapi.Ref[xenapi.Subject]) error {
	for ref, session := range db.All[xenapi.Session](tx) {
		if !slices.Contains(session.Subjects, subject) {
			continue
		}
		var err error
		if settle(tx, &session) {
			err = db.Put(tx, ref, session)
		} else {
			err = db.Delete(tx, ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
