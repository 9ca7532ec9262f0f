package api

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/xenapi"
)

func (a *API) srAssertSupportsReplication(_ context.Context, _ *call, sr srRef) error {
	return a.services.Replicas.AssertSupported(sr)
}

func (a *API) srEnableReplication(ctx context.Context, c *call, sr srRef) error {
	return a.services.Replicas.Enable(ctx, c.task, sr)
}

func (a *API) srDisableReplication(ctx context.Context, c *call, sr srRef) error {
	return a.services.Replicas.Disable(ctx, c.task, sr)
}

func (a *API) poolEnableRedoLog(ctx context.Context, c *call, sr srRef) error {
	return a.services.Replicas.EnableRedoLog(ctx, c.task, sr)
}

func (a *API) poolDisableRedoLog(ctx context.Context, c *call) error {
	return a.services.Replicas.DisableRedoLog(ctx, c.task)
}

// atRedoLog is a host that can destroy the pool's redo log, where there is one.
func atRedoLog(tx *db.Tx, me hostRef, _ []reflect.Value) (hostRef, error) {
	vdi, there := db.Lookup(tx, replica.RedoLog(tx))
	if !there {
		return me, nil
	}
	return pool.Nearest(tx, me, vdi.SR), nil
}

func (a *API) vdiReadPoolUUID(ctx context.Context, c *call, self vdiRef) (string, error) {
	return a.services.Replicas.PoolUUID(ctx, c.task, self)
}

// vdiOpenDatabase reads the VDI where the session is to be used: on the host that was asked.
func (a *API) vdiOpenDatabase(ctx context.Context, c *call, self vdiRef) (xenapi.Ref[xenapi.Session], error) {
	opened, err := a.services.Replicas.Open(ctx, c.task, self)
	if err != nil {
		return "", err
	}
	return a.services.Auth.OpenDatabase(c.session, c.caller, opened)
}

// sessionFromFile is for root on the host: others, who may be root of the pool over the network, have no business with its files.
func (a *API) sessionFromFile(ctx context.Context, c *call, filename string) (xenapi.Ref[xenapi.Session], error) {
	if !c.local {
		return "", xenapi.ErrRBACPermissionDenied("session.create_from_db_file", "Only over the unix socket of the host that has the file")
	}
	opened, err := a.services.Replicas.OpenFile(ctx, filename)
	if err != nil {
		return "", err
	}
	return a.services.Auth.OpenDatabase(c.session, c.caller, opened)
}

// viewFor runs fn on a snapshot of the database that the caller's session reads.
func (a *API) viewFor(c *call, fn func(*db.Tx) error) error {
	if c.opened != nil {
		return c.opened.View(fn)
	}
	return a.view(fn)
}

// readable refuses what a session cannot do that reads an opened database: all but to read objects in the ways that every class
// has, and to end. Sessions and users are nobody's to read there.
func (m *method) readable(c *call) error {
	switch name := m.sig.FullName(); {
	case c.opened == nil, name == "session.logout", name == "session.local_logout":
		return nil
	case m.implicit && strings.HasPrefix(m.sig.Name, "get_") && !slices.Contains(unlisted, m.sig.Class):
		return nil
	default:
		return xenapi.ErrRBACPermissionDenied(strings.ToLower(name), "The session reads an opened database, which cannot be changed")
	}
}

func errOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
