package api

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

type subjectRef = xenapi.Ref[xenapi.Subject]

func (a *API) subjectCreate(ctx context.Context, _ *call, rec xenapi.Subject) (subjectRef, error) {
	return a.services.Auth.CreateSubject(ctx, rec)
}

func (a *API) subjectDestroy(ctx context.Context, _ *call, self subjectRef) error {
	return a.services.Auth.DestroySubject(ctx, self)
}

func (a *API) subjectAddRole(ctx context.Context, _ *call, self subjectRef, role roleRef) error {
	return a.services.Auth.AddRole(ctx, self, role)
}

func (a *API) subjectRemoveRole(ctx context.Context, _ *call, self subjectRef, role roleRef) error {
	return a.services.Auth.RemoveRole(ctx, self, role)
}

// subjectPermissionNames lists what a subject's roles allow: each includes the weaker ones, so the longest list has all.
func (a *API) subjectPermissionNames(_ context.Context, _ *call, self subjectRef) ([]string, error) {
	var rec xenapi.Subject
	if err := a.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, self); return err }); err != nil {
		return nil, err
	}
	names := []string{}
	for _, role := range rec.Roles {
		label, err := a.roleLabel(role)
		if err != nil {
			return nil, err
		}
		if of := a.permissions.of(label); len(of) > len(names) {
			names = of
		}
	}
	return names, nil
}
