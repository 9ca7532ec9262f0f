package api

import (
	"context"
	"errors"
	"maps"
	"slices"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// sessionLogin lets a client in by the certificate that it shows, whatever name and password it gives. One whose certificate lets
// nobody in logs in as a client without.
func (a *API) sessionLogin(ctx context.Context, c *call, user, password, _, originator string) (xenapi.Ref[xenapi.Session], error) {
	if originator == "" {
		originator = c.origin
	}
	if !c.local && len(c.certificates) > 0 {
		ref, err := a.services.Auth.LoginCertificate(ctx, c.certificates, originator)
		if xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
			return ref, err
		}
		a.log.Info("certificate of a client not taken", "originator", originator, "error", errors.Unwrap(err))
	}
	return a.login(ctx, c, user, password, originator)
}

func (a *API) login(ctx context.Context, c *call, user, password, originator string) (xenapi.Ref[xenapi.Session], error) {
	if c.local {
		return a.services.Auth.LoginLocal(ctx, originator)
	}
	return a.services.Auth.Login(ctx, user, password, originator)
}

func (a *API) sessionLogout(ctx context.Context, c *call) error {
	err := a.services.Auth.Logout(ctx, c.session)
	a.services.Events.Forget(c.session) // which also wakes who waits with a session that is in no database
	return err
}

func (a *API) sessionChangePassword(ctx context.Context, c *call, old, password string) error {
	if c.local {
		return a.services.Auth.SetPassword(ctx, auth.Root, password)
	}
	return a.services.Auth.ChangePassword(ctx, c.caller.AuthUserName, old, password)
}

// sessionSlaveLogin opens a session for whoever knows the pool's secret. The host says who that is, which the secret proves
// better.
func (a *API) sessionSlaveLogin(ctx context.Context, c *call, _ hostRef, secret string) (xenapi.Ref[xenapi.Session], error) {
	return a.services.Auth.LoginPool(ctx, secret, c.origin)
}

// The local logins are for a host that has no pool. Here every login is: where the database takes no changes, the session is
// this host's own.
func (a *API) sessionLocalLoginSecret(ctx context.Context, c *call, secret string) (xenapi.Ref[xenapi.Session], error) {
	return a.services.Auth.LoginPool(ctx, secret, c.origin)
}

func (a *API) sessionLocalLogin(ctx context.Context, c *call, user, password string) (xenapi.Ref[xenapi.Session], error) {
	return a.login(ctx, c, user, password, c.origin)
}

func (a *API) sessionSubjects(context.Context, *call) ([]string, error) {
	return a.services.Auth.SubjectIdentifiers(), nil
}

func (a *API) sessionLogoutSubject(ctx context.Context, c *call, identifier string) error {
	return a.services.Auth.LogoutSubject(ctx, identifier, c.session)
}

// userCreate takes the role and the password, which XenAPI's user record has no fields for, from
// other_config, where the role stays to be read; the password is not kept there.
func (a *API) userCreate(ctx context.Context, _ *call, rec xenapi.User) (xenapi.Ref[xenapi.User], error) {
	role, password := rec.OtherConfig["role"], rec.OtherConfig["password"]
	if role == "" {
		role = xenapi.RoleReadOnly
	}
	rec.OtherConfig = maps.Clone(rec.OtherConfig)
	if rec.OtherConfig == nil {
		rec.OtherConfig = map[string]string{}
	}
	rec.OtherConfig["role"] = role
	delete(rec.OtherConfig, "password")
	return a.services.Auth.CreateUser(ctx, rec, role, password)
}

func (a *API) userDestroy(ctx context.Context, _ *call, self xenapi.Ref[xenapi.User]) error {
	return a.services.Auth.DestroyUser(ctx, self)
}

// userGetAllRecords is hidden, for clients that watch each class whose records are listed: XenAPI lists no users, and has
// no events of them.
func (a *API) userGetAllRecords(context.Context, *call) (map[xenapi.Ref[xenapi.User]]xenapi.User, error) {
	users := map[xenapi.Ref[xenapi.User]]xenapi.User{}
	return users, a.view(func(tx *db.Tx) error {
		maps.Insert(users, db.All[xenapi.User](tx))
		return nil
	})
}

// userSetPassword is for whoever administers the pool: session.change_password changes root's alone.
func (a *API) userSetPassword(ctx context.Context, _ *call, self xenapi.Ref[xenapi.User], password string) error {
	return a.services.Auth.ResetPassword(ctx, self, password)
}

func (a *API) taskCreate(ctx context.Context, c *call, label, description string) (xenapi.Ref[xenapi.Task], error) {
	return a.services.Tasks.Create(ctx, task.Spec{Label: label, Description: description, Session: c.session, User: c.caller.AuthUserSID})
}

// ownsTask refuses to touch another user's task without the permission task.destroy/any.
func (a *API) ownsTask(c *call, ref xenapi.Ref[xenapi.Task]) error {
	var rec xenapi.Task
	if err := a.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	if rec.AuthUser != "" && rec.AuthUser == c.caller.AuthUserSID {
		return nil
	}
	return auth.Authorize(c.caller, anyTask, anyTaskRole)
}

func (a *API) taskDestroy(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task]) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.Destroy(ctx, self)
}

func (a *API) taskCancel(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task]) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.Cancel(ctx, self, c.task.Ref())
}

func (a *API) taskSetStatus(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task], status xenapi.TaskStatus) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.SetStatus(ctx, self, status)
}

func (a *API) taskSetProgress(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task], fraction float64) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.SetProgress(ctx, self, fraction)
}

func (a *API) taskSetResult(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task], result string) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.SetResult(ctx, self, result)
}

func (a *API) taskSetErrorInfo(ctx context.Context, c *call, self xenapi.Ref[xenapi.Task], info []string) error {
	if err := a.ownsTask(c, self); err != nil {
		return err
	}
	return a.services.Tasks.SetErrorInfo(ctx, self, slices.Clone(info))
}
