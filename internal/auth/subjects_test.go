package auth_test

import (
	"errors"
	"slices"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

func (p pool) subject(t *testing.T, name string) (ref xenapi.Ref[xenapi.Subject], rec xenapi.Subject) {
	t.Helper()
	_ = p.db.View(func(tx *db.Tx) error {
		for r, s := range db.All[xenapi.Subject](tx) {
			if s.SubjectIdentifier == name {
				ref, rec = r, s
			}
		}
		return nil
	})
	return ref, rec
}

func (p pool) user(name string) (ref xenapi.Ref[xenapi.User], rec xenapi.User) {
	_ = p.db.View(func(tx *db.Tx) error {
		for r, u := range db.All[xenapi.User](tx) {
			if u.ShortName == name {
				ref, rec = r, u
			}
		}
		return nil
	})
	return ref, rec
}

// TestSubjectRoles gives ann roles and takes them: what an open session may do follows at once.
func TestSubjectRoles(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ann, rec := p.subject(t, "ann")
	if !slices.Equal(rec.Roles, []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RoleVMAdmin)}) {
		t.Fatalf("the subject of a new user: %+v", rec)
	}
	session, err := p.Login(t.Context(), "ann", "a", anyone)
	if err != nil || p.sessions()[session].Subject != ann {
		t.Fatalf("session %+v, %v", p.sessions()[session], err)
	}
	add, remove := p.AddRole, p.RemoveRole
	for _, step := range []struct {
		name string
		do   func() error
		code string
		role string
	}{
		{"a stronger one", func() error { return add(t.Context(), ann, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, "", xenapi.RolePoolAdmin},
		{"it again", func() error { return add(t.Context(), ann, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, xenapi.CodeRoleAlreadyExists, xenapi.RolePoolAdmin},
		{"a permission", func() error { return add(t.Context(), ann, xenapi.RoleRef("vdi.destroy")) }, xenapi.CodeRoleNotFound, xenapi.RolePoolAdmin},
		{"without it", func() error { return remove(t.Context(), ann, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, "", xenapi.RoleVMAdmin},
		{"one that it has not", func() error { return remove(t.Context(), ann, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, xenapi.CodeRoleNotFound, xenapi.RoleVMAdmin},
		{"none", func() error { return remove(t.Context(), ann, xenapi.RoleRef(xenapi.RoleVMAdmin)) }, "", ""},
		{"nobody's", func() error { return add(t.Context(), "OpaqueRef:x", xenapi.RoleRef(xenapi.RolePoolAdmin)) }, xenapi.CodeHandleInvalid, ""},
	} {
		wantCode(t, step.do(), step.code)
		_, user := p.user("ann")
		if got := p.sessions()[session].Role; got != step.role || user.OtherConfig["role"] != step.role {
			t.Errorf("%s: the session has the role %q, the user says %q, want %q", step.name, got, user.OtherConfig["role"], step.role)
		}
	}
	_, err = p.Login(t.Context(), "ann", "a", anyone)
	want := xenapi.ErrRBACPermissionDenied("session.login_with_password", "The subject ann has no role")
	if err == nil || err.Error() != want.Error() {
		t.Errorf("a login without a role: %v, want %v", err, want)
	}
}

// TestDestroySubject sends ann away; the user, with its password, stays.
func TestDestroySubject(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ann, _ := p.subject(t, "ann")
	kept, rerr := p.Login(t.Context(), "root", rootPass, anyone)
	_, err := p.Login(t.Context(), "ann", "a", anyone)
	if err := errors.Join(err, rerr, p.DestroySubject(t.Context(), ann)); err != nil {
		t.Fatal(err)
	}
	if open := p.sessions(); len(open) != 1 || open[kept].UUID == "" {
		t.Errorf("sessions left: %v", open)
	}
	_, err = p.Login(t.Context(), "ann", "a", anyone)
	want := xenapi.ErrSessionAuthorizationFailed("ann", "The user is no subject of the pool")
	if err == nil || err.Error() != want.Error() {
		t.Errorf("a login afterwards: %v, want %v", err, want)
	}
	wantCode(t, p.DestroySubject(t.Context(), ann), xenapi.CodeHandleInvalid)

	// Let in again, ann has no role until one is given.
	again, err := p.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: "ann", Roles: []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RolePoolAdmin)}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Login(t.Context(), "ann", "a", anyone)
	wantCode(t, err, xenapi.CodeRBACPermissionDenied)
	_, err = p.Login(t.Context(), "root", rootPass, anyone)
	if err := errors.Join(err, p.AddRole(t.Context(), again, xenapi.RoleRef(xenapi.RoleReadOnly))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Login(t.Context(), "ann", "a", anyone); err != nil {
		t.Errorf("with a role: %v", err)
	}
}

func TestCreateSubject(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for name, code := range map[string]string{
		"ann": xenapi.CodeSubjectAlreadyExists, "nobody": xenapi.CodeSubjectCannotBeResolved, "root": xenapi.CodeSubjectCannotBeResolved, "": xenapi.CodeSubjectCannotBeResolved,
	} {
		_, err := p.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: name})
		wantCode(t, err, code)
	}
}

// TestAUsersSubjectGoesWithTheUser leaves nobody behind who might come in under the name of a later user.
func TestAUsersSubjectGoesWithTheUser(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ann, _ := p.user("ann")
	if err := p.DestroyUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	if ref, _ := p.subject(t, "ann"); ref != "" {
		t.Errorf("the subject %s is left", ref)
	}
}

// TestUsersOfEarlierTimes have their role in their own record until a daemon starts.
func TestUsersOfEarlierTimes(t *testing.T) {
	t.Parallel()
	p := open(t, memkv.New(), here)
	if err := p.EnsureRoot(t.Context(), rootPass); err != nil {
		t.Fatal(err)
	}
	p.update(t, func(tx *db.Tx) error {
		return db.Insert(tx, "OpaqueRef:bob", xenapi.User{UUID: "bob", ShortName: "bob", Role: xenapi.RoleVMOperator})
	})
	for range 2 { // the second start finds nothing to do
		if err := p.EnsureRoot(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, rec := p.subject(t, "bob")
	if _, user := p.user("bob"); user.Role != "" || !slices.Equal(rec.Roles, []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RoleVMOperator)}) {
		t.Errorf("user %+v, subject %+v", user, rec)
	}
	if ref, _ := p.subject(t, "root"); ref != "" {
		t.Error("root, the local superuser, became a subject")
	}
}
