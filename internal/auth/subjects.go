package auth

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// loginPermission is what a subject without a role lacks.
const loginPermission = "session.login_with_password"

// subjectOf is the subject of a user of the pool. Those of a directory are others, whatever their identifiers.
func subjectOf(tx *db.Tx, user string) (xenapi.Ref[xenapi.Subject], xenapi.Subject, bool) {
	for ref, rec := range db.All[xenapi.Subject](tx) {
		if !rec.External && rec.SubjectIdentifier == user {
			return ref, rec, true
		}
	}
	return "", xenapi.Subject{}, false
}

// strongest is the role of a subject that includes its others; "" where it has none.
func strongest(rec xenapi.Subject) string {
	for _, role := range xenapi.Roles() {
		if slices.Contains(rec.Roles, xenapi.RoleRef(role)) {
			return role
		}
	}
	return ""
}

// admit fills in whom the session of a user is of, and what the user may do. Who has shown the right password and may
// still not come in hears why. Errors: SESSION_AUTHORIZATION_FAILED, RBAC_PERMISSION_DENIED.
func (s *Service) admit(session *xenapi.Session) error {
	if session.IsLocalSuperuser {
		return nil
	}
	return s.db.View(func(tx *db.Tx) error {
		ref, rec, ok := subjectOf(tx, session.AuthUserName)
		if !ok {
			return xenapi.ErrSessionAuthorizationFailed(session.AuthUserName, "The user is no subject of the pool")
		}
		session.Subject, session.Role = ref, strongest(rec)
		if session.Role == "" {
			return xenapi.ErrRBACPermissionDenied(loginPermission, "The subject "+rec.SubjectIdentifier+" has no role")
		}
		return nil
	})
}

// CreateSubject lets a user of the pool in, or a user or a group of its directory, as yet without a role. Errors:
// SUBJECT_CANNOT_BE_RESOLVED, SUBJECT_ALREADY_EXISTS, AUTH_SERVICE_ERROR.
func (s *Service) CreateSubject(ctx context.Context, rec xenapi.Subject) (xenapi.Ref[xenapi.Subject], error) {
	rec.UUID, rec.Roles = xenapi.NewUUID(), nil
	if _, own := s.user(rec.SubjectIdentifier); !own {
		if err := s.resolve(ctx, &rec); err != nil {
			return "", err
		}
	}
	ref := xenapi.NewRef[xenapi.Subject]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error {
		if _, _, known := userByName(tx, rec.SubjectIdentifier); !rec.External && (!known || rec.SubjectIdentifier == Root) {
			return xenapi.ErrSubjectCannotBeResolved()
		}
		for _, other := range db.All[xenapi.Subject](tx) {
			if other.SubjectIdentifier == rec.SubjectIdentifier {
				return xenapi.ErrSubjectAlreadyExists()
			}
		}
		return db.Insert(tx, ref, rec)
	})
}

// resolve gives a subject of the directory the identifier that stays when its name changes, and what is known of it where the
// caller does not say.
func (s *Service) resolve(ctx context.Context, rec *xenapi.Subject) error {
	account, err := s.lookup(ctx, rec.SubjectIdentifier)
	if xenapi.CodeOf(err) == xenapi.CodeAuthIsDisabled {
		return xenapi.ErrSubjectCannotBeResolved()
	}
	if err != nil {
		return err
	}
	known := information(account)
	maps.Copy(known, rec.OtherConfig)
	rec.SubjectIdentifier, rec.OtherConfig, rec.External = account.Identifier, known, true
	return nil
}

// DestroySubject lets a user in no longer and ends the user's sessions.
func (s *Service) DestroySubject(ctx context.Context, ref xenapi.Ref[xenapi.Subject]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if rec.External {
			return errors.Join(db.Delete(tx, ref), settleAll(tx, ref))
		}
		if err := endSessions(tx, rec.SubjectIdentifier); err != nil {
			return err
		}
		if err := noteRole(tx, rec.SubjectIdentifier, ""); err != nil {
			return err
		}
		return db.Delete(tx, ref)
	})
}

