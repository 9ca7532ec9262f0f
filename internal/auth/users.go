package auth

import (
	"context"
	"maps"
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Root is the local superuser: every message is allowed to it, whatever its role.
const Root = "root"

func (s *Service) user(name string) (rec xenapi.User, ok bool) {
	_ = s.db.View(func(tx *db.Tx) error {
		_, rec, ok = userByName(tx, name)
		return nil
	})
	return rec, ok
}

func userByName(tx *db.Tx, name string) (xenapi.Ref[xenapi.User], xenapi.User, bool) {
	for ref, rec := range db.All[xenapi.User](tx) {
		if rec.ShortName == name {
			return ref, rec, true
		}
	}
	return "", xenapi.User{}, false
}

// CreateUser makes a user, and the user's subject with a role of [xenapi.Roles]. Without a password the user can not log in.
// Errors: DB_UNIQUENESS_CONSTRAINT_VIOLATION, ROLE_NOT_FOUND, INVALID_VALUE.
func (s *Service) CreateUser(ctx context.Context, rec xenapi.User, role, password string) (xenapi.Ref[xenapi.User], error) {
	switch {
	case rec.ShortName == "", strings.HasPrefix(rec.ShortName, certificateSID):
		return "", xenapi.ErrInvalidValue("short_name", rec.ShortName)
	case rec.ShortName != Root && !slices.Contains(xenapi.Roles(), role):
		return "", xenapi.ErrRoleNotFound()
	}
	rec.UUID = xenapi.NewUUID()
	if password != "" {
		rec.PasswordHash = hashPassword(password)
	}
	ref := xenapi.NewRef[xenapi.User]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error {
		if _, _, exists := userByName(tx, rec.ShortName); exists {
			return xenapi.ErrDBUniquenessConstraintViolation("user", "short_name", rec.ShortName)
		}
		if rec.ShortName != Root {
			if err := db.Insert(tx, xenapi.NewRef[xenapi.Subject](), newSubject(rec.ShortName, role)); err != nil {
				return err
			}
		}
		return db.Insert(tx, ref, rec)
	})
}

// DestroyUser removes a user and the user's subject, and ends the sessions. Root stays.
func (s *Service) DestroyUser(ctx context.Context, ref xenapi.Ref[xenapi.User]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if rec.ShortName == Root {
			return xenapi.ErrOperationNotAllowed("root is the local superuser and stays")
		}
		if err := endSessions(tx, rec.ShortName); err != nil {
			return err
		}
		if subject, _, ok := subjectOf(tx, rec.ShortName); ok {
			if err := db.Delete(tx, subject); err != nil {
				return err
			}
		}
		return db.Delete(tx, ref)
	})
}

// SetPassword gives a user a password. Errors: CHANGE_PASSWORD_REJECTED for an empty one.
func (s *Service) SetPassword(ctx context.Context, name, password string) error {
	if password == "" {
		return xenapi.ErrChangePasswordRejected("the password is empty")
	}
	hash := hashPassword(password)
	return s.db.Update(ctx, func(tx *db.Tx) error {
		ref, rec, ok := userByName(tx, name)
		if !ok {
			return xenapi.ErrChangePasswordRejected("there is no user " + name)
		}
		rec.PasswordHash = hash
		return db.Put(tx, ref, rec)
	})
}

// ResetPassword is SetPassword for a user by its reference. Errors: HANDLE_INVALID, CHANGE_PASSWORD_REJECTED.
func (s *Service) ResetPassword(ctx context.Context, ref xenapi.Ref[xenapi.User], password string) error {
	var rec xenapi.User
	if err := s.db.View(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	return s.SetPassword(ctx, rec.ShortName, password)
}

// ChangePassword replaces a user's password by one that knows it.
func (s *Service) ChangePassword(ctx context.Context, name, old, password string) error {
	user, _ := s.user(name)
	ok, err := s.verify(ctx, user.PasswordHash, old)
	if err != nil {
		return err
	}
	if !ok {
		return xenapi.ErrChangePasswordRejected("the old password is wrong")
	}
	return s.SetPassword(ctx, name, password)
}

// EnsureRoot makes the user root where it is missing, and gives it the password, when there is one and
// it is not root's already. The hosts of a pool have one root: where there are several, none of them replaces the password
// that it has. Users of earlier times get their subjects.
func (s *Service) EnsureRoot(ctx context.Context, password string) error {
	if err := s.adoptUsers(ctx); err != nil {
		return err
	}
	root, exists := s.user(Root)
	if !exists {
		_, err := s.CreateUser(ctx, xenapi.User{ShortName: Root, Fullname: "Local superuser"}, "", password)
		return err
	}
	if password == "" || verifyPassword(root.PasswordHash, password) {
		return nil
	}
	if root.PasswordHash != "" && s.several() {
		s.log.Warn("root's password in this pool is another one than this host was given, and stays")
		return nil
	}
	return s.SetPassword(ctx, Root, password)
}

// several reports whether the pool has more than one host.
func (s *Service) several() bool {
	hosts := 0
	_ = s.db.View(func(tx *db.Tx) error {
		for range db.All[xenapi.Host](tx) {
			hosts++
		}
		return nil
	})
	return hosts > 1
}

// SubjectIdentifiers lists who is logged in: every user but the local superuser, once.
func (s *Service) SubjectIdentifiers() []string {
	users := map[string]bool{}
	_ = s.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.Session](tx) {
			if isSubject(rec) {
				users[rec.AuthUserSID] = true
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(users))
}

func isSubject(rec xenapi.Session) bool { return named(rec) && !rec.IsLocalSuperuser }

// LogoutSubject ends a user's sessions but for the one that asks for it.
func (s *Service) LogoutSubject(ctx context.Context, identifier string, asking xenapi.Ref[xenapi.Session]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Session](tx) {
			if isSubject(rec) && rec.AuthUserSID == identifier && ref != asking {
				if err := db.Delete(tx, ref); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