// AddRole gives a subject a static role, in its open sessions too. Errors: ROLE_NOT_FOUND, ROLE_ALREADY_EXISTS.
func (s *Service) AddRole(ctx context.Context, ref xenapi.Ref[xenapi.Subject], role xenapi.Ref[xenapi.Role]) error {
	return s.changeRoles(ctx, ref, func(rec *xenapi.Subject) error {
		switch {
		case !slices.ContainsFunc(xenapi.Roles(), func(name string) bool { return xenapi.RoleRef(name) == role }):
			return xenapi.ErrRoleNotFound()
		case slices.Contains(rec.Roles, role):
			return xenapi.ErrRoleAlreadyExists()
		}
		rec.Roles = append(rec.Roles, role)
		return nil
	})
}

// RemoveRole takes a role from a subject, in its open sessions too. Errors: ROLE_NOT_FOUND.
func (s *Service) RemoveRole(ctx context.Context, ref xenapi.Ref[xenapi.Subject], role xenapi.Ref[xenapi.Role]) error {
	return s.changeRoles(ctx, ref, func(rec *xenapi.Subject) error {
		i := slices.Index(rec.Roles, role)
		if i < 0 {
			return xenapi.ErrRoleNotFound()
		}
		rec.Roles = slices.Delete(rec.Roles, i, i+1)
		return nil
	})
}

// changeRoles makes what a subject may do and what its open sessions may do one change: nobody keeps a role that was taken.
func (s *Service) changeRoles(ctx context.Context, ref xenapi.Ref[xenapi.Subject], edit func(*xenapi.Subject) error) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if err := edit(&rec); err != nil {
			return err
		}
		if err := db.Put(tx, ref, rec); err != nil {
			return err
		}
		if rec.External {
			return settleAll(tx, ref)
		}
		for session, open := range db.All[xenapi.Session](tx) {
			if open.Kind != kindUser || open.AuthUserSID != rec.SubjectIdentifier {
				continue
			}
			open.Role, open.ValidationTime = strongest(rec), time.Now().UTC()
			if err := db.Put(tx, session, open); err != nil {
				return err
			}
		}
		return noteRole(tx, rec.SubjectIdentifier, strongest(rec))
	})
}

// noteRole has a user's record say which role the user has, for those who read users alone.
func noteRole(tx *db.Tx, user, role string) error {
	ref, rec, ok := userByName(tx, user)
	if !ok {
		return nil
	}
	if rec.OtherConfig == nil {
		rec.OtherConfig = map[string]string{}
	}
	rec.OtherConfig["role"] = role
	return db.Put(tx, ref, rec)
}

// newSubject is that of a new user, with one role.
func newSubject(user, role string) xenapi.Subject {
	return xenapi.Subject{
		UUID: xenapi.NewUUID(), SubjectIdentifier: user, OtherConfig: map[string]string{"subject-name": user},
		Roles: []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(role)},
	}
}

// endSessions closes the sessions of a user.
func endSessions(tx *db.Tx, user string) error {
	for ref, open := range db.All[xenapi.Session](tx) {
		if open.Kind == kindUser && open.AuthUserName == user {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptUsers makes the subjects of users whose role is still in their own record, where it was before there were subjects.
func (s *Service) adoptUsers(ctx context.Context) error {
	left := false
	_ = s.db.View(func(tx *db.Tx) error {
		for _, user := range db.All[xenapi.User](tx) {
			left = left || user.Role != ""
		}
		return nil
	})
	if !left {
		return nil
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, user := range db.All[xenapi.User](tx) {
			if user.Role == "" {
				continue
			}
			if _, _, exists := subjectOf(tx, user.ShortName); !exists {
				if err := db.Insert(tx, xenapi.NewRef[xenapi.Subject](), newSubject(user.ShortName, user.Role)); err != nil {
					return err
				}
			}
			user.Role = ""
			if err := db.Put(tx, ref, user); err != nil {
				return err
			}
		}
		return nil
	})
}
